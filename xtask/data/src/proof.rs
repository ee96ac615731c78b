//! Proves a backup by restoring it: in a container without network, on a volume
//! that is there for this alone.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::facts::BackupFacts;
use crate::file::Backup;
use crate::generations::{self, run_in};
use crate::seal::{ProofLevel, RestoreProof};
use crate::take::on_a_copy;
use container::boot::MOUNT;
use definition::identity::ImageId;
use engine::container::{Container, RunResources, Volume};
use host::process::{ended, tail};
use host::report::megabytes;
use inputs::clock;

/// Starts a server from the copy and looks at all of it.
const PROVE: &str = include_str!("inside/prove.py");

/// Longer than any proof; Ctrl-C ends it.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

/// The log that recovery and `pg_amcheck --install-missing` write, temporary files.
pub(crate) const MORE_ROOM: u64 = 200_000_000;

/// The server's own files, beside those of the backup.
pub(crate) const MORE_FILES: u64 = 1000;

/// The copy lies where the image's own cluster would, so that its programs find
/// it.
const PGDATA: &str = "/var/lib/postgresql/data/pgdata";

/// What `prove.py` ends with where the backup is to blame.
const REFUSED: i32 = 1;

/// Restores a backup with an image and writes into it what came of that. All that
/// is made for it is gone afterwards.
///
/// # Errors
/// A smoke failure where the backup is to blame, else what stopped it.
pub fn restore(resources: &RunResources, backup: &mut Backup, image_id: &ImageId) -> Result<RestoreProof> {
    backup.check(&resources.runner)?;
    let name = format!("{}.proof-{}", backup.seal.backup.origin.image, std::process::id());
    let volume = resources.volume(&name)?;
    room(resources, &volume, &backup.seal.backup)?;
    let mount = format!("{}:{MOUNT}", volume.name());
    // The proof looks at what moves in it, and that is the proof's alone.
    let options = [
        &["--no-healthcheck", "--entrypoint", "sleep", "--network", "none"][..],
        &["--volume", &mount],
    ]
    .concat();
    let container = resources.start(&name, image_id.as_str(), &options, &["infinity"])?;
    unpack(resources, backup, &container)?;
    let seen = look(&container).with_context(|| format!("restore {}", backup.path.display()))?;
    let now = clock::rfc3339(SystemTime::now());
    let proof = match seen {
        Ok(proof) => proof,
        Err(why) => {
            backup.prove(ProofLevel::Refused {
                at: now,
                why: why.clone(),
            })?;
            let message = format!("{} is no good backup: {why}", backup.path.display());
            return Err(failure::smoke(message).into());
        }
    };
    let proof = RestoreProof { at: now, ..proof };
    backup.prove(ProofLevel::Restored(proof.clone()))?;
    Ok(proof)
}

/// Looks at the copy in a container; what is wrong with it, where something is.
pub(crate) fn look(container: &Container) -> Result<std::result::Result<RestoreProof, String>> {
    let output = container.exec(LONGEST, &[], &on_a_copy(PROVE, &[]), None)?;
    if output.status.code() == Some(REFUSED) {
        // What is told is not bounded, and the seal is.
        return Ok(Err(output.stderr_text().chars().take(2000).collect()));
    }
    if !output.success() {
        let message = format!("the proof {}{}", ended(output.status), tail(&output.stderr));
        return Err(failure::environment(message).into());
    }
    let proof = serde_json::from_slice(&output.stdout).context("read what was proved")?;
    Ok(Ok(proof))
}

fn unpack(resources: &RunResources, backup: &Backup, container: &Container) -> Result<()> {
    run_in(container, &[], &["mkdir", "-m", "700", PGDATA])?;
    generations::unpack(&resources.engine, &resources.runner, backup, container, PGDATA)?;
    // The files are those of the user that the container ran as; the manifest, by a
    // slip of pg_basebackup's, nobody's.
    let id = run_in(container, &[], &["sh", "-c", "echo $(id -u):$(id -g)"])?;
    run_in(container, &["--user", "0:0"], &["chown", "-R", &id, PGDATA]).map(drop)
}

/// Where the kernel does not let us look, nothing is known.
fn room(resources: &RunResources, volume: &Volume, backup: &BackupFacts) -> Result<()> {
    if !resources.engine.api.is_local() {
        return Ok(());
    }
    let document = resources.engine.volume(&resources.runner, volume.name())?;
    let place = document
        .as_ref()
        .and_then(|volume| volume.get("Mountpoint").and_then(Value::as_str));
    let Some(stat) = place.and_then(|place| rustix::fs::statvfs(Path::new(place)).ok()) else {
        return Ok(());
    };
    let free = stat.f_bavail.saturating_mul(stat.f_frsize);
    // Some file systems count no files.
    let files = if stat.f_files == 0 {
        u64::MAX
    } else {
        stat.f_favail
    };
    match want_of_room(free, files, backup) {
        None => Ok(()),
        Some(want) => Err(
            failure::environment(format!("the disk of the engine's volumes has {want}"))
                .hint("make room there; or leave the proof for later: --no-verify")
                .into(),
        ),
    }
}

/// All that is wanting at once.
pub(crate) fn want_of_room(free: u64, files: u64, backup: &BackupFacts) -> Option<String> {
    let (bytes, count) = (backup.bytes + MORE_ROOM, backup.files + MORE_FILES);
    let mut wanting = Vec::new();
    if free < bytes {
        let (free, bytes) = (megabytes(free), megabytes(bytes));
        wanting.push(format!("{free} free, {bytes} are needed to restore the backup"));
    }
    if files < count {
        wanting.push(format!("room for {files} more files, {count} are needed"));
    }
    (!wanting.is_empty()).then(|| wanting.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::facts::sample;

    #[test]
    fn want_of_bytes_and_of_files_is_told_at_once() {
        let backup = sample();
        assert_eq!(want_of_room(240_000_000, 2200, &backup), None);
        assert_eq!(
            want_of_room(239_999_999, 2199, &backup).unwrap(),
            "240 MB free, 240 MB are needed to restore the backup; room for 2199 more files, 2200 are needed"
        );
    }
}
