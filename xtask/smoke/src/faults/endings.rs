//! Programs that cannot be kept running take the container down, with an exit
//! code that makes the restart policy act, and PostgreSQL shut down cleanly.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::running;
use crate::fixture::Fixture;
use container::boot::Instance;
use container::finding::{Observation, flaw, late, seen};

/// A program that cannot start: three tries, 1, 2 and 3 s apart.
const FATAL: Duration = Duration::from_secs(30);
/// A program that ends again and again.
const FLAPPING: Duration = Duration::from_secs(60);
/// The same, slowly: six runs of [`SLOW_SECONDS`] and the starts between.
const SLOW: Duration = Duration::from_secs(150);
/// So slow that no six ends lie within one minute.
const SLOW_SECONDS: u32 = 13;

/// Exit codes, as `docker/README.md` lists them.
const EXIT_PROGRAM: i64 = 1;
const EXIT_CONFIG: i64 = 78;

/// Python that ends at once, each time.
pub(crate) const FAILS: &str = "raise SystemExit(3)";

/// The app cannot be started any more.
pub(crate) fn fatal_app(fixture: &Fixture<'_>) -> Result<Observation> {
    let end = UntidyEnd {
        program: "app",
        file: "run-app",
        code: FAILS,
        limit: FATAL,
    };
    end.expect(fixture, EXIT_PROGRAM, "app could not be started")
}

/// A program of the image's own cannot be started any more.
pub(crate) fn fatal_program(fixture: &Fixture<'_>, program: &str) -> Result<Observation> {
    let end = UntidyEnd {
        program,
        file: "run-app",
        code: FAILS,
        limit: FATAL,
    };
    end.expect(fixture, EXIT_PROGRAM, "could not be started")
}

/// PostgreSQL cannot be started any more.
pub(crate) fn fatal_postgresql(fixture: &Fixture<'_>) -> Result<Observation> {
    let end = UntidyEnd {
        program: "postgresql",
        file: "run-postgresql",
        code: FAILS,
        limit: FATAL,
    };
    end.expect(fixture, EXIT_PROGRAM, "postgresql could not be started")
}

/// A program that says that trying again is useless.
pub(crate) fn hopeless_app(fixture: &Fixture<'_>) -> Result<Observation> {
    let end = UntidyEnd {
        program: "app",
        file: "run-app",
        code: "raise SystemExit(78)",
        limit: FATAL,
    };
    end.expect(fixture, EXIT_CONFIG, "cannot run like this")
}

/// The app starts well and ends again and again.
pub(crate) fn flapping_app(fixture: &Fixture<'_>) -> Result<Observation> {
    let end = UntidyEnd {
        program: "app",
        file: "run-app",
        code: "import time; time.sleep(2); raise SystemExit(3)",
        limit: FLAPPING,
    };
    end.expect(fixture, EXIT_PROGRAM, "app ended ")
}

/// The same, each time after a while.
pub(crate) fn slowly_flapping_app(fixture: &Fixture<'_>) -> Result<Observation> {
    let code = format!("import time; time.sleep({SLOW_SECONDS}); raise SystemExit(0)");
    let end = UntidyEnd {
        program: "app",
        file: "run-app",
        code: &code,
        limit: SLOW,
    };
    end.expect(fixture, EXIT_PROGRAM, "app ended ")
}

/// Replaces the code of a file in `/usr/local/lib/hive`.
///
/// # Errors
/// A flaw when it cannot be written.
pub(crate) fn break_file(fixture: &Fixture<'_>, instance: &Instance, file: &str, code: &str) -> Result<()> {
    // Kept as the same file, with its mode: only what it does changes.
    let script = format!(
        "{{ head -n 1 /usr/local/lib/hive/{file}; echo '{code}'; }} >/tmp/broken && \
         cat /tmp/broken >/usr/local/lib/hive/{file}"
    );
    let answer = fixture.exec(instance, &["--user", "0:0"], &script)?;
    if !answer.ok() {
        bail!(flaw(format!("{file} could not be broken: {}", answer.shown())));
    }
    Ok(())
}

/// A program whose file in the container was replaced.
struct UntidyEnd<'a> {
    program: &'a str,
    /// Its file's name in `/usr/local/lib/hive`.
    file: &'a str,
    /// The Python code that takes the file's place.
    code: &'a str,
    limit: Duration,
}

impl UntidyEnd<'_> {
    /// Breaks a healthy container's program, ends it once, and waits for the
    /// container's own end.
    fn expect(&self, fixture: &Fixture<'_>, code: i64, why: &str) -> Result<Observation> {
        let volume = fixture.volume()?;
        let instance = fixture.boot(&volume, &[])?;
        fixture.sql(
            &instance,
            "CREATE TABLE smoke_end AS SELECT n FROM generate_series(1, 1000) n",
        )?;
        break_file(fixture, &instance, self.file, self.code)?;
        let began = Instant::now();
        fixture.must(
            &instance,
            &format!("kill -9 $(/usr/local/bin/supervisorctl pid {})", self.program),
        )?;
        fixture.note(format!("{} is broken and was ended", self.program));
        let Some(ended) = fixture.until_ended(&instance.container, self.limit)? else {
            let detail = format!(
                "{} does `{}` since {} s, and the container is still up",
                self.program,
                self.code,
                began.elapsed().as_secs()
            );
            bail!(late(began.elapsed(), fixture.patience(self.limit), detail));
        };
        let took = began.elapsed();
        let log = fixture.log(&instance)?;
        let last = log.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
        if ended != code || !last.starts_with("hive: stopped: ") || !last.contains(why) {
            bail!(flaw(format!(
                "{} does `{}`: the container ended with {ended}, its last line is `{last}`",
                self.program, self.code
            )));
        }
        // A server that cannot be started again was killed by us, not shut down.
        if self.program != "postgresql" {
            running::is_shut_down(fixture, &volume, "the container gave up")?;
        }
        seen(format!(
            "{} does `{}`: exit code {ended} after {:.0} s, `{last}`",
            self.program,
            self.code,
            took.as_secs_f64()
        ))
        .map_err(Into::into)
    }
}
