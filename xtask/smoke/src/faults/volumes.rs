//! Volumes that have to work: shared by mistake, copied, restored, or of the
//! image before.

use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::crash::in_words;
use super::disk::sound;
use crate::fixture::Fixture;
use crate::proof::image_before;
use container::boot::{Instance, MOUNT};
use container::finding::{Observation, flaw, seen};
use container::http::one_line;
use engine::container::Volume;

/// The time that `docker stop` gives a container.
const GRACE: Duration = Duration::from_secs(20);
/// As root beside a volume.
const ROOT: &str = "--user=0:0";
/// How many rows [`fill`] makes, and which is nearest to the last one's vector.
const ROWS: &str = "1000|1000";

/// Rows with vectors and an index over them; and a function, among which no
/// script of an extension may run.
fn fill(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    fixture.sql(
        instance,
        "CREATE TABLE smoke_rows AS SELECT n, ARRAY[n, n % 7, 1]::vector(3) AS v \
             FROM generate_series(1, 1000) n; \
         CREATE INDEX smoke_rows_v ON smoke_rows USING hnsw (v vector_l2_ops); \
         CREATE INDEX smoke_rows_n ON smoke_rows (n); \
         CREATE FUNCTION smoke_function(vector) RETURNS int LANGUAGE sql AS 'SELECT 1'",
    )?;
    Ok(())
}

/// The rows of [`fill`] are there, by table and by index.
fn rows_are_there(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    let rows = fixture.sql(
        instance,
        "SELECT (SELECT count(*) FROM smoke_rows), \
             (SELECT n FROM smoke_rows ORDER BY v <-> '[1000,6,1]' LIMIT 1)",
    )?;
    if rows.trim() != ROWS {
        bail!(flaw(format!("rows and nearest are {rows:?} in place of {ROWS}")));
    }
    Ok(())
}

/// A second container on a volume in use ends at once and harms nothing; after
/// the first was killed the volume is free.
pub(crate) fn in_use(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let first = fixture.boot(&volume, &["--hostname=first-one"])?;
    fill(fixture, &first)?;
    let mount = format!("--volume={}:{MOUNT}", volume.name());
    let refused = fixture.refused(&[&mount]);
    let second = refused.map_err(|error| in_words(error, "a second container"))?;
    let says = "another container (hostname first-one) is using the volume";
    if second.code != 78 || !second.log.contains(says) {
        bail!(flaw(format!(
            "a second container: exit code {}, said {}",
            second.code,
            one_line(&second.log)
        )));
    }
    rows_are_there(fixture, &first)?;
    fixture.sql(&first, "INSERT INTO smoke_rows VALUES (1001, '[0,0,0]')")?;
    first.container.kill("KILL")?;
    let next = fixture.boot(&volume, &[])?;
    let rows = fixture.sql(&next, "DELETE FROM smoke_rows WHERE n > 1000 RETURNING n")?;
    if rows.trim() != "1001" {
        bail!(flaw(format!(
            "the row that was committed before the kill is {rows:?}"
        )));
    }
    rows_are_there(fixture, &next)?;
    next.container.stop(GRACE)?;
    sound(fixture, &volume)?;
    Ok(seen(format!(
        "the second one ended with 78 after {:.1} s, the first went on; killed, it left the volume \
         free, and all checksums are right",
        second.took.as_secs_f64()
    ))?)
}

/// What a fresh disk or an orchestrator leaves on a volume is no reason to
/// refuse it; modes that are too wide are taken back.
pub(crate) fn harmless(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    fixture.must_beside(
        &volume,
        &[ROOT],
        &format!(
            "cd {MOUNT}; mkdir -m 700 lost+found; mkdir -m 2777 pgdata; chown 1000 pgdata; touch .gitkeep"
        ),
    )?;
    let first = fixture.boot(&volume, &[])?;
    fill(fixture, &first)?;
    first.container.stop(GRACE)?;
    // Kubernetes' fsGroup, then a user who helped himself.
    for modes in [
        "chgrp -R 2000 pgdata hive; chmod -R g+rwX,g+s pgdata hive",
        "chmod -R 777 .",
    ] {
        fixture.must_beside(&volume, &[ROOT], &format!("cd {MOUNT}; {modes}"))?;
        let instance = fixture.boot(&volume, &[])?;
        rows_are_there(fixture, &instance)?;
        fixture.superuser_sql(&instance, "CHECKPOINT")?;
        let modes = fixture.must(
            &instance,
            &format!("cd {MOUNT}; stat -c %a pgdata hive hive/superuser.pgpass hive/database-password"),
        )?;
        let open = modes
            .split_whitespace()
            .find(|mode| !mode.ends_with("00"))
            .map(str::to_owned);
        if let Some(open) = open {
            bail!(flaw(format!("after a start the volume still has mode {open}")));
        }
        instance.container.stop(GRACE)?;
    }
    Ok(seen(
        "lost+found, .gitkeep, an empty pgdata, modes of fsGroup and 777: healthy each time, the \
         rows are there, nobody else can read the passwords",
    )?)
}

/// A dump of the whole database, as users take it, makes the database again where
/// there is nothing of it: with its extensions.
fn dump_restores(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    fixture.template_sql(instance, "CREATE DATABASE smoke_plain TEMPLATE template0")?;
    let restored = fixture.must(
        instance,
        "pg_dump >/tmp/smoke.sql; unset PGHOST PGPORT PGUSER PGPASSFILE PGDATABASE\n\
         psql='psql -XAtq -v ON_ERROR_STOP=1 --dbname=smoke_plain'; export PGSERVICE=superuser\n\
         $psql -f /tmp/smoke.sql >/dev/null && \
         $psql -c 'SELECT count(*), (SELECT extname FROM pg_extension WHERE extname = $$vector$$) \
             FROM public.smoke_rows'",
    )?;
    if restored.trim() != "1000|vector" {
        bail!(flaw(format!("a dump restored elsewhere has {restored:?}")));
    }
    fixture.template_sql(instance, "DROP DATABASE smoke_plain")?;
    Ok(())
}

/// A copy of the volume of a stopped container, without the passwords, and a
/// dump: both bring back the rows.
pub(crate) fn restored(fixture: &Fixture<'_>) -> Result<Observation> {
    let (origin, copy, fresh) = (fixture.volume()?, fixture.volume()?, fixture.volume()?);
    let first = fixture.boot(&origin, &[])?;
    fill(fixture, &first)?;
    dump_restores(fixture, &first).map_err(|error| in_words(error, "pg_dump"))?;
    let dump = fixture.must(&first, "pg_dump --no-comments --table='smoke_rows*'")?;
    first.container.stop(GRACE)?;
    let from = format!("--volume={}:/origin:ro", origin.name());
    fixture.must_beside(
        &copy,
        &[ROOT, &from],
        &format!("set -e; cd /origin; tar -c --numeric-owner pgdata | tar -x --numeric-owner -C {MOUNT}"),
    )?;
    // The superuser gets a new password then: a kill must not leave a file that is ahead of it.
    let instance = fixture.start_until(&copy, "[ -e hive/superuser.pgpass ]")?;
    instance.container.kill("KILL")?;
    fixture.remove(&instance)?;
    let instance = fixture.boot(&copy, &[])?;
    rows_are_there(fixture, &instance)?;
    let superuser = fixture.superuser_sql(&instance, "SELECT current_user")?;
    if superuser.trim() != "postgres" {
        bail!(flaw(format!("the superuser is {superuser:?}")));
    }
    instance.container.stop(GRACE)?;
    sound(fixture, &copy)?;
    let kept = |volume| {
        fixture.must_beside(
            volume,
            &[],
            &format!("sha256sum <{MOUNT}/hive/superuser-password"),
        )
    };
    if kept(&origin)? == kept(&copy)? {
        bail!(flaw("the copy has the passwords that were not copied"));
    }
    other_passwords(fixture, &copy, &from)?;
    let instance = fixture.boot(&fresh, &[])?;
    let output =
        instance
            .container
            .exec(GRACE, &[], &["psql", "-Xq", "-v", "ON_ERROR_STOP=1"], Some(&dump))?;
    if !output.success() {
        bail!(flaw(format!(
            "restore of a dump: {}",
            one_line(&output.stderr_text())
        )));
    }
    rows_are_there(fixture, &instance)?;
    Ok(seen(
        "a copy of pgdata alone boots with its rows and new passwords, checksums right, also when the \
         first start was killed; with another volume's password file it says which to remove; a dump \
         restored as the app's role brings the rows into a new volume",
    )?)
}

/// A cluster beside the password file of another one, as when `pgdata` alone is
/// put into a volume that was in use: told, and what it says helps.
fn other_passwords(fixture: &Fixture<'_>, volume: &Volume, from: &str) -> Result<()> {
    let theirs = format!("cp -p /origin/hive/superuser.pgpass {MOUNT}/hive/");
    fixture.must_beside(volume, &[ROOT, from], &theirs)?;
    let file = format!("{MOUNT}/hive/superuser.pgpass");
    let refusal = fixture.refused(&[&format!("--volume={}:{MOUNT}", volume.name())])?;
    let last = refusal.said().last().copied().unwrap_or_default().to_owned();
    if refusal.code != 78 || !last.contains(&format!("is {file} of another cluster?")) {
        bail!(flaw(format!(
            "with the password file of another cluster: exit code {}, said {last:?}",
            refusal.code
        )));
    }
    fixture.must_beside(volume, &[], &format!("rm {file}"))?;
    let instance = fixture.boot(volume, &[])?;
    rows_are_there(fixture, &instance)?;
    instance.container.stop(GRACE)?;
    Ok(())
}

/// A copy that lacks the file of one table is found when the server runs.
pub(crate) fn lost_table(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    fill(fixture, &instance)?;
    let file = fixture.sql(&instance, "SELECT pg_relation_filepath('smoke_rows_n')")?;
    instance.container.stop(GRACE)?;
    fixture.must_beside(&volume, &[], &format!("rm {MOUNT}/pgdata/{}", file.trim()))?;
    let mount = format!("--volume={}:{MOUNT}", volume.name());
    let refusal = fixture.refused(&[&mount])?;
    let last = refusal.said().last().copied().unwrap_or_default().to_owned();
    if refusal.code != 78 || !last.contains("the cluster is not whole: no file of public.smoke_rows_n") {
        bail!(flaw(format!(
            "without the file of an index: exit code {}, said {last:?}",
            refusal.code
        )));
    }
    if fixture.cluster_state(&volume)? != "shut down" {
        bail!(flaw("the cluster was not shut down cleanly"));
    }
    Ok(seen(
        "without the file of one index the container ends with 78, names it, and shuts down cleanly",
    )?)
}

/// An order of text that another ICU made: told with the commands, and told no
/// more when they were run.
pub(crate) fn collations(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    fixture.sql(
        &instance,
        "CREATE TABLE smoke_text (t text COLLATE \"und-x-icu\"); \
         CREATE INDEX smoke_text_t ON smoke_text (t); \
         INSERT INTO smoke_text SELECT 'é' || n FROM generate_series(1, 100) n",
    )?;
    // As a volume looks that an image with another ICU wrote, and a database too.
    fixture.superuser_sql(
        &instance,
        "UPDATE pg_collation SET collversion = '0' WHERE collname = 'und-x-icu'; \
         UPDATE pg_database SET datcollversion = '0' WHERE datname = current_database()",
    )?;
    instance.container.stop(GRACE)?;
    let instance = fixture.boot(&volume, &[])?;
    let log = fixture.log(&instance)?;
    let told: Vec<&str> = log
        .lines()
        .filter(|line| line.contains("text sorts otherwise"))
        .filter_map(|line| line.split_once("as the superuser: "))
        .map(|(_, command)| command)
        .collect();
    if !told
        .iter()
        .any(|command| command.contains("REINDEX INDEX public.smoke_text_t;"))
    {
        bail!(flaw(format!("nothing of the index in the log: {told:?}")));
    }
    for commands in &told {
        // REINDEX DATABASE runs in no transaction.
        for command in commands.split_inclusive(';') {
            fixture.superuser_sql(&instance, command)?;
        }
    }
    instance.container.stop(GRACE)?;
    let instance = fixture.boot(&volume, &[])?;
    let still = fixture.log(&instance)?.matches("text sorts otherwise").count();
    if still > 0 {
        bail!(flaw(format!("after the commands it is still told {still} times")));
    }
    Ok(seen(format!(
        "an index and a database of other versions: healthy, told with {} commands, and no more \
         after them",
        told.len()
    ))?)
}

/// The extensions of a database, with their versions.
const EXTENSIONS: &str =
    "SELECT string_agg(extname || ' ' || extversion, ', ' ORDER BY extname) FROM pg_extension";
/// Those that another version was made with than the image has.
const BEHIND: &str = "SELECT name, installed_version, default_version FROM pg_available_extensions \
     WHERE installed_version <> default_version";

/// The image that was promoted before, then this one, on one volume.
pub(crate) fn upgrade(fixture: &Fixture<'_>) -> Result<Observation> {
    let previous = image_before(fixture.resources(), fixture.spec(), fixture.image_id())?;
    let before = previous.as_ref().unwrap_or(fixture.image_id());
    let volume = fixture.volume()?;
    let old = fixture.start_image(before, &volume)?;
    fixture.until_ready(&old).context("the image before")?;
    fill(fixture, &old)?;
    let major = "cat /usr/share/hive/cluster/PG_VERSION";
    let theirs = fixture.must(&old, major)?;
    let were = fixture.sql(&old, EXTENSIONS)?;
    old.container.stop(GRACE)?;
    if fixture.must_beside(&volume, &[], major)? != theirs {
        return other_major(fixture, &volume, theirs.trim());
    }
    let new = fixture.boot(&volume, &[])?;
    rows_are_there(fixture, &new)?;
    for (database, behind) in [
        ("the app's database", fixture.superuser_sql(&new, BEHIND)?),
        ("template1", fixture.template_sql(&new, BEHIND)?),
    ] {
        if !behind.trim().is_empty() {
            bail!(flaw(format!(
                "extensions of {database} are behind: {}",
                one_line(&behind)
            )));
        }
    }
    let are = fixture.sql(&new, EXTENSIONS)?;
    dump_restores(fixture, &new).map_err(|error| in_words(error, "pg_dump after the upgrade"))?;
    whole_catalogs(fixture, &new)?;
    new.container.stop(GRACE)?;
    sound(fixture, &volume)?;
    Ok(seen(match previous {
        Some(id) => format!(
            "on a volume of {id} with {}: healthy, the rows are there, it has {}",
            were.trim(),
            are.trim()
        ),
        None => "no earlier image is in this engine: a volume of this very image, with its rows".to_owned(),
    })?)
}

/// What refers to extensions leads somewhere, and the indexes of all catalogs are
/// right: their rows may have been given other numbers.
fn whole_catalogs(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    for (database, lost) in [
        (
            "the app's database",
            fixture.superuser_sql(instance, LOST_EXTENSIONS)?,
        ),
        ("template1", fixture.template_sql(instance, LOST_EXTENSIONS)?),
    ] {
        if !lost.trim().is_empty() {
            bail!(flaw(format!("{database}: {}", one_line(&lost))));
        }
    }
    let check = "database=$PGDATABASE; unset PGHOST PGPORT PGUSER PGPASSFILE PGDATABASE\n\
         PGSERVICE=superuser pg_amcheck --install-missing --heapallindexed --parent-check \
         --database template1 --database \"$database\"";
    fixture.must(instance, check).map(drop)
}

/// Extensions that `pg_dump` takes for a part of every cluster, and rows about
/// extensions that are not there.
const LOST_EXTENSIONS: &str = "SELECT 'pg_dump leaves out ' || extname FROM pg_extension \
     WHERE oid < 16384 AND extname <> 'plpgsql' UNION ALL \
     SELECT 'no extension ' || refobjid || ' of ' || pg_describe_object(classid, objid, objsubid) FROM pg_depend \
     WHERE refclassid = 'pg_extension'::regclass AND refobjid NOT IN (SELECT oid FROM pg_extension) UNION ALL \
     SELECT 'no extension ' || objid FROM pg_depend \
     WHERE classid = 'pg_extension'::regclass AND objid NOT IN (SELECT oid FROM pg_extension)";

/// A base of another major version is no upgrade in place: that is told.
fn other_major(fixture: &Fixture<'_>, volume: &Volume, theirs: &str) -> Result<Observation> {
    let mount = format!("--volume={}:{MOUNT}", volume.name());
    let refusal = fixture.refused(&[&mount])?;
    let says = format!("the volume's cluster is of PostgreSQL {theirs}, this image has ");
    if refusal.code != 78 || !refusal.log.contains(&says) {
        bail!(flaw(format!(
            "on a volume of PostgreSQL {theirs}: exit code {}, said {}",
            refusal.code,
            one_line(&refusal.log)
        )));
    }
    Ok(seen(format!(
        "the image before has PostgreSQL {theirs}: its volume is refused, with what to do"
    ))?)
}
