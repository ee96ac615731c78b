//! Keys on a small Dockerfile with every form that the stages use.

use std::collections::BTreeSet;

use super::*;
use inputs::context::{Digest, Input, InputKind};

const TEXT: &str = r#"
ARG BASE=debian
ARG PACKAGES="a b"
ARG MAJOR=17

FROM ${BASE} AS deps
ARG PACKAGES
RUN --mount=type=cache,target=/c <<'SH'
set -eu
install $PACKAGES
SH
ENV TOOL=/opt/tool
WORKDIR /deps
COPY [p]yproject.toml uv.loc[k] ./
RUN sync
COPY . /app
RUN compile

FROM ${BASE} AS database
ARG MAJOR
RUN install postgres-$MAJOR

FROM other AS unused
RUN never

FROM database AS production
RUN --mount=type=bind,from=rootfs,target=/rootfs cp /rootfs /
COPY --link --from=deps /opt/venv /opt/venv
COPY --link --from=deps --chown=1000:1000 /app /app
COPY <<'JSON' /etc/$NAME.json
{"a": 1}
JSON
LABEL a=b
WORKDIR sub
"#;

fn file(path: &str, byte: u8) -> Input {
    Input {
        path: path.into(),
        kind: InputKind::File {
            executable: false,
            size: 1,
            digest: Digest([byte; 32]),
        },
    }
}

pub(crate) fn definition() -> Definition {
    Definition {
        dockerfile: TEXT.to_owned(),
        target: "production".to_owned(),
        arguments: BTreeMap::new(),
        platform: "linux/amd64".parse().unwrap(),
        base: "layers:1".to_owned(),
        contexts: BTreeMap::from([
            (
                String::new(),
                vec![file("api.py", 1), file("pyproject.toml", 2), file("uv.lock", 3)].into(),
            ),
            ("rootfs".to_owned(), vec![file("etc/x", 4)].into()),
        ]),
    }
}

pub(crate) fn replace(path: &str, byte: u8) -> impl Fn(&mut Definition) {
    move |definition| {
        for inputs in definition.contexts.values_mut() {
            for input in inputs.iter_mut().filter(|input| &*input.path == path) {
                *input = file(path, byte);
            }
        }
    }
}

/// Which steps have another key after a change.
fn moved(linked: bool, change: impl Fn(&mut Definition)) -> Vec<String> {
    let mut after = definition();
    change(&mut after);
    let before = steps(&definition(), linked).unwrap();
    let after = steps(&after, linked).unwrap();
    let keys: BTreeSet<&str> = before.iter().map(|step| step.key.as_str()).collect();
    let new = after.iter().filter(|step| !keys.contains(step.key.as_str()));
    new.map(|step| format!("{} {}", step.place.stage, step.place.step))
        .collect()
}

#[test]
fn places_are_those_of_buildkit() {
    let all = steps(&definition(), false).unwrap();
    let places: Vec<(&str, usize, usize)> = all
        .iter()
        .map(|step| (step.place.stage.as_str(), step.place.step, step.place.of))
        .collect();
    assert_eq!(
        places,
        [
            ("deps", 2, 7),
            ("deps", 3, 7),
            ("deps", 4, 7),
            ("deps", 5, 7),
            ("deps", 6, 7),
            ("deps", 7, 7),
            ("database", 2, 2),
            ("production", 1, 5),
            ("production", 2, 5),
            ("production", 3, 5),
            ("production", 4, 5),
            ("production", 5, 5),
        ]
    );
    assert_eq!(all[0].instruction, "RUN install $PACKAGES");
    assert_eq!(all[2].instruction, "COPY [p]yproject.toml uv.loc[k] ./");
    assert_eq!(
        all[0].described,
        "mount / from exec /bin/sh -c set -eu\ninstall $PACKAGES"
    );
    assert_eq!(all[2].described, "[deps 4/7] COPY [p]yproject.toml uv.loc[k] ./");
    assert_eq!(all[10].described, "[production 4/5] COPY <<JSON /etc/$NAME.json");
    assert_eq!(all[11].described, "[production 5/5] WORKDIR sub");
    assert_eq!(all[4].writes.as_deref(), Some("/app"));
    assert_eq!(all[9].reads[0].path, "/app");
}

#[test]
fn the_rendered_dockerfile_is_understood() {
    let text = include_str!("../../../../../images/genie/Dockerfile");
    let definition = Definition {
        dockerfile: text.to_owned(),
        ..definition()
    };
    let all = steps(&definition, false).unwrap();
    let stages: BTreeSet<&str> = all.iter().map(|step| step.place.stage.as_str()).collect();
    assert!(stages.contains("production") && stages.len() > 1, "{stages:?}");
}

#[test]
fn each_change_moves_its_steps_and_those_upon_them() {
    let stage_from = |stage: &str, from: usize, to: usize| -> Vec<String> {
        (from..=to).map(|n| format!("{stage} {n}")).collect()
    };
    let both = |mut one: Vec<String>, other: Vec<String>| {
        one.extend(other);
        one
    };
    assert_eq!(moved(false, |_| {}), [""; 0]);
    let app = both(stage_from("deps", 6, 7), stage_from("production", 2, 5));
    assert_eq!(moved(false, replace("api.py", 9)), app);
    let lock = both(stage_from("deps", 4, 7), stage_from("production", 2, 5));
    assert_eq!(moved(false, replace("uv.lock", 9)), lock);
    assert_eq!(moved(false, replace("etc/x", 9)), stage_from("production", 1, 5));
    // Apart from what stands before it, where layers are linked.
    assert_eq!(
        moved(true, replace("etc/x", 9)),
        ["production 1", "production 4", "production 5"]
    );
    let all = moved(false, |d| d.base.push('x'));
    assert_eq!(all.len(), 12);
    assert_eq!(
        moved(false, |d| d.platform = "linux/s390x".parse().unwrap()).len(),
        12
    );
    let argument = |name: &'static str| {
        move |d: &mut Definition| drop(d.arguments.insert(name.to_owned(), "new".to_owned()))
    };
    assert_eq!(moved(false, argument("PACKAGES")).first().unwrap(), "deps 2");
    assert_eq!(
        moved(false, argument("MAJOR")),
        both(vec!["database 2".to_owned()], stage_from("production", 1, 5))
    );
    // Nobody declares it.
    assert_eq!(moved(false, argument("OTHER")), [""; 0]);
}

#[test]
fn texts_count_as_far_as_buildkit_reads_them() {
    let edit = |from: &'static str, to: &'static str| {
        moved(false, move |d| {
            assert!(d.dockerfile.contains(from), "{from}");
            d.dockerfile = d.dockerfile.replace(from, to);
        })
    };
    assert_eq!(edit("RUN compile", "# a comment\nRUN compile"), [""; 0]);
    assert_eq!(edit("COPY . /app", "COPY   .   /app"), [""; 0]);
    assert_eq!(edit("LABEL a=b", "LABEL a=c"), [""; 0]);
    assert_eq!(edit("RUN never", "RUN ever"), [""; 0]);
    assert_eq!(edit("{\"a\": 1}", "{\"a\": 2}"), ["production 4", "production 5"]);
    assert_eq!(
        edit("/etc/$NAME.json", "/etc/.json"),
        ["production 4", "production 5"]
    );
    assert_eq!(edit("WORKDIR sub", "WORKDIR other"), ["production 5"]);
    assert_eq!(edit("ENV TOOL=/opt/tool", "ENV TOOL=/opt/tools")[0], "deps 5");
    assert_eq!(edit("RUN compile", "RUN compile --fast")[0], "deps 7");
    assert_eq!(edit("RUN compile", "USER 1\nRUN compile")[0], "deps 7");
    assert_eq!(
        edit("RUN compile", "SHELL [\"/bin/bash\", \"-c\"]\nRUN compile")[0],
        "deps 7"
    );
    assert_eq!(edit("--chown=1000:1000", "--chown=0:0")[0], "production 3");
    assert_eq!(
        steps(
            &Definition {
                dockerfile: "FROM a AS production\nENV A=${B%%x}\n".to_owned(),
                ..definition()
            },
            false
        ),
        None
    );
}
