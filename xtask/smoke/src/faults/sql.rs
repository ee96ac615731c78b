//! An app that is not itself any more: what its role can do by SQL, and what an
//! admin can. The superuser's own statements at the next start must not be led
//! astray by it, and the container must start.

use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::crash::in_words;
use crate::fixture::Fixture;
use container::boot::Instance;
use container::finding::{Observation, flaw, seen};
use container::http::one_line;
use host::process::quote;

/// The time that `docker stop` gives a container.
const GRACE: Duration = Duration::from_secs(20);
/// PostgreSQL that cannot start: three tries, 1, 2 and 3 s apart.
const FATAL: Duration = Duration::from_secs(40);

/// A schema with a double of everything in `pg_catalog` that can have one, and
/// this schema before `pg_catalog` in the database's search path. A double that
/// the superuser calls makes the app's role a superuser, and says so in a table.
///
/// The app's own role keeps its search path. The last ones are in `public`, where
/// they fit better than PostgreSQL's own, whatever the search path.
const DOUBLES: &str = r#"
CREATE SCHEMA smoke_doubles;
CREATE TABLE public.smoke_sprung (what text);
SELECT format($f$
    CREATE FUNCTION smoke_doubles.spring(what text) RETURNS boolean LANGUAGE plpgsql AS $$
    BEGIN
        IF pg_catalog.current_setting('is_superuser') OPERATOR(pg_catalog.=) 'on' THEN
            INSERT INTO public.smoke_sprung VALUES (what);
            EXECUTE %L;
        END IF;
        RETURN true;
    EXCEPTION WHEN others THEN RETURN true;
    END $$
$f$, format('ALTER ROLE %I SUPERUSER', current_user)) \gexec
DO $do$
DECLARE
    one record;
    made int := 0;
BEGIN
    FOR one IN SELECT proname AS name, oidvectortypes(proargtypes) AS types,
            format_type(prorettype, NULL) AS result,
            (SELECT string_agg('$' || n, ', ' ORDER BY n) FROM generate_series(1, pronargs) n) AS given
        FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND prokind = 'f'
    LOOP
        BEGIN
            EXECUTE format('CREATE FUNCTION smoke_doubles.%I(%s) RETURNS %s LANGUAGE plpgsql AS %L',
                one.name, one.types, one.result, format(
                    'BEGIN PERFORM smoke_doubles.spring(%L); RETURN pg_catalog.%I(%s); END',
                    one.name, one.name, one.given));
            made := made + 1;
        EXCEPTION WHEN others THEN NULL;
        END;
    END LOOP;
    FOR one IN SELECT oprname AS name, proname AS function, oprleft, oprright,
            format_type(oprright, NULL) AS right_type, format_type(oprleft, NULL) AS left_type
        FROM pg_operator o JOIN pg_proc p ON p.oid = oprcode WHERE oprleft <> 0
    LOOP
        BEGIN
            EXECUTE format('CREATE OPERATOR smoke_doubles.%s (LEFTARG = %s, RIGHTARG = %s, '
                'FUNCTION = smoke_doubles.%I)', one.name, one.left_type, one.right_type, one.function);
            made := made + 1;
        EXCEPTION WHEN others THEN NULL;
        END;
    END LOOP;
    FOR one IN SELECT relname AS name FROM pg_class
        WHERE relnamespace = 'pg_catalog'::regnamespace AND relkind IN ('r', 'v')
    LOOP
        BEGIN
            EXECUTE format('CREATE VIEW smoke_doubles.%I AS SELECT * FROM pg_catalog.%I '
                'WHERE smoke_doubles.spring(%L)', one.name, one.name, one.name);
            made := made + 1;
        EXCEPTION WHEN others THEN NULL;
        END;
    END LOOP;
    RAISE NOTICE '% doubles', made;
    EXECUTE format('ALTER ROLE %I IN DATABASE %I SET search_path = %s',
        current_user, current_database(), current_setting('search_path'));
    EXECUTE format('ALTER DATABASE %I SET search_path = smoke_doubles, pg_catalog, public',
        current_database());
END $do$;
CREATE FUNCTION public.pg_relation_filepath(oid) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM smoke_doubles.spring('public'); RETURN pg_catalog.pg_relation_filepath($1::regclass); END $$;
CREATE FUNCTION public.format(text, name) RETURNS text LANGUAGE plpgsql AS $$
BEGIN PERFORM smoke_doubles.spring('public'); RETURN pg_catalog.format($1, $2::text); END $$;
SELECT count(*) FROM pg_proc WHERE pronamespace = 'smoke_doubles'::regnamespace;
"#;

/// Fewer functions with a double than this would be no trap.
const DOUBLES_AT_LEAST: u32 = 1000;

/// What the owner of a database can do so that sessions in it, the superuser's
/// among them, do not work or do not begin. Where the app would not work either,
/// its own role has the setting as it was.
const CLOSED: &str = r#"
CREATE COLLATION public.smoke_moved (provider = icu, locale = 'und', version = '0');
CREATE TABLE public.smoke_moved (t text COLLATE public.smoke_moved);
-- Told at each start: a name that looks like an answer, or like the container's own line.
CREATE INDEX "x
[""lost"", ""everything""]
lost|everything
hive: cannot start: x" ON public.smoke_moved (t);
\set ON_ERROR_STOP 0
-- Where the spec has initial SQL, this schema is the superuser's.
CREATE SCHEMA hive_image;
CREATE TABLE hive_image.initial_sql (run_at int);
\set ON_ERROR_STOP 1
\connect postgres
ALTER DATABASE :"db" SET default_transaction_read_only = on;
ALTER ROLE :"role" IN DATABASE :"db" SET default_transaction_read_only = off;
ALTER DATABASE :"db" SET standard_conforming_strings = off;
ALTER ROLE :"role" IN DATABASE :"db" SET standard_conforming_strings = on;
ALTER DATABASE :"db" SET quote_all_identifiers = on;
ALTER DATABASE :"db" SET statement_timeout = 1;
ALTER ROLE :"role" SET statement_timeout = '900us';
ALTER ROLE :"role" IN DATABASE :"db" SET statement_timeout = '0.001s';
ALTER DATABASE :"db" SET lock_timeout = 1;
ALTER DATABASE :"db" SET idle_session_timeout = 1;
ALTER DATABASE :"db" SET idle_in_transaction_session_timeout = 1;
ALTER DATABASE :"db" SET role = 'pg_database_owner';
ALTER DATABASE :"db" SET local_preload_libraries = 'smoke_nope';
ALTER ROLE :"role" SET local_preload_libraries = 'smoke_nope';
\set ON_ERROR_STOP 0
-- PostgreSQL 17 and newer.
ALTER DATABASE :"db" SET transaction_timeout = 1;
\set ON_ERROR_STOP 1
REVOKE CONNECT ON DATABASE :"db" FROM PUBLIC, :"role";
ALTER DATABASE :"db" CONNECTION LIMIT 0;
ALTER DATABASE :"db" IS_TEMPLATE true;
ALTER DATABASE :"db" ALLOW_CONNECTIONS false;
"#;

/// The way up that PostgreSQL itself bars: nothing of the image may open it.
const BARRED: &[&str] = &[
    "ALTER ROLE :\"role\" SUPERUSER",
    "ALTER ROLE :\"role\" CREATEROLE",
    "ALTER ROLE postgres PASSWORD 'x'",
    "CREATE ROLE smoke_up SUPERUSER",
    "SET ROLE postgres",
    "SET SESSION AUTHORIZATION postgres",
    "GRANT pg_execute_server_program TO :\"role\"",
    "GRANT postgres TO :\"role\"",
    "UPDATE pg_authid SET rolsuper = true",
    "COPY (SELECT 1) TO PROGRAM 'id'",
    "COPY pg_class TO '/tmp/smoke'",
    "SELECT pg_read_file('/etc/passwd')",
    "SELECT pg_read_file('pg_hba.conf')",
    "SELECT lo_import('/etc/passwd')",
    "SELECT pg_reload_conf()",
    "ALTER SYSTEM SET archive_command = 'id'",
    "ALTER DATABASE :\"db\" SET session_preload_libraries = 'x'",
    "ALTER DATABASE :\"db\" OWNER TO postgres",
    "ALTER DATABASE postgres SET search_path = public",
    "CREATE FUNCTION smoke_up() RETURNS int LANGUAGE c AS '/lib/x86_64-linux-gnu/libc.so.6', 'system'",
    "CREATE FUNCTION pg_catalog.smoke_up() RETURNS int LANGUAGE sql AS 'SELECT 1'",
    "CREATE EVENT TRIGGER smoke_up ON ddl_command_end EXECUTE FUNCTION smoke_doubles.spring()",
    "CREATE EXTENSION file_fdw",
    "CREATE EXTENSION dblink",
    "CREATE SUBSCRIPTION smoke_up CONNECTION 'host=/run/hive' PUBLICATION x",
    "LOAD '/tmp/x.so'",
    "CREATE DATABASE smoke_up",
    "SET allow_system_table_mods = on",
    "SET session_replication_role = replica",
];

/// The app's role sets traps, closes its database and drops it, with a restart after
/// each: it stays the app's role, and the container becomes healthy.
pub(crate) fn attacks(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    let made = as_app(fixture, &instance, DOUBLES)?;
    if made.trim().parse::<u32>().unwrap_or(0) < DOUBLES_AT_LEAST {
        bail!(flaw(format!(
            "only {made:?} functions of PostgreSQL have a double"
        )));
    }
    let barred = BARRED.iter().map(|statement| {
        let script = format!("{}; \\echo passed", statement.replace('\n', " "));
        let answer = fixture.shell(&instance, &psql("", &script))?;
        Ok(answer.text.contains("passed").then_some(*statement))
    });
    let barred: Result<Vec<Option<&str>>> = barred.collect();
    if let Some(passed) = barred?.into_iter().flatten().next() {
        bail!(flaw(format!("the app's role may {passed}")));
    }
    let instance = restart(fixture, &instance)?;
    still_the_apps(fixture, &instance).map_err(|error| in_words(error, "after traps for the superuser"))?;
    as_app(fixture, &instance, CLOSED)?;
    let instance =
        restart(fixture, &instance).map_err(|error| in_words(error, "the app's role closed its database"))?;
    still_the_apps(fixture, &instance)?;
    let drop = "ALTER DATABASE :\"db\" IS_TEMPLATE false;\nDROP DATABASE :\"db\" WITH (FORCE);";
    fixture.must(&instance, &psql("--dbname=postgres", drop))?;
    let instance = restart(fixture, &instance)
        .map_err(|error| in_words(error, "the app's role dropped its database"))?;
    // As a kill leaves it in the middle of that.
    fixture.superuser_sql(
        &instance,
        "UPDATE pg_database SET datconnlimit = -2 WHERE datname = current_database()",
    )?;
    let instance = restart(fixture, &instance)
        .map_err(|error| in_words(error, "the app's database was dropped by half"))?;
    instance.container.stop(GRACE)?;
    Ok(seen(format!(
        "{} functions with doubles before PostgreSQL's own, settings that end each session, a database \
         closed and dropped: the app's role is no superuser, {} ways up are barred, healthy each time",
        made.trim(),
        BARRED.len()
    ))?)
}

/// What `ALTER SYSTEM` takes, and would keep the container's programs from
/// PostgreSQL.
const MOVED: &[&str] = &[
    "port = 5433",
    "listen_addresses = '*'",
    "unix_socket_directories = '/tmp'",
    "hba_file = '/nope'",
    "ident_file = '/nope'",
    "password_encryption = 'md5'",
    "logging_collector = on",
    "default_transaction_read_only = on",
    "statement_timeout = 1",
];
/// Those that the app's role has as they were: the app is not what this is about.
const NOT_FOR_THE_APP: &str = "ALTER ROLE :\"role\" SET default_transaction_read_only = off; ALTER ROLE :\"role\" SET statement_timeout = 0;";

/// An admin's `ALTER SYSTEM`: what the container relies on stays, and what
/// PostgreSQL cannot start with is told in its own words, with the way back.
pub(crate) fn alter_system(fixture: &Fixture<'_>) -> Result<Observation> {
    let volume = fixture.volume()?;
    let instance = fixture.boot(&volume, &[])?;
    for setting in MOVED {
        fixture.superuser_sql(&instance, &format!("ALTER SYSTEM SET {setting}"))?;
    }
    as_app(fixture, &instance, NOT_FOR_THE_APP)?;
    let instance = restart(fixture, &instance)
        .map_err(|error| in_words(error, "settings that the container relies on"))?;
    let moved = fixture.superuser_sql(
        &instance,
        "SELECT string_agg(name || '=' || setting, ' ') FROM pg_settings \
         WHERE sourcefile LIKE '%postgresql.auto.conf' AND name IN \
         ('port', 'listen_addresses', 'unix_socket_directories', 'hba_file', 'password_encryption')",
    )?;
    if !moved.trim().is_empty() {
        bail!(flaw(format!("ALTER SYSTEM moved {}", moved.trim())));
    }
    fixture.superuser_sql(
        &instance,
        "ALTER SYSTEM SET shared_preload_libraries = 'smoke_nope'",
    )?;
    instance.container.stop(GRACE)?;
    instance.container.start()?;
    let Some(code) = fixture.until_ended(&instance.container, FATAL)? else {
        bail!(flaw("PostgreSQL cannot start, and the container is still up"));
    };
    let log = fixture.log(&instance)?;
    let last = log.lines().rfind(|line| !line.is_empty()).unwrap_or_default();
    let says = [
        "hive: stopped: postgresql",
        "\"smoke_nope\"",
        "postgresql.auto.conf",
    ];
    if code != 1 || !says.iter().all(|part| last.contains(part)) {
        bail!(flaw(format!(
            "PostgreSQL cannot load a library: the container ended with {code}, its last line is `{last}`"
        )));
    }
    let way_back = last
        .split('`')
        .nth(1)
        .with_context(|| flaw(format!("no command in `{last}`")))?;
    fixture.must_beside(&volume, &[], way_back)?;
    let instance = restart(fixture, &instance).map_err(|error| in_words(error, "after the way back"))?;
    instance.container.stop(GRACE)?;
    Ok(seen(format!(
        "{} settings moved: healthy, and what the container relies on stays; one that PostgreSQL cannot \
         start with: `{last}`, which helps",
        MOVED.len()
    ))?)
}

/// `docker stop`, `docker start`, healthy.
fn restart(fixture: &Fixture<'_>, instance: &Instance) -> Result<Rc<Instance>> {
    if instance.container.exit_code()?.is_none() {
        instance.container.stop(GRACE)?;
    }
    let again = fixture.start_again(instance)?;
    fixture.until_ready(&again)?;
    Ok(again)
}

/// No double was called by the superuser, and the app's role is none.
fn still_the_apps(fixture: &Fixture<'_>, instance: &Instance) -> Result<()> {
    let sprung = as_app(fixture, instance, "SELECT DISTINCT what FROM public.smoke_sprung")?;
    let superuser = as_app(fixture, instance, "SELECT current_setting('is_superuser')")?;
    if !sprung.trim().is_empty() || superuser.trim() != "off" {
        bail!(flaw(format!(
            "the app's role rose: superuser is {}, the superuser called what it made in place of {}",
            superuser.trim(),
            one_line(&sprung)
        )));
    }
    let program = fixture.shell(
        instance,
        &psql("", "COPY (SELECT 1) TO PROGRAM 'true'; \\echo passed"),
    )?;
    if program.text.contains("passed") {
        bail!(flaw("the app's role runs programs by COPY … TO PROGRAM"));
    }
    Ok(())
}

/// SQL as the app's role, statement by statement.
fn as_app(fixture: &Fixture<'_>, instance: &Instance, sql: &str) -> Result<String> {
    fixture.must(instance, &psql("", sql))
}

/// A script for `sh` that has psql run SQL with the variables `db` and `role`.
fn psql(options: &str, sql: &str) -> String {
    format!(
        "printf %s {} | psql -XAtq -v ON_ERROR_STOP=1 -v db=\"$PGDATABASE\" -v role=\"$PGUSER\" {options} -f -",
        quote(sql)
    )
}
