"""Makes the database what the image says: role, database, extensions, initial SQL.

Runs at each start, before the app. Every step may run again; one that is already so costs a look.

The superuser's statements are all here and in `extensions`. What can be said of the app's database
from outside is asked in the database `postgres`, in which the app's role can make nothing; in its
own, `settings` keeps everything of its making out of the way.
"""

import base64
import hashlib
import hmac
import json
import os
import secrets
import socket
import subprocess
import time

from hive_container import archiving, extensions, settings
from hive_container.cluster import POSTGRES_BIN, major_version
from hive_container.image import (
    DATABASE_HOST,
    DATABASE_PORT,
    METRICS_PASSFILE,
    METRICS_ROLE,
    PASSFILE,
    RUN,
    SUPERUSER,
    Fatal,
    Image,
    escape,
    identifier,
    literal,
)
from hive_container.volume import PGDATA, PREPARED, SUPERUSER_PASSFILE

SOCKET = f"{RUN}/.s.PGSQL.{DATABASE_PORT}"

#: Between two looks whether PostgreSQL answers. It is usually there 35 ms after its start.
LOOK_SECONDS = 0.01
#: Between two lines that say we are still waiting: recovery may take minutes.
SAY_SECONDS = 10

#: Where it is kept that the initial SQL has been run.
MARKER_SCHEMA = "hive_image"
MARKER = f"{MARKER_SCHEMA}.initial_sql"

#: With fewer connections than this the app, its health and its migrations have no room.
FEWEST_CONNECTIONS = 5

#: More notes of one kind are no news.
MOST_NOTES = 5


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


# Each row of an answer is a JSON array, its first element one of these: a name in the app's
# database may have line ends, and look like a row of its own.
LOST, MOVED, OPEN, SETTING, GIVEN = "lost", "moved", "open", "setting", "given"

#: A database of which PostgreSQL has begun to remove the files when it was killed; it can only be
#: removed once more.
HALF_DROPPED = """
    SELECT format('DROP DATABASE %I', datname) FROM pg_database
    WHERE datname = {name} AND datconnlimit = -2 \\gexec
"""

#: Databases whose folder is gone. Those in other tablespaces are left out.
LOST_DATABASES = f"""
    SELECT json_build_array('{LOST}', format('database %s', datname)) FROM pg_database
    WHERE dattablespace = (SELECT oid FROM pg_tablespace WHERE spcname = 'pg_default')
        AND pg_stat_file(format('base/%s/PG_VERSION', oid), true) IS NULL;
"""

#: What its owner can do to a database so that nobody gets into it, with what undoes it.
CLOSED = """
    SELECT json_build_array('{kind}', format('ALTER DATABASE %I ALLOW_CONNECTIONS true', datname))
        FROM pg_database WHERE datname = {name} AND NOT datallowconn;
    SELECT json_build_array('{kind}', format('ALTER DATABASE %I CONNECTION LIMIT -1', datname))
        FROM pg_database WHERE datname = {name} AND datconnlimit BETWEEN 0 AND {fewest} - 1;
    SELECT json_build_array('{kind}', format('GRANT CONNECT ON DATABASE %I TO %I', datname, {role}))
        FROM pg_database
        WHERE datname = {name} AND NOT has_database_privilege({role}, oid, 'CONNECT');
"""

#: Settings of any database, with the values that sessions have without them.
SETTINGS = f"""
    SELECT DISTINCT ON (datname, name) json_build_array('{SETTING}', datname, name, reset_val)
    FROM pg_db_role_setting JOIN pg_database d ON d.oid = setdatabase,
        unnest(setconfig) AS entry JOIN pg_settings ON name = split_part(entry, '=', 1)
    WHERE context IN ('user', 'superuser');
"""

#: Settings of the app's database, of its role, and of both, each with the command that ends them.
GIVEN_TO_THE_APP = """
    SELECT json_build_array('{kind}', split_part(entry, '=', 1),
        substr(entry, strpos(entry, '=') + 1),
        CASE WHEN setrole = 0 THEN format('ALTER DATABASE %I', datname)
            WHEN setdatabase = 0 THEN format('ALTER ROLE %I', rolname)
            ELSE format('ALTER ROLE %I IN DATABASE %I', rolname, datname) END
            || format(' RESET %s', split_part(entry, '=', 1)))
    FROM pg_db_role_setting LEFT JOIN pg_database d ON d.oid = setdatabase
        LEFT JOIN pg_roles r ON r.oid = setrole, unnest(setconfig) AS entry
    WHERE datname = {name} AND (setrole = 0 OR rolname = {role})
        OR setdatabase = 0 AND rolname = {role};
"""

#: Tables and indexes of a database whose file is gone: a copy of the volume that lacks part of
#: it. PostgreSQL says so only when somebody asks for their rows.
LOST_RELATIONS = f"""
    SELECT json_build_array('{LOST}', oid::regclass) FROM pg_class
    WHERE relpersistence = 'p' AND relkind IN ('r', 'i', 't', 'm', 'S')
        AND pg_relation_filepath(oid) IS NOT NULL
        AND pg_stat_file(pg_relation_filepath(oid), true) IS NULL;
"""

#: Indexes and databases whose order another C library or ICU made: they may miss rows. One
#: command a row. What this cannot tell stops nothing.
MOVED_COLLATIONS = f"""
    \\set ON_ERROR_STOP 0
    SELECT json_build_array('{MOVED}', command) FROM (
        SELECT format('REINDEX INDEX %s; ALTER COLLATION %s REFRESH VERSION;',
                i.indexrelid::regclass, c.oid::regcollation)
            FROM pg_index i JOIN LATERAL unnest(i.indcollation) AS used (oid) ON true
            JOIN pg_collation c ON c.oid = used.oid
            WHERE c.collversion <> pg_collation_actual_version(c.oid)
        UNION
        SELECT format('REINDEX DATABASE %1$I; ALTER DATABASE %1$I REFRESH COLLATION VERSION;',
                datname)
            FROM pg_database
            WHERE datname = current_database()
                AND datcollversion <> pg_database_collation_actual_version(oid)
    ) AS moved (command);
"""


def ensure(image: Image, password: str) -> list[str]:
    """Brings the running server to what the image says; raises Fatal when it cannot.

    Returns the commands that end the settings which the app's database and role were given.
    """
    # One psql for many questions: to start one takes longer than what it asks.
    said = rows(as_superuser(from_outside(image, password), "postgres"))
    if not archiving.is_mounted():
        archiving.forget_bound()
    refuse_lost(said)
    open_up(said)
    server = Server(image, said)
    inside = rows(server.ask(LOST_RELATIONS + extensions.INSTALLED + MOVED_COLLATIONS))
    refuse_lost(inside)
    extensions.ensure(server, image.extensions, inside)
    tell_moved(inside)
    if image.initial_sql:
        run_initial_sql(server, image)
    return [command for _, _, command in of_kind(said, GIVEN)]


class Server:
    """The superuser's sessions in the databases of the running server."""

    def __init__(self, image: Image, said: list[list[str]]):
        self.database = image.database
        self.given: dict[str, dict[str, str]] = {}
        for database, name, value in of_kind(said, SETTING):
            self.given.setdefault(database, {})[name] = value

    def ask(self, sql: str, database: str | None = None) -> str:
        """Runs SQL in a database, the app's unless another one is named, with none of the settings
        that it was given."""
        database = database or self.database
        return as_superuser(sql, database, self.given.get(database, {}))


def from_outside(image: Image, password: str) -> str:
    """What is done and asked in the database `postgres`."""
    values = {"name": literal(image.database), "role": literal(image.role)}
    return (
        HALF_DROPPED.format(**values)
        + LOST_DATABASES
        + role_and_database(image, password)
        + metrics_role(image.metrics_port is not None)
        + archive_slot(archiving.is_mounted())
        + CLOSED.format(kind=OPEN, fewest=FEWEST_CONNECTIONS, **values)
        + GIVEN_TO_THE_APP.format(kind=GIVEN, **values)
        + SETTINGS
    )


def rows(answer: str) -> list[list[str]]:
    return [json.loads(line) for line in answer.splitlines()]


def of_kind(said: list[list[str]], kind: str) -> list[list[str]]:
    return [row[1:] for row in said if row[0] == kind]


def refuse_lost(said: list[list[str]]) -> None:
    lost = [name for (name,) in of_kind(said, LOST)]
    if lost:
        some = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if lost[3:] else "")
        raise Fatal(f"the cluster is not whole: no file of {some}", "restore it from a backup")


def open_up(said: list[list[str]]) -> None:
    """Takes back what would keep the app out of its database, and says so."""
    commands = [command for (command,) in of_kind(said, OPEN)]
    commands += [
        command
        for name, value, command in of_kind(said, GIVEN)
        if settings.stops_sessions(name, value)
    ]
    for command in commands:
        as_superuser(f"{command};", "postgres")
        print(f"hive: note: nobody could use the database: {shown(command)}", flush=True)


def tell_moved(said: list[list[str]]) -> None:
    commands = [command for (command,) in of_kind(said, MOVED)]
    for command in commands[:MOST_NOTES]:
        print(
            "hive: note: text sorts otherwise than when this index was made, and it may miss rows;"
            f" as the superuser: {shown(command)}",
            flush=True,
        )
    if commands[MOST_NOTES:]:
        print(f"hive: note: the same of {len(commands) - MOST_NOTES} more indexes", flush=True)


def shown(text: str) -> str:
    """As one line, whatever the names in it are."""
    return text if text.isprintable() else repr(text)


def verifier(password: str, salt: bytes | None = None) -> str:
    """What PostgreSQL keeps of a password (RFC 5803), so that no statement has the password itself.
    What a client would first bring into another form (RFC 4013) is left to the server."""
    if not (password.isascii() and password.isprintable()):
        return password
    salt, rounds = salt or secrets.token_bytes(16), 4096
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), salt, rounds)
    client, server = (hmac.digest(salted, key, "sha256") for key in (b"Client Key", b"Server Key"))
    kept = (salt, hashlib.sha256(client).digest(), server)
    shown_salt, stored, server_key = (base64.b64encode(one).decode() for one in kept)
    return f"SCRAM-SHA-256${rounds}:{shown_salt}${stored}:{server_key}"


def role_and_database(image: Image, password: str) -> str:
    role, name = identifier(image.role), identifier(image.database)
    # What is kept of the password must not reach the server's log, should one of these fail, nor
    # the view of pg_stat_statements; without that the last one is a name and nothing more.
    return f"""
        SET log_min_error_statement = panic;
        SET log_statement = none;
        SET log_min_duration_statement = -1;
        SET pg_stat_statements.track_utility = off;
        SELECT 'CREATE ROLE {escape(role)}'
            WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = {literal(image.role)}) \\gexec
        ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
            PASSWORD {literal(verifier(password))};
        SELECT 'CREATE DATABASE {escape(name)} OWNER {escape(role)}'
            WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = {literal(image.database)})
            \\gexec
        ALTER DATABASE {name} OWNER TO {role};
    """


def metrics_role(is_wanted: bool) -> str:
    """The role that reads statistics may log in only while somebody asks for them."""
    role = METRICS_ROLE
    if not is_wanted:
        return f"""
            SELECT 'ALTER ROLE {role} NOLOGIN' FROM pg_roles
                WHERE rolname = '{role}' AND rolcanlogin \\gexec
        """
    with open(METRICS_PASSFILE, encoding="utf-8") as file:
        password = file.read().rstrip("\n").rsplit(":", 1)[1]
    return f"""
        SELECT 'CREATE ROLE {role}'
            WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '{role}') \\gexec
        ALTER ROLE {role} LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION NOBYPASSRLS
            CONNECTION LIMIT 3 PASSWORD {literal(verifier(password))};
        GRANT pg_monitor TO {role};
    """


def archive_slot(is_wanted: bool) -> str:
    """Without an archive nothing keeps the log for it. What the cluster says of one goes, too: with
    the next archive there is a gap."""
    if is_wanted:
        return ""
    archiving.forget()
    return archiving.unbounded(archiving.bound()) + archiving.WITHOUT_SLOT


def run_initial_sql(server: Server, image: Image) -> None:
    """Runs the spec's SQL as the app's role, once in the life of the volume.

    The mark that it has been run is part of the same transaction.
    """
    make_marker(server, image)
    if as_app_role(image, f"SELECT EXISTS (SELECT FROM {MARKER});") == "t":
        return
    body = "\n;\n".join(image.initial_sql)
    as_app_role(image, f"BEGIN;\n{body}\n;\nINSERT INTO {MARKER} DEFAULT VALUES;\nCOMMIT;\n")


def make_marker(server: Server, image: Image) -> None:
    """A schema of this name is ours; one that the app made gets another name, with all that is
    in it."""
    role = identifier(image.role)
    server.ask(f"""
        SELECT format('ALTER SCHEMA {MARKER_SCHEMA} RENAME TO %I', '{MARKER_SCHEMA}_of_' || oid)
            FROM pg_namespace
            WHERE nspname = '{MARKER_SCHEMA}' AND pg_get_userbyid(nspowner) <> '{SUPERUSER}' \\gexec
        CREATE SCHEMA IF NOT EXISTS {MARKER_SCHEMA};
        CREATE TABLE IF NOT EXISTS {MARKER} (run_at timestamptz NOT NULL DEFAULT now());
        GRANT USAGE ON SCHEMA {MARKER_SCHEMA} TO {role};
        GRANT SELECT, INSERT ON {MARKER} TO {role};
    """)


def as_superuser(sql: str, database: str, given: dict[str, str] | None = None) -> str:
    # Ours come last, and win.
    options = (given or {}) | settings.of_the_start(major_version(PREPARED))
    return psql(sql, RUN, SUPERUSER, database, SUPERUSER_PASSFILE, options)


def as_app_role(image: Image, sql: str) -> str:
    options = settings.of_any_session(major_version(PREPARED))
    return psql(sql, DATABASE_HOST, image.role, image.database, PASSFILE, options)


def psql(
    sql: str, host: str, user: str, database: str, passfile: str, options: dict[str, str]
) -> str:
    """Runs SQL given on stdin, so that no password is in an argument; returns its output."""
    environment = {
        "PATH": os.defpath,
        "PGHOST": host,
        "PGPORT": str(DATABASE_PORT),
        "PGUSER": user,
        "PGDATABASE": database,
        "PGPASSFILE": passfile,
        "PGOPTIONS": settings.as_options(options),
        "PGCONNECT_TIMEOUT": "10",
        "PGCLIENTENCODING": "UTF8",
        "PGAPPNAME": "hive-start",
    }
    done = subprocess.run(
        [f"{POSTGRES_BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-f", "-"],
        input=sql.encode(),
        env=environment,
        capture_output=True,
        check=False,
    )
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        hint = None
        if user == SUPERUSER and "password authentication failed" in said:
            hint = (
                f"is {passfile} of another cluster? without it the next start makes a new password"
            )
        raise Fatal(f"SQL as {user!r} failed: {said}", hint)
    return done.stdout.decode().strip()
