//! Puts another image in the place of the one that runs, on the same data.
//!
//! All that can be known before is found out before: the plan looks at everything
//! and tells all at once, the rehearsal tries the image out on a copy of the data.

use std::path::Path;

use anyhow::Result;

use crate::facts::BackupFacts;
use crate::generations::{VolumeFindings, VolumeKeeper};
use crate::proof::{MORE_FILES, MORE_ROOM};
use crate::rehearsal::{self, OwnChecks, Rehearsal, RehearsalOrder};
use crate::source::BackupSource;
use crate::take;
use definition::spec::ImageSpec;
use engine::Image;
use engine::container::RunResources;
use host::report::{Report, megabytes};
use service::findings::{self, Obstacle};
use service::handle::ServiceHandle;
use service::next;
use service::restart;
use service::seen::SeenContainer;
use service::wanted::WantedContainer;

/// Who updates what.
#[derive(Clone, Copy)]
pub struct UpdateOrder<'a> {
    /// The service.
    pub handle: &'a ServiceHandle,
    /// What is promised of the image that is to come.
    pub spec: &'a ImageSpec,
    /// The image that is to come.
    pub image: &'a Image,
    /// As the user names it.
    pub reference: &'a str,
    /// Whether it may run: it has a proof, or somebody has said that it needs none.
    pub may_run: bool,
    /// Asks the checks of the spec's own.
    pub checks: OwnChecks<'a>,
    /// Makes what is there for this alone.
    pub resources: &'a RunResources,
    /// Says which step it is.
    pub report: &'a Report,
    /// Where logs go of what does not work.
    pub state: &'a Path,
}

/// An update in whose way nothing is.
struct UpdatePlan {
    wanted: WantedContainer,
    source: BackupSource,
}

/// Tries the image out on a copy of the data and touches nothing of the service;
/// `None` where it runs this image already.
///
/// # Errors
/// With all that is in the way; a smoke failure where the image does not work on the
/// data.
pub fn rehearse(order: &UpdateOrder<'_>) -> Result<Option<Rehearsal>> {
    let main = restart::own(order.handle)?;
    if main.image_id == *order.image.id() {
        return Ok(None);
    }
    let done = plan(order, &main).and_then(|plan| plan.rehearse(order));
    let discarded = next::discard(&order.handle.for_cleanup());
    let rehearsal = done?;
    discarded?;
    Ok(Some(rehearsal))
}

/// Looks at everything that could be in the way, and makes the container that is to
/// come.
fn plan(order: &UpdateOrder<'_>, main: &SeenContainer) -> Result<UpdatePlan> {
    let handle = order.handle;
    let name = &handle.name;
    let mut found = Vec::new();
    if !order.may_run {
        found.push(no_proof(order));
    }
    let options = next::options(handle, main)?;
    let wanted = match next::wanted(handle, order.image, &options) {
        Ok(wanted) => wanted,
        Err(wrong) => {
            found.extend(wrong);
            return Err(all(name.as_str(), found));
        }
    };
    found.extend(next::make(handle, &wanted, main)?);
    if !main.condition.runs() {
        let message = format!(
            "it is {}, and an update begins with a copy of what runs",
            main.condition.shown()
        );
        found.push(Obstacle::environment(message).hint(format!("start it: cargo xtask up {name}")));
        return Err(all(name.as_str(), found));
    }
    let source = BackupSource::find(handle, None)?;
    let facts = take::facts(handle, &source)?;
    let helper = format!("{name}.update-{}", std::process::id());
    let keeper = VolumeKeeper::start(order.resources, &helper, order.image.id(), &name.volume())?;
    let extensions = facts
        .databases
        .iter()
        .flat_map(|database| database.extensions.keys());
    let seen = keeper.look(&extensions.map(String::as_str).collect::<Vec<_>>())?;
    found.extend(of_volume(&name.volume(), name.as_str(), &facts, &seen));
    if !found.is_empty() {
        return Err(all(name.as_str(), found));
    }
    Ok(UpdatePlan { wanted, source })
}

impl UpdatePlan {
    fn rehearse(&self, order: &UpdateOrder<'_>) -> Result<Rehearsal> {
        rehearsal::rehearse(&RehearsalOrder {
            handle: order.handle,
            source: &self.source,
            spec: order.spec,
            wanted: &self.wanted,
            checks: order.checks,
            resources: order.resources,
            report: order.report,
            state: order.state,
        })
    }
}

fn no_proof(order: &UpdateOrder<'_>) -> Obstacle {
    let (name, id) = (&order.handle.name, order.image.id().short());
    Obstacle::usage(format!("{} ({id}) has no proof", order.reference)).hint(format!(
        "prove it: cargo xtask build-images {name}; or take it all the same: --unproved"
    ))
}

fn all(name: &str, found: Vec<Obstacle>) -> anyhow::Error {
    let found: Vec<(String, Obstacle)> = found.into_iter().map(|one| (name.to_owned(), one)).collect();
    findings::failure(&found).into()
}

/// What the image and the volume's disk say. The copy for the rehearsal is gone when
/// the one for the way back is made.
fn of_volume(volume: &str, name: &str, facts: &BackupFacts, seen: &VolumeFindings) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if !seen.missing_extensions.is_empty() {
        let missing = seen.missing_extensions.join(", ");
        found.push(
            Obstacle::environment(format!(
                "the data need the extension {missing}, which the image lacks"
            ))
            .hint("add its package to the spec's `packages` and build the image"),
        );
    }
    let (bytes, files) = (facts.bytes + MORE_ROOM, facts.files + MORE_FILES);
    let mut wanting = Vec::new();
    if seen.free_bytes < bytes {
        let (free, bytes) = (megabytes(seen.free_bytes), megabytes(bytes));
        wanting.push(format!("{free} free, {bytes} are needed for a copy of the data"));
    }
    if let Some(free) = seen.free_files.filter(|free| *free < files) {
        wanting.push(format!("room for {free} more files, {files} are needed"));
    }
    if !wanting.is_empty() {
        let want = format!("the disk of volume {volume} has {}", wanting.join("; "));
        let hint = match seen.generations.first() {
            Some(oldest) => {
                format!("data from before are still there: cargo xtask restore {name} --forget {oldest}")
            }
            None => "make room there".to_owned(),
        };
        found.push(Obstacle::environment(want).hint(hint));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::sample;

    fn seen() -> VolumeFindings {
        VolumeFindings {
            major: 17,
            missing_extensions: Vec::new(),
            free_bytes: 240_000_000,
            free_files: Some(2200),
            generations: Vec::new(),
            journal: None,
        }
    }

    #[test]
    fn all_that_is_in_the_way_is_told_at_once() {
        assert!(of_volume("genie-data", "genie", &sample(), &seen()).is_empty());
        let bad = VolumeFindings {
            missing_extensions: vec!["postgis".to_owned()],
            free_bytes: 239_999_999,
            free_files: Some(2199),
            generations: vec!["before-1".to_owned()],
            ..seen()
        };
        let told = of_volume("genie-data", "genie", &sample(), &bad);
        let messages: Vec<&str> = told.iter().map(|one| one.message.as_str()).collect();
        assert_eq!(
            messages,
            [
                "the data need the extension postgis, which the image lacks",
                "the disk of volume genie-data has 240 MB free, 240 MB are needed for a copy of the data; \
                 room for 2199 more files, 2200 are needed",
            ]
        );
        assert!(
            told[1]
                .hint
                .as_ref()
                .unwrap()
                .ends_with("restore genie --forget before-1")
        );
    }
}
