//! Proves a backup by restoring it: in a container without network, on a volume
//! that is there for this alone.

use std::path::Path;
use std::time::SystemTime;

use anyhow::{Context as _, Error, Result};
use serde_json::Value;

use crate::facts::{BackupFacts, BackupKind};
use crate::file::Backup;
use crate::generations::{self, IDLE, ROOT, Sums, VolumeKeeper, judgement, run_in};
use crate::logical;
use crate::place;
use crate::rehearsal::{self, TrialOrder};
use crate::seal::{BootProof, ProofLevel, RestoreProof};
use crate::take::on_a_copy;
use container::boot::MOUNT;
use definition::identity::ImageId;
use engine::container::{Container, RunResources, Volume};
use failure::FailureKind;
use host::report::{Report, megabytes};
use inputs::clock;

/// Starts a server from the copy and looks at all of it.
const PROVE: &str = include_str!("inside/prove.py");

/// The log that recovery and `pg_amcheck --install-missing` write, temporary files.
pub(crate) const MORE_ROOM: u64 = 200_000_000;

/// The server's own files, beside those of the backup.
pub(crate) const MORE_FILES: u64 = 1000;

/// The copy lies where the image's own cluster would, so that its programs find
/// it.
pub(crate) const PGDATA: &str = "/var/lib/postgresql/data/pgdata";

/// Where another copy waits for the image to be started on it.
const KEPT: &str = "/var/lib/postgresql/data/.hive-kept";

/// Restores a backup with an image and writes into it what came of that; with `boot` the
/// image is started on a copy of it, too. All that is made for it is gone afterwards.
///
/// # Errors
/// A smoke failure where the backup is to blame, else what stopped it.
pub fn restore(
    resources: &RunResources,
    report: &Report,
    backup: &mut Backup,
    image_id: &ImageId,
    boot: Option<&TrialOrder<'_>>,
) -> Result<RestoreProof> {
    backup.check(&resources.runner, report)?;
    let copies = if boot.is_some() { 2 } else { 1 };
    let place = ProofPlace::make(resources, &backup.seal.backup, image_id, copies)?;
    let (engine, runner) = (&resources.engine, &resources.runner);
    let archive = (&*backup, backup.contents(runner, report)?);
    generations::unpack(
        engine,
        runner,
        archive,
        (&place.container, ROOT),
        place.folder(),
        Sums::Left,
    )?;
    let judged = place.judge(boot);
    let mut judged = judged.with_context(|| format!("restore {}", backup.path.display()))?;
    if let (ProofLevel::Restored(proof), ProofLevel::Restored(before), None) =
        (&mut judged.level, &backup.seal.proof, boot)
    {
        // Of the same bytes, by the digest that was compared above.
        proof.boot.clone_from(&before.boot);
    }
    record(report, backup, judged.level.clone())?;
    judged.proved(&backup.path)
}

/// Writes down how far it was proved. What lies on a read-only medium, or is somebody else's, is
/// proved all the same.
fn record(report: &Report, backup: &mut Backup, level: ProofLevel) -> Result<()> {
    match backup.prove(level) {
        Err(error) if place::takes_nothing(&error) => {
            let level = backup.seal.level();
            report.warn(format!(
                "it is {level}, and that is not on record: {error:#}; the next command proves it again"
            ));
            Ok(())
        }
        done => done,
    }
}

/// What came of a proof.
pub(crate) struct JudgedBackup {
    /// How far it was proved.
    pub(crate) level: ProofLevel,
    /// Why the image does not work on it, where it was started and does not.
    unfit: Option<Error>,
}

impl JudgedBackup {
    fn refused(why: String) -> Self {
        let at = clock::rfc3339(SystemTime::now());
        Self {
            level: ProofLevel::Refused { at, why },
            unfit: None,
        }
    }

    /// The proof, where it is as good as was wanted.
    ///
    /// # Errors
    /// A smoke failure where it is not.
    pub(crate) fn proved(self, path: &Path) -> Result<RestoreProof> {
        let path = path.display();
        let message = match (self.level, self.unfit) {
            (_, Some(error)) => {
                let message = format!("{path} is whole, and the image does not work on it");
                return Err(error.context(failure::smoke(message)));
            }
            (ProofLevel::Restored(proof), None) => return Ok(proof),
            (ProofLevel::Refused { why, .. }, None) => format!("{path} is no good backup: {why}"),
            (ProofLevel::Written, None) => format!("{path} is not proved"),
        };
        Err(failure::smoke(message).into())
    }
}

/// A container and a volume that are there for one backup alone.
pub(crate) struct ProofPlace {
    resources: RunResources,
    image_id: ImageId,
    kind: BackupKind,
    // It goes before its volume.
    pub(crate) container: Container,
    volume: Volume,
}

impl ProofPlace {
    /// With room for so many copies of what is unpacked there.
    pub(crate) fn make(
        resources: &RunResources,
        backup: &BackupFacts,
        image_id: &ImageId,
        copies: u64,
    ) -> Result<Self> {
        let name = format!("{}.proof-{}", backup.origin.image, std::process::id());
        let volume = resources.volume(&name)?;
        let kind = backup.origin.kind;
        let more = match kind {
            BackupKind::Physical => 0,
            BackupKind::Logical => logical::COPIES,
        };
        room(resources, &volume, &backup.times(copies + more))?;
        let mount = format!("{}:{MOUNT}", volume.name());
        // The proof looks at what moves in it, and that is the proof's alone.
        let options = [&IDLE[..], &["--volume", &mount]].concat();
        let container = resources.start(&name, image_id.as_str(), &options, &["infinity"])?;
        run_in(&container, &[], &["mkdir", "-m", "700", PGDATA])?;
        if kind == BackupKind::Logical {
            logical::prepare(&container)?;
        }
        Ok(Self {
            resources: resources.clone(),
            image_id: image_id.clone(),
            kind,
            container,
            volume,
        })
    }

    /// Where the backup is to be unpacked.
    pub(crate) fn folder(&self) -> &'static str {
        match self.kind {
            BackupKind::Physical => PGDATA,
            BackupKind::Logical => logical::UNPACKED,
        }
    }

    /// Looks at what was unpacked.
    pub(crate) fn judge(self, boot: Option<&TrialOrder<'_>>) -> Result<JudgedBackup> {
        // The files are those of the user that the container ran as; the manifest, by a
        // slip of pg_basebackup's, nobody's.
        let id = run_in(&self.container, &[], &["sh", "-c", "echo $(id -u):$(id -g)"])?;
        let loaded = match self.kind {
            BackupKind::Physical => Ok(None),
            BackupKind::Logical => logical::load(&self.container, &id)?.map(Some),
        };
        let loaded = match loaded {
            Ok(loaded) => loaded,
            Err(why) => return Ok(JudgedBackup::refused(why)),
        };
        run_in(&self.container, &["--user", ROOT], &["chown", "-R", &id, PGDATA])?;
        if boot.is_some() {
            // The proof changes what it looks at.
            run_in(
                &self.container,
                &[],
                &["cp", "-a", "--reflink=auto", PGDATA, KEPT],
            )?;
        }
        let (at, seen) = (clock::rfc3339(SystemTime::now()), look(&self.container)?);
        let mut proof = match seen {
            Ok(proof) => RestoreProof { at, loaded, ..proof },
            Err(why) => return Ok(JudgedBackup::refused(why)),
        };
        let unfit = match boot.map(|order| self.boot(order)) {
            None => None,
            Some(Ok(booted)) => {
                proof.boot = Some(booted);
                None
            }
            Some(Err(error)) if failure::kind(&error) == FailureKind::Smoke => Some(error),
            Some(Err(error)) => return Err(error),
        };
        Ok(JudgedBackup {
            level: ProofLevel::Restored(proof),
            unfit,
        })
    }

    /// Starts the image on the copy, as it would on the data of a service.
    fn boot(&self, order: &TrialOrder<'_>) -> Result<BootProof> {
        run_in(&self.container, &[], &["rm", "-rf", PGDATA])?;
        let name = format!("{}.boot-{}", order.handle.name, std::process::id());
        let volume = self.volume.name();
        let keeper = VolumeKeeper::start(&self.resources, &name, &self.image_id, volume)?;
        let filled = rehearsal::fill(&keeper, |folder| {
            let place = format!("{MOUNT}/generations/{folder}");
            keeper
                .runs(&["mv", "--no-target-directory", KEPT, &place])
                .map(drop)
        });
        filled?;
        drop(keeper);
        let (id, image) = (&order.handle.name, self.image_id.short());
        order
            .report
            .step("boot", format!("{id}: {image} on it, without network"));
        let (_container, ready) = order.run(&name, volume)?;
        Ok(BootProof {
            ready_ms: u64::try_from(ready.as_millis())?,
            checks: order.spec.checks.len(),
        })
    }
}

/// Looks at the copy in a container; what is wrong with it, where something is.
pub(crate) fn look(container: &Container) -> Result<std::result::Result<RestoreProof, String>> {
    match judgement(container, &on_a_copy(PROVE, &[]))? {
        Ok(said) => Ok(Ok(serde_json::from_str(&said).context("read what was proved")?)),
        Err(why) => Ok(Err(why)),
    }
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
    use crate::file::tests::written;
    use crate::seal::sample_proof;

    #[test]
    fn a_proof_that_can_be_written_nowhere_counts_all_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let mut backup = written(folder.path(), "a.tar.zst", b"whole");
        let report = Report::new(true, false);
        let restored = || ProofLevel::Restored(sample_proof());
        let path = std::mem::replace(&mut backup.path, "/sys/a.tar.zst".into());
        // There nobody makes a file, whoever that is; `encrypted` has its seal beside it.
        backup.seal.encrypted = Some(crate::seal::EncryptedFile {
            sha256: String::new(),
            size: 5,
        });
        record(&report, &mut backup, restored()).unwrap();
        assert!(backup.seal.is_restored());
        assert!(!Backup::open(&path).unwrap().seal.is_restored());
        // Any other trouble ends it.
        backup.path = folder.path().join("gone/a.tar.zst");
        backup.seal.encrypted = None;
        record(&report, &mut backup, restored()).unwrap_err();
    }

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
