//! Figures beside their peers and goals, measured in one run.
//!
//! A [`BenchSuite`] is a table of [`Row`]s and a fixture that they share. A row is one
//! figure of ours, the same of each peer, and the goals that the two have to
//! meet. Adding a row is one entry of a table and a function that measures.
//!
//! Nothing here judges a build: a figure says how fast a machine was on one
//! day. Budgets that do judge are in the specs.

mod clock;
mod container;
mod data;
mod fingerprint;
mod row;
mod sequence;
mod service;
pub mod table;
mod tools;
mod trees;

#[cfg(test)]
#[path = "../../definition/src/spec/sample.rs"]
mod sample;

use std::cell::OnceCell;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use build::buildkit::BakeOptions;
use engine::choose::EngineChoice;
use engine::{Engine, choose};
use failure::FailureKind;
use host::Host;
use host::report;
use row::{Goal, Measured};
use xtask::scratch::Scratch;

/// What every row of a suite has to measure with.
#[derive(Debug)]
pub struct Bench<'a> {
    pub(crate) host: &'a Host,
    /// How often each thing is measured; never 0.
    pub(crate) runs: usize,
    /// A folder for what rows make. It stays from run to run, so that a large
    /// tree is made once; it lies in the state folder, whose deletion is safe.
    pub(crate) folder: PathBuf,
    choice: Option<EngineChoice>,
    engine: OnceCell<Engine>,
}

impl<'a> Bench<'a> {
    /// Nothing is started or made yet.
    pub fn new(host: &'a Host, runs: usize, choice: Option<EngineChoice>) -> Self {
        Self {
            host,
            runs,
            folder: host.state_dir().join("bench"),
            choice,
            engine: OnceCell::new(),
        }
    }

    /// The engine, started where needed by the first row that asks.
    ///
    /// # Errors
    /// An environment failure where there is none and none can be had.
    pub(crate) fn engine(&self) -> Result<&Engine> {
        if let Some(engine) = self.engine.get() {
            return Ok(engine);
        }
        let engine = choose::obtain(self.host, self.choice)?;
        Ok(self.engine.get_or_init(|| engine))
    }

    /// A copy of the checkout in a folder of this name, whose images get their own names
    /// and the widest budgets; nothing is built.
    ///
    /// # Errors
    /// Where there is no engine, or the copy cannot be made.
    pub(crate) fn scratch(&self, name: &str) -> Result<Scratch> {
        let scratch = Scratch::new(self.host, self.engine()?, &self.folder.join(name), "bench")?;
        scratch.give_room()?;
        Ok(scratch)
    }

    /// The same with all of its images built and proved, and what `build-images --json`
    /// has said of them.
    ///
    /// # Errors
    /// Where there is no engine, or an image cannot be built or proved.
    pub(crate) fn proved(&self, name: &str) -> Result<(Scratch, Value)> {
        let scratch = self.scratch(name)?;
        self.host.report.detail("builds and proves the images first");
        let document = scratch.build_images(self.host, &[])?;
        Ok((scratch, document))
    }

    /// Takes a sample for each run, and none for Ctrl-C.
    ///
    /// # Errors
    /// The first error of `sample`.
    pub(crate) fn repeat(&self, mut sample: impl FnMut() -> Result<f64>) -> Result<Vec<f64>> {
        (0..self.runs)
            .map(|_| {
                self.host.runner.check_interrupt()?;
                sample()
            })
            .collect()
    }
}

/// How what plain bake builds is built: with the machine's own CAs, and the cache.
pub(crate) fn bake_options(host: &Host) -> BakeOptions {
    let bundle = host.env.ssl_cert_file.iter();
    BakeOptions {
        secrets: bundle
            .map(|file| ("ca-bundle".to_owned(), file.clone()))
            .collect(),
        no_cache: false,
    }
}

/// A table of rows and what they share.
#[derive(Debug)]
pub(crate) struct BenchSuite<S: 'static> {
    /// As on the command line.
    pub(crate) name: &'static str,
    /// Whether it has to be asked for.
    pub(crate) is_run: BenchRun,
    /// In the order in which they are measured.
    pub(crate) rows: &'static [Row<S>],
    /// Makes what the rows share; called once, and not at all where no row is
    /// wanted. What it made has to go when it is dropped.
    pub(crate) open: fn(&Bench<'_>) -> Result<S>,
}

/// When the rows of a suite are measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BenchRun {
    /// Also where no name is given.
    Always,
    /// Only where the suite or a row of it is named: it takes much time, or room.
    ByName,
}

/// One figure: a line of the table.
#[derive(Debug)]
pub(crate) struct Row<S> {
    /// As on the command line: kebab-case, unique over all suites.
    pub(crate) name: &'static str,
    /// What is measured, in one line.
    pub(crate) what: &'static str,
    /// `s`, `ms`, `MB`, or what is counted. Less is better, always.
    pub(crate) unit: &'static str,
    /// What has to hold of the figures.
    pub(crate) goals: &'static [Goal],
    /// Measures ours and the peers, as often as [`Bench::runs`] says.
    pub(crate) measure: fn(&Bench<'_>, &S) -> Result<Measured>,
}

/// What is known of a row without measuring it.
#[derive(Clone, Copy, Debug)]
pub struct ListedRow {
    /// The name of the suite that it belongs to.
    pub suite: &'static str,
    /// The name of the row, unique within its suite.
    pub row: &'static str,
    /// What is measured, in one line.
    pub(crate) what: &'static str,
    /// The unit of all its figures.
    pub(crate) unit: &'static str,
    /// What has to hold of the figures.
    pub(crate) goals: &'static [Goal],
    /// When it is measured.
    pub is_run: BenchRun,
}

/// A row that was measured, or could not be.
#[derive(Debug)]
pub struct RowOutcome {
    /// The row that was measured.
    pub entry: ListedRow,
    /// Its figures, or why there are none.
    pub measured: Result<Measured>,
    /// How long the measuring took.
    pub(crate) took: Duration,
}

/// Any suite, whatever its rows share.
pub trait AnySuite: Sync {
    /// What is known of each of its rows before anything is measured.
    fn entries(&self) -> Vec<ListedRow>;

    /// Measures the rows that `wanted` names; what could not be measured does
    /// not keep the others from it.
    ///
    /// # Errors
    /// Ctrl-C, or when the fixture cannot be made. `outcomes` has what was
    /// measured before.
    fn measure(
        &self,
        bench: &Bench<'_>,
        wanted: &dyn Fn(&ListedRow) -> bool,
        outcomes: &mut Vec<RowOutcome>,
    ) -> Result<()>;
}

impl<S> BenchSuite<S> {
    fn entry(&self, row: &Row<S>) -> ListedRow {
        ListedRow {
            suite: self.name,
            row: row.name,
            what: row.what,
            unit: row.unit,
            goals: row.goals,
            is_run: self.is_run,
        }
    }
}

impl<S> AnySuite for BenchSuite<S> {
    fn entries(&self) -> Vec<ListedRow> {
        self.rows.iter().map(|row| self.entry(row)).collect()
    }

    fn measure(
        &self,
        bench: &Bench<'_>,
        wanted: &dyn Fn(&ListedRow) -> bool,
        outcomes: &mut Vec<RowOutcome>,
    ) -> Result<()> {
        let rows: Vec<&Row<S>> = self.rows.iter().filter(|row| wanted(&self.entry(row))).collect();
        if rows.is_empty() {
            return Ok(());
        }
        let fixture = (self.open)(bench)?;
        for row in rows {
            let report = &bench.host.report;
            report.step("measure", format!("{}: {}", row.name, row.what));
            let started = Instant::now();
            let measured = (row.measure)(bench, &fixture);
            let took = started.elapsed();
            match &measured {
                Err(error) if failure::kind(error) == FailureKind::Interrupted => return measured.map(drop),
                Err(error) => report.error(&failure::render(error)),
                Ok(_) => report.detail(format!("in {}", report::seconds(took))),
            }
            outcomes.push(RowOutcome {
                entry: self.entry(row),
                measured,
                took,
            });
        }
        Ok(())
    }
}

/// All suites, in the order of the table.
pub static SUITES: [&dyn AnySuite; 6] = [
    &fingerprint::SUITE,
    &container::SUITE,
    &service::SUITE,
    &data::SUITE,
    &data::GIGABYTE,
    &data::LARGE,
];

/// Every row of every suite.
pub fn entries() -> Vec<ListedRow> {
    SUITES.iter().flat_map(|suite| suite.entries()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_typeable() {
        let mut names: Vec<&str> = entries().iter().map(|entry| entry.row).collect();
        names.extend(
            entries()
                .iter()
                .map(|entry| entry.suite)
                .collect::<std::collections::BTreeSet<_>>(),
        );
        for name in &names {
            assert_eq!(names.iter().filter(|other| *other == name).count(), 1, "{name}");
            assert!(
                name.chars()
                    .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-'),
                "{name}"
            );
        }
    }
}
