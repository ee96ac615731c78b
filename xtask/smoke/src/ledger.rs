//! A ledger outside of the container: which rows the database has acknowledged.
//!
//! Writers are psql sessions that commit one row after the other and print its
//! number when the server has said that it is committed (psql flushes after
//! each statement). What arrived here before the container died has to be there
//! when it is up again; more may be, since an answer can be lost on its way.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail};

use crate::fixture::Fixture;
use container::ask;
use container::boot::Instance;
use container::finding::{flaw, late};
use container::http::one_line;
use failure::FailureKind;
use host::process::Stream;

/// Rows that a writer of one load can write at most: a minute's worth and more.
const MOST: u64 = 1_000_000;
/// A load that has not ended by itself or with its container until then is
/// ended.
const LONGEST: Duration = Duration::from_secs(100);
/// How long it may take until each writer has its first row acknowledged.
const FIRST: Duration = Duration::from_secs(20);

/// What is known to be committed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Ledger {
    /// Writer of a load, by load and number → the last row that was
    /// acknowledged; all before it were, too.
    acknowledged: BTreeMap<(u32, u32), u64>,
    loads: u32,
}

impl Ledger {
    /// Makes the table in the app's database, as the app's role.
    ///
    /// # Errors
    /// A flaw with what psql said.
    pub(crate) fn open(fixture: &Fixture<'_>, instance: &Instance) -> Result<Self> {
        fixture.sql(
            instance,
            "CREATE TABLE smoke_ledger (load int, writer int, n bigint, body text NOT NULL, \
             PRIMARY KEY (load, writer, n))",
        )?;
        Ok(Self::default())
    }

    /// Rows that were acknowledged so far.
    pub(crate) fn rows(&self) -> u64 {
        self.acknowledged.values().sum()
    }

    /// Lets some writers commit as fast as they can while `meanwhile` happens,
    /// which has to end the container or the server: writers only end with it.
    /// `meanwhile` begins when every writer has rows acknowledged. Returns how
    /// many were acknowledged during this load.
    ///
    /// # Errors
    /// A flaw when a writer could not write at all; what `meanwhile` says; on
    /// Ctrl-C.
    pub(crate) fn load(
        &mut self,
        fixture: &Fixture<'_>,
        instance: &Instance,
        writers: u32,
        meanwhile: impl FnOnce() -> Result<()>,
    ) -> Result<u64> {
        self.loads += 1;
        let load = self.loads;
        let name = instance.container.name();
        let counts: Vec<Count> = (0..writers).map(|_| Count::default()).collect();
        let ended = std::thread::scope(|scope| {
            let mut threads = Vec::new();
            for (writer, count) in (1..).zip(&counts) {
                // A runner belongs to one thread.
                let resources = fixture.resources().clone();
                let script = script(&ask::prelude(fixture.spec()), load, writer);
                threads.push(scope.spawn(move || -> Result<()> {
                    let args = ["exec", name, "sh", "-c", &script];
                    let command = resources.engine.cmd(&resources.runner, &args).deadline(LONGEST);
                    command.stream(|stream, line| count.take(stream, line)).map(drop)
                }));
            }
            let began = wait_for_first(fixture, &counts);
            let done = began.and_then(|()| meanwhile());
            if done.is_err() {
                counts
                    .iter()
                    .for_each(|count| count.gives_up.store(true, Ordering::Relaxed));
            }
            for thread in threads {
                let ended = thread.join().map_err(|_| anyhow!("a writer panicked"))?;
                match ended {
                    Err(error) if failure::kind(&error) == FailureKind::Interrupted => return Err(error),
                    // Told to give up, or its client ended with the container.
                    Ok(()) | Err(_) => {}
                }
            }
            done
        });
        let mut written = 0;
        for (writer, count) in (1..).zip(&counts) {
            let last = count.last();
            self.acknowledged.insert((load, writer), last);
            written += last;
        }
        fixture.note(format!("load {load}: {written} rows acknowledged"));
        ended.map(|()| written)
    }

    /// Looks for every acknowledged row, with what it has to hold. Returns how
    /// many there are.
    ///
    /// # Errors
    /// A flaw that says how many are lost, and the first of them.
    pub(crate) fn verify(&self, fixture: &Fixture<'_>, instance: &Instance) -> Result<u64> {
        if fixture.sql(instance, "SELECT to_regclass('smoke_ledger') IS NULL")? == "t" {
            bail!(flaw(format!(
                "committed rows are lost: the table with {} of them is gone",
                self.rows()
            )));
        }
        let mut values = Vec::new();
        for ((load, writer), last) in &self.acknowledged {
            values.push(format!("({load},{writer},{last}::bigint)"));
        }
        if values.is_empty() {
            bail!(flaw("the ledger is empty: nothing was written"));
        }
        let values = values.join(",");
        let sql = format!(
            "WITH known(load, writer, last) AS (VALUES {values}) \
             SELECT k.load, k.writer, k.last, count(l.n), \
             count(*) FILTER (WHERE l.body = repeat(md5(k.load || ':' || k.writer || ':' || l.n), 8)) \
             FROM known k LEFT JOIN smoke_ledger l \
             ON l.load = k.load AND l.writer = k.writer AND l.n <= k.last \
             GROUP BY 1, 2, 3 ORDER BY 1, 2"
        );
        let rows = fixture.sql(instance, &sql)?;
        let lost = lost(&rows).with_context(|| format!("read the ledger's answer {rows:?}"))?;
        if !lost.is_empty() {
            bail!(flaw(format!(
                "committed rows are lost: {} of {} are there; {}",
                self.rows() - lost.iter().map(|(missing, _)| missing).sum::<u64>(),
                self.rows(),
                lost.iter()
                    .map(|(_, text)| text.as_str())
                    .collect::<Vec<_>>()
                    .join("; ")
            )));
        }
        Ok(self.rows())
    }
}

/// What one writer got acknowledged, shared with its thread.
#[derive(Debug, Default)]
struct Count {
    last: AtomicU64,
    gives_up: AtomicBool,
    /// What psql and the engine said besides.
    words: Mutex<String>,
}

impl Count {
    fn last(&self) -> u64 {
        self.last.load(Ordering::Relaxed)
    }

    /// A line of the writer. Numbers come in order, as one session commits one
    /// row after the other.
    fn take(&self, stream: Stream, line: &[u8]) -> Result<()> {
        if self.gives_up.load(Ordering::Relaxed) {
            bail!("given up");
        }
        let text = String::from_utf8_lossy(line);
        match (stream, text.parse::<u64>()) {
            // A line that was cut off by the kill can be a smaller number.
            (Stream::Stdout, Ok(n)) if n == self.last() + 1 => self.last.store(n, Ordering::Relaxed),
            _ => {
                let mut words = self.words.lock().unwrap_or_else(PoisonError::into_inner);
                words.push_str(&text);
                words.push(' ');
            }
        }
        Ok(())
    }

    fn words(&self) -> String {
        one_line(&self.words.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Waits until each writer has rows acknowledged.
fn wait_for_first(fixture: &Fixture<'_>, counts: &[Count]) -> Result<()> {
    let (began, limit) = (Instant::now(), fixture.patience(FIRST));
    while let Some(silent) = counts.iter().find(|count| count.last() == 0) {
        if began.elapsed() > limit {
            let detail = format!(
                "a writer got no row acknowledged within {} s: {}",
                limit.as_secs(),
                silent.words()
            );
            bail!(late(began.elapsed(), limit, detail));
        }
        fixture.resources().runner.sleep(Duration::from_millis(5))?;
    }
    Ok(())
}

/// One row a statement, its number printed once it is committed.
fn script(prelude: &str, load: u32, writer: u32) -> String {
    format!(
        "{prelude}seq 1 {MOST} | sed \"s/.*/INSERT INTO smoke_ledger VALUES \
         ({load}, {writer}, &, repeat(md5('{load}:{writer}:&'), 8)) RETURNING n;/\" | \
         psql -XAtq -v ON_ERROR_STOP=1"
    )
}

/// From the answer of [`Ledger::verify`]: of each writer that misses rows, how
/// many and in words. `None` for an answer that cannot be read.
fn lost(answer: &str) -> Option<Vec<(u64, String)>> {
    let mut lost = Vec::new();
    for line in answer.lines() {
        let fields: Vec<u64> = line
            .split('|')
            .map(|field| field.parse().ok())
            .collect::<Option<_>>()?;
        let &[load, writer, last, found, good] = fields.as_slice() else {
            return None;
        };
        if good < last {
            let text = format!(
                "load {load}, writer {writer}: {last} acknowledged, {found} found, {good} of them with their content"
            );
            lost.push((last - good, text));
        }
    }
    Some(lost)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_rows_are_counted_and_named() {
        assert_eq!(lost("1|1|20|20|20\n1|2|30|30|30"), Some(Vec::new()));
        let found = lost("1|1|20|20|20\n2|1|30|29|28").unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].0, 2);
        assert!(
            found[0]
                .1
                .starts_with("load 2, writer 1: 30 acknowledged, 29 found, 28")
        );
        assert_eq!(lost("ERROR: relation"), None);
        assert_eq!(lost("1|2|3"), None);
    }

    #[test]
    fn only_whole_numbers_in_order_count() {
        let count = Count::default();
        for line in ["1", "2", "3"] {
            count.take(Stream::Stdout, line.as_bytes()).unwrap();
        }
        count.take(Stream::Stdout, b"1").unwrap();
        count.take(Stream::Stderr, b"4").unwrap();
        assert_eq!(count.last(), 3);
        assert_eq!(count.words(), "1 4");
        count.gives_up.store(true, Ordering::Relaxed);
        assert!(count.take(Stream::Stdout, b"4").is_err());
    }
}
