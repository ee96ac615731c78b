//! What the verbs for images that run have in common: which services, on which
//! engine.

use anyhow::Result;

use crate::cli::EngineOption;
use crate::cli::service::ServiceSelection;
use ::engine::container::RunResources;
use ::engine::{Engine, Inventory, choose, reaper};
use ::service::handle::ServiceHandle;
use ::service::seen::SeenContainer;
use ::service::trail::{self, TrailEntry};
use build::catalog::{Apps, Catalog};
use data::replacement::{self, MendChoices, MendOrder};
use data::restore::RestoreOrder;
use definition::identity::ImageId;
use definition::reference::Reference;
use definition::spec::ImageSpec;
use host::Host;

/// The specs that are meant, in the catalog's order.
pub(super) fn specs(host: &Host, names: &[String]) -> Result<Vec<ImageSpec>> {
    let catalog = Catalog::read(&host.root, Apps::OfSpecs)?;
    Ok(catalog.select(names)?.into_iter().cloned().collect())
}

/// The same for a verb that is for images with a database in them: an app alone that
/// is named is refused, and where none is named it is left out.
pub(super) fn with_database(host: &Host, names: &[String], verb: &str) -> Result<Vec<ImageSpec>> {
    let mut all = specs(host, names)?;
    let alone = |spec: &ImageSpec| spec.database.elsewhere.clone();
    if names.is_empty() {
        all.retain(|spec| alone(spec).is_none());
    }
    let Some((spec, database)) = all.iter().find_map(|spec| Some((spec, alone(spec)?))) else {
        return Ok(all);
    };
    let name = &spec.name;
    let refused = failure::usage(format!(
        "{name} is an app alone, and keeps no data: they are those of {database}"
    ));
    Err(match verb {
        "update" => refused.hint(format!("another image in its place: cargo xtask up {name}")),
        _ => refused.hint(format!("cargo xtask {verb} {database}")),
    }
    .into())
}

/// The engine that runs; none is started for a question.
pub(super) fn running_engine(host: &Host, selection: &ServiceSelection) -> Result<Engine> {
    match choose::find(host, selection.engine.engine)? {
        Some(engine) => Ok(engine),
        None => Err(failure::environment("no engine runs, and so no service")
            .hint("start the services, and the engine with them: cargo xtask up")
            .into()),
    }
}

/// The handle of a spec's service.
pub(super) fn handle(host: &Host, engine: &Engine, spec: &ImageSpec) -> ServiceHandle {
    ServiceHandle::of(&spec.name, engine, &host.runner)
}

/// Ends what an operation on the data has left that was killed; whether it has taken the
/// service down. `may_wait` where that may still get healthy. The caller holds the
/// service's lock.
pub(super) fn mend(host: &Host, handle: &ServiceHandle, spec: &ImageSpec, may_wait: bool) -> Result<bool> {
    let choices = MendChoices {
        may_wait,
        takes_over: false,
    };
    with_order(host, handle, spec, choices, replacement::mend)
}

/// The same for `up`, which waits for a new container; where somebody has said so, also what
/// was begun on another host and may still go on.
pub(super) fn mend_for_up(
    host: &Host,
    handle: &ServiceHandle,
    spec: &ImageSpec,
    takes_over: bool,
) -> Result<()> {
    let may_wait = true;
    let choices = MendChoices { may_wait, takes_over };
    with_order(host, handle, spec, choices, replacement::mend).map(drop)
}

/// The same for a service without a container.
pub(super) fn take_over(
    host: &Host,
    handle: &ServiceHandle,
    spec: &ImageSpec,
    image: &ImageId,
) -> Result<()> {
    let choices = MendChoices {
        may_wait: true,
        takes_over: true,
    };
    with_order(host, handle, spec, choices, |order| {
        replacement::mend_volume(order, image)
    })
}

fn with_order<T>(
    host: &Host,
    handle: &ServiceHandle,
    spec: &ImageSpec,
    choices: MendChoices,
    work: impl FnOnce(&MendOrder<'_>) -> Result<T>,
) -> Result<T> {
    work(&MendOrder {
        handle,
        spec,
        resources: &resources(host, &handle.engine)?,
        report: &host.report,
        state: &host.state_dir(),
        choices,
    })
}

/// Exchanges the data of a service, which is locked, and leaves a line of that on record.
/// `look` is asked first: where it fails nothing was touched, no operation that was killed
/// either.
pub(super) fn exchange_data<T>(
    host: &Host,
    image: &str,
    engine: EngineOption,
    (verb, outcome): (&str, &'static str),
    look: impl Fn(&ServiceHandle) -> Result<T>,
    work: impl Fn(&RestoreOrder<'_>, T) -> Result<()>,
) -> Result<()> {
    let selection = ServiceSelection {
        images: vec![image.to_owned()],
        engine,
    };
    let specs = with_database(host, &selection.images, verb)?;
    let engine = running_engine(host, &selection)?;
    super::reap(host, &engine)?;
    for spec in &specs {
        let handle = handle(host, &engine, spec);
        let _lock = handle.lock(host)?;
        let seen = look(&handle)?;
        let was_taken_down = mend(host, &handle, spec, true)?;
        let mut entry = TrailEntry::begun(verb, &handle.name);
        let image = image_of(host, &handle, spec)?;
        entry.image = Some(image.clone());
        let order = RestoreOrder {
            handle: &handle,
            spec,
            image: &image,
            resources: &resources(host, &engine)?,
            report: &host.report,
            state: &host.state_dir(),
            was_taken_down,
        };
        let done = work(&order, seen);
        trail::write(&host.state_dir(), &host.report, &entry.ended(outcome, &done));
        let runs = |seen: &SeenContainer| seen.condition.runs();
        if was_taken_down && !handle.place()?.own().is_none_or(runs) {
            handle.for_cleanup().container(handle.name.as_str()).start()?;
        }
        done?;
    }
    Ok(())
}

/// Makes what is there for one command alone.
pub(super) fn resources(host: &Host, engine: &Engine) -> Result<RunResources> {
    Ok(RunResources {
        engine: engine.clone(),
        runner: host.runner.clone(),
        run: reaper::run_id()?,
        keep: false,
    })
}

/// The image that `up` starts where no other one is named.
pub(super) fn release(spec: &ImageSpec) -> String {
    format!("{}:latest", spec.name.repository())
}

/// The ID of that image.
pub(super) fn released<'a>(inventory: &'a Inventory, spec: &ImageSpec) -> Option<&'a ImageId> {
    inventory.id_of(&Reference::parse(&release(spec)).ok()?)
}

/// The image that is to run on the data: that of the container, else the released one.
pub(super) fn image_of(host: &Host, handle: &ServiceHandle, spec: &ImageSpec) -> Result<ImageId> {
    if let Some(seen) = handle.place()?.own() {
        return Ok(seen.image_id.clone());
    }
    let release = release(spec);
    match handle.engine.image(&host.runner, &release)? {
        Some(image) => Ok(image.id().clone()),
        None => Err(failure::environment(format!("the engine has no image {release}"))
            .hint(format!("build it: cargo xtask build-images {}", spec.name))
            .into()),
    }
}

/// Asks for the name on a terminal; elsewhere the flag has to stand there twice.
pub(super) fn confirmed(host: &Host, name: &str, twice: &str) -> Result<()> {
    let question = format!("type {name} to go on: ");
    match host.report.ask(&question)? {
        Some(answer) if answer == name => Ok(()),
        Some(_) => Err(failure::usage(format!("that is not {name}: nothing was touched")).into()),
        None => Err(
            failure::usage("there is no terminal to ask on: nothing was touched")
                .hint(format!("say it twice: {twice}"))
                .into(),
        ),
    }
}
