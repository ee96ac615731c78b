//! The pipelines: they only call `ci/pipeline.sh`, and images are the same in a
//! clean clone.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use xtask::scratch::{TEST_IMAGES, rename_images};

use crate::sandbox::{self, repository};

/// The step that runs in a clone here.
const STEP: &str = "images";

/// `test` is what runs this test, in a clone where a pipeline does, and `check` is the
/// first half of it; the others take minutes, and what they call has tests of its own.
const OTHER_STEPS: [&str; 4] = ["check", "test", "release", "figures"];

#[test]
fn workflows_call_the_pipeline_and_nothing_clever() {
    let mut called = BTreeSet::new();
    for entry in fs_err::read_dir(repository().join(".github/workflows")).unwrap() {
        let text = fs_err::read_to_string(entry.unwrap().path()).unwrap();
        for line in text.lines().map(str::trim) {
            if let Some(command) = line.trim_start_matches("- ").strip_prefix("run: ") {
                let step = command.strip_prefix("ci/pipeline.sh ");
                called.insert(
                    step.unwrap_or_else(|| panic!("{command} is more than a call"))
                        .to_owned(),
                );
            }
            if let Some(action) = line.trim_start_matches("- ").strip_prefix("uses: ") {
                let commit = action.split(['@', ' ']).nth(1).unwrap_or_default();
                assert_eq!(commit.len(), 40, "{action} is not pinned by commit");
            }
        }
    }
    let steps = OTHER_STEPS.iter().chain([&STEP]);
    let known: BTreeSet<String> = steps.map(|step| (*step).to_owned()).collect();
    assert_eq!(called, known, "a step that no workflow calls, or no test runs");
}

#[test]
fn the_pipeline_script_is_posix_and_explains_itself() {
    let script = repository().join("ci/pipeline.sh");
    let checked = Command::new("sh").arg("-n").arg(&script).status().unwrap();
    assert!(checked.success());
    let run = sandbox::finish(Command::new("sh").arg(&script).stdin(Stdio::null()));
    assert_eq!(run.code, 2);
    assert!(
        run.stderr
            .contains("usage: ci/pipeline.sh check|images|test|release|figures")
    );
}

/// A step that only runs before a release must not have been wrong for weeks.
#[test]
fn every_command_of_the_pipeline_knows_its_flags() {
    let script = fs_err::read_to_string(repository().join("ci/pipeline.sh")).unwrap();
    let script = script.replace("\\\n", " ");
    let mut commands = 0;
    for line in script.lines().map(str::trim) {
        let Some(words) = line.strip_prefix("cargo xtask ") else {
            continue;
        };
        let mut words = words.split_whitespace();
        let help = sandbox::xtask([words.next().unwrap(), "--help"]).expect(0).stdout;
        for flag in words.filter(|word| word.starts_with("--")) {
            assert!(help.contains(flag), "{line}");
        }
        commands += 1;
    }
    assert!(commands >= 7, "{commands} commands");
}

#[test]
#[ignore = "needs an engine"]
fn the_images_are_the_same_in_a_clean_clone() {
    let folder = tempfile::tempdir().unwrap();
    let clone = folder.path().join("a clone");
    let mut git = Command::new("git");
    let cloned = git
        .args(["clone", "--quiet"])
        .arg(repository())
        .arg(&clone)
        .status()
        .unwrap();
    assert!(cloned.success());
    // The images that [`sandbox::Checkout`] has, too.
    for other in ["postgres", "workspace"] {
        fs_err::remove_dir_all(clone.join("images").join(other)).unwrap();
    }
    // No tag that somebody uses is moved.
    rename_images(&clone.join("images"), TEST_IMAGES).unwrap();
    let run = pipeline(&clone, STEP);
    assert_eq!(
        run.code, 0,
        "ci/pipeline.sh {STEP}\n{}\n{}",
        run.stdout, run.stderr
    );
    let json = |name: &str| -> serde_json::Value {
        let text = fs_err::read_to_string(clone.join("reports").join(name)).unwrap();
        serde_json::from_str(&text).unwrap()
    };
    let mut status = Command::new("git");
    let status = status
        .args(["status", "--porcelain", "images", "docker"])
        .current_dir(repository())
        .output()
        .unwrap();
    let (there, here) = (
        json("images.json"),
        sandbox::Checkout::renamed()
            .xtask(&["plan", "--json"])
            .expect(0)
            .json(),
    );
    let fingerprints = |document: &serde_json::Value| -> Vec<serde_json::Value> {
        document["images"]
            .as_array()
            .unwrap()
            .iter()
            .map(|image| image["fingerprint"].clone())
            .collect()
    };
    if status.stdout.is_empty() {
        assert_eq!(
            fingerprints(&there),
            fingerprints(&here),
            "two clones of one commit differ"
        );
    } else {
        assert_eq!(fingerprints(&there).len(), 2);
    }
    assert_eq!(json("smoke.json")["images"].as_array().unwrap().len(), 2);
    let junit = fs_err::read_to_string(clone.join("reports/smoke.xml")).unwrap();
    assert!(
        junit.starts_with("<?xml") && junit.contains("<testcase"),
        "{junit}"
    );
    assert!(
        fs_err::read_to_string(clone.join("reports/smoke.md"))
            .unwrap()
            .contains("genie")
    );
}

fn pipeline(clone: &Path, step: &str) -> sandbox::Run {
    let mut command = Command::new(clone.join("ci/pipeline.sh"));
    // As on a runner: nothing of this test run's own settings.
    for name in [
        "HIVE_TEST_ENGINE",
        "HIVE_TEST_DOCKER",
        "DOCKER_HOST",
        "DOCKER_CONFIG",
        "GITHUB_STEP_SUMMARY",
    ] {
        command.env_remove(name);
    }
    sandbox::finish(command.arg(step).env("NO_COLOR", "1").stdin(Stdio::null()))
}
