//! What the reaper takes for a leftover of a killed run, and what not.

use std::sync::Arc;

use engine::{KEPT_LABEL, RUN_LABEL, reaper};
use host::process::Runner;

use crate::build_images::docker;
use crate::sandbox;

#[test]
#[ignore = "needs an engine"]
fn only_what_a_dead_run_made_itself_is_taken() {
    let run = reaper::run_id().unwrap();
    let (_, rest) = run.split_once('-').unwrap();
    let dead = format!("4194305-{rest}");
    let empty = tempfile::NamedTempFile::new().unwrap();
    tar::Builder::new(empty.as_file()).finish().unwrap();
    let name = format!("hive-test-reaper-{}", std::process::id());
    let import = |tag: &str, change: &str| {
        let image = format!("{name}:{tag}");
        docker(&[
            "import",
            "--change",
            change,
            empty.path().to_str().unwrap(),
            &image,
        ]);
        image
    };
    let plain = import("plain", "CMD [\"x\"]");
    // As `docker commit` of a smoke container makes it.
    let committed = import("committed", &format!("LABEL {RUN_LABEL}={dead}"));
    let create = |image: &str, label: &str| {
        docker(&["create", "--label", label, image, "x"])
            .trim()
            .to_owned()
    };
    let left = create(&plain, &format!("{RUN_LABEL}={dead}"));
    let others = [
        create(&plain, &format!("{RUN_LABEL}={run}")),
        create(&plain, &format!("{KEPT_LABEL}={dead}")),
        create(&committed, "mine=1"),
    ];
    let runner = Runner::new(Arc::default()).unwrap();
    assert!(reaper::reap(&sandbox::engine(), &runner).unwrap() >= 1);
    let there = docker(&["ps", "--all", "--quiet", "--no-trunc"]);
    assert!(!there.contains(&left));
    for container in &others {
        assert!(there.contains(container), "{container} is gone");
        docker(&["rm", container]);
    }
    docker(&["rmi", &plain, &committed]);
}
