//! One SHA-256 over all that counts about a context, which a build step can
//! compute with the tools that every base has. So the build itself tells
//! whether BuildKit has read what was hashed: whatever happened to the staged
//! tree meanwhile, an image of other content is never made.
//!
//! It covers a record for each entry, with its kind, mode, path and a link's
//! target, and one more for each file, with the SHA-256 of its content; sorted,
//! each ended by a zero byte. A path holds no `//`, so no two trees have the
//! same records.
//!
//! SHA-256 of a large file takes seconds where there are no instructions for
//! it: what a BLAKE3 digest stands for is remembered beside the tree. The file
//! is a cache: one that is missing or damaged counts as empty.

use std::collections::HashMap;
use std::io::Read as _;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;
use sha2::{Digest as _, Sha256};

use super::input::{Digest, Input, InputKind};
use super::problem::{InputProblem, Problems, What};
use super::walk::ShouldStop;
use crate::{hex, regular};

/// The same in a build step: `contents FOLDER` prints it.
pub const SHELL: &str = r#"contents() {
    export LC_ALL=C
    cd "$1"
    {
        find . -mindepth 1 -printf '%y %m %P//%l\0'
        find . -type f -print0 | xargs -0 -r sha256sum -z
    } | sort -z | sha256sum | cut -c -64
}"#;

/// Names the format; a change of it takes another number.
const MAGIC: &[u8] = b"hive sums 1\n";

/// Read at once; small enough for the cache next to the processor.
const READ_SIZE: usize = 128 * 1024;

type Sum = [u8; 32];

/// The sum of `inputs`, which lie in `tree`. `remembered` is the file with the
/// sums of contents; losing it costs time only. `stop` is asked as in a walk.
///
/// # Errors
/// [`Problems`] with all the files that are not what was hashed.
pub(super) fn contents(
    tree: &Path,
    inputs: &[Input],
    remembered: &Path,
    stop: ShouldStop<'_>,
) -> Result<String> {
    let known = load(remembered);
    let sums: Vec<Result<Option<(Digest, Sum)>, InputProblem>> = inputs
        .par_iter()
        .map(|input| match &input.kind {
            InputKind::File { digest, .. } => match known.get(digest) {
                Some(sum) => Ok(Some((*digest, *sum))),
                None => sum(&tree.join(&*input.path), input, digest, stop).map(Some),
            },
            InputKind::Directory | InputKind::Symlink { .. } => Ok(None),
        })
        .collect();
    let mut records = Vec::new();
    let mut used = HashMap::new();
    let mut problems = Vec::new();
    for (input, sum) in inputs.iter().zip(sums) {
        records.push(entry(input));
        match sum {
            Ok(Some((digest, sum))) => {
                records.push(format!("{}  ./{}", hex::digits(&sum), input.path));
                used.insert(digest, sum);
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if stop() {
        problems = vec![InputProblem::stopped()];
    }
    if !problems.is_empty() {
        return Err(Problems(problems).into());
    }
    if used != known {
        // A lost file costs time only: not worth a failure.
        save(remembered, &used).ok();
    }
    records.par_sort_unstable();
    let mut hasher = Sha256::new();
    for record in &records {
        hasher.update(record);
        hasher.update([0]);
    }
    Ok(hex::digits(&hasher.finalize()))
}

/// An input as the `find` in the image prints it: kind, mode, path, target.
fn entry(input: &Input) -> String {
    let (kind, target) = match &input.kind {
        InputKind::File { .. } => ('f', ""),
        InputKind::Directory => ('d', ""),
        InputKind::Symlink { target } => ('l', &**target),
    };
    format!("{kind} {:o} {}//{target}", input.mode(), input.path)
}

/// Of the content, if it is the one that was hashed.
fn sum(
    path: &Path,
    input: &Input,
    digest: &Digest,
    stop: ShouldStop<'_>,
) -> Result<(Digest, Sum), InputProblem> {
    let bytes = input.path.as_bytes();
    let read = || {
        let mut file = regular::open(path)?;
        let (mut ours, mut theirs) = (blake3::Hasher::new(), Sha256::new());
        let mut buffer = vec![0; READ_SIZE];
        while !stop() {
            match file.read(&mut buffer)? {
                0 => return Ok(Some((ours.finalize(), theirs.finalize()))),
                count => {
                    ours.update(&buffer[..count]);
                    theirs.update(&buffer[..count]);
                }
            }
        }
        Ok(None)
    };
    let read = read().map_err(|error: std::io::Error| InputProblem::io(bytes, &error))?;
    let (ours, theirs) = read.ok_or_else(InputProblem::stopped)?;
    if *ours.as_bytes() != digest.0 {
        return Err(InputProblem::new(bytes, What::Changed));
    }
    Ok((*digest, theirs.into()))
}

fn load(file: &Path) -> HashMap<Digest, Sum> {
    let bytes = regular::read(file).unwrap_or_default();
    let pairs = || {
        let (content, seal) = bytes.split_last_chunk::<32>()?;
        let whole = blake3::hash(content) == blake3::Hash::from_bytes(*seal);
        content.strip_prefix(MAGIC).filter(|_| whole)
    };
    let (pairs, _) = pairs().unwrap_or_default().as_chunks::<64>();
    pairs
        .iter()
        .filter_map(|pair| {
            let (digest, sum) = pair.split_first_chunk::<32>()?;
            Some((Digest(*digest), sum.try_into().ok()?))
        })
        .collect()
}

fn save(file: &Path, sums: &HashMap<Digest, Sum>) -> std::io::Result<()> {
    let mut bytes = MAGIC.to_vec();
    for (digest, sum) in sums {
        bytes.extend_from_slice(&digest.0);
        bytes.extend_from_slice(sum);
    }
    let seal = blake3::hash(&bytes);
    bytes.extend_from_slice(seal.as_bytes());
    regular::replace(file, &bytes)
}
