//! `restore --undo` and `migrate --rollback`: what ran before runs again.

use std::time::SystemTime;

use anyhow::Result;

use super::services;
use crate::cli::EngineOption;
use ::service::handle::ServiceHandle;
use data::replacement::{self, WayBackKind};
use data::restore::RestoreOrder;
use data::rollback::{self, BackRequest, Replacing};
use host::Host;
use host::report::seconds;

/// Takes the last restore or migration back; one that was killed on the way is ended, and
/// no more than that. Where the flag did not stand there `twice`, somebody is asked.
pub(super) fn run(host: &Host, image: &str, engine: EngineOption, of: Replacing, twice: bool) -> Result<()> {
    let verb = match of {
        Replacing::Restore => "restore --undo",
        Replacing::Migration => "migrate --rollback",
    };
    let look = |handle: &ServiceHandle| {
        if twice {
            return replacement::killed_way_back(handle, WayBackKind::OfData);
        }
        // Whoever is asked has not said yet that anything may be changed.
        replacement::nothing_killed(handle).map(|()| None)
    };
    let told = (verb, "taken back");
    services::exchange_data(host, image, engine, told, look, |order, killed| {
        let killed = killed.as_deref();
        let is_sure = twice;
        of_service(host, order, verb, BackRequest { of, is_sure, killed })
    })
}

fn of_service(host: &Host, order: &RestoreOrder<'_>, verb: &str, request: BackRequest<'_>) -> Result<()> {
    let name = &order.handle.name;
    let Some(back) = rollback::way_back(order, request)? else {
        host.report.step("back", format!("{name}: the data from before"));
        if order
            .handle
            .place()?
            .own()
            .is_none_or(|seen| !seen.condition.is_up())
        {
            // Somebody has stopped it since then.
            host.report.step("next", format!("cargo xtask up {name}"));
        }
        return Ok(());
    };
    rollback::tell(&host.report, name.as_str(), &back, SystemTime::now());
    if !request.is_sure {
        let (verb, flag) = verb.split_once(' ').unwrap_or((verb, ""));
        let twice = format!("cargo xtask {verb} {name} {flag} {flag}");
        services::confirmed(host, name.as_str(), &twice)?;
    }
    let aside = rollback::rollback(order, &back)?;
    let away = aside
        .away
        .map_or(String::new(), |away| format!(", away for {}", seconds(away)));
    host.report
        .step("back", format!("{name}: the data from before{away}"));
    host.report.step("kept", aside.told(name.as_str()));
    match &back.other_major {
        Some(version) => {
            let next = format!("cargo xtask up {name} --image REFERENCE, one with PostgreSQL {version}");
            host.report.step("next", next);
        }
        None if !aside.runs => host.report.step("next", format!("cargo xtask up {name}")),
        None => {}
    }
    Ok(())
}
