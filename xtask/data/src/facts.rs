//! What a backup is of, as the cluster said it itself: `hive-backup.json` in it,
//! and in the seal at its end.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Result;
use definition::identity::ImageId;
use serde::{Deserialize, Serialize};

/// The number of the form of `hive-backup.json`, which is written into it.
pub(crate) const SCHEMA: u32 = 1;

/// How the data lie in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupKind {
    /// The files of the cluster, for the same major version of PostgreSQL.
    #[default]
    Physical,
    /// A dump of the app's database, which newer versions of PostgreSQL read, too.
    Logical,
}

impl BackupKind {
    /// The word for it in lists.
    pub fn word(self) -> &'static str {
        match self {
            Self::Physical => "physical",
            Self::Logical => "logical",
        }
    }
}

/// What is known outside, and given to the container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupOrigin {
    /// The form of the file.
    pub(crate) schema: u32,
    /// What is taken.
    #[serde(default)]
    pub kind: BackupKind,
    /// The name of the image whose service it was, such as `genie`.
    pub image: String,
    /// The ID of the image that its container was made of.
    pub image_id: ImageId,
    /// What that was built from.
    pub(crate) fingerprint: Option<String>,
    /// The app that it holds.
    pub(crate) app: Option<String>,
    /// When the backup began: all that was committed before is in it.
    pub began: String,
    /// The version of this tool.
    pub(crate) tool: String,
    /// The generation that it is of, where that was put aside and did not run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub generation: Option<String>,
}

/// All that is known of a backup without reading it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupFacts {
    /// What the tool knew without asking the cluster.
    #[serde(flatten)]
    pub origin: BackupOrigin,
    /// The server's version in full, as its `server_version` says it.
    pub postgres: String,
    /// Its major version, which a restore has to meet.
    pub major: u32,
    /// Which cluster it is: each volume's has its own.
    pub system_identifier: String,
    /// All of them by name, without PostgreSQL's templates. Of one that its owner has closed neither
    /// extensions nor collations are known.
    pub databases: Vec<BackupDatabase>,
    /// Of those that a seal has no room to name, where there are such.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub more_databases: Option<MoreDatabases>,
    /// What the cluster has and a restore of the backup does not give back, a line each.
    #[serde(default)]
    pub left_out: Vec<String>,
    /// The stretch of the archive that the cluster goes on in, where its log is archived.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) stretch: Option<String>,
    /// The app's secrets that are kept beside the cluster, and in no backup, by name.
    #[serde(default)]
    pub secrets: Vec<String>,
    /// The room that the cluster takes unpacked, before a restore adds the
    /// server's own files.
    pub bytes: u64,
    /// How many files and folders it has unpacked: some file systems run out of
    /// them first.
    pub files: u64,
}

/// Of a seal, in bytes: about half of it. A hundred databases take as much.
const ROOM_FOR_DATABASES: usize = 16_000;

/// Where a container keeps the app's secrets.
const SECRETS: &str = "/var/lib/postgresql/data/hive/secret.";

impl BackupFacts {
    /// What is not in the backup of a container, a line each.
    pub fn not_in_it(&self, container: &str) -> Vec<String> {
        let secret = |name: &String| {
            format!(
                "secret {name} is not in it, and what the app has encrypted by it cannot be read without: keep \
                 it elsewhere, too: docker exec {container} cat {SECRETS}{name}"
            )
        };
        let secrets = self.secrets.iter().map(secret);
        self.left_out.iter().cloned().chain(secrets).collect()
    }

    /// What the app of a service misses whose volume keeps these secrets, a line each.
    pub(crate) fn missing_secrets(&self, service: &str, kept: &[String]) -> Vec<String> {
        let missing = self.secrets.iter().filter(|name| !kept.contains(name));
        let told = |name: &String| {
            format!(
                "secret {name} of the app is not in the backup, and not on the volume: unless it is given, the app \
                 gets a new one at its start, and reads nothing that it has encrypted by the one before: \
                 cargo xtask up {service} --secret {name}=FILE"
            )
        };
        missing.map(told).collect()
    }

    /// The same with as many databases as a seal has room for, by their names.
    ///
    /// # Errors
    /// When a name cannot be written as JSON.
    pub(crate) fn bounded(mut self) -> Result<Self> {
        let mut room = ROOM_FOR_DATABASES;
        let mut more = MoreDatabases::default();
        for database in std::mem::take(&mut self.databases) {
            room = room.saturating_sub(serde_json::to_vec(&database)?.len());
            if room > 0 {
                self.databases.push(database);
            } else {
                more.count += 1;
                more.bytes += database.bytes;
                more.extensions.extend(database.extensions);
            }
        }
        self.more_databases = (more.count > 0).then_some(more);
        Ok(self)
    }

    /// The extensions that a server needs for all of its databases.
    pub(crate) fn extensions(&self) -> Vec<&str> {
        let more = self.more_databases.iter().map(|more| &more.extensions);
        let named = self.databases.iter().map(|database| &database.extensions);
        let all: BTreeSet<&str> = named
            .chain(more)
            .flat_map(BTreeMap::keys)
            .map(String::as_str)
            .collect();
        all.into_iter().collect()
    }

    /// The same with the room that so many copies take.
    pub(crate) fn times(&self, copies: u64) -> Self {
        Self {
            bytes: self.bytes * copies,
            files: self.files * copies,
            ..self.clone()
        }
    }
}

/// What is known of the databases that are not named one by one: each is in the backup's
/// `hive-backup.json`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MoreDatabases {
    /// How many there are.
    pub count: u64,
    /// What they took on the server's disk.
    pub bytes: u64,
    /// The extensions that were created in any of them, each with a version.
    pub extensions: BTreeMap<String, String>,
}

/// A database of a backup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupDatabase {
    /// The database's name, which may need quoting.
    pub name: String,
    /// What it took on the server's disk, as `pg_database_size` says.
    pub bytes: u64,
    /// The extensions that were created in it, each with its version.
    pub extensions: BTreeMap<String, String>,
    /// Who sorts its text: `b` builtin, `c` libc, `i` ICU.
    pub(crate) provider: String,
    /// Collations that its columns name, other than `default`, `C` and `POSIX`.
    pub(crate) collations: Vec<String>,
}

#[cfg(test)]
pub(crate) fn sample() -> BackupFacts {
    BackupFacts {
        origin: BackupOrigin {
            schema: SCHEMA,
            kind: BackupKind::Physical,
            image: "genie".to_owned(),
            image_id: format!("sha256:{}", "0a".repeat(32)).parse().unwrap(),
            fingerprint: None,
            app: Some("genie-api".to_owned()),
            began: "2026-11-21T03:15:00.000Z".to_owned(),
            tool: "0.1.0".to_owned(),
            generation: None,
        },
        postgres: "17.6".to_owned(),
        major: 17,
        system_identifier: "7575757575757575757".to_owned(),
        databases: vec![BackupDatabase {
            name: "genie".to_owned(),
            bytes: 8_000_000,
            extensions: BTreeMap::from([("vector".to_owned(), "0.8.0".to_owned())]),
            provider: "b".to_owned(),
            collations: Vec::new(),
        }],
        more_databases: None,
        left_out: Vec::new(),
        stretch: None,
        secrets: Vec::new(),
        bytes: 40_000_000,
        files: 1200,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_named_where_they_are_missing() {
        let mut facts = sample();
        facts.left_out = vec!["table a comes back empty".to_owned()];
        facts.secrets = vec!["FIELD_KEY".to_owned(), "SECRET_KEY".to_owned()];
        let told = facts.not_in_it("hive-genie");
        assert_eq!(told.len(), 3);
        assert_eq!(told[0], "table a comes back empty");
        assert!(
            told[1].starts_with("secret FIELD_KEY is not in it")
                && told[1]
                    .ends_with("docker exec hive-genie cat /var/lib/postgresql/data/hive/secret.FIELD_KEY"),
            "{told:?}"
        );
        let missing = facts.missing_secrets("shop", &["SECRET_KEY".to_owned()]);
        assert_eq!(missing.len(), 1);
        assert!(
            missing[0].starts_with("secret FIELD_KEY of the app is not in the backup")
                && missing[0].ends_with("cargo xtask up shop --secret FIELD_KEY=FILE"),
            "{missing:?}"
        );
        assert!(facts.missing_secrets("shop", &facts.secrets).is_empty());
    }
}
