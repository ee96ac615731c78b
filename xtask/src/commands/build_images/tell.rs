//! What `build-images` says at its end: tags or a document, and what to do next.

use std::time::Duration;

use anyhow::Result;
use serde_json::{Value, json};

use super::{BuildRun, Done};
use crate::commands;
use crate::survey::Surveyed;
use build::candidate;
use definition::plan::{Action, ImagePlan};
use definition::spec::Budgets;
use engine::{Engine, Inventory, Owner};
use explain::forecast::check::{Checked, Mismatch};
use failure::{Failure, FailureKind};
use host::report::{self, Report};
use smoke::{Verdict, Verified};

impl BuildRun<'_> {
    /// Ends a run in which all images passed: their tags and IDs, or the document
    /// of `--json`, go to stdout, the summary and the next commands to stderr.
    pub(super) fn tell(&self, surveyed: &[Surveyed<'_>], done: &Done, took: Duration) -> Result<()> {
        let report = &self.host.report;
        if self.args.json {
            report.data(&serde_json::to_string_pretty(&self.document(surveyed, done))?)?;
        }
        for (one, verified) in surveyed.iter().zip(&done.verified) {
            for tag in one.step.tags.iter().filter(|_| !self.args.json) {
                report.data(&format!("{tag} {}", verified.image_id()))?;
            }
        }
        report.step(
            "done",
            format!("{} in {}", self.summary(surveyed), report::seconds(took)),
        );
        for hint in next(self.engine, surveyed) {
            report.detail(hint);
        }
        Ok(())
    }

    fn summary(&self, surveyed: &[Surveyed<'_>]) -> String {
        let count = |action: Action| surveyed.iter().filter(|one| one.step.action == action).count();
        let parts = [
            (count(Action::Build), "built, proved and tagged"),
            (count(Action::Retest), "proved again and tagged"),
            (count(Action::Retag), "tagged"),
            (count(Action::UpToDate), "up to date"),
        ];
        let parts: Vec<String> = parts
            .iter()
            .filter(|(n, _)| *n > 0)
            .map(|(n, what)| format!("{n} {what}"))
            .collect();
        let bases: Vec<&str> = self.bases.keys().map(String::as_str).collect();
        format!("{} on base {}", parts.join(", "), bases.join(", "))
    }

    /// What `--json` prints. Where one image failed, none of them has an ID or
    /// tags in it.
    pub(super) fn document(&self, surveyed: &[Surveyed<'_>], done: &Done) -> Value {
        let images: Vec<Value> = surveyed
            .iter()
            .map(|one| {
                let proof = done.verified.iter().find(|verified| verified.image() == one.step.name);
                let verdict = done.verdicts.iter().find(|verdict| verdict.image() == one.step.name);
                let ImagePlan { name, action, reason, cause, fingerprint, tags, .. } = &one.step;
                json!({
                    "name": name, "action": action, "reason": reason, "cause": cause, "fingerprint": fingerprint,
                    "image_id": proof.map(Verified::image_id),
                    "tags": if proof.is_some() { tags.as_slice() } else { &[] },
                    "prediction": done.predictions.get(name),
                    "smoke": verdict.map(smoke::report::entry),
                })
            })
            .collect();
        json!({ "schema": 1, "bases": self.bases, "images": images })
    }
}

/// All that went wrong, as one failure; builds decide the exit code.
pub(super) fn stopped(unbuilt: &[Failure], failed: &[&Verdict]) -> Failure {
    let mut all: Vec<Failure> = unbuilt.to_vec();
    if !failed.is_empty() {
        all.push(commands::smoke::failed(failed));
    }
    let kind = all.first().map_or(FailureKind::Build, |first| first.kind);
    let messages: Vec<&str> = all.iter().map(|failure| failure.message.as_str()).collect();
    let mut stopped = Failure::new(kind, messages.join("\n"));
    stopped.hints = all.into_iter().flat_map(|failure| failure.hints).collect();
    stopped
}

/// Adds how to look into what failed, where it is kept.
pub(super) fn with_unproved(
    mut failure: Failure,
    owner: Owner,
    inventory: &Inventory,
    failed: &[&Verdict],
) -> Failure {
    for verdict in failed {
        let tag = candidate::unproved_tag(verdict.image());
        if inventory.id_of(&tag) == Some(verdict.image_id()) {
            failure = failure.hint(look_inside(owner, verdict.image(), &tag.to_string()));
        }
    }
    failure
}

fn look_inside(owner: Owner, image: &str, tag: &str) -> String {
    // Another engine's `docker` does not know the image.
    let first = match owner {
        Owner::Private => format!("{TO_THE_ENGINE}; "),
        Owner::System => String::new(),
    };
    format!("look inside until another {image} fails: {first}docker run --rm -it {tag} bash")
}

/// What leads `docker` to the private engine.
const TO_THE_ENGINE: &str = "eval \"$(cargo xtask engine env)\"";

/// Says what somebody wants to know who has ended the run: what became of the tags, and
/// that nothing is lost. Tags move without a look at Ctrl-C.
pub(super) fn ended(error: anyhow::Error) -> anyhow::Error {
    match failure::kind(&error) {
        FailureKind::Interrupted => Failure::new(FailureKind::Interrupted, format!("{error:#}"))
            .hint("no tag has moved; the same command goes on from what is built and proved by now")
            .into(),
        _ => error,
    }
}

/// The most steps that a message names.
const NAMED: usize = 5;

/// Says where BuildKit did something else than was foretold.
pub(super) fn mismatches(report: &Report, image: &str, checked: &Checked) {
    if !checked.pruned.is_empty() {
        report.detail(format!(
            "{image}: the build cache has lost results since the last build: {} more steps ran",
            checked.pruned.len()
        ));
    }
    if checked.wrong.is_empty() {
        return;
    }
    let mut lines: Vec<String> = checked.wrong.iter().take(NAMED).map(Mismatch::line).collect();
    match checked.wrong.len().saturating_sub(NAMED) {
        0 => {}
        1 => lines.push("and 1 other".to_owned()),
        more => lines.push(format!("and {more} others")),
    }
    report.warn(format!("the forecast of {image} was wrong: {}", lines.join("; ")));
}

/// The commands that make use of the images that are there now.
fn next(engine: &Engine, surveyed: &[Surveyed<'_>]) -> Vec<String> {
    let mut lines = Vec::new();
    if engine.owner == Owner::Private {
        lines.push(format!(
            "{TO_THE_ENGINE}   # `docker` talks to the private engine"
        ));
    }
    for one in surveyed {
        let name = &one.step.name;
        lines.push(format!("cargo xtask up {name}"));
    }
    if let Some(one) = surveyed.last() {
        lines.push(format!("cargo xtask smoke {}", one.step.name));
    }
    lines
}

/// The key that gives an image more room than its budgets have, which took so many times
/// as much: half as much again, for the next machine.
pub(super) fn wider_budgets(name: &str, budgets: &Budgets, over: &[(&str, f64)]) -> Option<String> {
    let budgets = serde_json::to_value(budgets).ok()?;
    let wider = over.iter().filter_map(|(key, times)| {
        let wanted = budgets.get(*key)?.as_f64()? * times * 1.5;
        // Two digits are as much as such a figure says.
        let step = 10_f64.powf(wanted.log10().floor() - 1.0).max(1.0);
        Some(format!("\"{key}\": {:.0}", (wanted / step).ceil() * step))
    });
    let wider: Vec<String> = wider.collect();
    (!wider.is_empty()).then(|| {
        format!(
            "nothing else is wrong with {name}: `\"budgets\": {{{}}}` in images/{name}/image.json gives it more room",
            wider.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_look_inside_leads_to_the_engine_that_has_the_image() {
        let said = |owner| look_inside(owner, "x", "hive-unproved:x");
        assert_eq!(
            said(Owner::Private),
            "look inside until another x fails: eval \"$(cargo xtask engine env)\"; docker run --rm -it hive-unproved:x bash"
        );
        assert_eq!(
            said(Owner::System),
            "look inside until another x fails: docker run --rm -it hive-unproved:x bash"
        );
    }

    #[test]
    fn who_ends_a_run_is_told_what_became_of_it() {
        let interrupted = anyhow::Error::from(failure::interrupted()).context("start a container");
        let ended_by_hand = ended(interrupted);
        assert_eq!(failure::kind(&ended_by_hand), FailureKind::Interrupted);
        assert_eq!(
            failure::render(&ended_by_hand),
            "error: start a container: interrupted\n\nhint: no tag has moved; the same command goes on from what is \
             built and proved by now"
        );
        let other = ended(failure::smoke("x").into());
        assert_eq!(failure::render(&other), "error: x");
    }

    #[test]
    fn a_budget_that_was_too_small_gets_half_as_much_again() {
        let budgets = Budgets {
            ready_seconds: 20.0,
            restart_seconds: 15.0,
            stop_seconds: 5.0,
            health_ms: 100.0,
            query_ms: 15.0,
            memory_mb: 400.0,
            size_mb: 1000.0,
        };
        let said = wider_budgets("shop", &budgets, &[("ready_seconds", 4.5), ("size_mb", 1.2)]).unwrap();
        assert!(
            said.contains(
                r#"`"budgets": {"ready_seconds": 140, "size_mb": 1800}` in images/shop/image.json"#
            ),
            "{said}"
        );
        assert_eq!(wider_budgets("shop", &budgets, &[]), None);
    }
}
