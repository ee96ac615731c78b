//! `cargo xtask audit`: the fingerprint against BuildKit, fact by fact.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser as _;

use audit::images::{self, Trial};
use audit::probe::AuditProbe;
use audit::{Finding, table};
use build::base::obtain;
use build::catalog::{Apps, Catalog};
use build::request::Request;
use build::request::Selection;
use engine::choose;
use host::Host;
use host::lock;

/// Prove the fingerprint: change every fact alone, compare with BuildKit
///
/// Tries each fact of the table in ARCHITECTURE.md on a small definition, and
/// each declared input of the images in a copy of the checkout. Looser than
/// BuildKit is an error; where the key is stricter, the table says why.
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask audit", bin_name = "cargo xtask audit", version, after_help = xtask::cli::EXIT_CODES)]
struct AuditArgs {
    /// Print each command that is run
    #[arg(long, short)]
    verbose: bool,
    /// The checkout to work on; without it the one this was compiled in
    #[arg(long, value_name = "DIR")]
    root: Option<PathBuf>,

    /// Images whose inputs are tried; all in `images/` where none is named
    #[arg(value_name = "IMAGE")]
    images: Vec<String>,
    /// Try the facts on the small definition only
    #[arg(long, conflicts_with = "images")]
    facts: bool,
    /// One JSON document on stdout
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    engine: xtask::cli::EngineOption,
}

fn main() -> ExitCode {
    let mut options = AuditArgs::parse();
    xtask::entry::run(options.root.take(), options.verbose, |host| run(&options, host))
}

/// Tries everything, then prints the table.
fn run(args: &AuditArgs, host: &Host) -> Result<()> {
    let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
    let selection = Selection {
        images: args.images.clone(),
        ..Selection::default()
    };
    // Before the engine is started: a wrong name is told at once.
    let request = Request::resolve(host, &catalog, &selection)?;
    let engine = choose::obtain(host, args.engine.engine)?;
    // Two at once would find each other's steps in the cache.
    let place = host.cache_dir().join("audit.lock");
    let _alone = lock::exclusive(&place, "for another audit on this machine", host)?;
    let bases = obtain::get_all(host, &engine, request.bases(&catalog.lock))?;
    let base = bases.values().next().context("no image is asked for")?;
    let folder = host.state_dir().join("audit");

    let mut findings: Vec<Finding> = Vec::new();
    host.report.step("audit", "each fact, on a small definition");
    let mut probe = AuditProbe::new(host, &engine, base, &folder.join("probe"))?;
    probe.run(&mut |finding| findings.push(finding))?;
    if !args.facts {
        host.report.step("audit", "each declared input of the images");
        let other_base = probe.other_base()?;
        let trial = Trial {
            engine: &engine,
            bases: &bases,
            other_base: &other_base,
            nonce: probe.nonce(),
        };
        let folder = folder.join("images");
        images::run(host, &trial, &args.images, &folder, &mut |finding| {
            findings.push(finding)
        })?;
    }
    host.report.data(&if args.json {
        serde_json::to_string_pretty(&table::json(&findings))?
    } else {
        table::text(&findings)
    })?;
    audit::verdict(&findings)
}
