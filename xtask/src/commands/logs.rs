//! `cargo xtask logs`: what the programs of services say.

use std::collections::BTreeSet;

use anyhow::Result;

use super::services;
use crate::cli::service::LogsArgs;
use ::service::handle::ServiceHandle;
use ::service::kept;
use ::service::logs::{LogOptions, own_programs, print, print_kept};
use ::service::restart::own;
use ::service::seen::ContainerPlace;
use ::service::up::{joined, together};
use definition::spec::program::RESERVED_NAMES;
use host::Host;

/// Prints the logs of the named services, or of all that are there.
pub(super) fn run(args: &LogsArgs, host: &Host) -> Result<()> {
    let specs = services::specs(host, &args.selection.images)?;
    let engine = services::running_engine(host, &args.selection)?;
    let (mut handles, mut gone) = (Vec::new(), Vec::new());
    let mut programs = BTreeSet::new();
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let place = handle.place()?;
        if args.selection.images.is_empty() && place.own().is_none() {
            continue;
        }
        let is_gone = matches!(place, ContainerPlace::Empty) && !args.follow;
        let last = is_gone.then(|| kept::newest(&host.state_dir(), &handle.name));
        match last.transpose()?.flatten() {
            Some(file) => {
                programs.extend(spec.programs.iter().map(|program| program.name.to_string()));
                gone.push((handle, file));
            }
            None => {
                own(&handle)?;
                handles.push(handle);
            }
        }
    }
    known(&args.program, &handles, programs)?;
    let options = LogOptions {
        follow: args.follow,
        programs: args.program.clone(),
        since: args.since,
        grep: args.grep.clone(),
        prefix: handles.len() + gone.len() > 1,
    };
    for (handle, file) in &gone {
        host.report.warn(format!(
            "{} is not there: this is the end of its last log, {}",
            handle.name,
            file.display()
        ));
        print_kept(handle, &host.report, &options, file)?;
    }
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
/// `all` are the programs of images whose container is gone.
fn known(asked: &[String], handles: &[ServiceHandle], mut all: BTreeSet<String>) -> Result<()> {
    let core = |name: &&str| RESERVED_NAMES.contains(name) && *name != "all";
    if asked.iter().all(|name| core(&name.as_str())) {
        return Ok(());
    }
    all.extend(RESERVED_NAMES.into_iter().filter(core).map(str::to_owned));
    for handle in handles {
        all.extend(own_programs(handle)?);
    }
    let unknown: Vec<&str> = asked
        .iter()
        .filter(|name| !all.contains(*name))
        .map(String::as_str)
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    let message = format!("there is no program {}", unknown.join(", "));
    let all: Vec<String> = all.into_iter().collect();
    Err(failure::usage(message)
        .hint(format!("the programs are {}", all.join(", ")))
        .into())
}
