//! `cargo xtask audit`: the fingerprint against BuildKit, fact by fact.

use anyhow::Result;

use crate::audit::images::{self, Trial};
use crate::audit::probe::Probe;
use crate::audit::{self, Finding, table};
use crate::base::obtain;
use crate::catalog::{Apps, Catalog};
use crate::cli::{Audit, Selection};
use crate::engine::choose;
use crate::host::Host;
use crate::lock;
use crate::request::Request;

/// Tries everything, then prints the table.
pub fn run(args: &Audit, host: &Host) -> Result<()> {
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
    let base = obtain::get(host, &engine, super::base::wanted(&request, &catalog))?;
    let folder = host.state_dir().join("audit");

    let mut findings: Vec<Finding> = Vec::new();
    host.report.step("audit", "each fact, on a small definition");
    let mut probe = Probe::new(host, &engine, &base, &folder.join("probe"))?;
    probe.run(&mut |finding| findings.push(finding))?;
    if !args.facts {
        host.report.step("audit", "each declared input of the images");
        let other_base = probe.other_base()?;
        let trial = Trial {
            engine: &engine,
            base: &base,
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
