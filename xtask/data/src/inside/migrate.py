"""Moves a database of another cluster into a new cluster of this image.

    ask ROLE [DATABASE]      what there is in the source, and what of it this image cannot take
    dump ROLE DATABASE       dumps it, and says what is in the dump
    load ID                  fills a new generation from the dump, and compares it with the dump
    restore FOLDER ID        does so from the dump in an unpacked backup
    prove FOLDER             does so to leave a copy for the proof, and nothing else

A server of the source's version serves a copy of it beside this; all its locales are that of C. The
superuser's statements are done in the new cluster before anything of the source is in it: what the
source brings along (functions of indexes, checks, defaults) runs with the rights of the app's role.
"""

import dataclasses
import functools
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import dumped
import files
from copied import (
    BIN,
    ENVIRONMENT,
    MAJOR,
    OF_THE_MACHINE,
    Refused,
    ask,
    psql,
    run,
    serving,
    settings,
    whose_fault,
)
from hive_container import adoption, database, image, lineage, volume

WORK = "/hive-migrate"
DUMP = f"{WORK}/dump"
PLAN = f"{WORK}/plan.json"
BEFORE = f"{WORK}/before.json"
GENERATIONS = f"{volume.MOUNT}/generations"

#: Until it is whole the new cluster is nobody's; then all of it is synced.
FAST = {
    "fsync": "off",
    "full_page_writes": "off",
    "max_wal_size": "4GB",
    "checkpoint_timeout": "30min",
}

#: All tables are locked by whoever dumps them, and some of their indexes, views and sequences: a
#: server has room for this many locks for each of a hundred connections.
LOCKS, CONNECTIONS = 64, 100

#: What becomes of owners, rights and places: all is the app's, in the one cluster there is.
OF_ONE_OWNER = (
    *("--no-owner", "--no-privileges", "--no-tablespaces"),
    *("--no-security-labels", "--no-publications", "--no-subscriptions"),
)

#: Any text may have a password in it, and so may whatever a name with a dot stands for: shown are
#: numbers, switches, words of a list, and texts that are names of something.
OF_THE_CLUSTER = """
WITH shown AS (
    SELECT lower(name) AS name FROM pg_settings
    WHERE vartype <> 'string' OR name IN ('DateStyle', 'TimeZone', 'default_table_access_method',
        'default_tablespace', 'default_text_search_config', 'lc_messages', 'lc_monetary',
        'lc_numeric', 'lc_time', 'search_path', 'shared_preload_libraries', 'temp_tablespaces'))
SELECT json_build_object(
    'postgres', current_setting('server_version'),
    'major', current_setting('server_version_num')::int / 10000,
    'databases', (SELECT json_agg(json_build_object('name', datname, 'collate', datcollate,
            'open', datallowconn AND datconnlimit <> -2) ORDER BY datname)
        FROM pg_database WHERE datname <> 'template0'),
    'roles', (SELECT coalesce(json_agg(json_build_object('name', rolname, 'super', rolsuper)
            ORDER BY rolname), '[]')
        FROM pg_roles WHERE rolname !~ '^pg_' AND rolname <> '{role}'),
    'shown', (SELECT json_agg(name) FROM shown),
    'settings', (SELECT coalesce(json_agg(concat_ws(' ', 'role ' || rolname,
            'database ' || datname) || ': ' || CASE
                WHEN lower(split_part(entry, '=', 1)) IN (SELECT name FROM shown) THEN entry
                ELSE split_part(entry, '=', 1) || ' (its value is not shown)' END
            ORDER BY datname, rolname, entry), '[]')
        FROM pg_db_role_setting LEFT JOIN pg_roles r ON r.oid = setrole
            LEFT JOIN pg_database d ON d.oid = setdatabase, unnest(setconfig) AS entry),
    'prepared', (SELECT coalesce(json_agg(json_build_object('name', gid, 'database', database)
            ORDER BY gid), '[]') FROM pg_prepared_xacts),
    'subscriptions', (SELECT coalesce(json_agg(subname ORDER BY subname), '[]')
        FROM pg_subscription))
"""

#: Objects with a number below 16384 are in every cluster, and those of extensions come with them.
OF_A_DATABASE = """
WITH own AS (
    SELECT c.oid, c.relkind, c.relpersistence, format('%I.%I', n.nspname, c.relname) AS name,
        pg_get_userbyid(c.relowner) AS owner
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE c.oid >= 16384 AND c.relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
        AND n.nspname !~ '^pg_(toast|temp)' AND n.nspname <> 'hive_image'
        AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
            AND d.objid = c.oid AND d.deptype = 'e'))
SELECT json_build_object(
    'name', current_database(),
    'encoding', pg_encoding_to_char((SELECT encoding FROM pg_database
        WHERE datname = current_database())),
    'tables', (SELECT count(*) FROM own WHERE relkind IN ('r', 'p', 'm', 'f')),
    'unlogged', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM own
        WHERE relpersistence = 'u' AND relkind = 'r'),
    'foreign', (SELECT coalesce(json_agg(name ORDER BY name), '[]') FROM own
        WHERE relkind = 'f'),
    'large_objects', (SELECT count(*) FROM pg_largeobject_metadata),
    'extensions', (SELECT coalesce(json_agg(json_build_object('name', extname,
            'version', extversion, 'schema', nspname, 'served', EXISTS (
                SELECT FROM pg_available_extensions a WHERE a.name = extname))
            ORDER BY x.oid), '[]')
        FROM pg_extension x JOIN pg_namespace n ON n.oid = extnamespace
        WHERE extname <> 'plpgsql'),
    'publications', (SELECT coalesce(json_agg(pubname ORDER BY pubname), '[]')
        FROM pg_publication),
    'rights', (SELECT coalesce(json_agg(DISTINCT role ORDER BY role), '[]') FROM (
        SELECT owner AS role FROM own
        UNION SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()
        UNION SELECT rolname FROM pg_shdepend s JOIN pg_roles r ON r.oid = s.refobjid
        WHERE s.refclassid = 'pg_authid'::regclass AND s.deptype IN ('a', 'o')
            AND s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())) AS x),
    -- A policy cannot be made without the roles that it names.
    'roles', (SELECT coalesce(json_agg(DISTINCT rolname ORDER BY rolname), '[]')
        FROM pg_policy, unnest(polroles) AS named JOIN pg_roles ON pg_roles.oid = named
        WHERE rolname !~ '^pg_'),
    'labels', (SELECT coalesce(json_agg(DISTINCT provider ORDER BY provider), '[]')
        FROM pg_seclabels),
    'has_schema', EXISTS (SELECT FROM pg_namespace WHERE nspname = 'hive_image'),
    'marker', EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE n.nspname = 'hive_image' AND n.nspowner = 10 AND relname = 'initial_sql'))
"""

#: Before this version floating-point numbers were written with all digits that a computer has, and
#: since then with as many as tell them apart; and tables could be made WITH OIDS.
SAME_FLOATS_SINCE = 12

#: pg_dump leaves that column out, with a warning: whoever refers to it has nothing to refer to.
WITH_OIDS = """
SELECT coalesce(json_agg(format('%I.%I', nspname, relname) ORDER BY nspname, relname), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE relhasoids AND c.oid >= 16384 AND relkind IN ('r', 'p', 'm') AND nspname !~ '^pg_(toast|temp)'
"""

#: Tables with columns in which such numbers stand, whatever is made of them (arrays, domains, rows,
#: ranges): of each column, whether they have 4 bytes or 8.
FLOATS = """
WITH RECURSIVE part (whole, type) AS (
    SELECT oid, oid FROM pg_type
    UNION
    SELECT part.whole, inner_one FROM part JOIN pg_type t ON t.oid = part.type, LATERAL (
        SELECT t.typbasetype UNION SELECT t.typelem
        UNION SELECT rngsubtype FROM pg_range WHERE rngtypid = t.oid
        UNION SELECT atttypid FROM pg_attribute
            WHERE t.typtype = 'c' AND attrelid = t.typrelid AND attnum > 0 AND NOT attisdropped
    ) AS within (inner_one) WHERE inner_one <> 0),
kinds (type, kind) AS (
    SELECT whole, min(CASE WHEN typname IN ('float4', 'vector') THEN 4 ELSE 8 END)
    FROM part JOIN pg_type t ON t.oid = part.type
    WHERE typname IN ('float4', 'float8', 'vector', 'path', 'polygon', 'circle', 'cube')
    GROUP BY whole)
SELECT coalesce(json_agg(json_build_array(nspname, relname, columns)), '[]') FROM (
    SELECT nspname, relname, json_agg(coalesce(kind, 0) ORDER BY attnum) AS columns
    FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
    JOIN pg_attribute ON attrelid = c.oid AND attnum > 0 AND NOT attisdropped
    LEFT JOIN kinds ON kinds.type = atttypid
    WHERE c.oid >= 16384 AND relkind = 'r' AND nspname !~ '^pg_(toast|temp)'
    GROUP BY nspname, relname HAVING max(kind) > 0) AS tables
"""

#: Of a statement, which is long.
SHOWN = 80

#: More of what has failed is no news.
MOST = 10

#: Follows from something else that failed.
OF_ANOTHER = re.compile(r": (relation|type|function|schema|table|operator) [^:]* does not exist$")


def of_the_source(major: int, role: str) -> dict[str, str]:
    """The environment of programs that ask the copy's server as its superuser."""
    given = settings.of_the_start(major) | dumped.AS_TEXT
    if major < 14:
        del given["idle_session_timeout"]
    options = settings.as_options(given)
    return ENVIRONMENT | {"PGHOST": f"{WORK}/run", "PGUSER": role, "PGOPTIONS": options}


def of_the_superuser() -> dict[str, str]:
    """The environment of programs that read the new cluster as PostgreSQL's own."""
    options = settings.as_options(settings.of_the_start(MAJOR) | dumped.AS_TEXT)
    return ENVIRONMENT | {"PGOPTIONS": options}


def of_the_app(role: str) -> dict[str, str]:
    """The environment of programs that work in the new cluster as the app's role."""
    options = settings.as_options(settings.of_any_session(MAJOR) | dumped.AS_TEXT)
    return ENVIRONMENT | {"PGUSER": role, "PGOPTIONS": options}


def major_of(role: str) -> int:
    """Nothing can be pinned before the version is known, and nothing is asked but that."""
    asked = ENVIRONMENT | {"PGHOST": f"{WORK}/run", "PGUSER": role, "PGOPTIONS": ""}
    return int(run(psql("template1", "SHOW server_version_num"), "source", asked)) // 10000


# --- what there is -------------------------------------------------------------------------------


def ask_source(role: str, named: str | None = None) -> None:
    major = major_of(role)
    source = of_the_source(major, role)
    found = json.loads(ask("template1", OF_THE_CLUSTER.format(role=role), environment=source))
    found["databases"] = [
        json.loads(ask(one["name"], OF_A_DATABASE, environment=source)) | one
        if one["open"]
        else one
        for one in found["databases"]
    ]
    found["databases"] = [one for one in found["databases"] if not is_bare_template(one)]
    found |= {"failed": [], "warnings": []}
    chosen = choose(found["databases"], named)
    found["chosen"] = chosen["name"] if chosen else None
    if chosen:
        known = shipped_extensions()
        end_prepared(found["prepared"], chosen["name"], source)
        mark_as_run(chosen, source)
        if major < SAME_FLOATS_SINCE:
            chosen["floats"] = json.loads(ask(chosen["name"], FLOATS, environment=source))
            chosen["with_oids"] = json.loads(ask(chosen["name"], WITH_OIDS, environment=source))
        if chosen["encoding"] == "SQL_ASCII":
            chosen["no_utf8"] = no_utf8(chosen, source)
        if all(one["served"] and one["name"] in known for one in chosen["extensions"]):
            found["failed"], found["warnings"] = try_definitions(chosen, source)
    with open(PLAN, "w", encoding="utf-8") as file:
        json.dump(chosen, file)
    print(json.dumps(found))


def is_bare_template(one: dict) -> bool:
    """Each cluster has it, and there is something in it only where somebody has forgotten to name a
    database."""
    return one["name"] == "template1" and not (one.get("tables") or one.get("large_objects"))


def mark_as_run(chosen: dict, source: Mapping[str, str]) -> None:
    """Whether the initial SQL of an image has been run in it. One that comes with tables is no new
    database: what the image has for that would be done to the app's own rows."""
    if chosen["marker"]:
        ran = f"SELECT EXISTS (SELECT FROM {database.MARKER})"
        chosen["ran"] = ask(chosen["name"], ran, environment=source) == "t"
    else:
        chosen["ran"] = chosen["tables"] > 0 and not chosen["has_schema"]
        # From then on it has the note, and is compared without.
        chosen["marker"] = chosen["ran"]


def no_utf8(chosen: dict, source: Mapping[str, str]) -> list[str]:
    """The tables whose rows have bytes that are no text in UTF-8, which a database without an
    encoding takes."""
    command = ["pg_dump", "--data-only", "--encoding=SQL_ASCII", psql(chosen["name"])[-1]]
    return read_from([command], source, dumped.no_utf8)


def end_prepared(prepared: list[dict], chosen: str, source: Mapping[str, str]) -> None:
    """They have been told. In the copy they go, since whoever reads a table that one of them has
    locked would wait for ever."""
    for one in prepared:
        if one["database"] == chosen:
            statement = f"ROLLBACK PREPARED{image.literal(one['name'])}"
            ask(chosen, statement, environment=source)


def choose(databases: list[dict], named: str | None) -> dict | None:
    """The database that is meant: the one of this name, else the only one with tables."""
    readable = [one for one in databases if one["open"]]
    if named is not None:
        return next((one for one in readable if one["name"] == named), None)
    filled = [one for one in readable if one["tables"] or one["large_objects"]]
    return filled[0] if len(filled) == 1 else None


def shipped_extensions() -> set[str]:
    folder = f"/usr/share/postgresql/{MAJOR}/extension"
    return {name.removesuffix(".control") for name in os.listdir(folder)}


def try_definitions(chosen: dict, source: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """What fails of the definitions in a cluster as this image makes it, all at once; and what
    programs warn of."""
    spec, folder, dump = image.load(dict(os.environ)), f"{WORK}/tried", f"{WORK}/tried.dump"
    warned = dump_to(dump, chosen, source, "--format=custom", "--schema-only")
    adoption.copy_cluster(folder)
    with serving(folder, spec.settings | FAST):
        prepare(spec, chosen)
        failed, more = restore(dump, spec, chosen)
    shutil.rmtree(folder)
    os.unlink(dump)
    roots = [one for one in failed if not OF_ANOTHER.search(one)]
    return roots or failed, warned + more


# --- from the source to the dump -----------------------------------------------------------------


def dump(role: str) -> None:
    with open(PLAN, encoding="utf-8") as file:
        chosen = json.load(file)
    source = of_the_source(major_of(role), role)
    shutil.rmtree(DUMP, ignore_errors=True)
    how = ("--format=directory", "--jobs=2", "--compress=zstd:1")
    warned = dump_to(DUMP, chosen, source, *how)
    before = {
        "data": of_archive(DUMP, "--data-only", reader_of(chosen)),
        "definitions": of_archive(DUMP, "--schema-only", dumped.definitions_of),
    }
    with open(BEFORE, "w", encoding="utf-8") as file:
        json.dump(before, file)
    tables = before["data"]["tables"].values()
    sums = {name: sum(one[name] for one in tables) for name in ("rows", "bytes")}
    print(json.dumps(sums | {"warnings": warned}))


def dump_to(target: str, chosen: dict, environment: Mapping[str, str], *how: str) -> list[str]:
    """Dumps it; what the program warns of."""
    return warnings(done([*command_of(chosen, *how), f"--file={target}"], "pg_dump", environment))


def reader_of(chosen: dict) -> Callable:
    """What reads the rows of a dump of this database."""
    return functools.partial(dumped.rows_of, floats=dumped.by_table(chosen.get("floats", [])))


def command_of(chosen: dict, *how: str) -> list[str]:
    """Dumps a database, without the note of an image of ours that its initial SQL was run."""
    ours = ["--exclude-schema=hive_image"] if chosen["marker"] else []
    own = [*OF_ONE_OWNER, *how, *ours]
    return ["pg_dump", "--encoding=UTF8", "--no-sync", *own, psql(chosen["name"])[-1]]


def of_archive(archive: str, what: str, reader: Callable) -> dict:
    """What an archive holds, as text."""
    return read_from(
        [["pg_restore", what, *OF_ONE_OWNER, "--file=-", archive]], ENVIRONMENT, reader
    )


def of_database(chosen: dict, what: str, reader: Callable) -> dict:
    """The same of the new database, by way of an archive that is never written."""
    environment = of_the_superuser()
    archive = command_of(chosen, "--format=custom", "--compress=none", what)
    text = ["pg_restore", what, *OF_ONE_OWNER, "--file=-"]
    return read_from([archive, text], environment, reader)


def read_from(commands: list[list[str]], environment: Mapping[str, str], reader: Callable) -> dict:
    """What is read of the last program, each of which reads the one before."""
    with tempfile.TemporaryFile() as said:
        programs: list[subprocess.Popen] = []
        for command in commands:
            given: Any = programs[-1].stdout if programs else subprocess.DEVNULL
            program = subprocess.Popen(
                command, env=environment, stdin=given, stdout=subprocess.PIPE, stderr=said
            )
            if programs:
                programs[-1].stdout.close()
            programs.append(program)
        cut_off, found = None, {}
        try:
            found = reader(programs[-1].stdout)
        except ValueError as error:
            cut_off = error
        # One that waits to be read is told so.
        programs[-1].stdout.close()
        codes = [program.wait() for program in programs]
        # Whoever has failed knows more than the reader of half of it.
        if any(codes):
            raise Refused(f"{commands[0][0]}: {told(said) or cut_off}")
        if cut_off:
            raise cut_off
    return found


def done(command: list[str], what: str, environment: Mapping[str, str]) -> str:
    """Runs a program, which may take as long as it wants: to make an index reads nothing for
    hours, and Ctrl-C ends it. What it said."""
    with tempfile.TemporaryFile() as said:
        code = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            check=False,
        ).returncode
        if code:
            raise Refused(f"{what}: {told(said) or f'exit code {code}'}")
        said.seek(0)
        return said.read().decode(errors="replace")


def warnings(text: str) -> list[str]:
    """What a program warns of, whose work was done all the same: a line each."""
    found = re.findall(r"^(pg_(?:dump|restore): warning: .*)$", text, re.MULTILINE)
    # Of those that have failed each is told.
    return [one for one in found if "errors ignored on restore" not in one]


def told(file: Any) -> str:
    file.seek(0)
    return file.read()[-2000:].decode(errors="replace").strip()


# --- from the dump to the new cluster ------------------------------------------------------------


def load(identifier: str) -> None:
    fill(identifier, base_backup)


def with_locks(objects: int) -> dict[str, str]:
    """What the server of a new cluster with so many objects is given, besides what the image has:
    all of them can be locked by one session."""
    return FAST | {"max_locks_per_transaction": str(LOCKS + 2 * objects // CONNECTIONS)}


def fill(identifier: str, then: Callable[[], None]) -> None:
    """Makes the new generation, and does something more while it is served."""
    with open(PLAN, encoding="utf-8") as file:
        chosen = json.load(file)
    with open(BEFORE, encoding="utf-8") as file:
        before = json.load(file)
    spec, part = image.load(dict(os.environ)), f"{GENERATIONS}/new-{identifier}.part"
    os.makedirs(GENERATIONS, mode=0o700, exist_ok=True)
    adoption.copy_cluster(part)
    lineage.give(part, lineage.new_identifier())
    identity = f"{part}/{os.path.basename(volume.IDENTITY)}"
    with open(identity, "w", encoding="utf-8") as file:
        json.dump(volume.identity_of(spec), file)
    with serving(part, spec.settings | with_locks(len(before["definitions"]))):
        prepare(spec, chosen)
        warned = load_all(spec, chosen)
        role = loader(spec, chosen)
        app = of_the_app(role)
        done(psql(spec.database, "ANALYZE"), "ANALYZE", app)
        otherwise = compare(before, chosen | {"name": spec.database})
        inspect_owners(spec, role)
        try_to_write(spec, app)
        if role != spec.role:
            names = f"{image.identifier(role)} RENAME TO {image.identifier(spec.role)}"
            ask("postgres", f"ALTER ROLE {names}")
        give_settings(spec, chosen.get("settings", []))
        then()
    tables = before["data"]["tables"]
    print(
        json.dumps(
            {
                "tables": {dumped.name_of(name): one["rows"] for name, one in tables.items()},
                "definitions": len(before["definitions"]),
                "otherwise": otherwise,
                "warnings": warned,
            }
        )
    )


def load_all(spec: image.Image, chosen: dict) -> list[str]:
    """The dump, in the app's database. Tables whose rows cannot be loaded are told all at once, and
    so are indexes and constraints that cannot be made of them. What programs warn of."""
    warned = []
    for sections in (("pre-data", "data"), ("post-data",)):
        how = [f"--section={section}" for section in sections]
        failed, more = restore(DUMP, spec, chosen, *how, "--jobs=2")
        if failed:
            others = f"; and {len(failed) - MOST} more" if failed[MOST:] else ""
            raise Refused(f"pg_restore: {'; '.join(failed[:MOST])}{others}")
        warned += more
    return warned


def loader(spec: image.Image, chosen: dict) -> str:
    """As whom it is loaded: the app's role by the name that it had in a backup, since policies name
    it."""
    return chosen.get("role") or spec.role


def prepare(spec: image.Image, chosen: dict) -> None:
    """All that the superuser has to do. Nothing of the source's is there yet."""
    own = loader(spec, chosen)
    role, name = image.identifier(own), image.identifier(spec.database)
    if own != spec.role and spec.role in chosen.get("roles", []):
        raise Refused(
            "the names of this image are not free in the backup: it has"
            f" a role {spec.role!r} beside {own!r}"
        )
    statements = [f"CREATE ROLE {role} LOGIN"]
    if spec.database != adoption.PREPARED_DATABASE:
        statements.append(f"ALTER DATABASE {adoption.PREPARED_DATABASE} RENAME TO {name}")
    statements.append(f"ALTER DATABASE {name} OWNER TO {role}")
    # What a policy names has to be there.
    there = (own, image.SUPERUSER)
    others = [other for other in chosen.get("roles", []) if other not in there]
    statements += [f"CREATE ROLE {image.identifier(other)} NOLOGIN" for other in others]
    ask("postgres", *statements)
    for one in chosen["extensions"]:
        extension, schema = image.identifier(one["name"]), image.identifier(one["schema"])
        make = [f"CREATE EXTENSION IF NOT EXISTS {extension} SCHEMA {schema} CASCADE"]
        if one["schema"] not in ("public", "pg_catalog"):
            make.insert(0, f"CREATE SCHEMA IF NOT EXISTS {schema} AUTHORIZATION {role}")
        ask(spec.database, *make, f"COMMENT ON EXTENSION {extension} IS NULL")
        where = f"""SELECT nspname = {image.literal(one["schema"])} FROM pg_extension
            JOIN pg_namespace n ON n.oid = extnamespace
            WHERE extname = {image.literal(one["name"])}"""
        if ask(spec.database, where) != "t":
            # A new database has it elsewhere.
            ask(spec.database, f"ALTER EXTENSION {extension} SET SCHEMA {schema}")
    if chosen["ran"]:
        # What that role may do is its right by another name, too.
        named = dataclasses.replace(spec, role=own)
        database.make_marker(Superuser(spec.database), named)
        ask(spec.database, f"INSERT INTO {database.MARKER} DEFAULT VALUES")


class Superuser:
    """As `database.Server`, for the one there is: no argument of a program has what is asked, which
    may be a secret, and all of the machine sees those."""

    def __init__(self, name: str):
        self.database = name

    def ask(self, sql: str) -> str:
        done_now = subprocess.run(
            [*psql(self.database), "-f", "-"],
            input=sql.encode(),
            env=ENVIRONMENT,
            capture_output=True,
            check=False,
        )
        if done_now.returncode:
            raise Refused(done_now.stderr.decode(errors="replace").strip())
        return done_now.stdout.decode().strip()


#: Settings that are lists of names, as pg_dump knows them (variable_is_guc_list_quote).
LISTS = (
    "local_preload_libraries",
    "search_path",
    "session_preload_libraries",
    "shared_preload_libraries",
    "temp_tablespaces",
    "unix_socket_directories",
)


def give_settings(spec: image.Image, wanted: list) -> None:
    """What sessions got where the dump was taken, they get here."""
    role, name = image.identifier(spec.role), image.identifier(spec.database)
    whose = {
        (False, True): f"DATABASE {name}",
        (True, False): f"ROLE {role}",
        (True, True): f"ROLE {role} IN DATABASE {name}",
    }
    superuser = Superuser("postgres")
    for of_role, in_database, setting, value in wanted:
        alter = f"ALTER {whose[of_role, in_database]} SET {image.identifier(setting)}"
        if setting in LISTS:
            # As one text it would be one name.
            given = f"SELECT set_config({image.literal(setting)}, {image.literal(value)}, false)"
            superuser.ask(f"{given};\n{alter} FROM CURRENT;")
        else:
            # As somebody has written it: `10000`, and not `10s`.
            superuser.ask(f"{alter} TO {image.literal(value)};")
    values = {"role": image.literal(spec.role), "database": image.literal(spec.database)}
    if json.loads(ask("postgres", dumped.SETTINGS.format(**values))) != wanted:
        raise Refused("settings of database and role are not those of the backup")


def restore(
    archive: str, spec: image.Image, chosen: dict, *how: str
) -> tuple[list[str], list[str]]:
    """Restores all but what `prepare` has made, as the app's role, and before that, as the
    superuser, what people have put into tables of extensions: nothing of the source's is there
    that could be called. What fails of it, and what programs warn of."""
    lines = subprocess.run(
        ["pg_restore", "--list", archive], env=ENVIRONMENT, capture_output=True, check=True
    ).stdout.splitlines(keepends=True)
    made = [b" EXTENSION - ", b" COMMENT - EXTENSION "]
    made += [f" SCHEMA - {flat(one['schema'])} ".encode() for one in chosen["extensions"]]
    for kind in chosen.get("without", []):
        made += [f" {kind} - ".encode(), f" COMMENT - {kind} ".encode()]
    not_made = without_definition(lines)
    known = of_extensions(spec.database) if not_made else []
    for line in not_made:
        named = CONTENT.match(line)[2]
        if not named.startswith(tuple(f"{flat(name)} ".encode() for name in known)):
            raise Refused(f"rows of a table that nothing makes: {named.decode(errors='replace')}")
    others = [
        line
        for line in lines
        if line not in not_made
        # `ID; CATALOG OID KIND SCHEMA NAME OWNER`
        and not any(re.match(rb"\d+; \d+ \d+" + re.escape(one), line) for one in made)
    ]
    failed, warned = [], []
    app = of_the_app(loader(spec, chosen))
    for whose, wanted in ((of_the_superuser(), not_made), (app, others)):
        if wanted:
            more = restore_some(archive, spec.database, wanted, whose, how)
            failed, warned = failed + more[0], warned + more[1]
    return failed, warned


#: `ID; CATALOG OID KIND SCHEMA NAME OWNER`, all without quotes: a schema may be called DATA. What
#: is made has the number of its catalog (`pg_class`), its content has none (pg_dump).
MADE = re.compile(rb"\d+; 1259 \d+ (TABLE|SEQUENCE) (.*)")
CONTENT = re.compile(rb"\d+; 0 \d+ (TABLE|SEQUENCE) (?:DATA|SET) (.*)")


def without_definition(lines: list[bytes]) -> list[bytes]:
    """Of the list of an archive: rows and positions of tables and sequences that the archive does
    not make, since an extension does."""
    made = {entry.groups() for line in lines if (entry := MADE.match(line))}
    contents = [(line, CONTENT.match(line)) for line in lines]
    return [line for line, entry in contents if entry and entry.groups() not in made]


def restore_some(
    archive: str, database: str, lines: list[bytes], whose: Mapping[str, str], how: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Restores these entries of the archive's list."""
    wanted = f"{WORK}/wanted"
    with open(wanted, "wb") as file:
        file.writelines(lines)
    command = ["pg_restore", *OF_ONE_OWNER, f"--use-list={wanted}", *how]
    command += ["--dbname", psql(database)[-1], archive]
    with tempfile.TemporaryFile() as said:
        program = subprocess.run(
            command,
            env=whose,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            check=False,
        )
        said.seek(0)
        text = said.read().decode(errors="replace")
    failed = errors(text)
    if program.returncode and not failed:
        raise Refused(f"pg_restore: {text[-2000:].strip()}")
    return failed, warnings(text)


def of_extensions(name: str) -> list[str]:
    """Tables and sequences of extensions in the new database: people may have put rows there."""
    found = """SELECT coalesce(json_agg(nspname || ' ' || relname), '[]')
        FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
        JOIN pg_depend d ON d.classid = 'pg_class'::regclass AND objid = c.oid AND deptype = 'e'
        WHERE relkind IN ('r', 'p', 'S')"""
    return json.loads(ask(name, found))


#: Whatever has rows, or a position, and is no extension's.
OF_OTHERS = """
SELECT coalesce(json_agg(format('%I.%I', nspname, relname) ORDER BY nspname, relname), '[]')
FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
WHERE c.oid >= 16384 AND relkind IN ('r', 'p', 'v', 'm', 'f', 'S')
    AND nspname <> 'hive_image'
    AND pg_get_userbyid(relowner) <> {role} AND relpersistence <> 't'
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_class'::regclass
        AND d.objid = c.oid AND d.deptype = 'e')
"""


def inspect_owners(spec: image.Image, role: str) -> None:
    """All that was loaded is the app's."""
    found = json.loads(ask(spec.database, OF_OTHERS.format(role=image.literal(role))))
    if found:
        raise Refused(f"not the app's in the new database: {', '.join(found[:MOST])}")


def flat(name: str) -> str:
    """As the list of an archive has it."""
    return name.replace("\n", " ").replace("\r", " ")


def errors(text: str) -> list[str]:
    """What pg_restore could not do, each with the beginning of the statement."""
    found = []
    for line in text.splitlines():
        if match := re.match(
            r"pg_restore: error: (?:could not execute query: ERROR:\s*)?(.*)", line
        ):
            found.append(match[1])
        elif found and (match := re.match(r"Command was: (.*)", line)):
            found[-1] = f"{match[1][:SHOWN].rstrip(' (;')}: {found[-1]}"
    return found


# --- from a backup -------------------------------------------------------------------------------


def take(folder: str) -> None:
    """Leaves of an unpacked backup what `dump` would."""
    with open(f"{folder}/{dumped.NOTE}", encoding="utf-8") as file:
        chosen = json.load(file)["dump"]
    # Only a superuser may make them; who has taken the backup was told.
    chosen["without"] = ["EVENT TRIGGER"]
    with open(DUMP, "wb") as target:
        # Their names are numbers, of five digits and more.
        pieces = glob.glob(f"{folder}/{dumped.IN_A_BACKUP}/*")
        for piece in sorted(pieces, key=lambda path: int(os.path.basename(path))):
            with open(piece, "rb") as source:
                shutil.copyfileobj(source, target)
            os.unlink(piece)
    files.verify(folder)
    before = {
        "data": of_archive(DUMP, "--data-only", dumped.rows_of),
        "definitions": dumped.without(
            of_archive(DUMP, "--schema-only", dumped.definitions_of), chosen["without"]
        ),
    }
    keep(chosen, before)


def keep(chosen: dict, before: dict) -> None:
    for path, value in ((PLAN, chosen), (BEFORE, before)):
        with open(path, "w", encoding="utf-8") as file:
            json.dump(value, file)


def restore_backup(folder: str, identifier: str) -> None:
    take(folder)
    fill(identifier, lambda: None)
    give_files(folder, f"{GENERATIONS}/new-{identifier}.part")


def prove_backup(folder: str) -> None:
    take(folder)
    fill("proof", base_backup)
    give_files(folder, f"{WORK}/pgdata")
    shutil.rmtree(GENERATIONS)
    os.unlink(DUMP)


def give_files(folder: str, cluster: str) -> None:
    """The app's folders lie in the cluster, as in an unpacked base backup."""
    home = f"{folder}/{files.IN_A_BACKUP}"
    if os.path.isdir(home):
        shutil.move(home, f"{cluster}/{files.IN_A_BACKUP}")


# --- the proof -----------------------------------------------------------------------------------


def compare(before: dict, chosen: dict) -> list[str]:
    """A second dump against the first; which definitions read otherwise."""
    after = of_database(chosen, "--data-only", reader_of(chosen))
    definitions = of_database(chosen, "--schema-only", dumped.definitions_of)
    wrong = dumped.differences(before["data"], after)
    wrong += dumped.lost(before["definitions"], definitions)
    if wrong:
        more = f"; and {len(wrong) - MOST} more" if wrong[MOST:] else ""
        raise Refused(f"the new database is not what was dumped: {'; '.join(wrong[:MOST])}{more}")
    return dumped.otherwise(before["definitions"], definitions)


def try_to_write(spec: image.Image, app: Mapping[str, str]) -> None:
    """What the app does first; taken back."""
    schema = f"hive_write_{os.getpid()}"
    columns = "id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, t text UNIQUE"
    said = ask(
        spec.database,
        "BEGIN",
        f"CREATE SCHEMA {schema}",
        f"CREATE TABLE {schema}.t ({columns})",
        f"INSERT INTO {schema}.t (t) VALUES ('written')",
        f"SELECT t FROM {schema}.t",
        "ROLLBACK",
        environment=app,
    )
    if said != "written":
        raise Refused(f"the app's role cannot write to the new database: {said}")


def base_backup() -> None:
    """A copy with a manifest, for the proof that every backup goes through."""
    shutil.rmtree(f"{WORK}/pgdata", ignore_errors=True)
    command = [f"{BIN}/pg_basebackup", f"--pgdata={WORK}/pgdata", "--checkpoint=fast"]
    command += ["--wal-method=fetch", "--manifest-checksums=SHA256", "--no-sync", "--no-password"]
    done(command, "pg_basebackup", ENVIRONMENT)


VERBS = {
    "ask": ask_source,
    "dump": dump,
    "load": load,
    "restore": restore_backup,
    "prove": prove_backup,
}


def main() -> int:
    try:
        VERBS[sys.argv[1]](*sys.argv[2:])
    except (Refused, image.Fatal, ValueError) as error:
        print(error, file=sys.stderr)
        return whose_fault(error, WORK)
    except OSError as error:
        print(f"{error.filename or WORK}: {error.strerror}", file=sys.stderr)
        return OF_THE_MACHINE
    return 0


if __name__ == "__main__":
    sys.exit(main())
