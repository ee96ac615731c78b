//! Encrypted backup files, and the seals that lie beside them.

use std::fs::File;
use std::io::{Read, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use sha2::{Digest as _, Sha256};

use super::{Digested, PIECE};
use crate::age::{Decryption, MAGIC};
use crate::seal::{EncryptedFile, SEAL_SIZE, Seal};
use host::process::Runner;
use host::report::{Counted, Report};
use inputs::{hex, regular};

/// What stands behind the name of a file in that of its seal.
const SEAL: &str = ".seal";

/// Reads a file whole and decrypts it: what the seal in it says is known at its end alone.
///
/// # Errors
/// When the key is the wrong one, or the file is not what was written.
pub(super) fn read(path: &Path, identity: &Path, runner: &Runner, report: &Report) -> Result<Seal> {
    let progress = report.progress(Some(path.metadata()?.len()));
    let inner = Decryption::start(runner, path, identity)?;
    let mut plain = Counted { inner, progress };
    let (mut out, mut held) = (Digested::new(std::io::sink()), Vec::new());
    while plain.by_ref().take(PIECE as u64).read_to_end(&mut held)? > 0 {
        let over = held.len().saturating_sub(SEAL_SIZE);
        out.write_all(&held[..over])?;
        held.drain(..over);
    }
    plain.inner.finish()?;
    let damaged = |error| failure::usage(format!("{}: {error:#}", path.display()));
    let seal = Seal::of_frame(&held).map_err(damaged)?;
    if out.sum() != (seal.sha256.clone(), seal.size) {
        return Err(changed(path));
    }
    match beside(path) {
        // It knows of later proofs, and of nothing else more.
        Ok(known) if known.sha256 == seal.sha256 => Ok(Seal {
            proof: known.proof,
            encrypted: known.encrypted,
            ..seal
        }),
        _ => Ok(Seal {
            encrypted: Some(sum_of(path, runner, report)?),
            ..seal
        }),
    }
}

/// Where the seal of an encrypted backup lies.
pub(super) fn seal_of(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(SEAL);
    PathBuf::from(name)
}

/// What the seal beside an encrypted backup says.
pub(super) fn beside(path: &Path) -> Result<Seal> {
    let place = seal_of(path);
    let Ok(frame) = regular::read(&place) else {
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        bail!("it is encrypted, and {name}, which says what it is, is not beside it");
    };
    Seal::of_frame(&frame)
}

pub(super) fn is_encrypted(path: &Path) -> Result<bool> {
    let mut begin = Vec::new();
    if std::fs::metadata(path)?.is_file() {
        File::open(path)?
            .take(MAGIC.len() as u64)
            .read_to_end(&mut begin)?;
    }
    Ok(begin == MAGIC)
}

pub(super) fn sum_of(path: &Path, runner: &Runner, report: &Report) -> Result<EncryptedFile> {
    let inner = File::open(path)?;
    let size = inner.metadata()?.len();
    let progress = report.progress(Some(size));
    let sha256 = digest_of(Counted { inner, progress }, path, runner)?;
    Ok(EncryptedFile { sha256, size })
}

pub(super) fn digest_of(mut rest: impl Read, path: &Path, runner: &Runner) -> Result<String> {
    let (mut digest, mut piece) = (Sha256::new(), vec![0; PIECE]);
    loop {
        runner.check_interrupt()?;
        let length = rest
            .read(&mut piece)
            .with_context(|| format!("read {}", path.display()))?;
        if length == 0 {
            return Ok(hex::digits(&digest.finalize()));
        }
        digest.update(&piece[..length]);
    }
}

pub(super) fn changed(path: &Path) -> anyhow::Error {
    let message = format!(
        "{}: it is not what was written: a part of it has changed",
        path.display()
    );
    failure::usage(message)
        .hint("another backup, or another copy of this one: cargo xtask backup list")
        .into()
}
