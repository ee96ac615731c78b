//! Keeps proofs, and moves release tags onto images that have one: all of them
//! or none.
//!
//! An engine changes a tag in its memory and then writes that down, so a tag that
//! it refused to move, on a full disk, has moved all the same. What counts after
//! an error is therefore what the engine says then, and not what it was asked for.
//!
//! Takes [`Verified`], which only `smoke` can make. The proof itself is a tag,
//! too: `hive-proof:<image>-<suite key>.<image ID>` names the very ID that passed
//! that suite, so that the engine, and no side file, knows what was proved.

use anyhow::{Error, Result};

use build::candidate;
use definition::identity::ImageId;
use definition::labels::IMAGE_LABEL;
use definition::reference::Reference;
use engine::{Engine, Inventory};
use failure::Failure;
use host::process::Runner;
use smoke::proof::{full_proofs, previous_tag, proofs};
use smoke::{Verdict, Verified};

/// The tags that an image gets.
#[derive(Debug)]
pub(crate) struct Promotion<'a> {
    /// The proof of the image that the tags are to name.
    pub(crate) verified: &'a Verified,
    /// The release tags; its proof tag comes by itself, and first.
    pub(crate) tags: Vec<Reference>,
}

/// Moves all tags of all promotions, proofs first. Where one cannot be moved, all
/// go back to where they were. The image that loses the release tags gets
/// `hive-previous:<image>`: without a tag it would be pruned.
///
/// # Errors
/// When the engine refuses a tag; then no tag has moved, or the message names
/// those that have.
pub(crate) fn promote(engine: &Engine, runner: &Runner, promotions: &[Promotion<'_>]) -> Result<()> {
    // From here on Ctrl-C waits: half a promotion is what must not happen.
    let runner = &runner.for_cleanup();
    let mut moves: Vec<Move<'_>> = Vec::new();
    for promotion in promotions {
        let verified = promotion.verified;
        moves.push((verified.proof_tag(), verified.image_id()));
    }
    let inventory = engine.inventory(runner)?;
    for promotion in promotions {
        let (new, tags) = (promotion.verified.image_id(), &promotion.tags);
        let old = tags.iter().find_map(|tag| inventory.id_of(tag));
        let image = promotion.verified.image();
        // Somebody may have put another image's content there.
        let is_own = |old: &&ImageId| inventory.with_labels(&[(IMAGE_LABEL, image)]).contains(old);
        if let Some(old) = old.filter(|old| *old != new).filter(is_own) {
            moves.push((previous_tag(image), old));
        }
    }
    for promotion in promotions {
        moves.extend(
            promotion
                .tags
                .iter()
                .map(|tag| (tag.clone(), promotion.verified.image_id())),
        );
    }
    move_all(engine, runner, &moves)?;
    for promotion in promotions {
        forget_lone_proofs(engine, runner, promotion.verified)?;
    }
    Ok(())
}

/// Keeps the proofs of the images that passed, whatever became of the others: no
/// release tag moves, and what passed is not proved again.
///
/// # Errors
/// When the engine refuses a tag.
pub(crate) fn keep_proofs(engine: &Engine, runner: &Runner, verdicts: &[Verdict]) -> Result<()> {
    let runner = &runner.for_cleanup();
    for verified in passed(verdicts) {
        keep(engine, runner, &verified, &verified.proof_tag())?;
        let unproved = candidate::unproved_tag(verified.image());
        if engine.inventory(runner)?.id_of(&unproved) == Some(verified.image_id()) {
            engine.untag(runner, &unproved)?;
        }
    }
    Ok(())
}

/// Keeps what whole passes of the full suite proved, for a release to ask for.
/// They are no proof for release tags: those are for what `build-images` built,
/// and an image that a user built on one of ours has its labels, too.
///
/// # Errors
/// When the engine refuses a tag.
pub fn keep_full_proofs(engine: &Engine, runner: &Runner, verdicts: &[Verdict]) -> Result<()> {
    let runner = &runner.for_cleanup();
    for verified in passed(verdicts) {
        if let Some(tag) = verified.full_proof_tag() {
            keep(engine, runner, &verified, &tag)?;
        }
    }
    Ok(())
}

fn passed(verdicts: &[Verdict]) -> impl Iterator<Item = Verified> {
    verdicts
        .iter()
        .cloned()
        .filter_map(|verdict| verdict.verified().ok())
}

fn keep(engine: &Engine, runner: &Runner, verified: &Verified, tag: &Reference) -> Result<()> {
    move_all(engine, runner, &[(tag.clone(), verified.image_id())])?;
    forget_lone_proofs(engine, runner, verified)
}

/// A proof tag holds its image: without this every image that ever passed would
/// stay in the engine for ever. A proof goes when nothing else names its image
/// and it is not the one that was just proved.
fn forget_lone_proofs(engine: &Engine, runner: &Runner, just: &Verified) -> Result<()> {
    let inventory = engine.inventory(runner)?;
    let prefixes = [proofs(just.image()), full_proofs(just.image())];
    // A key and an ID have no dash: with one, the proof is of a longer name.
    let is_proof = |name: &str| {
        let mut keys = prefixes
            .iter()
            .filter_map(|prefix| name.strip_prefix(prefix.as_str()));
        keys.any(|key| !key.contains('-'))
    };
    for (tag, id) in prefixes.iter().flat_map(|prefix| inventory.names_from(prefix)) {
        let alone = id != just.image_id() && inventory.names_of(id).all(is_proof);
        if is_proof(tag) && alone {
            let tag = Reference::parse(tag).map_err(Error::msg)?;
            engine.untag_unused(runner, &tag)?;
        }
    }
    Ok(())
}

/// A tag, and the ID of the image that it is to name.
pub(crate) type Move<'a> = (Reference, &'a ImageId);

/// Moves tags: all of them, or none.
///
/// # Errors
/// As [`promote`].
pub fn move_all(engine: &Engine, runner: &Runner, moves: &[Move<'_>]) -> Result<()> {
    let before = engine.inventory(runner)?;
    for (tag, id) in moves {
        if before.id_of(tag) == Some(*id) {
            continue;
        }
        if let Err(error) = engine.tag(runner, id.as_str(), tag) {
            let undone = undo(engine, runner, moves, &before);
            let kind = failure::kind(&error);
            let failed = |end: &str| Failure::new(kind, format!("move tag {tag}; {end}"));
            return Err(error.context(match undone {
                Ok(Undone::Kept) => failed("no tag has moved"),
                Ok(Undone::NotWritten(tags)) => failed("no tag has moved").hint(format!(
                    "the engine could not write that down: if it restarts before it has room again, these may name the new images: {}",
                    shown(&tags)
                )),
                Err(second) => failed(&format!("moving all of them back failed, too: {second:#}")),
            }));
        }
    }
    Ok(())
}

/// How far a promotion was taken back.
enum Undone {
    /// Each tag is where it was, and the engine has that on its disk.
    Kept,
    /// Not on the engine's disk, as far as these tags go.
    NotWritten(Vec<Reference>),
}

/// Puts each tag that is not where it was back there, and looks whether it is.
fn undo(engine: &Engine, runner: &Runner, moves: &[Move<'_>], before: &Inventory) -> Result<Undone> {
    let now = engine.inventory(runner)?;
    let astray = strayed(moves, before, &now);
    // A name that is new may be the only one of an image whose own have moved
    // away: were it taken first, the image would go with it.
    let (had, new): (Vec<&Reference>, Vec<&Reference>) =
        astray.iter().partition(|tag| before.id_of(tag).is_some());
    let mut refused = Vec::new();
    for tag in had.into_iter().chain(new) {
        let done = match before.id_of(tag) {
            Some(old) => engine.tag(runner, old.as_str(), tag),
            None => engine.untag(runner, tag),
        };
        if let Err(error) = done {
            refused.push((tag.clone(), error));
        }
    }
    let left = strayed(moves, before, &engine.inventory(runner)?);
    if left.is_empty() {
        let tags: Vec<Reference> = refused.into_iter().map(|(tag, _)| tag).collect();
        return Ok(if tags.is_empty() {
            Undone::Kept
        } else {
            Undone::NotWritten(tags)
        });
    }
    let reason = refused.into_iter().find(|(tag, _)| left.contains(tag));
    let reason = reason.map_or_else(
        || failure::build("another run moved them").into(),
        |(_, error)| error,
    );
    Err(reason.context(format!("not where they were: {}", shown(&left))))
}

/// The tags that do not name what they named before.
fn strayed(moves: &[Move<'_>], before: &Inventory, now: &Inventory) -> Vec<Reference> {
    let moved = moves.iter().map(|(tag, _)| tag);
    moved
        .filter(|tag| before.id_of(tag) != now.id_of(tag))
        .cloned()
        .collect()
}

fn shown(tags: &[Reference]) -> String {
    let tags: Vec<String> = tags.iter().map(ToString::to_string).collect();
    tags.join(", ")
}

#[cfg(test)]
mod tests;
