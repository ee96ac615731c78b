//! The seal at the end of a backup file: what it is, the digest of all before it,
//! and how far it was proved.
//!
//! It is a frame that zstd skips (RFC 8878, 3.1.2), so that `zstd -d` and
//! `tar --zstd` read the file as if it were not there. PostgreSQL's manifest covers
//! the files, and nothing between them; the seal covers each bit, and is read
//! without reading the rest. Its length is fixed: a later proof is written in the
//! place of the one before.

use anyhow::{Context as _, Result, bail};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::facts::BackupFacts;
use inputs::backup::{self, SEAL_MAGIC as MAGIC};
use inputs::hex;

/// Bytes of a skippable frame before its content: magic number and length, as zstd
/// wants them.
const HEADER: usize = 8;

/// A SHA-256 in digits, at the end of the frame and about all of it before.
const DIGEST: usize = 64;

/// Bytes of the whole frame, the same for all backups: it can be read from the
/// file's end and written anew in its place.
pub const SEAL_SIZE: usize = backup::SEAL_SIZE;

/// How far a backup was proved.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "level", rename_all = "snake_case")]
pub enum ProofLevel {
    /// Every program that wrote it ended well, and nobody has looked at it since.
    Written,
    /// A server came up from it, and its tables, indexes and sequences are whole.
    Restored(RestoreProof),
    /// It was tried, and no server came up or something in it is not whole.
    Refused {
        /// When it was tried, in RFC 3339 (UTC).
        at: String,
        /// What the proof said is wrong with it, up to 2000 characters of it.
        why: String,
    },
}

/// What was looked at when a backup was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreProof {
    /// When it was proved, in RFC 3339 (UTC); empty where its seal does not say.
    #[serde(default)]
    pub at: String,
    /// Databases whose tables and indexes were read.
    pub databases: u64,
    /// Sequences ahead of their columns.
    pub sequences: u64,
    /// Sequences behind their columns, as they were where the backup was taken, and which.
    #[serde(default)]
    pub behind: Vec<String>,
    /// Indexes that lead to as many rows as their tables have.
    #[serde(default)]
    pub indexes: u64,
    /// Indexes of other kinds that find some rows of all over their tables.
    #[serde(default)]
    pub sampled_indexes: u64,
    /// Vector indexes that were asked.
    pub vector_indexes: u64,
    /// Indexes that answer no general question.
    #[serde(default)]
    pub not_asked: Vec<String>,
    /// Files of the app's folders that were compared.
    #[serde(default)]
    pub app_files: u64,
    /// What a dump was compared with, where it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub loaded: Option<LoadedDump>,
    /// How long it took, without the unpacking.
    pub took_ms: u64,
    /// What the image did on a copy of it, where it was started there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<BootProof>,
}

impl RestoreProof {
    /// What somebody should know of a good backup, a line each.
    pub fn warnings(&self) -> Vec<String> {
        let told =
            |one: &String| format!("{one}, as where it comes from: a row with its next value may fail");
        self.behind.iter().map(told).collect()
    }
}

/// What a dump has, and what a second dump has of the database that was made of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoadedDump {
    /// Tables.
    pub tables: usize,
    /// Rows of all of them.
    pub rows: u64,
}

/// What was looked at when the image was started on what was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootProof {
    /// From its start until it was healthy.
    pub ready_ms: u64,
    /// Checks of the spec's own that were met.
    pub checks: usize,
}

/// What stands at the end of a backup file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seal {
    /// As `hive-backup.json` in the backup has it.
    pub backup: BackupFacts,
    /// Of all before the seal, in digits.
    pub sha256: String,
    /// How many bytes that is; the seal begins behind them.
    pub size: u64,
    /// When the last of it was written, by which time it was whole: as the log leads on
    /// from it, no moment before is reached. Unknown where its seal does not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<String>,
    /// How far it was proved.
    pub proof: ProofLevel,
    /// The file that the backup is encrypted in, where this lies beside that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub encrypted: Option<EncryptedFile>,
}

/// What is known of an encrypted backup file without its key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EncryptedFile {
    /// Of the whole file, in digits.
    pub sha256: String,
    /// How many bytes it has.
    pub size: u64,
}

impl Seal {
    /// The frame.
    ///
    /// # Errors
    /// When a cluster has so many databases that what is known of them does not fit.
    pub fn frame(&self) -> Result<Vec<u8>> {
        let room = SEAL_SIZE - HEADER - DIGEST;
        let mut text = serde_json::to_vec(self)?;
        if text.len() > room {
            bail!(
                "what is known of the backup takes {} bytes, and {room} are there",
                text.len()
            );
        }
        text.resize(room, b' ');
        let length = u32::try_from(SEAL_SIZE - HEADER)?;
        let mut frame = [MAGIC.to_le_bytes(), length.to_le_bytes()].concat();
        frame.extend(text);
        let digest = hex::digits(&Sha256::digest(&frame));
        frame.extend(digest.as_bytes());
        Ok(frame)
    }

    /// Reads a frame; an error for one with a single bit changed.
    ///
    /// # Errors
    /// When it is none, or not whole.
    pub fn of_frame(frame: &[u8]) -> Result<Self> {
        let whole = frame.len() == SEAL_SIZE && frame.starts_with(&MAGIC.to_le_bytes());
        let Some((said, digest)) = frame.split_at_checked(SEAL_SIZE - DIGEST).filter(|_| whole) else {
            bail!("it does not end in a seal: it was cut off, or is no backup of this tool");
        };
        if hex::digits(&Sha256::digest(said)).as_bytes() != digest {
            bail!("the seal at its end is damaged");
        }
        serde_json::from_slice(&said[HEADER..]).context("its seal is of another version of this tool")
    }

    /// The first moment that is reached with it and the log since then.
    pub fn first_moment(&self) -> &str {
        self.ended.as_ref().unwrap_or(&self.backup.origin.began)
    }

    /// How long the file is whose seal this is, without one at its end.
    pub fn file_size(&self) -> u64 {
        self.encrypted.as_ref().map_or(self.size, |file| file.size)
    }

    /// Whether it was proved by restoring it.
    pub fn is_restored(&self) -> bool {
        matches!(self.proof, ProofLevel::Restored(_))
    }

    /// The word for it in lists and in JSON: `booted`, `restored`, `written`, `refused`.
    pub fn level(&self) -> &'static str {
        match self.proof {
            ProofLevel::Written => "written",
            ProofLevel::Restored(RestoreProof { boot: Some(_), .. }) => "booted",
            ProofLevel::Restored(_) => "restored",
            ProofLevel::Refused { .. } => "refused",
        }
    }
}

#[cfg(test)]
pub(crate) fn sample_proof() -> RestoreProof {
    RestoreProof {
        at: "2026-11-21T03:16:00.000Z".to_owned(),
        databases: 2,
        sequences: 3,
        behind: vec!["public.late_id_seq is behind public.late.id (database genie)".to_owned()],
        indexes: 40,
        sampled_indexes: 2,
        vector_indexes: 1,
        not_asked: vec!["public.own_kind".to_owned()],
        app_files: 0,
        loaded: None,
        took_ms: 900,
        boot: None,
    }
}

#[cfg(test)]
pub(crate) fn sample(proof: ProofLevel) -> Seal {
    Seal {
        backup: crate::facts::sample(),
        sha256: "0".repeat(64),
        size: 0,
        ended: None,
        proof,
        encrypted: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seal_is_read_back() {
        let proof = sample_proof();
        let booted = RestoreProof {
            boot: Some(BootProof {
                ready_ms: 1200,
                checks: 3,
            }),
            ..proof.clone()
        };
        for proof in [
            ProofLevel::Written,
            ProofLevel::Restored(proof),
            ProofLevel::Restored(booted),
            ProofLevel::Refused {
                at: String::new(),
                why: "pg_amcheck: …".to_owned(),
            },
        ] {
            let mut seal = sample(proof);
            assert_eq!(seal.first_moment(), seal.backup.origin.began);
            seal.ended = Some("2026-11-21T03:17:00.000Z".to_owned());
            assert_eq!(seal.first_moment(), "2026-11-21T03:17:00.000Z");
            let frame = seal.frame().unwrap();
            assert_eq!(frame.len(), SEAL_SIZE);
            assert_eq!(Seal::of_frame(&frame).unwrap(), seal);
        }
    }

    #[test]
    fn zstd_skips_exactly_the_frame() {
        let frame = sample(ProofLevel::Written).frame().unwrap();
        assert_eq!(
            &frame[..3],
            [0x5b, 0x2a, 0x4d],
            "one of 184D2A50 to 184D2A5F, little-endian"
        );
        let length = u32::from_le_bytes(frame[4..8].try_into().unwrap());
        assert_eq!(length as usize, frame.len() - 8);
    }

    #[test]
    fn no_bit_of_a_seal_can_change_unseen() {
        let frame = sample(ProofLevel::Written).frame().unwrap();
        // Every bit of what says something, and some of the blanks.
        let places = (0..2000).chain((2000..SEAL_SIZE - 80).step_by(911));
        for place in places.chain(SEAL_SIZE - 80..SEAL_SIZE) {
            let mut damaged = frame.clone();
            damaged[place] ^= 1 << (place % 8);
            assert!(Seal::of_frame(&damaged).is_err(), "byte {place}");
        }
        for length in [0, 7, 8, SEAL_SIZE - 1] {
            assert!(Seal::of_frame(&frame[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn any_number_of_databases_fits() {
        let mut seal = sample(ProofLevel::Written);
        let one = seal.backup.databases[0].clone();
        seal.backup.databases = vec![one; 5000];
        let last = &mut seal.backup.databases[4999].extensions;
        last.insert("postgis".to_owned(), "3.5".to_owned());
        seal.backup = seal.backup.bounded().unwrap();
        let read = Seal::of_frame(&seal.frame().unwrap()).unwrap().backup;
        let (named, more) = (read.databases.len() as u64, read.more_databases.clone().unwrap());
        assert!(named > 100, "{named}");
        assert_eq!((named + more.count, more.bytes), (5000, more.count * 8_000_000));
        assert_eq!(read.extensions(), ["postgis", "vector"]);
        let few = sample(ProofLevel::Written).backup;
        assert_eq!(few.clone().bounded().unwrap(), few);
    }

    #[test]
    fn what_does_not_fit_is_said() {
        let mut seal = sample(ProofLevel::Written);
        let one = seal.backup.databases[0].clone();
        seal.backup.databases = vec![one; 500];
        assert!(
            seal.frame()
                .unwrap_err()
                .to_string()
                .contains("and 32696 are there")
        );
    }
}
