//! What is in the way of a migration, and what it cannot take along.

use std::path::Path;

use serde::Deserialize;

use crate::foreign::ForeignCluster;
use crate::generations::VolumeFindings;
use crate::proof::{MORE_FILES, MORE_ROOM};
use host::report::{megabytes, some_of};
use service::findings::Obstacle;

/// The collations of a database in which text sorts by code point.
const BY_CODE_POINT: [&str; 5] = ["C", "POSIX", "C.UTF-8", "C.UTF8", "C.utf8"];

/// Of which no text is written otherwise here.
const SAME_AS_OURS: [&str; 2] = ["", "UTF8"];

/// More of a kind are no news.
const MOST: usize = 10;

/// What the server of the copy says.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct SourceFacts {
    postgres: String,
    pub(crate) major: u32,
    databases: Vec<SourceDatabase>,
    roles: Vec<SourceRole>,
    /// Settings whose values are no secrets, in small letters.
    shown: Vec<String>,
    /// Of roles and databases.
    settings: Vec<String>,
    /// Transactions that wait for their second half.
    prepared: Vec<PreparedTransaction>,
    subscriptions: Vec<String>,
    /// The database that is meant.
    pub(crate) chosen: Option<String>,
    /// Definitions that fail in a cluster of the image.
    failed: Vec<String>,
    /// What programs warn of that have dumped and made the definitions.
    warnings: Vec<String>,
}

/// One that is prepared, and holds what it has locked until somebody ends it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct PreparedTransaction {
    name: String,
    database: String,
}

/// A database of the source; one that takes no connections has only a name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct SourceDatabase {
    name: String,
    open: bool,
    collate: String,
    tables: u64,
    large_objects: u64,
    unlogged: Vec<String>,
    publications: Vec<String>,
    /// Roles that own something or may do something.
    rights: Vec<String>,
    extensions: Vec<SourceExtension>,
    /// Roles that policies name.
    roles: Vec<String>,
    /// Who has given security labels.
    labels: Vec<String>,
    /// Tables `WITH OIDS`.
    with_oids: Vec<String>,
    encoding: String,
    /// Tables of a database without an encoding that have bytes which are no UTF-8.
    no_utf8: Vec<String>,
    /// Whether it counts as one in which an image's initial SQL was run.
    ran: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct SourceExtension {
    name: String,
    version: String,
    /// Whether the programs that serve the copy have it.
    served: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct SourceRole {
    name: String,
    #[serde(rename = "super")]
    is_super: bool,
}

/// The version of a cluster.
///
/// # Errors
/// When it is none that can be moved to this one.
pub(crate) fn major(cluster: &ForeignCluster, ours: u32) -> Result<u32, Obstacle> {
    let text = &cluster.version;
    let Ok(major) = text.parse::<u32>() else {
        let message = format!("the source is of PostgreSQL {text:?}, and 10 is the oldest that can be moved");
        return Err(Obstacle::environment(message));
    };
    if major > ours {
        let message = format!(
            "the source is of PostgreSQL {major}, the image has {ours}: nobody promises that an older version reads it"
        );
        return Err(Obstacle::environment(message).hint(format!(
            "build the image on a base set with PostgreSQL {major}: cargo xtask base list"
        )));
    }
    Ok(major)
}

/// The server of this machine that works on a source in a folder of it; `is_postgres` tells it
/// from another program that has its number by now.
pub(crate) fn of_server(
    cluster: &ForeignCluster,
    folder: &Path,
    is_postgres: fn(u32) -> bool,
) -> Option<Obstacle> {
    let process = cluster.process.filter(|process| is_postgres(*process))?;
    let folder = folder.join(&cluster.folder);
    let message = format!("PostgreSQL (process {process}) works on {}", folder.display());
    let hint = "stop it first, such as by `systemctl stop postgresql`";
    Some(Obstacle::environment(message).hint(hint))
}

/// What the files of the source say is in the way; `is_own` tells that they are on the
/// service's own volume.
pub(crate) fn of_files(cluster: &ForeignCluster, is_own: bool) -> Vec<Obstacle> {
    let mut found = Vec::new();
    if is_own && cluster.folder == Path::new(".") {
        // What is made beside it would be made in it.
        let message = "the source lies at the top of the service's own volume, where nothing else fits";
        found.push(
            Obstacle::environment(message).hint("copy it into a volume of another name, and name that"),
        );
    }
    if !cluster.links.is_empty() {
        let message = format!(
            "part of the source lies elsewhere, behind links: {}",
            some(&cluster.links)
        );
        found.push(Obstacle::environment(message).hint(
            "move tablespaces back where the source runs (ALTER DATABASE … SET TABLESPACE pg_default), or copy \
             it with `cp --dereference` and name the copy",
        ));
    }
    if !cluster.signals.is_empty() {
        let message = format!(
            "the source is a standby, or is being restored: {}",
            some(&cluster.signals)
        );
        found.push(Obstacle::environment(message).hint("name its primary, or let it be promoted first"));
    }
    found
}

/// Whether a process of this machine is PostgreSQL's.
pub(crate) fn is_postgres(process: u32) -> bool {
    let name = fs_err::read_to_string(format!("/proc/{process}/comm"));
    name.is_ok_and(|name| matches!(name.trim(), "postgres" | "postmaster"))
}

/// What the disks say: the copy of the source, the dump, the new cluster, and a copy of
/// that for the proof.
pub(crate) fn of_room(
    cluster: &ForeignCluster,
    scratch: (u64, Option<u64>, u64),
    volume: &VolumeFindings,
) -> Option<Obstacle> {
    let (scratch_bytes, scratch_files, scratch_disk) = scratch;
    let is_one = scratch_disk == volume.disk;
    let times = if is_one { 3 } else { 2 };
    let (bytes, files) = (
        times * cluster.bytes + 2 * MORE_ROOM,
        times * cluster.files + MORE_FILES,
    );
    let mut wanting = Vec::new();
    if scratch_bytes < bytes {
        let (free, bytes) = (megabytes(scratch_bytes), megabytes(bytes));
        wanting.push(format!(
            "{free} free, {bytes} are needed for copies of the source"
        ));
    }
    if let Some(free) = scratch_files.filter(|free| *free < files) {
        wanting.push(format!("room for {free} more files, {files} are needed"));
    }
    let own = cluster.bytes + 2 * MORE_ROOM;
    if !is_one && volume.free_bytes < own {
        let (free, own) = (megabytes(volume.free_bytes), megabytes(own));
        wanting.push(format!("{free} free for the service's volume, which needs {own}"));
    }
    (!wanting.is_empty()).then(|| {
        let message = format!("the disk of the engine's volumes has {}", wanting.join("; "));
        Obstacle::environment(message).hint("make room there")
    })
}

impl SourceFacts {
    fn chosen(&self) -> Option<&SourceDatabase> {
        let name = self.chosen.as_ref()?;
        self.databases.iter().find(|one| one.name == *name)
    }

    /// Databases that are not the one that is meant, and have something in them.
    fn others(&self) -> Vec<String> {
        let is_other = |one: &&SourceDatabase| {
            Some(&one.name) != self.chosen.as_ref() && (!one.open || one.tables + one.large_objects > 0)
        };
        self.databases
            .iter()
            .filter(is_other)
            .map(|one| one.name.clone())
            .collect()
    }

    /// The extensions that the new database has to have.
    pub(crate) fn extensions(&self) -> Vec<&str> {
        let all = self.chosen().into_iter().flat_map(|one| &one.extensions);
        all.map(|one| one.name.as_str()).collect()
    }

    /// What the source is, in a line.
    pub(crate) fn told(&self) -> String {
        let Some(one) = self.chosen() else {
            return format!("PostgreSQL {}", self.postgres);
        };
        let extensions: Vec<String> = one
            .extensions
            .iter()
            .map(|extension| format!(", {} {}", extension.name, extension.version))
            .collect();
        format!(
            "PostgreSQL {}, database {}: {} tables{}",
            self.postgres,
            one.name,
            one.tables,
            extensions.concat()
        )
    }

    /// What is in the way. `seen` is what the image says of the extensions, `programs`
    /// how to get such that have more of them.
    pub(crate) fn in_the_way(
        &self,
        named: Option<&str>,
        seen: &VolumeFindings,
        programs: &str,
    ) -> Vec<Obstacle> {
        let mut found = Vec::new();
        if let Some(chosen) = self.chosen() {
            let is_missing = |one: &&SourceExtension| !one.served;
            let missing: Vec<String> = chosen
                .extensions
                .iter()
                .filter(is_missing)
                .map(|one| one.name.clone())
                .collect();
            if !missing.is_empty() {
                let message = format!(
                    "the programs that serve the copy of the source have no extension {}",
                    some(&missing)
                );
                found.push(Obstacle::environment(message).hint(programs));
            }
        } else {
            found.push(self.no_database(named));
        }
        if !seen.missing_extensions.is_empty() {
            let message = format!("the image has no extension {}", some(&seen.missing_extensions));
            found.push(
                Obstacle::environment(message)
                    .hint("add its package to the spec's `packages` and build the image"),
            );
        }
        // Those of another database stay behind with it.
        let is_of =
            |one: &&PreparedTransaction| self.chosen.as_ref().is_none_or(|name| *name == one.database);
        let prepared = self.prepared.iter().filter(is_of);
        let prepared: Vec<String> = prepared
            .map(|one| format!("{} (database {})", one.name, one.database))
            .collect();
        if !prepared.is_empty() {
            let message = format!(
                "transactions of the source are prepared, and their rows neither there nor gone: {}",
                some(&prepared)
            );
            found.push(
                Obstacle::environment(message).hint(
                    "where the source runs, end each of them: COMMIT PREPARED or ROLLBACK PREPARED '…'",
                ),
            );
        }
        if let Some(chosen) = self.chosen() {
            found.extend(chosen.in_the_way());
        }
        if !self.failed.is_empty() {
            let message = format!(
                "definitions of the source that the app's role cannot make in a database of this image: {}",
                self.failed.join("; ")
            );
            found.push(Obstacle::environment(message).hint(
                "where the source runs, change or drop these (DROP …, ALTER TABLE … ALTER COLUMN … COLLATE \"C\"); \
                 nothing was touched, and the rows were not tried yet",
            ));
        }
        found
    }

    fn no_database(&self, named: Option<&str>) -> Obstacle {
        let all: Vec<String> = self.databases.iter().map(|one| one.name.clone()).collect();
        let filled = self.others();
        match named {
            Some(named) => Obstacle::usage(format!(
                "--database: the source has no database {named} that can be read; it has {}",
                all.join(", ")
            )),
            None if filled.is_empty() => Obstacle::usage(format!(
                "no database of the source has a table: {}",
                all.join(", ")
            )),
            None => Obstacle::usage(format!(
                "several databases of the source have tables, and the app has one: {}",
                filled.join(", ")
            ))
            .hint(format!("say which one is the app's: --database {}", filled[0])),
        }
    }

    /// What stays behind, a line each.
    pub(crate) fn left_behind(
        &self,
        cluster: &ForeignCluster,
        app_role: &str,
        has_initial_sql: bool,
    ) -> Vec<String> {
        let mut lines = Vec::new();
        let mut tell = |what: &str, all: &[String]| {
            if !all.is_empty() {
                lines.push(format!("{what}: {}", some(all)));
            }
        };
        let Some(chosen) = self.chosen() else {
            return lines;
        };
        tell("databases", &self.others());
        let supers: Vec<String> = self
            .roles
            .iter()
            .filter(|role| role.is_super && chosen.rights.contains(&role.name))
            .map(|role| role.name.clone())
            .collect();
        tell("that these roles are superusers", &supers);
        let rights: Vec<String> = chosen
            .rights
            .iter()
            .filter(|role| role.as_str() != app_role)
            .cloned()
            .collect();
        tell(
            &format!("what these roles own and may do: all is owned by {}", app_role),
            &rights,
        );
        tell(
            "rights and passwords of these roles, which policies name",
            &chosen.roles,
        );
        tell("security labels of", &chosen.labels);
        tell("settings of roles and databases", &self.settings);
        let of_server: Vec<String> = cluster
            .settings
            .iter()
            .map(|(name, value)| {
                if self.shown.contains(name) {
                    format!("{name} = {value}")
                } else {
                    format!("{name} (its value is not shown)")
                }
            })
            .collect();
        tell(
            "settings of the server (the spec's `database.settings` has such)",
            &of_server,
        );
        tell("replication slots", &cluster.slots);
        tell("publications", &chosen.publications);
        tell("subscriptions", &self.subscriptions);
        tell(
            "secrets that the container kept beside the data",
            &cluster.secrets,
        );
        tell(
            "folders of the app's (`app.directories`), below",
            &cluster.directories,
        );
        if !cluster.shut_down {
            tell(
                "rows of unlogged tables, since the source was not shut down",
                &chosen.unlogged,
            );
        }
        if !BY_CODE_POINT.contains(&chosen.collate.as_str()) {
            lines.push(format!(
                "the order of text by {}: it sorts by code point from then on",
                chosen.collate
            ));
        }
        if chosen.ran && has_initial_sql {
            lines.push(
                "the image's `database.initial_sql` is not run: the database has had its own".to_owned(),
            );
        }
        if !SAME_AS_OURS.contains(&chosen.encoding.as_str()) {
            lines.push(format!(
                "the encoding {}: text is UTF-8 from then on",
                chosen.encoding
            ));
        }
        lines.extend(self.warnings.iter().take(MOST).cloned());
        lines
    }
}

impl SourceDatabase {
    /// What its rows say is in the way.
    fn in_the_way(&self) -> Vec<Obstacle> {
        let mut found = Vec::new();
        if !self.with_oids.is_empty() {
            let message = format!(
                "tables of the source are WITH OIDS, and that column would be lost: {}",
                some(&self.with_oids)
            );
            found.push(Obstacle::environment(message).hint(
                "where the source runs: ALTER TABLE … SET WITHOUT OIDS; if anything refers to it, before that: \
                 ALTER TABLE … ADD COLUMN id_of_row bigint; UPDATE … SET id_of_row = oid",
            ));
        }
        if !self.no_utf8.is_empty() {
            let message = format!(
                "the source has no encoding (SQL_ASCII), and these tables have bytes that are no UTF-8: {}",
                some(&self.no_utf8)
            );
            found.push(Obstacle::environment(message).hint(
                "where the source runs, of text that is LATIN1: UPDATE … SET c = \
                 convert_from(convert(convert_to(c, 'SQL_ASCII'), 'LATIN1', 'UTF8'), 'SQL_ASCII')",
            ));
        }
        found
    }
}

fn some(all: &[String]) -> String {
    some_of(all, MOST)
}

#[cfg(test)]
mod tests;
