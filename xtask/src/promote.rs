//! Keeps proofs, and moves release tags onto images that have one: all of them
//! or none.
//!
//! Takes [`Verified`], which only `smoke` can make. The proof itself is a tag,
//! too: `hive-proof:<image>-<suite key>.<image ID>` names the very ID that passed
//! that suite, so that the engine, and no side file, knows what was proved.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};

use crate::candidate;
use crate::engine::Engine;
use crate::process::Runner;
use crate::smoke::proof::{full_proofs, previous_tag, proofs};
use crate::smoke::{Verdict, Verified};

/// The tags that an image gets.
#[derive(Debug)]
pub struct Promotion<'a> {
    /// What passed.
    pub verified: &'a Verified,
    /// `repository:tag` names.
    pub tags: Vec<String>,
}

/// Moves all tags of all promotions, proofs first. Where one cannot be moved,
/// those already moved go back to where they were. The image that loses the
/// release tags gets `hive-previous:<image>`: without a tag it would be pruned.
///
/// # Errors
/// When the engine refuses a tag; then no tag has moved.
pub fn promote(engine: &Engine, runner: &Runner, promotions: &[Promotion<'_>]) -> Result<()> {
    // From here on Ctrl-C waits: half a promotion is what must not happen.
    let runner = &runner.for_cleanup();
    let mut moves: Vec<(String, &str)> = Vec::new();
    for promotion in promotions {
        let verified = promotion.verified;
        moves.push((verified.proof_tag(), verified.image_id()));
    }
    let inventory = engine.inventory(runner)?;
    for promotion in promotions {
        let (new, tags) = (promotion.verified.image_id(), &promotion.tags);
        let old = tags.iter().find_map(|tag| inventory.id_of(tag));
        if let Some(old) = old.filter(|old| *old != new) {
            moves.push((previous_tag(promotion.verified.image()), old));
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
pub fn keep_proofs(engine: &Engine, runner: &Runner, verdicts: &[Verdict]) -> Result<()> {
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

fn keep(engine: &Engine, runner: &Runner, verified: &Verified, tag: &str) -> Result<()> {
    engine.tag(runner, verified.image_id(), tag)?;
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
            engine.untag_unused(runner, tag)?;
        }
    }
    Ok(())
}

fn move_all(engine: &Engine, runner: &Runner, moves: &[(String, &str)]) -> Result<()> {
    let inventory = engine.inventory(runner)?;
    let before: BTreeMap<&str, Option<String>> = moves
        .iter()
        .map(|(tag, _)| (tag.as_str(), inventory.id_of(tag).map(str::to_owned)))
        .collect();
    for (n, (tag, id)) in moves.iter().enumerate() {
        if before
            .get(tag.as_str())
            .is_some_and(|old| old.as_deref() == Some(*id))
        {
            continue;
        }
        if let Err(error) = engine.tag(runner, id, tag) {
            let undone = undo(engine, runner, &moves[..n], &before);
            return Err(match undone {
                Ok(()) => error.context(format!("move tag {tag}; no tag has moved")),
                Err(second) => error.context(format!(
                    "move tag {tag}; moving the others back failed, too: {second:#}"
                )),
            });
        }
    }
    Ok(())
}

fn undo(
    engine: &Engine,
    runner: &Runner,
    moved: &[(String, &str)],
    before: &BTreeMap<&str, Option<String>>,
) -> Result<()> {
    for (tag, _) in moved {
        match before.get(tag.as_str()).and_then(Option::as_ref) {
            Some(old) => engine
                .tag(runner, old, tag)
                .with_context(|| format!("move {tag} back"))?,
            None => engine
                .untag(runner, tag)
                .with_context(|| format!("remove {tag}"))?,
        }
    }
    Ok(())
}
