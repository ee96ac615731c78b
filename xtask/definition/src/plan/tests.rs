//! The plan as a function of what is wanted, there and known.

use super::*;
use crate::sample::sample;

fn last(old: &Definition, new: &Definition) -> KnownRuns {
    KnownRuns {
        last: Some(LastBuild {
            schema: SCHEMA,
            fingerprint: old.fingerprint(),
            elsewhere: false,
            changes: change::changes(old, new),
        }),
        ..KnownRuns::default()
    }
}

fn step(definition: &Definition, known: &KnownRuns, present: Present, forced: bool) -> (Action, String) {
    let tags = ["hive-genie:latest", "hive-genie:1"].map(|tag| Reference::parse(tag).unwrap());
    let wanted = WantedImage {
        definition: Some((definition, definition.fingerprint())),
        base_set: "debian",
        known,
        tags: &tags,
        forced,
    };
    let step = decide("genie", &wanted, present);
    (step.action, step.reason)
}

fn id(n: u8) -> ImageId {
    format!("sha256:{n:064}").parse().unwrap()
}

fn there(proved: bool, tagged: &[&str]) -> Present {
    Present {
        image_id: Some(id(1)),
        proved,
        tags: tagged
            .iter()
            .map(|tag| (Reference::parse(tag).unwrap(), id(1)))
            .collect(),
    }
}

#[test]
fn from_nothing_to_up_to_date() {
    let (d, nothing) = (sample(), KnownRuns::default());
    assert_eq!(
        step(&d, &nothing, Present::default(), false),
        (Action::Build, "never built".to_owned())
    );
    assert_eq!(
        step(&d, &nothing, there(false, &[]), false),
        (
            Action::Retest,
            "the image has not passed the present smoke suite".to_owned()
        )
    );
    assert_eq!(
        step(&d, &nothing, there(true, &["hive-genie:1"]), false),
        (
            Action::Retag,
            "not on this image yet: hive-genie:latest".to_owned()
        )
    );
    let tagged = there(true, &["hive-genie:1", "hive-genie:latest"]);
    assert_eq!(
        step(&d, &nothing, tagged.clone(), false),
        (Action::UpToDate, "nothing changed".to_owned())
    );
    assert_eq!(
        step(&d, &nothing, tagged, true),
        (Action::Build, "forced by --no-cache".to_owned())
    );
}

#[test]
fn an_image_that_is_gone_is_pruned_elsewhere_or_of_another_schema() {
    let d = sample();
    let reason = |change: fn(&mut LastBuild)| {
        let mut known = last(&d, &d);
        change(known.last.as_mut().unwrap());
        let (action, reason) = step(&d, &known, Present::default(), false);
        assert_eq!(action, Action::Build);
        reason
    };
    assert_eq!(reason(|_| {}), "the image is gone from the engine");
    assert_eq!(
        reason(|last| last.elsewhere = true),
        "another engine has the image"
    );
    assert_eq!(
        reason(|last| last.schema = 0),
        format!("the fingerprint's schema changed: 0 → {SCHEMA}")
    );
}

#[test]
fn an_image_without_proof_says_what_happened_to_it() {
    let d = sample();
    let reason = |known: KnownRuns| {
        let (action, reason) = step(&d, &known, there(false, &[]), false);
        assert_eq!(action, Action::Retest);
        reason
    };
    let verdict = |failed: &[&str], changed: &[&str]| {
        let texts = |all: &[&str]| all.iter().map(|text| (*text).to_owned()).collect();
        reason(KnownRuns {
            verdict: Some(LastVerdict {
                at: "2026-11-21T09:40:31.000Z".to_owned(),
                suite_changes: texts(changed),
                failed: texts(failed),
            }),
            built_here: true,
            last: None,
        })
    };
    let built_here = KnownRuns {
        built_here: true,
        ..KnownRuns::default()
    };
    assert_eq!(reason(built_here), "never smoked");
    assert_eq!(
        verdict(&["health", "restart"], &[]),
        "smoke failed 2026-11-21 09:40 UTC: health, restart"
    );
    assert_eq!(
        verdict(&[], &["budgets", "tool"]),
        "the smoke suite changed: budgets, the tool's checks"
    );
    assert_eq!(
        verdict(&["health"], &["checks"]),
        "the smoke suite changed: the spec's checks"
    );
    assert_eq!(verdict(&[], &[]), "the image's proof is gone from the engine");
}

#[test]
fn a_tag_on_another_image_is_moved() {
    let d = sample();
    let mut present = there(true, &["hive-genie:1", "hive-genie:latest"]);
    let latest = Reference::parse("hive-genie:latest").unwrap();
    present.tags.insert(latest, id(2));
    assert_eq!(step(&d, &KnownRuns::default(), present, false).0, Action::Retag);
}

#[test]
fn unknown_base_has_no_fingerprint() {
    let wanted = WantedImage {
        definition: None,
        base_set: "debian",
        known: &KnownRuns::default(),
        tags: &[],
        forced: false,
    };
    let step = decide("genie", &wanted, Present::default());
    assert_eq!((step.action, step.fingerprint), (Action::Build, None));
    assert_eq!(step.reason, "base debian is not in the engine yet");
}

#[test]
fn reasons_name_what_changed() {
    let old = sample();
    let mut new = sample();
    new.base = "layers:sha256:11".to_owned();
    new.arguments.insert("PG_MAJOR".to_owned(), "16".to_owned());
    new.dockerfile = "FROM scratch\nRUN x\n".to_owned();
    let app = new.contexts.get_mut("").unwrap();
    let mut added = app[0].clone();
    added.path = "new.py".into();
    app.remove(0);
    app.push(added);
    assert_eq!(
        step(&new, &last(&old, &new), Present::default(), false).1,
        "base moved from 00 to 11, argument PG_MAJOR changed: 17 → 16, Dockerfile changed from line 2, new.py added and 1 other change"
    );
}
