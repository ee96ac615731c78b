//! Moves tags onto images that passed: all of them or none.
//!
//! Takes [`Verified`], which only `smoke` can make. The proof itself is a tag,
//! too: `hive-proof:<image>-<suite key>` names the very ID that passed that
//! suite, so that the engine, and no side file, knows what was proved.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, Result};

use crate::engine::Engine;
use crate::process::Runner;
use crate::smoke::{Verified, full_proof_tag, proof_tag};

/// The tags that an image gets.
#[derive(Debug)]
pub struct Promotion<'a> {
    /// What passed.
    pub verified: &'a Verified,
    /// `repository:tag` names.
    pub tags: Vec<String>,
}

/// Moves all tags of all promotions, proofs first. Where one cannot be moved,
/// those already moved go back to where they were.
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
    for promotion in promotions {
        moves.extend(
            promotion
                .tags
                .iter()
                .map(|tag| (tag.clone(), promotion.verified.image_id())),
        );
    }
    let before = move_all(engine, runner, &moves)?;
    let mut kept: BTreeSet<&str> = before.values().flatten().map(String::as_str).collect();
    kept.extend(moves.iter().map(|(_, id)| *id));
    for promotion in promotions {
        let image = promotion.verified.image();
        for pattern in [proof_tag(image, "*"), full_proof_tag(image, "*")] {
            forget_old_proofs(engine, runner, &pattern, &kept)?;
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
    forget_old_proofs(engine, runner, &full_proof_tag(image, "*"), &kept)
}

/// A proof tag holds its image: without this every image that ever passed would
/// stay in the engine for ever. The one before stays, to go back to.
fn forget_old_proofs(engine: &Engine, runner: &Runner, pattern: &str, kept: &BTreeSet<&str>) -> Result<()> {
    let filter = format!("reference={pattern}");
    let format = "{{.Repository}}:{{.Tag}} {{.ID}}";
    let args = [
        "image",
        "ls",
        "--no-trunc",
        "--filter",
        &filter,
        "--format",
        format,
    ];
    for line in engine.cmd(runner, &args).read()?.lines() {
        let Some((tag, id)) = line.split_once(' ') else {
            continue;
        };
        if !kept.contains(id) {
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
    let mut before: BTreeMap<&str, Option<String>> = BTreeMap::new();
    for (tag, _) in moves {
        let old = engine.image(runner, tag)?.map(|image| image.id().to_owned());
        before.insert(tag, old);
    }
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
