//! `cargo xtask restore`: the data of a service become those of a backup.

use std::path::{Path, PathBuf};

use anyhow::Result;

use super::{services, way_back};
use crate::cli::restore::RestoreArgs;
use ::service::handle::ServiceHandle;
use data::file::{self, Backup};
use data::moment::WayToMoment;
use data::replacement;
use data::restore::{self, RestoreOrder, RestoredFrom};
use data::rollback::Replacing;
use host::Host;
use host::report::seconds;

/// Restores a backup, or brings back or removes what an earlier restore has put aside.
pub(super) fn run(args: &RestoreArgs, host: &Host) -> Result<()> {
    if args.undo > 0 {
        let twice = args.undo > 1;
        return way_back::run(host, &args.image, args.engine, Replacing::Restore, twice);
    }
    let verb = match args.forget {
        Some(_) => "restore --forget",
        None => "restore",
    };
    let image = args.to_image.as_ref().unwrap_or(&args.image);
    let look = |handle: &ServiceHandle| {
        if args.forget.is_some() {
            replacement::nothing_killed(handle)?;
        }
        args.file
            .as_deref()
            .map(|file| open(args, host, file))
            .transpose()
    };
    let told = (verb, "restored");
    services::exchange_data(host, image, args.engine, told, look, |order, opened| {
        of_service(args, host, order, opened)
    })
}

fn open(args: &RestoreArgs, host: &Host, file: &Path) -> Result<Backup> {
    Backup::open_with(file, args.identity.as_deref(), &host.runner, &host.report)
}

/// With the backup that was named, where one was.
fn of_service(
    args: &RestoreArgs,
    host: &Host,
    order: &RestoreOrder<'_>,
    opened: Option<Backup>,
) -> Result<()> {
    let name = &order.handle.name;
    if let Some(generation) = &args.forget {
        restore::forget(order, generation)?;
        host.report.step("deleted", format!("{name}: {generation}"));
        return Ok(());
    }
    let way = way(args, host, order, opened.as_ref())?;
    let mut backup = match (opened, &way) {
        (Some(opened), _) => opened,
        (None, Some((file, _))) => open(args, host, file)?,
        (None, None) => return Ok(()),
    };
    let way = way.as_ref().map(|(_, way)| way);
    for left_out in &backup.seal.backup.left_out {
        host.report.warn(format!("{name}: {left_out}"));
    }
    let from = RestoredFrom {
        image: &args.image,
        app: args.app_was.as_deref(),
    };
    let outcome = restore::restore(order, from, &mut backup, way)?;
    let away = outcome
        .away
        .map_or(String::new(), |away| format!(", away for {}", seconds(away)));
    let at = args
        .at
        .as_ref()
        .map_or(String::new(), |at| format!(" at {}", at.shown()));
    host.report
        .step("restored", format!("{name}: {}{at}{away}", backup.path.display()));
    if args.at.is_some()
        && order
            .spec
            .app
            .as_ref()
            .is_some_and(|app| !app.directories.is_empty())
    {
        host.report
            .warn(format!("the app's folders of {name} are those of the backup"));
    }
    if let Some(kept) = outcome.kept {
        host.report.step(
            "kept",
            format!(
                "{name}: what ran before; back to it: cargo xtask restore {name} --undo; into a file: cargo xtask \
                 backup {name} --generation {kept}; to delete it: cargo xtask restore {name} --forget {kept}"
            ),
        );
    }
    if !outcome.runs {
        host.report.step("next", format!("cargo xtask up {name}"));
    }
    Ok(())
}

/// The backup and the log that lead to a moment, where one is wanted.
fn way(
    args: &RestoreArgs,
    host: &Host,
    order: &RestoreOrder<'_>,
    opened: Option<&Backup>,
) -> Result<Option<(PathBuf, WayToMoment)>> {
    let Some(at) = &args.at else {
        return Ok(None);
    };
    if !at.has_zone {
        let shown = at.shown();
        host.report
            .step("at", format!("{shown}: it named no zone, and is taken as UTC"));
    }
    let backups: Vec<Backup> = match opened {
        Some(backup) => vec![backup.clone()],
        None => {
            let all = file::list(&file::folder(host, &args.image))?;
            all.into_iter().filter_map(|(_, read)| read.ok()).collect()
        }
    };
    let (chosen, way) = restore::way(order, &args.image, at, &backups)?;
    let path = backups[chosen].path.clone();
    host.report
        .step("from", format!("{}: {}", order.handle.name, path.display()));
    Ok(Some((path, way)))
}
