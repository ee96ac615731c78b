//! What a suite found on one image.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::names;
use crate::proof::Verified;
use crate::secrets::scrub;
use container::boot::NOT_HEALTHY;
use container::figure::Figure;
use container::finding::{Judged, seen};
use definition::identity::{ImageId, SuiteKey};
use failure::Failure;
use inputs::shown;

/// How a check ended. What could not be looked at is not proved.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckOutcome {
    /// Looked at, and as it has to be.
    Pass,
    /// Looked at and wrong, or not reached.
    Fail,
    /// A fault that this engine has not the means for: no failure of the image,
    /// and no proof.
    Untried,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CheckResult {
    /// As in the suite; checks of a spec's own start with `spec: `.
    pub name: String,
    pub(crate) outcome: CheckOutcome,
    /// What was done and seen, on one line.
    pub detail: String,
    /// What was measured, where the check measures something.
    pub(crate) value: Option<f64>,
    /// Unit of `value` and `limit`.
    pub(crate) unit: Option<&'static str>,
    /// The most that `value` may be.
    pub(crate) limit: Option<f64>,
    /// How long it took to find out, in milliseconds. Checks that look at the
    /// same event share its time.
    pub(crate) took_ms: u64,
    /// The failed check that explains this failure.
    pub(crate) because: Option<String>,
}

impl CheckResult {
    /// A judge's answer under its check's name.
    pub(crate) fn new(name: impl Into<String>, took: std::time::Duration, judged: Judged) -> Self {
        let (outcome, detail, figure) = match judged {
            Ok(seen) => (CheckOutcome::Pass, seen.detail, seen.figure),
            Err(flaw) => (CheckOutcome::Fail, flaw.detail, flaw.figure),
        };
        Self {
            name: name.into(),
            outcome,
            detail: detail.replace(char::is_control, " "),
            value: figure.map(|f| f.value),
            unit: figure.map(|f| f.unit),
            limit: figure.and_then(|f| f.limit),
            took_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            because: None,
        }
    }

    /// A fault that could not be tried, and why.
    pub(crate) fn untried(name: impl Into<String>, took: std::time::Duration, why: &str) -> Self {
        Self {
            outcome: CheckOutcome::Untried,
            ..Self::new(name, took, seen(why))
        }
    }

    /// Without these secrets: an app's answer may have them, and what a check
    /// says goes to terminals, files and other programs.
    #[must_use]
    pub(super) fn without(mut self, secrets: &[String]) -> Self {
        self.detail = scrub(&self.detail, secrets);
        self
    }

    /// The figure again, for people.
    pub(crate) fn figure(&self) -> Option<Figure> {
        Some(Figure {
            value: self.value?,
            limit: self.limit,
            unit: self.unit?,
        })
    }

    /// Whether it was looked at and found wrong.
    pub fn failed(&self) -> bool {
        self.outcome == CheckOutcome::Fail
    }

    /// Whether it failed, and by nothing but a time over its limit.
    pub(crate) fn only_took_too_long(&self) -> bool {
        let over = self
            .value
            .zip(self.limit)
            .is_some_and(|(value, limit)| value > limit);
        self.failed() && over && matches!(self.unit, Some("s" | "ms"))
    }
}

/// What begins the detail of a check that was not looked at.
const NOT_REACHED: &str = "not reached";

/// That faults were run, of which suite, and whether of all of it.
#[derive(Clone, Debug)]
pub(crate) struct Full {
    /// What it was proved against: [`super::fault::Faults::key`].
    pub(super) key: SuiteKey,
    /// The gate's checks and every fault of the suite have a result.
    pub(super) whole: bool,
}

impl Full {
    /// `names` are all that the suite has. By what was looked at, not by what was
    /// asked for: a result that is missing for whatever reason proves nothing.
    pub(super) fn of(
        key: SuiteKey,
        checks: &[CheckResult],
        mut names: impl Iterator<Item = &'static str>,
    ) -> Self {
        let whole = names.all(|name| checks.iter().any(|check| check.name == name));
        Self { key, whole }
    }
}

/// The outcome of a suite on one image. Only the suite makes one.
#[derive(Clone, Debug)]
pub struct Verdict {
    pub(super) image: String,
    pub(super) image_id: ImageId,
    pub(super) reference: String,
    pub(super) suite_key: SuiteKey,
    pub(super) full: Option<Full>,
    pub(super) checks: Vec<CheckResult>,
    pub(super) took_ms: u64,
    pub(super) bundle: Option<PathBuf>,
    /// See [`Verdict::last_words`].
    pub(super) last_words: Option<String>,
    /// See [`Verdict::exception`].
    pub(super) exception: Option<String>,
    /// See [`Verdict::advice`].
    pub(super) advice: Option<String>,
}

impl Verdict {
    /// Nothing looked at yet.
    ///
    /// # Errors
    /// As [`super::suite::key`].
    pub(super) fn of_nothing(subject: &super::Subject) -> serde_json::Result<Self> {
        Ok(Self {
            image: subject.spec.name.to_string(),
            image_id: subject.image_id.clone(),
            reference: subject.reference.clone(),
            suite_key: subject.suite_key()?,
            full: None,
            checks: Vec::new(),
            took_ms: 0,
            bundle: None,
            last_words: None,
            exception: None,
            advice: None,
        })
    }

    /// Name of the image that was looked at.
    pub fn image(&self) -> &str {
        &self.image
    }

    /// The ID that was booted.
    pub fn image_id(&self) -> &ImageId {
        &self.image_id
    }

    /// What it was proved against: [`super::suite::key`], or
    /// [`super::fault::Faults::key`] for the full suite.
    pub fn suite_key(&self) -> &SuiteKey {
        self.full.as_ref().map_or(&self.suite_key, |full| &full.key)
    }

    /// As users name it: `gate` or `full`.
    pub(crate) fn suite(&self) -> &'static str {
        if self.full.is_some() { "full" } else { "gate" }
    }

    /// Whether it is a whole suite, so that passing it is a proof.
    pub(crate) fn is_whole(&self) -> bool {
        let untried = self
            .checks
            .iter()
            .any(|check| check.outcome == CheckOutcome::Untried);
        self.full.as_ref().is_none_or(|full| full.whole) && !untried
    }

    /// All results, in the suite's order, the spec's own last.
    pub fn checks(&self) -> &[CheckResult] {
        &self.checks
    }

    /// The folder with everything known about the failure, where one was written.
    pub fn bundle(&self) -> Option<&Path> {
        self.bundle.as_deref()
    }

    /// What the app said last at its first start, where it did not get there.
    pub fn last_words(&self) -> Option<&str> {
        self.last_words.as_deref()
    }

    /// The last exception that the app told of, where it runs and its health was no
    /// good.
    pub fn exception(&self) -> Option<&str> {
        self.exception.as_deref()
    }

    /// What whoever built a good image should know of it.
    pub fn advice(&self) -> Option<&str> {
        self.advice.as_deref().filter(|_| self.passed())
    }

    /// Whether every check passed. No checks prove nothing.
    pub fn passed(&self) -> bool {
        !self.checks.is_empty() && !self.checks.iter().any(CheckResult::failed)
    }

    /// The failures that no other failure explains.
    pub fn causes(&self) -> Vec<&CheckResult> {
        let failed = self.checks.iter().filter(|check| check.failed());
        failed.filter(|check| check.because.is_none()).collect()
    }

    /// Whether it failed, and by nothing but times over their budgets, and by what was
    /// not looked at because of them.
    pub(crate) fn only_took_too_long(&self) -> bool {
        let causes = self.causes();
        let late = causes.iter().filter(|check| check.only_took_too_long()).count();
        let unseen = |check: &&&CheckResult| check.detail.starts_with(NOT_REACHED);
        late > 0 && late + causes.iter().filter(unseen).count() == causes.len()
    }

    /// Whether nobody waited until the database of the first start was ready,
    /// although the container stayed up: what is not there yet on a busy machine
    /// fails nearly all other checks, and says nothing of the image.
    pub fn was_not_awaited(&self) -> bool {
        let find = |name: &str| self.checks.iter().find(|check| check.name == name);
        find(names::STAYS_UP).is_some_and(|check| !check.failed())
            && find(names::POSTGRESQL_READY).is_some_and(CheckResult::failed)
            && find(names::TIME_TO_READY).is_some_and(CheckResult::only_took_too_long)
    }

    /// Budgets of the spec that were too small, as its keys, each with how many times as
    /// much was taken as it allowed; none where anything else is wrong, too.
    pub fn over_budget(&self) -> Vec<(&'static str, f64)> {
        let is_wrong = |check: &CheckResult| {
            let unseen = check.detail.starts_with(NOT_REACHED);
            // More room is no help to a start of which no end was seen.
            let endless = check.detail.contains(NOT_HEALTHY);
            check.failed() && (endless || check.value.is_none() && !unseen)
        };
        if self.checks.iter().any(is_wrong) {
            return Vec::new();
        }
        let over = |check: &&CheckResult| {
            let (_, key) = names::BUDGETS.iter().find(|(name, _)| *name == check.name)?;
            let times = check.value? / check.limit?;
            (times > 1.0).then_some((*key, times))
        };
        self.causes().iter().filter_map(over).collect()
    }

    /// The ticket that promotion asks for.
    ///
    /// # Errors
    /// When a check failed, there is none, or only a part of the suite was run.
    pub fn verified(self) -> Result<Verified, FailedVerdict> {
        if self.passed() && self.is_whole() {
            Ok(Verified {
                image: self.image,
                image_id: self.image_id,
                suite_key: self.suite_key,
                full_key: self.full.map(|full| full.key),
            })
        } else {
            Err(FailedVerdict(Box::new(self)))
        }
    }
}

/// A verdict that proves nothing.
#[derive(Debug)]
pub struct FailedVerdict(pub(crate) Box<Verdict>);

impl FailedVerdict {
    /// The error that ends a command: names the checks at fault, points to the
    /// bundle.
    pub fn failure(&self) -> Failure {
        let failure = failure::smoke(self.to_string());
        match &self.0.bundle {
            Some(bundle) => failure.hint(format!(
                "everything known about the failure is in {}; start with timeline.txt",
                bundle.display()
            )),
            None => failure,
        }
    }
}

impl fmt::Display for FailedVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = &self.0;
        if verdict.checks.is_empty() {
            return write!(f, "image {} was not checked at all", verdict.image);
        }
        if verdict.passed() {
            return write!(
                f,
                "image {} passed what was run, which is only a part of the suite and no proof",
                verdict.image
            );
        }
        let failed = verdict.checks.iter().filter(|check| check.failed()).count();
        let causes: Vec<&str> = verdict.causes().iter().map(|c| c.name.as_str()).collect();
        write!(
            f,
            "image {} failed {failed} of {} smoke checks: {}",
            verdict.image,
            verdict.checks.len(),
            causes.join(", ")
        )?;
        match failed - causes.len() {
            0 => Ok(()),
            1 => f.write_str(" (and one that follows from it)"),
            more => write!(f, " (and {more} that follow)"),
        }?;
        let said = [
            ("last words, at its first start", verdict.last_words()),
            (
                "last exception, when its health was asked for",
                verdict.exception(),
            ),
        ];
        if let Some((what, Some(words))) = said.iter().find(|(_, words)| words.is_some()) {
            write!(f, "\n  the app's {what}:")?;
            for line in words.lines() {
                write!(f, "\n    {}", shown::one_line(line))?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for FailedVerdict {}

#[cfg(test)]
pub(super) mod tests {
    use container::boot::Boot;
    use container::finding::{flaw, measured};

    use super::*;
    use std::time::Duration;

    pub(crate) fn verdict(checks: Vec<CheckResult>) -> Verdict {
        Verdict {
            image: "genie".into(),
            image_id: format!("sha256:{}", "0123456789abcdef".repeat(4))
                .parse()
                .unwrap(),
            reference: "hive-genie:latest".into(),
            suite_key: SuiteKey::of_digest(&[0xab; 32]),
            full: None,
            checks,
            took_ms: 7215,
            bundle: None,
            last_words: None,
            exception: None,
            advice: None,
        }
    }

    fn check(name: &str, judged: Judged) -> CheckResult {
        CheckResult::new(name, Duration::from_millis(12), judged)
    }

    #[test]
    fn no_checks_are_a_failure() {
        let error = verdict(Vec::new()).verified().unwrap_err();
        assert_eq!(error.to_string(), "image genie was not checked at all");
    }

    #[test]
    fn one_failure_is_enough_and_consequences_are_not_causes() {
        let mut follows = check("health", Err(flaw("503")));
        follows.because = Some("postgresql-ready".into());
        let failed = verdict(vec![
            check("image-user", seen("1000:1000")),
            check("postgresql-ready", Err(flaw("no answer"))),
            follows,
        ])
        .verified()
        .unwrap_err();
        assert_eq!(
            failed.to_string(),
            "image genie failed 2 of 3 smoke checks: postgresql-ready (and one that follows from it)"
        );
        assert_eq!(failed.failure().kind, failure::FailureKind::Smoke);
    }

    #[test]
    fn an_app_that_fails_at_its_health_route_is_heard() {
        let mut verdict = verdict(vec![check("health", Err(flaw("500")))]);
        verdict.exception = Some("sqlalchemy.exc.ProgrammingError: no table\n[SQL: x]".to_owned());
        let said = verdict.clone().verified().unwrap_err().to_string();
        assert_eq!(
            said,
            "image genie failed 1 of 1 smoke checks: health\n  the app's last exception, when its health was asked for:\n    \
             sqlalchemy.exc.ProgrammingError: no table\n    [SQL: x]"
        );
        verdict.last_words = Some("of the start".to_owned());
        let said = verdict.verified().unwrap_err().to_string();
        assert!(said.ends_with("at its first start:\n    of the start"), "{said}");
    }

    #[test]
    fn only_times_are_a_matter_of_a_busy_machine() {
        let over = |unit| {
            measured(
                Figure {
                    value: 9.0,
                    limit: Some(1.0),
                    unit,
                },
                "x",
            )
        };
        assert!(verdict(vec![check("restart", over("s"))]).only_took_too_long());
        assert!(!verdict(vec![check("image-size", over("MB"))]).only_took_too_long());
        let both = vec![check("restart", over("s")), check("health", Err(flaw("500")))];
        assert!(!verdict(both).only_took_too_long());
        let unseen = || check("health", Err(flaw("not reached: the app is not healthy")));
        let late = check("restart", over("s"));
        assert!(verdict(vec![late, unseen()]).only_took_too_long());
        assert!(!verdict(vec![unseen()]).only_took_too_long());
        assert!(!verdict(vec![check("image-user", seen("1000"))]).only_took_too_long());
    }

    #[test]
    fn budgets_that_were_too_small_are_keys_of_a_spec() {
        let over = |value| measured(Figure::new(value, Some(20.0), "s"), "until healthy");
        let late = || check(names::TIME_TO_READY, over(90.0));
        assert_eq!(verdict(vec![late()]).over_budget(), [("ready_seconds", 4.5)]);
        let unseen = check(names::HEALTH, Err(flaw("not reached: the app is not healthy")));
        assert_eq!(verdict(vec![late(), unseen]).over_budget().len(), 1);
        let never = check(names::HEALTH, Err(flaw("GET /: 3 of 3 answers were not 200")));
        assert_eq!(verdict(vec![late(), never]).over_budget(), []);
        assert_eq!(verdict(vec![check(names::RESTART, over(3.0))]).over_budget(), []);
        let endless = Boot {
            gave_up: Duration::from_secs(65),
            ..Boot::default()
        };
        let endless = check(names::TIME_TO_READY, Err(endless.given_up("docker run", 20.0)));
        assert_eq!(verdict(vec![endless]).over_budget(), []);
    }

    #[test]
    fn a_start_that_nobody_awaited_says_nothing_of_the_image() {
        let late = || measured(Figure::new(23.0, Some(5.0), "s"), "not healthy after 23 s");
        let start = |stays, ready, time| {
            verdict(vec![
                check(names::STAYS_UP, stays),
                check(names::POSTGRESQL_READY, ready),
                check(names::TIME_TO_READY, time),
                check("pgvector", Err(flaw("connection refused"))),
            ])
        };
        let down = || Err(flaw("no response"));
        assert!(start(seen("yes"), down(), late()).was_not_awaited());
        assert!(!start(Err(flaw("exit code 1")), down(), late()).was_not_awaited());
        assert!(!start(seen("yes"), seen("yes"), late()).was_not_awaited());
        assert!(!start(seen("yes"), down(), Err(flaw("not reached"))).was_not_awaited());
    }

    #[test]
    fn over_budget_says_by_how_much() {
        let over = measured(Figure::new(12.0, Some(10.0), "s"), "until healthy").unwrap_err();
        assert_eq!(over.detail, "12 s is over the budget of 10 s; until healthy");
    }
}
