//! The fingerprint against the real BuildKit.

use std::collections::BTreeSet;

use audit::facts::FACTS;
use serde_json::Value;

use crate::build_images::docker;
use crate::sandbox::{self, Checkout};

#[test]
fn names_are_checked_before_an_engine_is_started() {
    let run = Checkout::new().xtask(&["audit", "gennie"]).expect(2);
    run.says(&["error: there is no image \"gennie\""]);
    sandbox::xtask(["audit", "--facts", "genie"]).expect(2);
}

/// Every fact, and every declared input of an image.
#[test]
#[ignore = "needs an engine"]
fn the_key_is_never_looser_than_buildkit() {
    let before = nobodys();
    let checkout = Checkout::new();
    let run = checkout.xtask(&["audit", "genie", "--json"]).expect(0);
    let document = run.json();
    assert_eq!(document["sound"], true);
    let findings = document["findings"].as_array().unwrap();
    let of = |subject: &'static str| {
        findings
            .iter()
            .filter(move |finding| finding["subject"] == subject)
    };
    for fact in &FACTS {
        let tried: BTreeSet<&str> = of("probe")
            .filter(|finding| finding["fact"] == fact.name)
            .filter_map(|finding| finding["case"].as_str())
            .collect();
        assert_eq!(tried.len(), fact.cases.len(), "{}", fact.name);
    }
    let verdicts = |verdict: &str| {
        let holds = |finding: &&Value| finding["verdict"] == verdict;
        findings.iter().filter(holds).count()
    };
    assert_eq!(verdicts("wrong"), 0);
    assert!(verdicts("agree") > 60, "{}", document["summary"]);
    // What was foretold of each step came true: a wrong forecast is no verdict
    // but `wrong`, and there has to be a forecast.
    let foretold = of("genie").filter(|finding| finding["seen"]["surprises"] == Value::Array(Vec::new()));
    assert_eq!(foretold.count(), of("genie").count());
    // Each input of the app moved the key and ran a step.
    let app: Vec<&Value> = of("genie")
        .filter(|finding| finding["fact"].as_str().unwrap().starts_with("app: "))
        .collect();
    assert!(app.len() > 5, "{app:?}");
    for finding in app {
        assert_eq!(finding["seen"]["key_moved"], true, "{finding}");
        assert_eq!(
            finding["seen"]["build"]["ran"].as_array().unwrap().len(),
            1,
            "{finding}"
        );
    }
    // It worked on a copy and took its images with it.
    for image in ["audit-probe", "audit-genie"] {
        assert_eq!(
            labelled(&format!("dev.hive.image={image}")),
            BTreeSet::new(),
            "{image}"
        );
    }
    let left: BTreeSet<String> = nobodys().difference(&before).cloned().collect();
    assert_eq!(left, BTreeSet::new(), "images that nobody finds by a name");
}

/// IDs of all images with a label.
fn labelled(label: &str) -> BTreeSet<String> {
    let filter = format!("label={label}");
    let listed = docker(&[
        "image",
        "ls",
        "--all",
        "--quiet",
        "--no-trunc",
        "--filter",
        &filter,
    ]);
    listed.lines().map(str::to_owned).collect()
}

/// Images that a build of ours made for no image.
fn nobodys() -> BTreeSet<String> {
    &labelled("dev.hive.fingerprint") - &labelled("dev.hive.image")
}
