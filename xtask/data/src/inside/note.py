"""Says what a running cluster is, and leaves that in it as `hive-backup.json`.

The file is part of the base backup that follows, and PostgreSQL's manifest covers it. Its first
argument is what is known outside, as JSON; all of it is printed. With `--only-print` behind it no
file is written; nor is there one for a dump, which takes the app's database and no other.
"""

import errno
import json
import os
import subprocess
import sys
from typing import Any

import files

# `python -I` looks in no other place.
sys.path.insert(0, "/usr/local/lib/hive")
from hive_container import image

PGDATA = "/var/lib/postgresql/data/pgdata"
NOTE = f"{PGDATA}/hive-backup.json"
#: In a cluster: with which stretch of the archive it goes on.
ARCHIVED = "hive-archive.json"

ENVIRONMENT = {
    "PATH": "/usr/bin:/bin",
    "LC_ALL": "C",
    "PGSERVICEFILE": "/run/hive/pg_service.conf",
    "PGCONNECT_TIMEOUT": "10",
}

OF_THE_CLUSTER = """
SELECT json_build_object(
    'postgres', current_setting('server_version'),
    'major', current_setting('server_version_num')::int / 10000,
    'system_identifier', (SELECT system_identifier::text FROM pg_control_system()),
    'databases', (SELECT json_agg(json_build_array(datname, datallowconn) ORDER BY datname)
                  FROM pg_database
                  WHERE datname NOT IN ('template0', 'template1') AND datconnlimit <> -2))
"""

#: Of one whose owner has closed it nobody is told more, the superuser neither.
OF_A_CLOSED_DATABASE = """
SELECT json_build_object('name', datname, 'bytes', pg_database_size(oid),
    'extensions', '{{}}'::json, 'provider', datlocprovider, 'collations', '[]'::json)
FROM pg_database WHERE datname = {name}
"""

#: What a dump of one database does not give back. Roles of PostgreSQL's own have lower numbers.
LEFT_OUT = """
SELECT json_build_object(
    'database', (SELECT coalesce(json_agg(datname ORDER BY datname), '[]') FROM pg_database
                  WHERE datconnlimit <> -2
                  AND datname NOT IN ({database}, 'postgres', 'template0', 'template1')),
    'role', (SELECT coalesce(json_agg(rolname ORDER BY rolname), '[]') FROM pg_roles
              WHERE oid >= 16384 AND rolname NOT IN ({role}, {metrics})),
    'prepared', (SELECT coalesce(json_agg(gid ORDER BY gid), '[]') FROM pg_prepared_xacts
                  WHERE database = {database}))
"""

#: No backup has slots: who reads from one would miss what it no longer keeps. Ours makes itself.
SLOTS = """
SELECT coalesce(json_agg(slot_name ORDER BY slot_name), '[]') FROM pg_replication_slots
WHERE NOT temporary AND slot_name <> 'hive_archive'
"""

#: What the database itself has, by kind. What belongs to an extension comes with it, and rights
#: that PostgreSQL gives by itself are not written down.
LEFT_OUT_OF_THE_DATABASE = """
WITH own AS (
    SELECT 'pg_class'::regclass AS of, oid, relnamespace AS place, quote_ident(relname) AS name,
        relacl AS acl FROM pg_class
    UNION ALL SELECT 'pg_class'::regclass, c.oid, relnamespace, quote_ident(relname), attacl
        FROM pg_attribute JOIN pg_class c ON c.oid = attrelid
    UNION ALL SELECT 'pg_proc'::regclass, oid, pronamespace, quote_ident(proname), proacl
        FROM pg_proc
    UNION ALL SELECT 'pg_type'::regclass, oid, typnamespace, quote_ident(typname), typacl
        FROM pg_type
    UNION ALL SELECT 'pg_namespace'::regclass, oid, 0, quote_ident(nspname), nspacl
        FROM pg_namespace
    UNION ALL SELECT 'pg_database'::regclass, oid, 0, 'database ' || quote_ident(datname), datacl
        FROM pg_database WHERE datname = current_database()
    UNION ALL SELECT 'pg_largeobject'::regclass, oid, 0, 'large object ' || oid, lomacl
        FROM pg_largeobject_metadata
    UNION ALL SELECT 'pg_language'::regclass, oid, 0, 'language ' || quote_ident(lanname), lanacl
        FROM pg_language
    UNION ALL SELECT 'pg_foreign_data_wrapper'::regclass, oid, 0,
        'foreign-data wrapper ' || quote_ident(fdwname), fdwacl FROM pg_foreign_data_wrapper
    UNION ALL SELECT 'pg_foreign_server'::regclass, oid, 0, 'server ' || quote_ident(srvname),
        srvacl FROM pg_foreign_server)
SELECT json_build_object(
    'publication', (SELECT coalesce(json_agg(pubname ORDER BY pubname), '[]')
        FROM pg_publication),
    'subscription', (SELECT coalesce(json_agg(subname ORDER BY subname), '[]')
        FROM pg_subscription
        WHERE subdbid = (SELECT oid FROM pg_database WHERE datname = current_database())),
    'event trigger', (SELECT coalesce(json_agg(evtname ORDER BY evtname), '[]')
        FROM pg_event_trigger e WHERE NOT EXISTS (SELECT FROM pg_depend d
            WHERE d.classid = 'pg_event_trigger'::regclass AND d.objid = e.oid
                AND d.deptype = 'e')),
    'label', (SELECT coalesce(json_agg(DISTINCT provider ORDER BY provider), '[]')
        FROM pg_seclabels),
    'rights', (SELECT coalesce(json_agg(DISTINCT told ORDER BY told), '[]') FROM (
        SELECT concat_ws('.', quote_ident(nspname), name) AS told
        FROM own LEFT JOIN pg_namespace n ON n.oid = place
        WHERE acl IS NOT NULL AND own.oid >= 16384
            AND coalesce(nspname, '') NOT IN ('hive_image', 'information_schema')
            AND NOT EXISTS (SELECT FROM pg_init_privs p
                WHERE p.classoid = of AND p.objoid = own.oid)) AS x),
    'default rights', (SELECT coalesce(json_agg(DISTINCT told ORDER BY told), '[]') FROM (
        SELECT quote_ident(pg_get_userbyid(defaclrole)) || coalesce(' in schema '
            || quote_ident(nspname), '') AS told
        FROM pg_default_acl LEFT JOIN pg_namespace n ON n.oid = defaclnamespace) AS x),
    'setting', (SELECT coalesce(json_agg(DISTINCT name ORDER BY name), '[]')
        FROM pg_file_settings
        WHERE sourcefile LIKE '%/postgresql.auto.conf' AND name <> {ours}))
"""

#: With what a restore does to each of a kind.
HOW = {
    "database": "database {} is not in it",
    "role": "role {} comes back without login and rights: roles.sql in it has them",
    "publication": "publication {} does not come back: pg_restore makes it",
    "subscription": "subscription {} does not come back: pg_restore makes it",
    "event trigger": "event trigger {} does not come back: pg_restore makes it",
    "prepared": "transaction {} is prepared, and what it has written is not in it: end it first",
    "slot": "replication slot {} does not come back: pg_create_logical_replication_slot or"
    " pg_create_physical_replication_slot makes it",
    "label": "security labels of {} do not come back: pg_restore makes them",
    "rights": "rights on {} are those of a new one: pg_restore gives them",
    "default rights": "default rights of {} do not come back: pg_restore gives them",
    "setting": "{}, set by ALTER SYSTEM, is not in it",
    "locked": "where sequence {} stood is not noted: it was locked, and a proof compares it less",
    "unlogged": "table {} comes back empty, since it is unlogged: pg_dump takes its rows",
}

#: Of the archive, which sets it by itself.
OURS = "max_slot_wal_keep_size"

#: So many of a kind are told: the seal of a backup has little room.
MOST = 10

#: Recovery empties unlogged tables: they are in no backup of the files.
UNLOGGED = """
SELECT coalesce(json_agg(format('%I.%I (database %s)', nspname, relname, current_database())
    ORDER BY nspname, relname), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relpersistence = 'u' AND relkind = 'r' AND pg_relation_size(c.oid) > 0
"""

#: So long is it waited for who has locked a sequence, such as a transaction that changes it.
PATIENCE = "5s"

#: Where sequences stand that have given a value, by number.
SEQUENCES = f"""
SET lock_timeout = '{PATIENCE}';
SET search_path = pg_catalog, pg_temp;
SELECT coalesce(json_object_agg(oid, place), '{{}}') FROM (
    SELECT oid, pg_sequence_last_value(oid) AS place FROM pg_class
    WHERE relkind = 'S' AND relpersistence = 'p' OFFSET 0) AS hive_all
WHERE place IS NOT NULL
"""

#: The same of each that nobody has locked, and the names of the others. One that is dropped
#: meanwhile is none.
SEQUENCES_ONE_BY_ONE = """
SET lock_timeout = '50ms';
SET search_path = pg_catalog, pg_temp;
DO $hive$
DECLARE
    one oid;
    place bigint;
    known jsonb := '{}';
    locked jsonb := '[]';
BEGIN
    FOR one IN SELECT oid FROM pg_class WHERE relkind = 'S' AND relpersistence = 'p' LOOP
        BEGIN
            place := pg_sequence_last_value(one);
            IF place IS NOT NULL THEN
                known := known || jsonb_build_object(one::text, place);
            END IF;
        EXCEPTION
            WHEN lock_not_available THEN
                locked := locked || to_jsonb(one::regclass::text);
            -- The last of them is of a relation that is gone: "could not open relation with OID".
            WHEN undefined_table OR undefined_object OR internal_error THEN
                NULL;
        END;
    END LOOP;
    PERFORM set_config('hive.sequences', jsonb_build_array(known, locked)::text, false);
END
$hive$;
SELECT current_setting('hive.sequences');
"""

OF_A_DATABASE = """
SELECT json_build_object(
    'name', current_database(),
    'bytes', pg_database_size(current_database()),
    'extensions', (SELECT json_object_agg(extname, extversion ORDER BY extname)
                   FROM pg_extension),
    'provider', (SELECT datlocprovider FROM pg_database WHERE datname = current_database()),
    'collations', (SELECT coalesce(json_agg(DISTINCT collname), '[]')
                   FROM pg_attribute JOIN pg_collation c ON c.oid = attcollation
                   WHERE attnum > 0 AND NOT attisdropped AND attrelid >= 16384
                   AND collname NOT IN ('default', 'C', 'POSIX')))
"""


def ask(database: str, statement: str) -> Any:
    # A name may be one with `=` or `'` in it, which libpq would take for a connection string.
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    connection = f"service=superuser dbname='{quoted}'"
    done = subprocess.run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, "-d", connection],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
    )
    return json.loads(done.stdout)


def left_out_of_a_dump(spec: image.Image) -> list[str]:
    names = {"database": spec.database, "role": spec.role, "metrics": image.METRICS_ROLE}
    quoted = {key: image.literal(name) for key, name in names.items()}
    found = ask("postgres", LEFT_OUT.format(**quoted))
    found["slot"] = ask("postgres", SLOTS)
    found |= ask(spec.database, LEFT_OUT_OF_THE_DATABASE.format(ours=image.literal(OURS)))
    return told(found)


def told(found: dict[str, list[str]]) -> list[str]:
    """A line each; of kinds with many, how many more there are."""
    lines = []
    for kind, how in HOW.items():
        names = found.get(kind, [])
        lines += [how.format(name) for name in names[:MOST]]
        if names[MOST:]:
            lines.append(f"and {len(names) - MOST} more like that")
    return lines


def stretch_of(cluster: str) -> str | None:
    """In which stretch of the archive its log is, where there is one."""
    try:
        with open(f"{cluster}/{ARCHIVED}", encoding="utf-8") as file:
            stretch = json.load(file)["stretch"]
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None
    return stretch if isinstance(stretch, str) else None


def keep(text: str) -> None:
    """Whole or not at all, whenever a kill comes."""
    descriptor = os.open(f"{NOTE}.new", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(f"{NOTE}.new", NOTE)


def left_out_of_the_files(databases: list[str]) -> list[str]:
    found = [name for database in databases for name in ask(database, UNLOGGED)]
    return told({"unlogged": found, "slot": ask("postgres", SLOTS)})


def sequences(database: str) -> tuple[dict[str, int], list[str]]:
    """Where they stand, and those of which it cannot be said, since somebody has locked them for
    longer than may be waited for."""
    try:
        return ask(database, SEQUENCES), []
    except subprocess.CalledProcessError:
        # One was dropped meanwhile, too.
        known, locked = ask(database, SEQUENCES_ONE_BY_ONE)
        return known, [f"{name} (database {database})" for name in locked]


def inspect_files() -> None:
    """A file that cannot be read is in no backup: that is told before anything is copied."""
    home = files.of_cluster(PGDATA)
    found = files.unreadable(home) if home else []
    if found:
        more = f" and {len(found) - MOST} more" if found[MOST:] else ""
        names = ", ".join(found[:MOST])
        raise OSError(
            errno.EACCES,
            "the container's user may not read them, so that they can be in no backup: give them"
            " to it, or delete them",
            f"{names}{more}",
        )


def main() -> int:
    note = json.loads(sys.argv[1])
    is_dump = note["kind"] == "logical"
    try:
        inspect_files()
        cluster, kept = ask("postgres", OF_THE_CLUSTER), {}
        if is_dump:
            spec = image.load(dict(os.environ))
            is_open = {spec.database: True}
            note["left_out"] = left_out_of_a_dump(spec)
        else:
            is_open = dict(cluster["databases"])
            opened = [name for name in is_open if is_open[name]]
            note["left_out"] = left_out_of_the_files(opened)
            kept["sequences"], locked = {}, []
            for name in opened:
                kept["sequences"][name], some = sequences(name)
                locked += some
            note["left_out"] += told({"locked": locked})
            if stretch := stretch_of(PGDATA):
                note["stretch"] = stretch
        cluster["databases"] = [
            ask(name, OF_A_DATABASE)
            if is_open[name]
            else ask("postgres", OF_A_CLOSED_DATABASE.format(name=image.literal(name)))
            for name in is_open
        ]
        note["secrets"] = files.kept_secrets()
        note |= cluster
        note["bytes"], note["files"] = 0, 0
        for folder in filter(None, [PGDATA, files.of_cluster(PGDATA)]):
            size, count = files.size_of(folder)
            note["bytes"] += size
            note["files"] += count
        text = json.dumps(note, indent=2) + "\n"
        if not is_dump and "--only-print" not in sys.argv[2:]:
            # What is outside has no use for where sequences stand.
            keep(json.dumps(note | kept, indent=2) + "\n")
    except subprocess.CalledProcessError as error:
        # psql has said why.
        return error.returncode or 1
    except OSError as error:
        print(f"{error.filename or NOTE}: {error.strerror}", file=sys.stderr)
        return 1
    print(text, end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
