//! What an image without a proof is called, while it is proved and after.
//!
//! A run builds under `hive-candidate:<image>-<run>`, which holds the image and
//! says whose it is. Where it gets no proof, since its suite failed or its run
//! was ended, it becomes `hive-unproved:<image>`, for a look inside and so that
//! it is not built again. There is one of an image: the last.

use anyhow::Result;

use definition::identity::ImageId;
use definition::reference::{OwnRepository, Reference};
use engine::Engine;
use host::process::Runner;

/// The name of an image that is built and not yet proved:
/// `hive-candidate:<image>-<run>`.
pub fn tag(image: &str, run: &str) -> Reference {
    OwnRepository::Candidate.tagged(format_args!("{image}-{run}"))
}

/// `hive-unproved:<image>`: the last candidate that got no proof.
pub fn unproved_tag(image: &str) -> Reference {
    OwnRepository::Unproved.tagged(image)
}

/// What the names of an image's candidates start with.
pub fn candidates(image: &str) -> String {
    format!("{}:{image}-", OwnRepository::Candidate.name())
}

/// Image and run of a candidate's name. A run's id has four parts, an image's
/// name any number of them.
fn parse(name: &str) -> Option<(&str, &str)> {
    let text = name
        .strip_prefix(OwnRepository::Candidate.name())?
        .strip_prefix(':')?;
    let (before_run, _) = text.rmatch_indices('-').nth(3)?;
    Some((&text[..before_run], &text[before_run + 1..]))
}

/// Takes the names of candidates from runs that have ended; returns how many. An
/// image that has no other name becomes its spec's unproved one, in the place of
/// the one before.
///
/// # Errors
/// When the engine does not answer or refuses a tag.
pub fn retire(engine: &Engine, runner: &Runner, has_ended: impl Fn(&str) -> bool) -> Result<usize> {
    let runner = &runner.for_cleanup();
    let inventory = engine.inventory(runner)?;
    let retired = |tag| parse(tag).filter(|(_, run)| has_ended(run));
    let named: Vec<(&str, &ImageId)> = inventory.names_from(OwnRepository::Candidate.name()).collect();
    let mut count = 0;
    // The newest is the last to become the unproved one.
    for &(tag, id) in named.iter().rev() {
        let Some((image, run)) = retired(tag) else {
            continue;
        };
        let own = self::tag(image, run);
        if inventory.names_of(id).all(|name| retired(name).is_some()) {
            let unproved = unproved_tag(image);
            engine.untag_unused(runner, &unproved)?;
            let moved = engine.tag(runner, id.as_str(), &unproved);
            // Two runs may do this at once: the other one may have been faster.
            if moved.is_err() && engine.image(runner, id.as_str())?.is_some() {
                return moved.map(|()| count);
            }
        }
        engine.untag_unused(runner, &own)?;
        count += 1;
    }
    Ok(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use engine::reaper;

    #[test]
    fn a_name_says_image_and_run() {
        let run = reaper::run_id().unwrap();
        let longest = format!("a-{}", "b".repeat(38));
        for image in ["genie", "my-own-genie", &longest] {
            let tag = tag(image, &run);
            assert_eq!(parse(&tag.to_string()), Some((image, run.as_str())));
            assert_eq!(Reference::parse(&tag.to_string()), Ok(tag));
        }
        for other in [
            "hive-candidate:genie-0123456789ab",
            "hive-unproved:genie",
            "x:a-1-2-3-4",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
    }
}
