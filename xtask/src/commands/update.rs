//! `cargo xtask update`: another image on the same data, and the way back.

use std::time::{Duration, SystemTime};

use anyhow::Result;

use super::services;
use crate::cli::service::ServiceSelection;
use crate::cli::update::UpdateArgs;
use ::engine::{Engine, Image};
use ::service::handle::ServiceHandle;
use ::service::status::age;
use ::service::trail::{self, TrailEntry};
use ::service::up::UpOrder;
use ::service::wanted::ServiceOptions;
use build::catalog::{Apps, Catalog};
use data::replacement::{self, WayBackKind};
use data::update::{self, UpdateChoices, UpdateOrder};
use definition::reference::{OwnRepository, Reference};
use definition::spec::ImageSpec;
use definition::spec::load::APP_FILE;
use host::Host;
use host::report::seconds;
use inputs::clock;
use smoke::own_checks;
use smoke::proof::is_proved;

/// What is not worth a line on record.
const NOTHING: &str = "nothing to do";

/// Updates a service, or takes its last update back.
pub(super) fn run(args: &UpdateArgs, host: &Host) -> Result<()> {
    let selection = ServiceSelection {
        images: vec![args.name.clone()],
        engine: args.engine,
    };
    if let Some(reference) = &args.image {
        let name = reference
            .split_once('@')
            .map_or(reference.as_str(), |(name, _)| name);
        Reference::parse(name).map_err(|why| failure::usage(format!("--image: {why}")))?;
    }
    let specs = services::with_database(host, &selection.images, "update")?;
    let engine = services::running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    for spec in &specs {
        let handle = services::handle(host, &engine, spec);
        let _lock = handle.lock(host)?;
        if args.rehearse || args.undo == 1 {
            // Whoever asks, or is asked, has not said yet that anything may be changed.
            replacement::nothing_killed(&handle)?;
        }
        let killed = match args.undo {
            0 => None,
            _ => replacement::killed_way_back(&handle, WayBackKind::OfUpdate)?,
        };
        services::mend(host, &handle, spec, true)?;
        let reference = args.image.clone().unwrap_or_else(|| services::release(spec));
        let verb = match (args.rehearse, args.undo > 0) {
            (true, _) => "update --rehearse",
            (_, true) => "update --undo",
            _ => "update",
        };
        let mut entry = TrailEntry::begun(verb, &handle.name);
        let done = of_service(
            args,
            host,
            &handle,
            spec,
            (&reference, killed.as_deref()),
            &mut entry,
        );
        let outcome = done.as_ref().copied().unwrap_or_default();
        if outcome != NOTHING {
            trail::write(&host.state_dir(), &host.report, &entry.ended(outcome, &done));
        }
        done?;
    }
    Ok(())
}

fn of_service(
    args: &UpdateArgs,
    host: &Host,
    handle: &ServiceHandle,
    spec: &ImageSpec,
    (reference, killed): (&str, Option<&str>),
    entry: &mut TrailEntry,
) -> Result<&'static str> {
    let inventory = handle.engine.inventory(&host.runner)?;
    let name = &handle.name;
    let resources = services::resources(host, &handle.engine)?;
    let state = host.state_dir();
    let image = if args.undo > 0 {
        // Until the way back is known, any image of the service will do.
        ::service::restart::own(handle)?.image_id.to_string()
    } else {
        reference.to_owned()
    };
    let Some(image) = handle.engine.image(&host.runner, &image)? else {
        return Err(failure::usage(format!("the engine has no image {image}"))
            .hint(format!("build it: cargo xtask build-images {name}"))
            .into());
    };
    let order = UpdateOrder {
        handle,
        spec: &promised(host, &handle.engine, spec, &image)?,
        image: &image,
        reference,
        options: None,
        may_run: args.unproved || is_proved(&inventory, name.as_str(), image.id()),
        checks: &own_checks::unmet,
        resources: &resources,
        report: &host.report,
        state: &state,
    };
    if args.undo > 0 {
        return undo(args, host, &order, killed, entry);
    }
    entry.image = Some(image.id().clone());
    if !args.rehearse {
        let choices = UpdateChoices {
            rehearses: !args.no_rehearsal,
            keeps: !args.no_way_back,
        };
        return exchange(host, &order, choices);
    }
    Ok(if update::rehearse(&order)? {
        "rehearsed"
    } else {
        current(host, &order)
    })
}

/// The same for `up`, whose order has all that decides. The caller holds the service's
/// lock.
pub(super) fn by_up(
    host: &Host,
    handle: &ServiceHandle,
    (up, options): (&UpOrder, &ServiceOptions),
    choices: UpdateChoices,
) -> Result<()> {
    let Some(image) = &up.image else {
        return Err(failure::usage(format!("the engine has no image {}", up.reference)).into());
    };
    let state = host.state_dir();
    let order = UpdateOrder {
        handle,
        spec: &promised(host, &handle.engine, &up.spec, image)?,
        image,
        reference: &up.reference,
        options: Some(options),
        may_run: up.proved || up.unproved,
        checks: &own_checks::unmet,
        resources: &services::resources(host, &handle.engine)?,
        report: &host.report,
        state: &state,
    };
    let mut entry = TrailEntry::begun("update", &handle.name);
    entry.image = Some(image.id().clone());
    let done = exchange(host, &order, choices);
    let outcome = done.as_ref().copied().unwrap_or_default();
    trail::write(&state, &host.report, &entry.ended(outcome, &done));
    done.map(drop)
}

fn exchange(host: &Host, order: &UpdateOrder<'_>, choices: UpdateChoices) -> Result<&'static str> {
    let (name, reference) = (&order.handle.name, order.reference);
    let Some(outcome) = update::update(order, choices)? else {
        return Ok(current(host, order));
    };
    let away = away(outcome.away);
    host.report.step("updated", format!("{name}: {reference}{away}"));
    match &outcome.kept {
        Some(kept) => host.report.step(
            "kept",
            format!(
                "{name}: what ran before; back to it: cargo xtask update {name} --undo; to delete it: \
                 cargo xtask restore {name} --forget {kept}"
            ),
        ),
        None => host
            .report
            .warn(format!("{name}: no way back is kept, as it was said")),
    }
    Ok("updated")
}

fn current(host: &Host, order: &UpdateOrder<'_>) -> &'static str {
    let (name, id) = (&order.handle.name, order.image.id().short());
    host.report
        .step("current", format!("{name}: nothing to do, it runs {id}"));
    NOTHING
}

fn away(away: Option<Duration>) -> String {
    away.map_or(String::new(), |away| format!(", away for {}", seconds(away)))
}

fn undo(
    args: &UpdateArgs,
    host: &Host,
    order: &UpdateOrder<'_>,
    killed: Option<&str>,
    entry: &mut TrailEntry,
) -> Result<&'static str> {
    let name = &order.handle.name;
    let Some(back) = update::way_back(order, killed)? else {
        let main = ::service::restart::own(order.handle)?;
        host.report
            .step("undone", format!("{name}: image {}", main.image_id.short()));
        return Ok("undone");
    };
    let reference = args.image.as_deref().unwrap_or(back.image.as_str());
    let image = match (order.handle.engine.image(&host.runner, reference)?, &args.image) {
        (Some(image), _) => image,
        (None, Some(reference)) => {
            return Err(failure::usage(format!("the engine has no image {reference}")).into());
        }
        (None, None) => {
            let (version, aside) = (&back.version, &back.generation);
            let message = format!("{name}: image {} of that time is gone", back.image.short());
            return Err(failure::environment(message)
                .hint(format!(
                    "name another one of {name}, with PostgreSQL {version}: cargo xtask update {name} --undo \
                     --image REFERENCE; or take a backup of the data: cargo xtask backup {name} --generation {aside}"
                ))
                .into());
        }
    };
    entry.image = Some(image.id().clone());
    // The one of that time has run on these data; the update has named it. What the volume says of it
    // can be written by whoever writes there.
    let kept = OwnRepository::Kept.tagged(name).to_string();
    let kept = order.handle.engine.image(&host.runner, &kept)?;
    let is_kept = kept.is_some_and(|kept| kept.id() == image.id());
    let may_run = is_kept || args.unproved || {
        let inventory = order.handle.engine.inventory(&host.runner)?;
        is_proved(&inventory, name.as_str(), image.id())
    };
    let since = clock::parse(&back.at).and_then(|at| SystemTime::now().duration_since(at).ok());
    let lost = format!(
        "{name}: its data become those of {}; what was written in the {} since then is lost to it",
        clock::shown(&back.at),
        age(since.unwrap_or_default())
    );
    host.report.step("undo", &lost);
    if args.undo < 2 {
        let twice = format!("cargo xtask update {name} --undo --undo");
        services::confirmed(host, name.as_str(), &twice)?;
    }
    let order = UpdateOrder {
        spec: &promised(host, &order.handle.engine, order.spec, &image)?,
        image: &image,
        reference,
        may_run,
        ..*order
    };
    let aside = update::undo(&order, &back)?;
    let away = away(aside.away);
    host.report
        .step("undone", format!("{name}: image {}{away}", image.id().short()));
    host.report.step("kept", aside.told(name.as_str()));
    Ok("undone")
}

/// What the app in the image says of itself, which may be another one than the
/// checkout's.
fn promised(host: &Host, engine: &Engine, spec: &ImageSpec, image: &Image) -> Result<ImageSpec> {
    let path = format!("/app/{APP_FILE}");
    let text = engine.read_file(&host.runner, image.id().as_str(), &path)?;
    let text = text.unwrap_or_else(|| "{}".to_owned());
    let catalog = Catalog::read(&host.root, Apps::Text(&text, &spec.name))?;
    let named = catalog.images.into_iter().find(|one| one.name == spec.name);
    Ok(named.unwrap_or_else(|| spec.clone()))
}
