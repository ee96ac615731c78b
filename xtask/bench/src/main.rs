//! `cargo xtask bench`: figures beside their peers and goals.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::Parser as _;

use bench::{Bench, BenchRun, ListedRow, RowOutcome, table};
use failure::Failure;
use host::Host;
use host::lock;

/// Measure what is promised, beside the peers, in one run
///
/// NAME is a suite (`fingerprint`) or one of its rows; `--list` shows all of them
/// with their goals. Prints a table on stdout. A goal that is missed is no error.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", version, after_help = xtask::cli::EXIT_CODES)]
struct BenchArgs {
    /// Print each command that is run
    #[arg(long, short)]
    verbose: bool,
    /// The checkout to work on; without it the one this was compiled in
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Suites or rows; all but `gigabyte` and `large` where none is given
    #[arg(value_name = "NAME")]
    names: Vec<String>,
    /// How often each thing is measured; the median counts
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// List what can be measured, and the goals
    #[arg(long)]
    list: bool,
    /// One JSON document on stdout, sample by sample
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: xtask::cli::EngineOption,
}

fn main() -> ExitCode {
    let mut options = BenchArgs::parse();
    xtask::entry::run(options.root.take(), options.verbose, |host| run(&options, host))
}

/// Measures the named rows, or all, and prints the table.
fn run(args: &BenchArgs, host: &Host) -> Result<()> {
    let entries = bench::entries();
    check(&args.names, &entries)?;
    let wanted = |entry: &ListedRow| {
        let is_named = |name: &String| [entry.row, entry.suite].contains(&name.as_str());
        let all = args.names.is_empty() && (args.list || entry.is_run == BenchRun::Always);
        all || args.names.iter().any(is_named)
    };
    if args.list {
        let listed: Vec<ListedRow> = entries.into_iter().filter(wanted).collect();
        return host.report.data(&table::list(&listed));
    }
    let runs = usize::from(args.runs);
    let bench = Bench::new(host, runs, args.engine.engine);
    // Two at once would measure each other.
    let place = host.cache_dir().join("bench.lock");
    let _alone = lock::exclusive(&place, "for another bench on this machine", host)?;
    tell_load(host);
    let mut outcomes = Vec::new();
    let ended = bench::SUITES
        .iter()
        .try_for_each(|suite| suite.measure(&bench, &wanted, &mut outcomes));
    // What is measured is shown, also where Ctrl-C or an error ended the rest.
    if ended.is_ok() || !outcomes.is_empty() {
        host.report.data(&if args.json {
            serde_json::to_string_pretty(&table::json(&outcomes, runs))?
        } else {
            table::text(&outcomes)
        })?;
    }
    ended?;
    unmeasured(&outcomes)
}

/// On a machine that others use, ratios say more than figures.
fn tell_load(host: &Host) {
    let load = fs_err::read_to_string("/proc/loadavg").unwrap_or_default();
    let load = load.split(' ').next().and_then(|load| load.parse::<f64>().ok());
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    #[expect(clippy::cast_precision_loss, reason = "some processors")]
    if let Some(load) = load
        && load > processors as f64 / 2.0
    {
        host.report.warn(format!(
            "the machine is busy (load {load} on {processors} processors): figures are upper bounds, compare ratios"
        ));
    }
}

fn check(names: &[String], entries: &[ListedRow]) -> Result<()> {
    let unknown: Vec<String> = names
        .iter()
        .filter(|name| {
            !entries
                .iter()
                .any(|entry| [entry.row, entry.suite].contains(&name.as_str()))
        })
        .map(|name| format!("{name:?}"))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let message = format!("there is no suite or row {}", unknown.join(", "));
    Err(failure::usage(message)
        .hint("`cargo xtask bench --list` shows all of them")
        .into())
}

/// One error for all rows that could not be measured, of the first one's kind.
fn unmeasured(outcomes: &[RowOutcome]) -> Result<()> {
    let failed: Vec<(&str, &anyhow::Error)> = outcomes
        .iter()
        .filter_map(|outcome| Some((outcome.entry.row, outcome.measured.as_ref().err()?)))
        .collect();
    let Some((_, first)) = failed.first() else {
        return Ok(());
    };
    let names: Vec<&str> = failed.iter().map(|(name, _)| *name).collect();
    let message = format!("could not be measured: {}", names.join(", "));
    Err(Failure::new(failure::kind(first), message).into())
}
