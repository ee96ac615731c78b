//! Moves tags onto images that passed: all of them or none.
//!
//! Takes [`Verified`], which only `smoke` can make. The proof itself is a tag,
//! too: `hive-proof:<image>-<suite key>` names the very ID that passed that
//! suite, so that the engine, and no side file, knows what was proved.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use crate::engine::Engine;
use crate::process::Runner;
use crate::smoke::{Verified, full_proof_tag, previous_tag, proof_tag};

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
    let before = move_all(engine, runner, &moves)?;
    // What `hive-previous` named before is one too many to go back to.
    let previous = |tag: &str| promotions.iter().any(|p| previous_tag(p.verified.image()) == tag);
    let mut kept: BTreeSet<&str> = before
        .iter()
        .filter(|(tag, _)| !previous(tag))
        .filter_map(|(_, id)| id.as_deref())
        .collect();
    kept.extend(moves.iter().map(|(_, id)| *id));
    for promotion in promotions {
        let image = promotion.verified.image();
        for before_key in [proof_tag(image, ""), full_proof_tag(image, "")] {
            forget_old_proofs(engine, runner, &before_key, &kept)?;
        }
    }
    Ok(())
}

/// Keeps what a pass of the full suite proved, for a release to ask for: no
/// release tag moves.
///
/// # Errors
/// When the engine refuses a tag; then no tag has moved.
pub fn keep_proofs(engine: &Engine, runner: &Runner, verified: &Verified) -> Result<()> {
    let runner = &runner.for_cleanup();
    let (image, id) = (verified.image(), verified.image_id());
    let tags = [Some(verified.proof_tag()), verified.full_proof_tag()];
    let moves: Vec<(String, &str)> = tags.into_iter().flatten().map(|tag| (tag, id)).collect();
    let before = move_all(engine, runner, &moves)?;
    let mut kept: BTreeSet<&str> = before.values().flatten().map(String::as_str).collect();
    kept.insert(id);
    forget_old_proofs(engine, runner, &full_proof_tag(image, ""), &kept)
}

/// A proof tag holds its image: without this every image that ever passed would
/// stay in the engine for ever. The one before stays, to go back to.
/// `before_key` is what the names of the image's proofs start with.
fn forget_old_proofs(
    engine: &Engine,
    runner: &Runner,
    before_key: &str,
    kept: &BTreeSet<&str>,
) -> Result<()> {
    for (tag, id) in engine.inventory(runner)?.names_from(before_key) {
        // A key has no dash: with one, the proof is of a longer name.
        let ours = !tag[before_key.len()..].contains('-');
        if ours && !kept.contains(id) {
            engine.untag(runner, tag)?;
        }
    }
    Ok(())
}

/// Returns what the tags named before.
fn move_all<'a>(
    engine: &Engine,
    runner: &Runner,
    moves: &'a [(String, &str)],
) -> Result<BTreeMap<&'a str, Option<String>>> {
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
    Ok(before)
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
