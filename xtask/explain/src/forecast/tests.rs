//! Forecasts after a recorded build, and their check.

use definition::step::StepOutcome;

use super::check::check;
use super::steps::tests::{definition, replace};
use super::steps::{BuildStep, steps};
use super::*;
use definition::Definition;

fn past(steps: &[BuildStep], run: usize) -> Vec<Past> {
    let past = steps.iter().enumerate().map(|(n, step)| Past {
        place: step.place.clone(),
        key: step.key.clone(),
        parts: step.parts.clone(),
        records: vec![format!("{run}-{n}")],
    });
    past.collect()
}

/// All that a build of the plain definition leaves.
pub(crate) fn known() -> KnownBuilds {
    let builds = vec![past(&steps(&definition(), false).unwrap(), 0)];
    let cache = builds
        .iter()
        .flatten()
        .flat_map(|past| past.records.clone())
        .collect();
    KnownBuilds { builds, cache }
}

pub(crate) fn foretold(known: &KnownBuilds, change: impl Fn(&mut Definition)) -> Vec<Foretold> {
    let mut after = definition();
    change(&mut after);
    forecast(steps(&after, false).unwrap(), known, false)
}

fn lines(steps: &[Foretold]) -> Vec<String> {
    let not_cached = steps.iter().filter(|step| step.expect != ExpectedOutcome::Cached);
    not_cached.map(Foretold::line).collect()
}

#[test]
fn an_app_file_runs_the_app_layers_and_leaves_the_rest_open() {
    let told = foretold(&known(), replace("api.py", 9));
    assert_eq!(
        lines(&told),
        [
            "deps 6/7 COPY . /app: files that it reads changed",
            "deps 7/7 RUN compile: a step before it runs",
            "perhaps production 2/5 COPY --link --from=deps /opt/venv /opt/venv: it reads a stage that is built again",
            "production 3/5 COPY --link --from=deps --chown=1000:1000 /app /app: a step before it runs, it reads a stage that is built again",
            "production 4/5 COPY <<JSON /etc/$NAME.json: a step before it runs",
            "production 5/5 WORKDIR sub: a step before it runs",
        ]
    );
    assert_eq!(
        summary(&told),
        "runs deps 6–7 of 7, production 3–5 of 5; may run production 2 of 5; 6 of 12 steps cached"
    );
}

#[test]
fn nothing_changed_is_cached_and_force_is_force() {
    let told = foretold(&known(), |_| {});
    assert_eq!(lines(&told), [""; 0]);
    assert_eq!(summary(&told), "12 of 12 steps cached");
    let forced = forecast(steps(&definition(), false).unwrap(), &known(), true);
    assert!(forced.iter().all(|step| step.because == [Why::Forced]));
    let nothing = foretold(&KnownBuilds::default(), |_| {});
    assert!(nothing.iter().all(|step| step.expect == ExpectedOutcome::Open));
    assert_eq!(
        summary(&nothing),
        "nothing is foretold: no earlier build on this engine is on record"
    );
}

#[test]
fn causes_are_named() {
    let first = |change: fn(&mut Definition)| lines(&foretold(&known(), change)).remove(0);
    assert_eq!(
        first(|d| d.base.push('x')),
        "deps 2/7 RUN install $PACKAGES: the base moved"
    );
    assert_eq!(
        first(|d| drop(d.arguments.insert("MAJOR".to_owned(), "16".to_owned()))),
        "database 2/2 RUN install postgres-$MAJOR: its variables changed"
    );
    assert_eq!(
        first(|d| d.dockerfile = d.dockerfile.replace("RUN sync", "RUN sync --all")),
        "deps 5/7 RUN sync --all: the instruction changed"
    );
    // Both were built, but never together.
    let mut known = known();
    let mut other = definition();
    replace("etc/x", 9)(&mut other);
    known.builds.push(past(&steps(&other, false).unwrap(), 0));
    let told = foretold(&known, |d| {
        replace("etc/x", 9)(d);
        replace("api.py", 9)(d);
    });
    assert!(lines(&told)[0].starts_with("deps 6/7 "), "{told:?}");
    assert!(
        told.iter()
            .all(|step| step.place.step != 1 || step.expect == ExpectedOutcome::Cached)
    );
}

#[test]
fn a_lost_cache_is_foretold_and_told_from_a_wrong_forecast() {
    let mut known = known();
    // The record of `deps 5/7 RUN sync`.
    known.cache.remove("0-3");
    let told = foretold(&known, |_| {});
    assert_eq!(
        lines(&told),
        ["deps 5/7 RUN sync: its result is gone from the build cache"]
    );
    let ran = |known: &KnownBuilds, told: &[Foretold], at: usize| {
        let outcome = told.iter().enumerate().map(|(n, step)| {
            let seen = if n == at {
                StepOutcome::Run
            } else {
                StepOutcome::Cached
            };
            (step.key.as_str(), seen)
        });
        check(told, &outcome.collect(), known)
    };
    let checked = ran(&known, &told, 3);
    assert_eq!(
        (checked.wrong.len(), checked.pruned.len(), checked.seen.len()),
        (0, 0, 12)
    );
    // Another one ran, and something is gone: that may have been it, too.
    let told = forecast(steps(&definition(), false).unwrap(), &known, false);
    let checked = ran(&known, &told, 4);
    assert_eq!(checked.pruned.len(), 1);
    assert_eq!(
        checked
            .wrong
            .iter()
            .map(check::Mismatch::line)
            .collect::<Vec<_>>(),
        ["deps 5/7 RUN sync was cached, and was to be run"]
    );
    // Nothing is gone: the forecast was wrong.
    let known = self::known();
    let told = foretold(&known, |_| {});
    let checked = ran(&known, &told, 4);
    assert_eq!((checked.wrong.len(), checked.pruned.len()), (1, 0));
    assert_eq!(
        checked.wrong[0].line(),
        "deps 6/7 COPY . /app was run, and was to be cached"
    );
}

#[test]
fn a_run_with_a_secret_goes_by_the_files_below_it() {
    use ExpectedOutcome::{Cached, Open, Run};
    let text = "ARG BASE\nFROM ${BASE} AS production\nARG MAJOR=17\nRUN one\nWORKDIR /\nCOPY api.py /app/\n\
        RUN --mount=type=secret,id=x two\nRUN three\n";
    let with = |change: &dyn Fn(&mut Definition)| {
        let mut definition = Definition {
            dockerfile: text.to_owned(),
            ..definition()
        };
        change(&mut definition);
        steps(&definition, false).unwrap()
    };
    let before = with(&|_| {});
    let places: Vec<(usize, usize)> = before
        .iter()
        .map(|step| (step.place.step, step.place.of))
        .collect();
    assert_eq!(places, [(2, 6), (3, 6), (4, 6), (5, 6)]);
    let known = KnownBuilds {
        builds: vec![past(&before, 0)],
        cache: BTreeSet::from(["0-0", "0-1", "0-2", "0-3"].map(str::to_owned)),
    };
    let expected = |change: &dyn Fn(&mut Definition)| -> Vec<ExpectedOutcome> {
        let told = forecast(with(change), &known, false);
        told.iter().map(|step| step.expect).collect()
    };
    // The step before it may leave the same files.
    let instruction = |d: &mut Definition| d.dockerfile = d.dockerfile.replace("RUN one", "RUN 1");
    assert_eq!(expected(&instruction), [Run, Run, Open, Open]);
    // An argument is a variable of each RUN after it.
    let argument = |d: &mut Definition| drop(d.arguments.insert("MAJOR".to_owned(), "16".to_owned()));
    assert_eq!(expected(&argument), [Run, Run, Run, Run]);
    // A new file and another base do not.
    assert_eq!(expected(&replace("api.py", 9)), [Cached, Run, Run, Run]);
    assert_eq!(expected(&|d| d.base.push('x')), [Run, Run, Run, Run]);
}

#[test]
fn ranges_are_short() {
    assert_eq!(ranges(&[1, 2, 3, 5, 7, 8]), "1–3, 5, 7–8");
}
