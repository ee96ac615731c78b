//! Tries an image out on a copy of a service's data: in a container without network,
//! on a volume that is there for this alone, while the service works.

use std::io::{PipeWriter, pipe};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::generations::{ROOT, VolumeJournal, VolumeKeeper};
use crate::schema;
use crate::source::BackupSource;
use crate::take;
use container::boot::MOUNT;
use definition::spec::ImageSpec;
use engine::container::{Container, RunResources};
use failure::Failure;
use host::process::{ended, tail};
use host::report::{Report, seconds};
use service::handle::ServiceHandle;
use service::names::SERVICE_LABEL;
use service::trial;
use service::wanted::WantedContainer;

/// Where the service's own volume is seen.
const FROM: &str = "/from";

/// Asks the checks of the spec's own; a sentence for each one that is not met.
pub type OwnChecks<'a> = &'a dyn Fn(&Container, &ImageSpec, u16) -> Result<Vec<String>>;

/// The image that is tried on a copy of data, and who tells of it.
#[derive(Clone, Copy)]
pub struct TrialOrder<'a> {
    /// The service whose data they are.
    pub handle: &'a ServiceHandle,
    /// What is promised of the image.
    pub spec: &'a ImageSpec,
    /// The image, with the variables that it is given.
    pub wanted: &'a WantedContainer,
    /// Asks the checks of the spec's own.
    pub checks: OwnChecks<'a>,
    /// Makes what is there for this alone.
    pub resources: &'a RunResources,
    /// Says which step it is.
    pub report: &'a Report,
    /// Where logs go of what does not work.
    pub state: &'a Path,
}

impl TrialOrder<'_> {
    /// Starts the image on a volume, without network, until it works. How long that
    /// took.
    ///
    /// # Errors
    /// A smoke failure where it does not, or a check of the spec is not met.
    pub(crate) fn run(&self, name: &str, volume: &str) -> Result<(Container, Duration)> {
        let began = Instant::now();
        let container = start(self, name, volume)?;
        trial::beside(self.handle, self.report, self.state, self.spec, name)?;
        let ready = began.elapsed();
        let unmet = (self.checks)(&container, self.spec, self.wanted.inside)?;
        if !unmet.is_empty() {
            return Err(failure::smoke(format!("checks of the spec: {}", unmet.join("; "))).into());
        }
        Ok((container, ready))
    }
}

/// The same with the running data that the copy is made of.
#[derive(Clone, Copy)]
pub(crate) struct RehearsalOrder<'a> {
    pub(crate) trial: TrialOrder<'a>,
    pub(crate) source: &'a BackupSource,
}

/// What an image did to a copy of the data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsal {
    /// From the start of its container until that was healthy, `before_start` included.
    pub ready: Duration,
    /// Checks of the spec's own that were met.
    pub checks: usize,
    /// What it did to tables and columns, a line for each table.
    pub changes: Vec<String>,
}

/// Tries the image out. Nothing of the service is touched, and all that is made for
/// it is gone afterwards.
///
/// # Errors
/// A smoke failure where the image does not work on the data, else what stopped it.
pub(crate) fn rehearse(order: &RehearsalOrder<'_>) -> Result<Rehearsal> {
    let TrialOrder {
        handle,
        resources,
        report,
        ..
    } = order.trial;
    let name = format!("{}.rehearsal-{}", handle.name, std::process::id());
    let service = handle.container(order.source.container());
    let before = schema::of(&service)?;
    let volume = resources.volume(&name)?;
    report.step("copy", format!("{}: the data as they are now", handle.name));
    copy(order, &name, volume.name())?;
    report.step(
        "rehearse",
        format!(
            "{}: {} on the copy, without network",
            handle.name,
            order.trial.wanted.image_id.short()
        ),
    );
    let (container, ready) = order.trial.run(&name, volume.name()).map_err(failed)?;
    let after = schema::of(&container)?;
    Ok(Rehearsal {
        ready,
        checks: order.trial.spec.checks.len(),
        changes: schema::changes(&before, &after),
    })
}

/// Says that it was on a copy; exit code and hints stay those of `error`.
fn failed(error: anyhow::Error) -> anyhow::Error {
    let kind = failure::kind(&error);
    if kind != failure::FailureKind::Smoke {
        return error;
    }
    let mut told = Failure::new(
        kind,
        format!("the new image does not work on a copy of the data: {error:#}; the service was not touched"),
    );
    if let Some(known) = error.downcast_ref::<Failure>() {
        told.hints.clone_from(&known.hints);
    }
    told.into()
}

/// A base backup of the running cluster on a volume of its own, recovered by the new
/// image's PostgreSQL, with the passwords that the service has.
fn copy(order: &RehearsalOrder<'_>, name: &str, volume: &str) -> Result<()> {
    let TrialOrder {
        handle,
        wanted,
        resources,
        ..
    } = order.trial;
    let image = &wanted.image_id;
    let keeper = VolumeKeeper::start(resources, name, image, volume)?;
    fill(&keeper, |folder| unpack(order, &keeper, folder))?;
    let (from, to) = (
        format!("{}:{FROM}:ro", handle.name.volume()),
        format!("{volume}:{MOUNT}"),
    );
    let options = [
        "--entrypoint",
        "cp",
        "--user",
        ROOT,
        "--network",
        "none",
        "--volume",
        &from,
        "--volume",
        &to,
    ];
    let hive = format!("{FROM}/hive");
    let beside = format!("{name}-hive");
    let done = resources.call(&beside, image.as_str(), &options, &["-a", &hive, MOUNT])?;
    if !done.success() {
        let message = format!("copy the passwords: {}{}", ended(done.status), tail(&done.stderr));
        return Err(failure::environment(message).into());
    }
    Ok(())
}

/// Makes what `put` brings into a folder of a volume, a base backup, the cluster that runs
/// there.
pub(crate) fn fill(keeper: &VolumeKeeper, put: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let id = "copy";
    let journal = serde_json::to_string(&VolumeJournal::begun(id, id, false))?;
    keeper.does("note", &[&journal])?;
    keeper.does("begin", &[id])?;
    put(&format!("new-{id}.part"))?;
    keeper
        .does("recover", &[id])
        .context("start the image's PostgreSQL on a copy of the data")?;
    keeper.does("exchange", &[id])?;
    keeper.does("finish", &[]).map(drop)
}

/// What one program prints, the other one reads: nothing of it lies in between.
fn unpack(order: &RehearsalOrder<'_>, keeper: &VolumeKeeper, folder: &str) -> Result<()> {
    let (reader, writer) = pipe().context("make a pipe")?;
    let handle = order.trial.handle;
    let interrupt = handle.runner.interrupt();
    let (name, engine) = (handle.name.clone(), handle.engine.clone());
    let source = order.source.clone();
    thread::scope(|scope| {
        let streams = scope.spawn(move || -> Result<()> {
            let runner = interrupt.runner()?;
            let handle = ServiceHandle { name, engine, runner };
            let mut writer: PipeWriter = writer;
            take::copied(&handle, &source, &mut writer)
        });
        let unpacked = keeper.unpack_from(reader, folder);
        // What the backup says is the cause of what its reader says.
        service::up::joined(streams)?;
        unpacked.context("copy the data")
    })
}

fn start(order: &TrialOrder<'_>, name: &str, volume: &str) -> Result<Container> {
    let mount = format!("{volume}:{MOUNT}");
    let label = format!("{SERVICE_LABEL}={}", order.handle.name);
    let variables: Vec<String> = order.wanted.variables().collect();
    let mut options = vec!["--network", "none", "--label", &label, "--volume", &mount];
    for variable in &variables {
        options.extend(["--env", variable]);
    }
    let image = order.wanted.image_id.as_str();
    let given = |container: &Container| order.handle.give_secrets(container, order.wanted);
    order.resources.start_after(name, image, &options, given)
}

/// What is told of a rehearsal, a line each.
pub fn told(rehearsal: &Rehearsal) -> Vec<String> {
    let Rehearsal {
        ready,
        checks,
        changes,
    } = rehearsal;
    let mut lines = vec![format!(
        "healthy after {}, `before_start` included; {checks} checks of the spec are met",
        seconds(*ready)
    )];
    if changes.is_empty() {
        lines.push("no table or column has changed".to_owned());
    }
    lines.extend(changes.iter().cloned());
    lines
}
