//! `cargo xtask logs`: what the programs of services say.

use std::collections::BTreeSet;

use anyhow::Result;

use super::services;
use crate::cli::service::LogsArgs;
use ::service::handle::ServiceHandle;
use ::service::logs::{LogOptions, print};
use ::service::restart::own;
use ::service::up::{joined, together};
use definition::spec::ImageSpec;
use definition::spec::program::RESERVED_NAMES;
use host::Host;

/// Prints the logs of the named services, or of all that are there.
pub(super) fn run(args: &LogsArgs, host: &Host) -> Result<()> {
    let specs = services::specs(host, &args.selection.images)?;
    known(&args.program, &specs)?;
    let engine = services::running_engine(host, &args.selection)?;
    let mut handles = Vec::new();
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        if args.selection.images.is_empty() && handle.place()?.own().is_none() {
            continue;
        }
        own(&handle)?;
        handles.push(handle);
    }
    let options = LogOptions {
        follow: args.follow,
        programs: args.program.clone(),
        since: args.since,
        grep: args.grep.clone(),
        prefix: handles.len() > 1,
    };
    if !args.follow {
        return handles
            .iter()
            .try_for_each(|handle| print(handle, &host.report, &options));
    }
    let (report, options, interrupt) = (&host.report, &options, &host.runner.interrupt());
    let results = std::thread::scope(|scope| {
        let one = |handle: ServiceHandle| {
            // A runner stays in its thread.
            let ServiceHandle { name, engine, .. } = handle;
            scope.spawn(move || {
                let runner = interrupt.runner()?;
                print(&ServiceHandle { name, engine, runner }, report, options)
            })
        };
        let threads: Vec<_> = handles.into_iter().map(one).collect();
        threads.into_iter().map(joined).collect()
    });
    together(results).map(drop)
}

/// A name that is in no log would look like a program that says nothing.
fn known(asked: &[String], specs: &[ImageSpec]) -> Result<()> {
    let own = specs.iter().flat_map(ImageSpec::program_names);
    let all: BTreeSet<&str> = own.chain(RESERVED_NAMES).filter(|name| *name != "all").collect();
    let unknown: Vec<&str> = asked
        .iter()
        .map(String::as_str)
        .filter(|name| !all.contains(name))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let all: Vec<&str> = all.into_iter().collect();
    let message = format!("there is no program {}", unknown.join(", "));
    Err(failure::usage(message)
        .hint(format!("the programs are {}", all.join(", ")))
        .into())
}
