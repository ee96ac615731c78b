//! Moves the database of a foreign cluster, of this version of PostgreSQL or an older one,
//! into a new generation of a service's volume.
//!
//! The source is mounted read-only and copied; programs of its version serve the copy. All
//! that this image's programs have read of it is compared with what they read of the new
//! database, which then goes through the proof of a backup. A migration that was killed is
//! ended by the next one: done, or as before.

mod findings;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Error, Result};
use serde::Deserialize;
use serde_json::json;

use crate::exchange::{self, MIGRATION};
use crate::foreign::{self, ForeignCluster, ForeignFindings, ForeignPlace, OldPrograms, SourceMount};
use crate::generations::{IDLE, ROOT, VolumeJournal, VolumeKeeper, run_in};
use crate::growth;
use crate::logical::{MIGRATE, WORK};
use crate::operation::{self, DataOperation, DataStep, DataWork, START};
use crate::proof;
use crate::restore::RestoreOrder;
use crate::seal::RestoreProof;
use crate::take::{PYTHON, on_a_copy_with_dumped};
use container::boot::MOUNT;
use definition::identity::ImageId;
use engine::Inventory;
use engine::container::{Container, Volume};
use failure::FailureKind;
use findings::SourceFacts;
use host::report::megabytes;
use inputs::clock;
use service::findings::{self as obstacles, Obstacle};

/// The steps, in their order.
pub const STEPS: [&str; 7] = ["dump", "load", "prove", "recheck", "stop", "exchange", START];

/// Looks at the source and copies it.
const FOREIGN: &str = include_str!("inside/foreign.py");

/// Starts a server from the copy.
const OLD_SERVER: &str = include_str!("inside/old_server.sh");

/// Gives user `$1` of group `$2` a name in a container that knows none: without one
/// `postgres --single` does not begin, and images of others have a user of their own alone.
const NAME_USER: &str = "while IFS=: read -r _ _ user _; do [ \"$user\" != \"$1\" ] || exit 0; done < /etc/passwd; \
    printf '\\nhive_migrate:x:%s:%s::/:/bin/sh\\n' \"$1\" \"$2\" >> /etc/passwd";

/// Where the scripts find the source.
const SOURCE: &str = "/hive-source";

/// The copy of the source there, and what is dumped of it.
const COPY: &str = "/hive-migrate/old";
const DUMP: &str = "/hive-migrate/dump";

/// Who migrates what.
#[derive(Clone, Copy)]
pub struct MigrateOrder<'a> {
    /// The service whose data it becomes.
    pub service: &'a RestoreOrder<'a>,
    /// All images there are: one of them may have programs of the source's version.
    pub inventory: &'a Inventory,
    /// A container, a volume or a folder.
    pub from: &'a str,
    /// The database that is meant, where there are several.
    pub database: Option<&'a str>,
}

/// What was found of a source in whose way nothing is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrationPlan {
    /// What it is, in a line.
    pub source: String,
    /// What stays behind, a line each.
    pub left_behind: Vec<String>,
}

/// What came of a migration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MigrateOutcome {
    /// Rows by table: as many as the source has, and the same.
    pub tables: BTreeMap<String, u64>,
    /// Objects whose definition PostgreSQL writes otherwise now.
    pub otherwise: Vec<String>,
    /// What the proof looked at.
    pub proof: RestoreProof,
    /// The digest of the source, before and after.
    pub digest: String,
    /// What ran before, where anything did.
    pub kept: Option<String>,
    /// How long the service was away, where it ran.
    pub away: Option<Duration>,
    /// Whether it runs now.
    pub runs: bool,
}

/// A migration in whose way nothing is.
struct PreparedMigration {
    // Containers go before their volume.
    keeper: VolumeKeeper,
    copier: Container,
    old: Container,
    scratch: Volume,
    role: String,
    cluster: ForeignCluster,
    digest: String,
    /// Whether the source is on the service's own volume.
    is_own: bool,
    plan: MigrationPlan,
    service_ran: bool,
}

/// What `dump` says.
#[derive(Debug, Deserialize)]
struct DumpedData {
    rows: u64,
    bytes: u64,
    warnings: Vec<String>,
}

/// What `load` says.
#[derive(Debug, Deserialize)]
struct LoadedData {
    tables: BTreeMap<String, u64>,
    otherwise: Vec<String>,
    warnings: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct TreeDigest {
    digest: String,
}

#[derive(Debug, Deserialize)]
struct ChangedFiles {
    changed: Vec<String>,
}

/// What is in the way of a migration and what would stay behind. A copy of the source is
/// looked at; nothing is kept of it, and the service and its volume are not touched.
///
/// # Errors
/// With all that is in the way.
pub fn plan(order: &MigrateOrder<'_>) -> Result<MigrationPlan> {
    Ok(prepare(order, true)?.plan)
}

/// Makes the data of a service those of a foreign cluster. What ran before is kept on the
/// volume; `told` is called with the plan before anything is touched. The caller holds the
/// service's lock.
///
/// # Errors
/// With all that is in the way, before anything is touched; a smoke failure where the new
/// database is not what the source has, or the app does not get healthy on it: then the
/// data and the container are as before.
pub fn migrate(order: &MigrateOrder<'_>, told: &dyn Fn(&MigrationPlan)) -> Result<MigrateOutcome> {
    let prepared = prepare(order, false)?;
    told(&prepared.plan);
    let now = clock::stamp(SystemTime::now());
    let id = format!("{now}-{}", &prepared.digest[..8]);
    let journal = VolumeJournal {
        file: order.from.to_owned(),
        ..VolumeJournal::begun(MIGRATION, &id, prepared.service_ran)
    };
    let mut migration = Migration {
        work: order.service.work(&prepared.keeper, journal),
        order,
        prepared: &prepared,
        loaded: None,
        proof: None,
    };
    operation::run(&mut migration)?;
    migration.outcome()
}

impl MigrateOrder<'_> {
    fn all(&self, found: Vec<Obstacle>) -> Error {
        operation::all(self.service.handle.name.as_str(), found)
    }

    fn helper(&self, what: &str) -> String {
        let name = &self.service.handle.name;
        format!("{name}.migrate-{what}-{}", std::process::id())
    }

    /// A container that waits to be asked, without network.
    fn container(&self, what: &str, image: &ImageId, more: &[&str]) -> Result<Container> {
        let options = [&IDLE[..], more].concat();
        self.service
            .resources
            .start(&self.helper(what), image.as_str(), &options, &["infinity"])
    }
}

/// A source as its files are, and what can serve a copy of it.
struct ReadableSource {
    keeper: VolumeKeeper,
    copier: Container,
    scratch: Volume,
    cluster: ForeignCluster,
    programs: OldPrograms,
    is_own: bool,
}

/// Looks at the files of the source and at the service.
fn look(order: &MigrateOrder<'_>, is_dry: bool) -> Result<ReadableSource> {
    let RestoreOrder { handle, report, .. } = *order.service;
    let name = &handle.name;
    let mut found = Vec::new();
    found.extend(obstacles::data_elsewhere(handle)?);
    found.extend(obstacles::users(handle, &name.volume())?);
    let place = ForeignPlace::find(handle, order.from)?;
    found.extend(in_use(order, &place)?);
    let scratch = order.service.resources.volume(&order.helper("scratch"))?;
    let work = format!("{}:{WORK}", scratch.name());
    let source = place.mount.option(SOURCE)?;
    // Files of any owner are read.
    let options = ["--user", ROOT, "--mount", &source, "--volume", &work];
    let copier = order.container("copy", order.service.image, &options)?;
    report.step("look", format!("{name}: at {}", order.from));
    let seen: ForeignFindings = of_source(&copier, &["find"])?;
    let mut cluster = place.choose(order.from, &seen.clusters)?.clone();
    let is_own = is_own(order, &place);
    if is_own {
        // They stay where they are, and go along.
        cluster.secrets.clear();
        cluster.directories.clear();
    }
    let volume = of_service(order, &scratch, is_dry)?;
    let helper = order.helper("keep");
    let more = ["--volume", &work];
    let keeper = VolumeKeeper::start_with(
        order.service.resources,
        &helper,
        order.service.image,
        &volume,
        &more,
    )?;
    let on_volume = if is_dry {
        keeper.look(&[])?
    } else {
        exchange::settled(&keeper, &[], false, |journal| {
            order.service.work(&keeper, journal)
        })?
    };
    let folder = place.mount.folder();
    found.extend(folder.and_then(|folder| findings::of_server(&cluster, folder, findings::is_postgres)));
    found.extend(findings::of_files(&cluster, is_own));
    let room = (seen.free_bytes, seen.free_files, seen.disk);
    found.extend(findings::of_room(&cluster, room, &on_volume));
    let programs = programs(order, &place, &cluster, on_volume.major, &mut found)?;
    if let Some(process) = cluster.process.filter(|_| !cluster.shut_down) {
        report.detail(format!(
            "it was not shut down: where a server (process {process}) still works on it, such as of another \
             engine, stop that first"
        ));
    }
    // What nobody can serve cannot be looked at any further.
    match programs.filter(|_| found.is_empty()) {
        Some(programs) => Ok(ReadableSource {
            keeper,
            copier,
            scratch,
            cluster,
            programs,
            is_own,
        }),
        None => Err(order.all(found)),
    }
}

/// Copies the source, and has a server of its version asked.
fn prepare(order: &MigrateOrder<'_>, is_dry: bool) -> Result<PreparedMigration> {
    let RestoreOrder { handle, report, .. } = *order.service;
    let name = &handle.name;
    let ReadableSource {
        keeper,
        copier,
        scratch,
        cluster,
        programs,
        is_own,
    } = look(order, is_dry)?;
    report.step(
        "copy",
        format!("{name}: {}, {}", order.from, megabytes(cluster.bytes)),
    );
    let folder = cluster.folder.to_string_lossy();
    let copy = || of_source(&copier, &["copy", &folder, keeper.owner()]);
    let copied: TreeDigest = growth::told(report, &copier, COPY, Some(cluster.bytes), copy)?;
    let work = format!("{}:{WORK}", scratch.name());
    let old = serve(order, &programs, &work, keeper.owner())?;
    let role = format!("hive_migrate_{}", std::process::id());
    let of_writer = |error| of_writer(order.from, &copier, &folder, error);
    start_old(&old, &programs, keeper.owner(), &role).map_err(of_writer)?;
    report.step("ask", format!("{name}: a server of its version, on the copy"));
    let facts = ask(order, &keeper, &role).map_err(of_writer)?;
    let on_volume = keeper.look(&facts.extensions())?;
    let wanted = foreign::wanted_programs(facts.major);
    let found = facts.in_the_way(order.database, &on_volume, &wanted);
    if !found.is_empty() {
        return Err(order.all(found));
    }
    Ok(PreparedMigration {
        plan: MigrationPlan {
            source: facts.told(),
            left_behind: facts.left_behind(
                &cluster,
                &order.service.spec.database.role,
                !order.service.spec.database.initial_sql.is_empty(),
            ),
        },
        keeper,
        copier,
        old,
        scratch,
        role,
        cluster,
        digest: copied.digest,
        is_own,
        service_ran: order.service.ran()?,
    })
}

/// Whoever uses the source writes to it. The service's own volume is a source, too, such
/// as of an older version of PostgreSQL, while no container of the service is there.
fn in_use(order: &MigrateOrder<'_>, place: &ForeignPlace) -> Result<Option<Obstacle>> {
    let name = &order.service.handle.name;
    if is_own(order, place) && order.service.handle.place()?.own().is_some() {
        let message = format!(
            "{} is what {name} itself has, and its container is there",
            order.from
        );
        return Ok(Some(Obstacle::usage(message).hint(format!(
            "to the released image and its version of PostgreSQL: cargo xtask down {name}; cargo xtask migrate \
             {name} --from {}",
            name.volume()
        ))));
    }
    let running = place.running.join(" ");
    Ok((!running.is_empty()).then(|| {
        Obstacle::environment(format!("container {running} uses the source"))
            .hint(format!("stop it first: docker stop {running}"))
    }))
}

fn is_own(order: &MigrateOrder<'_>, place: &ForeignPlace) -> bool {
    place.mount == SourceMount::Volume(order.service.handle.name.volume())
}

/// The volume that the new cluster goes to. Where there is none yet and nothing is to be
/// made, that of the copy says as much of the image and of the disk.
fn of_service(order: &MigrateOrder<'_>, scratch: &Volume, is_dry: bool) -> Result<String> {
    let (handle, volume) = (order.service.handle, order.service.handle.name.volume());
    if handle.engine.volume(&handle.runner, &volume)?.is_none() {
        if is_dry {
            return Ok(scratch.name().to_owned());
        }
        let labels = handle.name.volume_labels();
        handle.engine.create_volume(&handle.runner, &volume, &labels)?;
    }
    Ok(volume)
}

fn programs(
    order: &MigrateOrder<'_>,
    place: &ForeignPlace,
    cluster: &ForeignCluster,
    ours: u32,
    found: &mut Vec<Obstacle>,
) -> Result<Option<OldPrograms>> {
    let major = match findings::major(cluster, ours) {
        Ok(major) => major,
        Err(obstacle) => {
            found.push(obstacle);
            return Ok(None);
        }
    };
    let programs = foreign::programs(
        order.service.resources,
        order.inventory,
        order.service.image,
        place,
        major,
    )?;
    if programs.is_none() {
        let message =
            format!("nothing here has programs of PostgreSQL {major} to serve a copy of the source");
        found.push(Obstacle::environment(message).hint(foreign::wanted_programs(major)));
    }
    Ok(programs)
}

/// What the script that sees the source says.
fn of_source<T: serde::de::DeserializeOwned>(copier: &Container, args: &[&str]) -> Result<T> {
    let command = [&PYTHON[..], &[FOREIGN], args].concat();
    let said = run_in(copier, &[], &command).context("read the source")?;
    serde_json::from_str(&said).context("read what is said of the source")
}

/// The container in which the copy is served.
fn serve(order: &MigrateOrder<'_>, programs: &OldPrograms, work: &str, owner: &str) -> Result<Container> {
    let mut options = vec!["--user", owner, "--volume", work];
    if programs.of_machine {
        // All that they need: libraries, time zones, extensions.
        options.extend(["--mount", "type=bind,source=/usr,target=/usr,readonly"]);
    }
    order.container("old", &programs.image, &options)
}

fn start_old(old: &Container, programs: &OldPrograms, owner: &str, role: &str) -> Result<()> {
    let (user, group) = owner.split_once(':').unwrap_or((owner, owner));
    let named = ["sh", "-c", NAME_USER, "sh", user, group];
    run_in(old, &["--user", ROOT], &named).context("name the user of the server")?;
    let command = ["sh", "-c", OLD_SERVER, "sh", &programs.folder, role];
    run_in(old, &[], &command)
        .map(drop)
        .context("start a server from a copy of the source")
}

/// Why a copy cannot be read: somebody works on what was copied, where that has changed since.
fn of_writer(from: &str, copier: &Container, folder: &str, error: Error) -> Error {
    match of_source::<ChangedFiles>(copier, &["changed", folder]) {
        Ok(ChangedFiles { changed }) if !changed.is_empty() => {
            let message = format!(
                "somebody writes to {from}, and a copy of that is not whole: {}",
                changed.join(", ")
            );
            error.context(failure::environment(message).hint("stop whatever uses it, and migrate again"))
        }
        _ => error,
    }
}

fn ask(order: &MigrateOrder<'_>, keeper: &VolumeKeeper, role: &str) -> Result<SourceFacts> {
    let mut args = vec!["ask", role];
    args.extend(order.database);
    let said = keeper.runs(&on_a_copy_with_dumped(MIGRATE, &args));
    serde_json::from_str(&said.context("look at the copy of the source")?)
        .context("read what the source says of itself")
}

/// The steps of one migration.
struct Migration<'a> {
    order: &'a MigrateOrder<'a>,
    prepared: &'a PreparedMigration,
    work: DataWork<'a>,
    loaded: Option<LoadedData>,
    proof: Option<RestoreProof>,
}

impl<'a> DataOperation<'a> for Migration<'a> {
    fn steps(&self) -> Vec<DataStep<Self>> {
        let mut all = vec![
            DataStep::beside(STEPS[0], Self::dump),
            DataStep::beside(STEPS[1], Self::load),
            DataStep::beside(STEPS[2], Self::prove),
            DataStep::beside(STEPS[3], Self::recheck),
        ];
        all.extend(exchange::steps(&self.work));
        all
    }

    fn work(&self) -> &DataWork<'a> {
        &self.work
    }

    fn work_mut(&mut self) -> &mut DataWork<'a> {
        &mut self.work
    }

    fn stays(&self, step: &'static str, error: &Error) -> Option<&'static str> {
        let stays = step == START && failure::kind(error) == FailureKind::Interrupted;
        stays.then_some("the data are those of the source; it was not waited for the app")
    }

    fn failed(&self, step: &'static str, error: Error, undone: Result<()>) -> Error {
        let name = &self.work.handle.name;
        match (undone, step == START) {
            (Ok(()), false) => error.context(format!("{name}: nothing has changed, nor has the source")),
            (Ok(()), true) => {
                let message = format!(
                    "{name} does not work on what was migrated; the data are as before, and the new ones are kept as"
                );
                error.context(self.work.taken_back(FailureKind::Smoke, &message))
            }
            (Err(also), _) => error.context(format!("nor could the data before be brought back: {also:#}")),
        }
    }
}

/// All but the last three are done while the service works.
impl Migration<'_> {
    fn runs(&self, args: &[&str]) -> Result<String> {
        let keeper = &self.prepared.keeper;
        keeper.runs(&on_a_copy_with_dumped(MIGRATE, args))
    }

    /// The same with a word now and then of how a folder fills.
    fn told(&self, folder: &str, total: Option<u64>, args: &[&str]) -> Result<String> {
        let report = self.order.service.report;
        let container = self.prepared.keeper.container();
        growth::told(report, container, folder, total, || self.runs(args))
    }

    fn dump(&mut self) -> Result<()> {
        let folder = self.prepared.cluster.folder.to_string_lossy();
        let said = self.told(DUMP, None, &["dump", &self.prepared.role]);
        let said = said
            .context("dump the copy of the source")
            .map_err(|error| of_writer(self.order.from, &self.prepared.copier, &folder, error))?;
        let dumped: DumpedData = serde_json::from_str(&said).context("read what was dumped")?;
        let (rows, bytes) = (dumped.rows, megabytes(dumped.bytes));
        let report = self.order.service.report;
        report.detail(format!("{rows} rows, {bytes} as text"));
        dumped.warnings.iter().for_each(|warning| report.detail(warning));
        // It takes as much room as the new cluster will.
        self.prepared.old.remove()?;
        self.prepared.keeper.runs(&["rm", "-rf", COPY]).map(drop)
    }

    fn load(&mut self) -> Result<()> {
        self.work.settle()?;
        let id = &self.work.journal.id;
        let folder = format!("{MOUNT}/generations/new-{id}.part");
        let total = Some(self.prepared.cluster.bytes);
        let said = self.told(&folder, total, &["load", id]).map_err(|error| {
            let place = failure::smoke("the source cannot be brought into a database of this image");
            match failure::kind(&error) {
                FailureKind::Interrupted => error,
                _ => error.context(place),
            }
        })?;
        let loaded: LoadedData = serde_json::from_str(&said).context("read what was loaded")?;
        let report = self.order.service.report;
        loaded.warnings.iter().for_each(|warning| report.detail(warning));
        self.loaded = Some(loaded);
        if self.prepared.is_own {
            self.work.does("share_files")?;
        }
        let note = json!({ "migrated_from": self.order.from }).to_string();
        self.work.waits_for("ready", &[id, &note]).map(drop)
    }

    fn prove(&mut self) -> Result<()> {
        let mount = format!("{}:{MOUNT}", self.prepared.scratch.name());
        let options = ["--user", self.prepared.keeper.owner(), "--volume", &mount];
        let container = self
            .order
            .container("proof", self.order.service.image, &options)?;
        let proof = proof::look(&container)?
            .map_err(|why| failure::smoke(format!("the new database is not whole: {why}")))?;
        self.proof = Some(RestoreProof {
            at: clock::rfc3339(SystemTime::now()),
            ..proof
        });
        Ok(())
    }

    /// What somebody has written since would be lost.
    fn recheck(&mut self) -> Result<()> {
        let folder = self.prepared.cluster.folder.to_string_lossy();
        let now: TreeDigest = of_source(&self.prepared.copier, &["digest", &folder])?;
        if now.digest != self.prepared.digest {
            let message = format!(
                "{} has changed since it was copied: somebody writes to it",
                self.order.from
            );
            return Err(failure::environment(message)
                .hint("stop whatever uses it, and migrate again")
                .into());
        }
        Ok(())
    }

    fn outcome(self) -> Result<MigrateOutcome> {
        let away = self.work.away();
        self.work.finish()?;
        let kept = self.work.keeper.for_cleanup().look(&[])?.generations;
        let name = format!("before-{}", self.work.journal.id);
        let loaded = self.loaded.context("it was not loaded")?;
        Ok(MigrateOutcome {
            tables: loaded.tables,
            otherwise: loaded.otherwise,
            proof: self.proof.context("it was not proved")?,
            digest: self.prepared.digest.clone(),
            kept: kept.into_iter().find(|kept| *kept == name),
            away,
            runs: self.work.journal.service_ran,
        })
    }
}
