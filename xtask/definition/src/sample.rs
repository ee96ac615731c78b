//! A small definition for tests, of other crates, too.

use std::collections::BTreeMap;

use inputs::context::{Digest, Input, InputKind};

use definition::Definition;

/// Two files of the app and one of the root file system.
pub(crate) fn sample() -> Definition {
    let input = |path: &str, byte: u8| Input {
        path: path.into(),
        kind: InputKind::File {
            executable: false,
            size: 1,
            digest: Digest([byte; 32]),
        },
    };
    Definition {
        dockerfile: "FROM scratch\n".to_owned(),
        target: "production".to_owned(),
        arguments: BTreeMap::from([("PG_MAJOR".to_owned(), "17".to_owned())]),
        platform: "linux/amd64".parse().unwrap(),
        base: "layers:sha256:00".to_owned(),
        contexts: BTreeMap::from([
            (
                String::new(),
                vec![input("api/serve.py", 1), input("uv.lock", 2)].into(),
            ),
            ("rootfs".to_owned(), vec![input("etc/x", 3)].into()),
        ]),
    }
}
