"""Makes the database what the image says: role, database, extensions, initial SQL.

Runs at each start, through the socket, before the app. Every step may run again; one that is
already so costs a look.
"""

import os
import re
import socket
import subprocess
import time

from hive_container.cluster import POSTGRES_BIN, read_first_line
from hive_container.image import (
    DATABASE_HOST,
    DATABASE_PORT,
    PASSFILE,
    RUN,
    SUPERUSER,
    Fatal,
    Image,
    identifier,
)
from hive_container.volume import PGDATA, PREPARED, SUPERUSER_PASSFILE

SOCKET = f"{RUN}/.s.PGSQL.{DATABASE_PORT}"

#: Between two looks whether PostgreSQL answers. It is usually there 35 ms after its start.
LOOK_SECONDS = 0.01
#: Between two lines that say we are still waiting: recovery may take minutes.
SAY_SECONDS = 10

#: Where it is kept that the initial SQL has been run.
MARKER = "hive_image.initial_sql"


def wait_until_it_answers() -> None:
    """Returns when PostgreSQL takes connections. Waits for ever: supervisord watches over it."""
    start = said = time.monotonic()
    while not takes_connections():
        now = time.monotonic()
        if now - said > SAY_SECONDS:
            said = now
            print(f"waiting for PostgreSQL since {now - start:.0f} s", flush=True)
        time.sleep(LOOK_SECONDS)


def takes_connections() -> bool:
    """Whether the server asks a client to log in; while it starts it answers with an error."""
    if not says_ready():
        return False
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(SOCKET)
            # StartupMessage, protocol 3.0; no such role is needed to be asked for a password.
            parameters = b"user\0hive_probe\0\0"
            size = (8 + len(parameters)).to_bytes(4, "big")
            connection.sendall(size + (0x30000).to_bytes(4, "big") + parameters)
            return connection.recv(1024).startswith(b"R")
    except OSError:
        return False


def says_ready() -> bool:
    """What the postmaster wrote into its lock file. Asking the server instead would leave an
    error in its log each time; but a file left by a server that was killed also says `ready`."""
    try:
        with open(f"{PGDATA}/postmaster.pid", encoding="utf-8") as file:
            return file.read().split("\n")[7].strip() == "ready"
    except (OSError, IndexError):
        return False


#: Each line of the answer to our questions begins with one of these.
LOST, INSTALLED, MOVED = "lost", "installed", "moved"

#: Databases whose folder is gone. Those in other tablespaces are left out.
LOST_DATABASES = f"""
    SELECT '{LOST}', format('database %s', datname) FROM pg_database
    WHERE dattablespace = (SELECT oid FROM pg_tablespace WHERE spcname = 'pg_default')
        AND pg_stat_file(format('base/%s/PG_VERSION', oid), true) IS NULL;
"""

#: Tables and indexes of a database whose file is gone: a copy of the volume that lacks part of
#: it. PostgreSQL says so only when somebody asks for their rows.
LOST_RELATIONS = f"""
    SELECT '{LOST}', oid::regclass FROM pg_class
    WHERE relpersistence = 'p' AND relkind IN ('r', 'i', 't', 'm', 'S')
        AND pg_stat_file(pg_relation_filepath(oid), true) IS NULL;
"""

#: What is installed. Not pg_available_extensions, which reads a file of each extension there is.
EXTENSIONS = f"SELECT '{INSTALLED}', extname, extversion FROM pg_extension;"

#: Of {name}: the installed version, where it is not the image's, and whether there is a way from
#: the one to the other. There is none after an older image was put back.
OTHER_EXTENSION = """
    SELECT installed_version, EXISTS (
        SELECT FROM pg_extension_update_paths(name)
        WHERE source = installed_version AND target = default_version AND path IS NOT NULL)
    FROM pg_available_extensions WHERE name = {name} AND installed_version <> default_version;
"""

#: Indexes and databases whose order another C library or ICU made: they may miss rows. One
#: command a line.
MOVED_COLLATIONS = f"""
    SELECT '{MOVED}', format('REINDEX INDEX %s; ALTER COLLATION %s REFRESH VERSION;',
            i.indexrelid::regclass, c.oid::regcollation)
        FROM pg_index i JOIN LATERAL unnest(i.indcollation) AS used (oid) ON true
        JOIN pg_collation c ON c.oid = used.oid
        WHERE c.collversion <> pg_collation_actual_version(c.oid)
    UNION
    SELECT '{MOVED}',
            format('REINDEX DATABASE %1$I; ALTER DATABASE %1$I REFRESH COLLATION VERSION;', datname)
        FROM pg_database
        WHERE datname = current_database()
            AND datcollversion <> pg_database_collation_actual_version(oid);
"""


def ensure(image: Image, password: str) -> None:
    """Brings the running server to what the image says; raises Fatal when it cannot."""
    # One psql for all of it: to start one takes longer than what it asks.
    said = as_superuser(
        LOST_DATABASES
        + role_and_database(image, password)
        + connect(image.database)
        + LOST_RELATIONS
        + contents(image)
        + EXTENSIONS
        + MOVED_COLLATIONS,
        "postgres",
    )
    lines = [line.partition("|") for line in said.splitlines()]
    found = {kind: [text for said, _, text in lines if said == kind] for kind in (LOST, INSTALLED, MOVED)}
    if found[LOST]:
        lost = found[LOST]
        some = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if lost[3:] else "")
        raise Fatal(f"the cluster is not whole: no file of {some}", "restore it from a backup")
    installed = dict(text.split("|") for text in found[INSTALLED])
    for extension in image.extensions:
        shipped = shipped_version(extension)
        if installed[extension] != shipped:
            # New databases are copies of template1, and it has what the prepared cluster has.
            for database in (image.database, "template1"):
                update_extension(extension, shipped, database)
    for command in found[MOVED]:
        print(
            "hive: note: text sorts otherwise than when this index was made, and it may miss rows;"
            f" as the superuser: {command}",
            flush=True,
        )
    if image.initial_sql:
        run_initial_sql(image)


def connect(database: str) -> str:
    """psql's command for going on in another database, whatever its name is."""
    escaped = database.replace("\\", "\\\\").replace("'", "\\'").replace('"', '""')
    return f"""\n\\connect -reuse-previous=on "dbname='{escaped}'"\n"""


def shipped_version(extension: str) -> str | None:
    """The version of an extension that this image brings, by its control file."""
    major = read_first_line(f"{PREPARED}/PG_VERSION")
    path = f"/usr/share/postgresql/{major}/extension/{extension}.control"
    with open(path, encoding="utf-8") as file:
        found = re.search(r"^\s*default_version\s*=\s*'([^']*)'", file.read(), re.MULTILINE)
    return found[1] if found else None


def update_extension(extension: str, shipped: str | None, database: str) -> None:
    """Gives an extension the SQL of the version that this image brings, where there is a way.

    Where there is none or that fails it goes on as it is: new libraries serve old SQL.
    """
    found = as_superuser(OTHER_EXTENSION.format(name=literal(extension)), database)
    if not found:
        return
    installed, _, way = found.rpartition("|")
    versions = f"in database {database!r} from {installed} to {shipped}"
    update = f"ALTER EXTENSION {identifier(extension)} UPDATE"
    if way != "t":
        print(f"hive: note: there is no {update} {versions}; it stays as it is", flush=True)
        return
    try:
        as_superuser(f"{update};", database)
        print(f"hive: note: {update} {versions}", flush=True)
    except Fatal as error:
        print(f"hive: note: {update} {versions} failed, it stays as it is: {error}", flush=True)


def role_and_database(image: Image, password: str) -> str:
    role, name = identifier(image.role), identifier(image.database)
    # The password must not reach the server's log, should one of these fail.
    return f"""
        SET log_min_error_statement = panic;
        SET log_statement = none;
        SET log_min_duration_statement = -1;
        SELECT 'CREATE ROLE {escape(role)}'
            WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(image.role)}) \\gexec
        ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
            PASSWORD {literal(password)};
        SELECT 'CREATE DATABASE {escape(name)} OWNER {escape(role)}'
            WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {literal(image.database)})
            \\gexec
        ALTER DATABASE {name} OWNER TO {role};
    """


def contents(image: Image) -> str:
    statements = [
        f"CREATE EXTENSION IF NOT EXISTS {identifier(extension)};" for extension in image.extensions
    ]
    if image.initial_sql:
        schema, _, _ = MARKER.partition(".")
        role = identifier(image.role)
        statements += [
            f"CREATE SCHEMA IF NOT EXISTS {schema};",
            f"CREATE TABLE IF NOT EXISTS {MARKER} (run_at timestamptz NOT NULL DEFAULT now());",
            f"GRANT USAGE ON SCHEMA {schema} TO {role};",
            f"GRANT SELECT, INSERT ON {MARKER} TO {role};",
        ]
    return "SET client_min_messages = warning;\n" + "\n".join(statements)


def run_initial_sql(image: Image) -> None:
    """Runs the spec's SQL as the app's role, once in the life of the volume.

    The mark that it has been run is part of the same transaction.
    """
    if as_app_role(image, f"SELECT EXISTS (SELECT FROM {MARKER});") == "t":
        return
    body = "\n;\n".join(image.initial_sql)
    as_app_role(image, f"BEGIN;\n{body}\n;\nINSERT INTO {MARKER} DEFAULT VALUES;\nCOMMIT;\n")


def as_superuser(sql: str, database: str) -> str:
    return psql(sql, RUN, SUPERUSER, database, SUPERUSER_PASSFILE)


def as_app_role(image: Image, sql: str) -> str:
    return psql(sql, DATABASE_HOST, image.role, image.database, PASSFILE)


def psql(sql: str, host: str, user: str, database: str, passfile: str) -> str:
    """Runs SQL given on stdin, so that no password is in an argument; returns its output."""
    environment = {
        "PATH": os.defpath,
        "PGHOST": host,
        "PGPORT": str(DATABASE_PORT),
        "PGUSER": user,
        "PGDATABASE": database,
        "PGPASSFILE": passfile,
        "PGCONNECT_TIMEOUT": "10",
        "PGCLIENTENCODING": "UTF8",
        "PGAPPNAME": "hive-start",
    }
    done = subprocess.run(
        [f"{POSTGRES_BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        input=sql.encode(),
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        hint = None
        if user == SUPERUSER and "password authentication failed" in said:
            hint = f"is {passfile} of another cluster? without it the next start makes a new password"
        raise Fatal(f"SQL as {user!r} failed: {said}", hint)
    return done.stdout.decode().strip()


def literal(text: str) -> str:
    return " E'" + escape(text.replace("\\", "\\\\")) + "'"


def escape(text: str) -> str:
    return text.replace("'", "''")
