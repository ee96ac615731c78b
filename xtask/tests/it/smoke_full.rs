//! The full suite's faults on broken images: each finds what it is there for.

use xtask::report::Report;
use xtask::smoke::{self, Verdict};

use crate::sandbox;
use crate::smoke_gate::{Variant, roomy, run};

/// Runs these faults on the good image with a few more lines of Dockerfile.
fn faults(name: &str, lines: &str, only: &[&str]) -> Option<(Verdict, tempfile::TempDir)> {
    if !sandbox::engine_tests() {
        return None;
    }
    let state = tempfile::tempdir().unwrap();
    let variant = Variant::build(name, lines);
    let mut subject = variant.subject();
    roomy(&mut subject.spec);
    let only: Vec<String> = only.iter().map(|&name| name.to_owned()).collect();
    let report = Report::new(true, true);
    let verdicts = smoke::run_full(&report, state.path(), &variant.lab, &[subject], &only).unwrap();
    let verdict = verdicts.into_iter().next().unwrap();
    eprintln!("{}", smoke::report::table(&verdict));
    Some((verdict, state))
}

#[test]
fn some_faults_are_no_proof() {
    let Some((verdict, _state)) = faults("part", "", &["kill-postmaster"]) else {
        return;
    };
    assert!(verdict.passed(), "{:?}", verdict.causes());
    let names: Vec<&str> = verdict.checks().iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, ["kill-postmaster"], "no gate, no other fault");
    assert!(verdict.verified().is_err(), "a part of the suite is no proof");
}

#[test]
fn postgresql_that_nobody_starts_again() {
    let lines = run(
        "sed -i '/program:postgresql/,/^startsecs/s/^autorestart=true/autorestart=false/' \
         /etc/hive/supervisord.conf",
    );
    let Some((verdict, state)) = faults("stays-dead", &lines, &["kill-postmaster"]) else {
        return;
    };
    let check = &verdict.checks()[0];
    assert!(
        check.detail.starts_with("health did not become 200 within"),
        "{}",
        check.detail
    );
    let bundle = verdict.bundle().unwrap().to_owned();
    assert!(bundle.starts_with(state.path()) && bundle.join("verdict.json").is_file());
    let fault = bundle.join("kill-postmaster");
    let timeline = fs_err::read_to_string(fault.join("timeline.txt")).unwrap();
    assert!(timeline.contains("kill -9 "), "{timeline}");
    let mut found = Vec::new();
    for entry in walkdir::WalkDir::new(&fault) {
        let name = entry.unwrap().file_name().to_string_lossy().into_owned();
        found.push(name);
    }
    for name in [
        "docker-logs.txt",
        "inspect.json",
        "inside.txt",
        "postgresql.log",
        "result.json",
    ] {
        assert!(found.iter().any(|found| found == name), "{name} in {found:?}");
    }
}

#[test]
fn only_is_for_faults_that_exist() {
    sandbox::xtask(["smoke", "--only", "kill-postmaster"])
        .expect(2)
        .says(&["--only names faults", "add --suite full"]);
    sandbox::xtask(["smoke", "--suite", "full", "--only", "frobnicate"])
        .expect(2)
        .says(&["the full suite has no fault frobnicate", "kill-postmaster"]);
}
