//! A generation that is kept beside what runs, served from a copy: so a backup is taken of
//! it as of a service, and the generation stays as it is.

use anyhow::{Context as _, Result};

use crate::generations::{IDLE, ROOT, VolumeFindings, VolumeKeeper, run_in};
use crate::source::BackupSource;
use crate::take::on_a_copy;
use container::boot::MOUNT;
use definition::identity::ImageId;
use engine::container::{Container, RunResources, Volume};
use host::report::Report;
use service::handle::ServiceHandle;

/// Copies it, and starts its server.
const KEPT: &str = include_str!("inside/kept.py");

/// Where the service's own volume is seen.
const FROM: &str = "/from";

/// A container that serves a copy, and the volume of that. Both go with this.
#[derive(Debug)]
pub struct ServedGeneration {
    name: String,
    // It goes before its volume.
    container: Container,
    _volume: Volume,
}

impl ServedGeneration {
    /// Serves a copy with the image that ran on the generation, or with `own`, that of the
    /// service, where nobody has noted which one that was, or it is gone. The caller holds the
    /// service's lock.
    ///
    /// # Errors
    /// When there is no such generation, with those that there are; when the image has
    /// another version of PostgreSQL, or the disk no room for the copy.
    pub fn start(
        handle: &ServiceHandle,
        resources: &RunResources,
        report: &Report,
        own: &ImageId,
        generation: &str,
    ) -> Result<Self> {
        let name = &handle.name;
        let seen = look(handle, resources, own, generation)?;
        let image = match seen.images.get(generation) {
            Some(image) if handle.engine.image(&handle.runner, image.as_str())?.is_some() => image,
            Some(image) => {
                report.warn(format!(
                    "{name}: image {}, which ran on {generation}, is gone; it is read with {}",
                    image.short(),
                    own.short()
                ));
                own
            }
            None => own,
        };
        report.step("copy", format!("{name}: {generation}"));
        let helper = format!("{name}.kept-{}", std::process::id());
        let volume = resources.volume(&helper)?;
        let (from, to) = (
            format!("{}:{FROM}:ro", name.volume()),
            format!("{}:{MOUNT}", volume.name()),
        );
        let options = [&IDLE[..], &["--volume", &from, "--volume", &to]].concat();
        let container = resources.start(&helper, image.as_str(), &options, &["infinity"])?;
        let owner = run_in(&container, &[], &["sh", "-c", "echo $(id -u):$(id -g)"])?;
        let copy = on_a_copy(KEPT, &["copy", generation, &owner]);
        let copied = run_in(&container, &["--user", ROOT], &copy);
        copied.with_context(|| format!("copy {generation}"))?;
        let said = run_in(&container, &[], &on_a_copy(KEPT, &["serve"]));
        for line in said
            .with_context(|| format!("serve a copy of {generation}"))?
            .lines()
        {
            report.warn(format!("{generation}: {line}"));
        }
        Ok(Self {
            name: generation.to_owned(),
            container,
            _volume: volume,
        })
    }

    /// What a backup is taken of.
    ///
    /// # Errors
    /// When the container is gone meanwhile.
    pub fn source(&self, handle: &ServiceHandle) -> Result<BackupSource> {
        let source = BackupSource::find(handle, Some(self.container.name()))?;
        Ok(source.of_generation(&self.name))
    }
}

/// What the volume says, which has this generation.
fn look(
    handle: &ServiceHandle,
    resources: &RunResources,
    image: &ImageId,
    generation: &str,
) -> Result<VolumeFindings> {
    let name = &handle.name;
    if handle.engine.volume(&handle.runner, &name.volume())?.is_none() {
        return Err(failure::usage(format!("{name}: there is no volume {}", name.volume())).into());
    }
    let helper = format!("{name}.look-kept-{}", std::process::id());
    let keeper = VolumeKeeper::start(resources, &helper, image, &name.volume())?;
    let seen = keeper.look(&[])?;
    seen.has(&name.volume(), generation)?;
    Ok(seen)
}
