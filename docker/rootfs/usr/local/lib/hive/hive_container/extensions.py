"""Extensions: there, of the version that the image brings, and seen by pg_dump.

The superuser runs their scripts, and a script finds what lies in its schema: a function that the
app put there to be called instead of another one would be called by the superuser
(CVE-2020-14350). PostgreSQL's advice is a schema in which nobody else may make anything, so a
script runs in one of its own where the app has functions or operators.
"""

import json
import re
import secrets
from dataclasses import dataclass
from typing import Protocol

from hive_container.cluster import major_version
from hive_container.image import Fatal, identifier, literal
from hive_container.volume import PREPARED

#: The kind of row that each extension of a database gives, and what its other columns are.
EXTENSION = "extension"

INSTALLED = f"""
    SELECT json_build_array('{EXTENSION}', extname, extversion, nspname, rolname, rolsuper,
            x.oid < 16384 AND extname <> 'plpgsql')
        FROM pg_extension x JOIN pg_roles r ON r.oid = extowner
        JOIN pg_namespace n ON n.oid = extnamespace;
"""

#: Where an extension of the spec goes.
SCHEMA = "public"

#: A new database has it; its owner may have removed it.
MAKE_SCHEMA = f"""
    SELECT 'CREATE SCHEMA {SCHEMA} AUTHORIZATION pg_database_owner;'
        'GRANT USAGE ON SCHEMA {SCHEMA} TO PUBLIC'
    WHERE NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = '{SCHEMA}') \\gexec
"""

#: Of an extension in the version that the image brings, and of this database: see Prospects.
PROSPECTS = """
    SELECT json_build_array(v.trusted,
        v.relocatable AND v.schema IS NULL AND coalesce(cardinality(v.requires), 0) = 0,
        v.schema IS NOT NULL,
        EXISTS (SELECT FROM pg_extension_update_paths(v.name)
            WHERE source = {version} AND target = v.version AND path IS NOT NULL),
        EXISTS (SELECT FROM pg_class WHERE relowner = ANY (others))
            OR EXISTS (SELECT FROM pg_type WHERE typowner = ANY (others)),
        EXISTS (SELECT FROM pg_proc WHERE proowner = ANY (others))
            OR EXISTS (SELECT FROM pg_operator WHERE oprowner = ANY (others)))
    FROM pg_available_extensions a
        JOIN pg_available_extension_versions v ON v.name = a.name AND v.version = a.default_version,
        (SELECT array_agg(oid) FROM pg_roles WHERE NOT rolsuper) AS of_roles (others)
    WHERE a.name = {name};
"""

#: pg_dump takes what has an OID below 16384 for a part of every cluster, and leaves it out. Images
#: before this one made their extension with such an OID. Nothing but these rows holds it.
GIVE_NORMAL_OIDS = """
    SET allow_system_table_mods = on;
    BEGIN;
    LOCK TABLE pg_extension, pg_depend, pg_shdepend, pg_description IN SHARE ROW EXCLUSIVE MODE;
    DO $$
    DECLARE
        extension record;
        other oid;
    BEGIN
        FOR extension IN SELECT oid, extname FROM pg_extension
            WHERE oid < 16384 AND extname <> 'plpgsql'
        LOOP
            EXECUTE format('COMMENT ON EXTENSION %I IS NULL', extension.extname);
            other := pg_nextoid('pg_extension', 'oid', 'pg_extension_oid_index');
            UPDATE pg_extension SET oid = other WHERE oid = extension.oid;
            UPDATE pg_depend SET objid = other
                WHERE classid = 'pg_extension'::regclass AND objid = extension.oid;
            UPDATE pg_depend SET refobjid = other
                WHERE refclassid = 'pg_extension'::regclass AND refobjid = extension.oid;
            UPDATE pg_shdepend SET objid = other
                WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
                    AND classid = 'pg_extension'::regclass AND objid = extension.oid;
        END LOOP;
    END $$;
    COMMIT;
"""

#: The app's own comes last: until it is done, a start begins with the others.
DATABASES = """
    SELECT to_json(datname) FROM pg_database WHERE datallowconn AND datconnlimit <> -2
    ORDER BY datname = {name};
"""


class Server(Protocol):
    """As in `database`."""

    database: str

    def ask(self, sql: str, database: str | None = None) -> str: ...


@dataclass(frozen=True)
class Installed:
    """An extension of a database."""

    name: str
    version: str
    schema: str
    owner: str
    of_superuser: bool
    #: From pg_dump.
    hidden: bool


@dataclass(frozen=True)
class Prospects:
    """What there is to know before a script of an extension is run."""

    #: Its authors vouch that it is safe among objects of anybody's.
    trusted: bool
    #: It can be in a schema of its own for a while, and looks into no other one.
    movable: bool
    #: It says itself where it lies.
    settled: bool
    #: There is a way from the installed version to the image's.
    way: bool
    #: The app has tables or types.
    occupied: bool
    #: The app has functions or operators, which a script could call.
    callable: bool


def ensure(server: Server, wanted: list[str], said: list[list]) -> None:
    """Makes and updates the extensions of the spec; `said` are the rows of `INSTALLED`."""
    found = installed(said)
    if any(one.hidden for one in found.values()):
        show_to_pg_dump(server)
    for name in wanted:
        if name not in found:
            make(server, name)
        elif found[name].version != shipped_version(name):
            # New databases are copies of template1, and it has what the prepared cluster has.
            for database in (server.database, "template1"):
                update(server, name, database)


def installed(said: list[list]) -> dict[str, Installed]:
    return {row[1]: Installed(*row[1:]) for row in said if row[0] == EXTENSION}


def show_to_pg_dump(server: Server) -> None:
    for line in server.ask(DATABASES.format(name=literal(server.database))).splitlines():
        server.ask(GIVE_NORMAL_OIDS, json.loads(line))
    print(
        "hive: note: dumps have CREATE EXTENSION from now on; those made before lack it", flush=True
    )


def make(server: Server, name: str) -> None:
    """Makes an extension. Where the app has put something in its way it goes on without."""
    prospects = look_ahead(server, name, "")
    if prospects is None:
        raise Fatal(f"the image does not have the extension {name!r}")
    schema = "" if prospects.settled else f" SCHEMA {SCHEMA}"
    create = f"CREATE EXTENSION {identifier(name)}{schema}"
    # A comment could be restored by nobody but the extension's owner.
    steps = [create, f"COMMENT ON EXTENSION {identifier(name)} IS NULL"]
    if prospects.callable and not prospects.trusted:
        if not prospects.movable:
            print(f"hive: note: {by_hand(create)}", flush=True)
            return
        aside = f"hive_{secrets.token_hex(8)}"
        steps[0] = f"CREATE EXTENSION {identifier(name)} SCHEMA {aside}"
        steps = [f"CREATE SCHEMA {aside}", *steps]
        steps += [f"ALTER EXTENSION {identifier(name)} SET SCHEMA {SCHEMA}", f"DROP SCHEMA {aside}"]
    try:
        server.ask(MAKE_SCHEMA + in_one(steps))
    except Fatal as error:
        if not (prospects.occupied or prospects.callable):
            raise
        print(f"hive: note: {create} failed, the app has to do without: {error}", flush=True)


def update(server: Server, name: str, database: str) -> None:
    """Gives an extension the SQL of the version that the image brings, where there is a way.

    Where there is none or that fails it goes on as it is: new libraries serve old SQL.
    """
    rows = [json.loads(line) for line in server.ask(INSTALLED, database).splitlines()]
    one = installed(rows).get(name)
    shipped = shipped_version(name)
    if one is None or one.version == shipped:
        return
    update = f"ALTER EXTENSION {identifier(name)} UPDATE"
    versions = f"in database {database!r} from {one.version} to {shipped}"
    prospects = look_ahead(server, name, one.version, database)
    if prospects is None or not prospects.way:
        print(f"hive: note: there is no {update} {versions}; it stays as it is", flush=True)
        return
    if not one.of_superuser:
        print(f"hive: note: {update} {versions} is for its owner, {one.owner!r}", flush=True)
        return
    steps = [update]
    if prospects.callable and not prospects.trusted:
        if not prospects.movable:
            print(f"hive: note: {versions}: {by_hand(update)}", flush=True)
            return
        aside = f"hive_{secrets.token_hex(8)}"
        move = f"ALTER EXTENSION {identifier(name)} SET SCHEMA"
        steps = [f"CREATE SCHEMA {aside}", f"{move} {aside}", update]
        steps += [f"{move} {identifier(one.schema)}", f"DROP SCHEMA {aside}"]
    try:
        server.ask(in_one(steps), database)
        print(f"hive: note: {update} {versions}", flush=True)
    except Fatal as error:
        print(f"hive: note: {update} {versions} failed, it stays as it is: {error}", flush=True)


def look_ahead(
    server: Server, name: str, version: str, database: str | None = None
) -> Prospects | None:
    """None for an extension that the image does not have."""
    said = server.ask(PROSPECTS.format(name=literal(name), version=literal(version)), database)
    return Prospects(*json.loads(said)) if said else None


def by_hand(command: str) -> str:
    return (
        f"the script of this extension would run among functions of the app's; when you know that"
        f" it can, as the superuser: {command}"
    )


def in_one(steps: list[str]) -> str:
    """All of them or none."""
    return "".join(f"{step};\n" for step in ["BEGIN", *steps, "COMMIT"])


def shipped_version(extension: str) -> str | None:
    """The version of an extension that this image brings, by its control file."""
    path = f"/usr/share/postgresql/{major_version(PREPARED)}/extension/{extension}.control"
    try:
        with open(path, encoding="utf-8") as file:
            found = re.search(r"^\s*default_version\s*=\s*'([^']*)'", file.read(), re.MULTILINE)
    except FileNotFoundError:
        return None
    return found[1] if found else None
