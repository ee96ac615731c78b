"""What this image is, where things lie, and the environment its programs get."""

import errno
import json
import os
import re
import secrets
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, urlsplit

from hive_container import own_programs, settings

IMAGE_FILE = "/etc/hive/image.json"
RUN = "/run/hive"
APP = "/app"

#: The app reaches PostgreSQL here: a literal address, as `localhost` may be ::1 first.
DATABASE_HOST = "127.0.0.1"
DATABASE_PORT = 5432

#: How libpq finds, enters and checks a server (libpq's environment variables). The container's own
#: programs use its own database: a PGPASSWORD for another one would win over the password file.
#: Neither what the app calls its own (PGBOUNCER_URL) nor how sessions are to be (PGOPTIONS, PGTZ).
CONNECTION_VARIABLE = re.compile(
    "PG(HOST(ADDR)?|PORT|DATABASE|USER|PASS(WORD|FILE)|SERVICE(FILE)?"
    "|(REQUIRE|CHANNELBINDING|SSL|GSS|KRB|OAUTH|TARGETSESSION|LOADBALANCE|M(IN|AX)PROTOCOL)[A-Z]*)"
)

#: What the production stage sets for the whole image, which is no wish of whoever runs it: the
#: spec wins over it. A test holds this against the stage.
OF_THE_IMAGE = {
    "PATH": "/opt/venv/bin:/opt/project/bin:/usr/local/bin:/usr/bin:/bin",
    "VIRTUAL_ENV": "/opt/venv",
    "LANG": "C.UTF-8",
    "PYTHONUNBUFFERED": "1",
    "PYTHONSAFEPATH": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PGDATA": "/var/lib/postgresql/data/pgdata",
    "PGSERVICEFILE": "/run/hive/pg_service.conf",
    "PGSERVICE": "app",
}

#: Says by which name the volume knows the app, where that has changed.
APP_WAS = "HIVE_APP_WAS"

#: On which port the container answers Prometheus. It does not unless this is given.
METRICS_PORT = "HIVE_METRICS_PORT"

#: Of the container alone; the app gets none of them.
NOT_FOR_THE_APP = (
    *("PGDATA", "HIVE_DATABASE_PASSWORD_FILE", APP_WAS, METRICS_PORT),
    *("HIVE_DATABASE_URL_FILE", "HIVE_DATABASE_HOST", "HIVE_DATABASE_PORT", "HIVE_DATABASE_WAIT"),
)

#: The superuser of the prepared cluster. No role of an app may have this name.
SUPERUSER = "postgres"

#: May read PostgreSQL's statistics and nothing else, for the program `metrics`.
METRICS_ROLE = "hive_metrics"

#: Where the app's password is looked for when no HIVE_DATABASE_PASSWORD_FILE names a file.
PASSWORD_SECRET = "/run/secrets/hive_database_password"

#: Password of the app's role, in libpq's form. For the app, its health check and `psql`.
PASSFILE = f"{RUN}/pgpass"
#: Password of `METRICS_ROLE`, in the same form. A new one at each start.
METRICS_PASSFILE = f"{RUN}/metrics.pgpass"
#: What the bash scripts need to know, in shell syntax.
SHELL_FILE = f"{RUN}/image.sh"
#: `psql` in the container connects as the app's role; `psql service=superuser` as the superuser.
SERVICE_FILE = f"{RUN}/pg_service.conf"
#: The values of this start's placeholders, as JSON: what a program is given must not change with
#: a file that somebody exchanges meanwhile.
VALUES_FILE = f"{RUN}/values.json"
#: There when the database is ready and the spec's command has been run, in this start.
READY = f"{RUN}/database-ready"
#: There while the spec's command runs: the health check waits for it.
BEFORE_START = f"{RUN}/before-start"
#: The programs of the image's own, as supervisord includes them.
PROGRAMS_FILE = f"{RUN}/programs.conf"
#: Without which programs the container goes on; the health check says so.
WITHOUT_FILE = f"{RUN}/without"

#: What became of each program in this start of the container, as JSON; kept for metrics.
PROGRAMS_SEEN_FILE = f"{RUN}/programs.json"

#: Exit status of a program, and of the container, when trying again cannot help.
EXIT_CONFIG = 78
#: The same when it may: what is needed was not there in time (`EX_TEMPFAIL` of sysexits.h).
EXIT_ABSENT = 75


class Fatal(Exception):
    """The container cannot start like this. One line that says why, and what to do."""

    #: With which the program ends.
    status = EXIT_CONFIG

    def __init__(self, message: str, hint: str | None = None):
        # What other programs said may have several.
        message = re.sub(r"\s*\n\s*", " ", message)
        super().__init__(f"{message}; hint: {hint}" if hint else message)


def in_words(error: OSError) -> Fatal:
    """What the system refused, and where; for what nobody foresaw."""
    where = error.filename2 or error.filename
    path = os.fsdecode(where) if isinstance(where, (str, bytes)) else None
    what = error.strerror or str(error)
    place = f"{path}: {what}" if path else what
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Fatal(place, "make room there")
    if error.errno == errno.EAGAIN:
        return Fatal(place, "the container may have too few processes: --pids-limit 100 or more")
    return Fatal(place, "look at what is there with `docker run … IMAGE ls -la`")


@dataclass(frozen=True)
class Image:
    """/etc/hive/image.json, with the port that this container was asked to serve on."""

    name: str
    #: What is said of the app from here on has no meaning where there is none.
    has_app: bool
    app: str | None
    import_string: str | None
    factory: bool
    command: list[str] | None
    workers: int
    #: The app's.
    port: int | None
    #: None for no metrics.
    metrics_port: int | None
    health_path: str | None
    before_start: list[str] | None
    environment: dict[str, str]
    #: As many looks in a row at an app that gives no answer restart it; 0 for never.
    restart_after: int
    #: Its folders that lie on the volume, as absolute paths.
    directories: list[str]
    #: By which name a volume may know the app, too.
    app_was: str | None
    database: str
    role: str
    #: The host that has the database where nobody says otherwise; None where it is in this image.
    elsewhere: str | None
    extensions: list[str]
    initial_sql: list[str]
    settings: dict[str, str]
    programs: list[own_programs.OwnProgram]

    @property
    def has_database(self) -> bool:
        return self.elsewhere is None


def load(environ: dict[str, str], path: str = IMAGE_FILE) -> Image:
    """Reads what the image is; HIVE_API_PORT in `environ` moves the port."""
    with open(path, encoding="utf-8") as file:
        document = json.load(file)
    app, database = document["app"] or {}, document["database"]
    for what in ("name", "role"):
        if any(ord(character) < 32 for character in database[what]):
            raise Fatal(f"the database's {what} has a control character")
    if database["role"] == SUPERUSER:
        raise Fatal(f"the app's role may not be {SUPERUSER!r}: that is the superuser")
    if database["role"] == METRICS_ROLE:
        raise Fatal(f"the app's role may not be {METRICS_ROLE!r}: that is the container's own")
    # In `postgres` the superuser is alone: the app's role may own no other database than its own.
    if database["name"] in ("postgres", "template0", "template1"):
        raise Fatal(f"the app's database may not be {database['name']!r}")
    port = _port(environ.get("HIVE_API_PORT") or app["port"]) if app else None
    if "elsewhere" in database and environ.get(METRICS_PORT):
        raise Fatal(
            f"{METRICS_PORT} is set, and metrics are those of a database, which this image has not",
            "leave it out, and ask the database's own container",
        )
    return Image(
        name=document["image"],
        has_app=bool(app),
        app=app.get("name"),
        import_string=app.get("import"),
        factory=app.get("factory", False),
        command=app.get("command"),
        workers=app.get("workers", 1),
        port=port,
        metrics_port=_metrics_port(environ.get(METRICS_PORT), port),
        health_path=app.get("health_path"),
        before_start=app.get("before_start"),
        environment=app.get("environment", {}),
        restart_after=app.get("restart_after", 0),
        directories=app.get("directories", []),
        app_was=environ.get(APP_WAS),
        database=database["name"],
        role=database["role"],
        elsewhere=database.get("elsewhere"),
        extensions=database.get("extensions", []),
        initial_sql=database.get("initial_sql", []),
        settings=database.get("settings", {}),
        programs=own_programs.of(document.get("programs", [])),
    )


def _port(value: str | int) -> int:
    try:
        port = int(value)
    except ValueError:
        port = 0
    if not 0 < port < 65536 or port == DATABASE_PORT:
        raise Fatal(
            f"HIVE_API_PORT is {value!r}",
            f"a number from 1 to 65535 other than {DATABASE_PORT}, which is PostgreSQL's",
        )
    return port


def _metrics_port(value: str | None, app_port: int | None) -> int | None:
    if not value:
        return None
    port = int(value) if re.fullmatch("[0-9]{1,5}", value) else 0
    if not 0 < port < 65536 or port in (DATABASE_PORT, app_port):
        taken = f"{DATABASE_PORT}, which is PostgreSQL's"
        taken += f", and {app_port}, which is the app's" if app_port else ""
        raise Fatal(f"{METRICS_PORT} is {value!r}", f"a number from 1 to 65535 other than {taken}")
    return port


def placeholders(image: Image, password: str) -> dict[str, str]:
    """The values of `{name}` in environment values and commands of the spec."""
    user, secret, name = (quote(text, safe="") for text in (image.role, password, image.database))
    return {
        "database_url": f"postgresql://{user}:{secret}@{DATABASE_HOST}:{DATABASE_PORT}/{name}",
        "database_host": DATABASE_HOST,
        "database_port": str(DATABASE_PORT),
        "database_name": image.database,
        "database_user": image.role,
        "database_password": password,
        "database_password_urlencoded": secret,
        "port": _text(image.port),
    }


def _text(port: int | None) -> str:
    return "" if port is None else str(port)


def fill(text: str, values: Mapping[str, str]) -> str:
    """`text` with each `{name}` replaced; `{{` and `}}` are literal braces."""

    def one(match: re.Match) -> str:
        if match[0] in ("{{", "}}"):
            return match[0][0]
        value = value_of(match["name"] or "", values)
        if value is None:
            raise Fatal(f"unknown placeholder {match[0]!r} in {text!r}", f"one of {list(values)}")
        return value

    return re.sub(r"\{\{|\}\}|\{(?P<name>[^{}]*)\}|[{}]", one, text)


def value_of(name: str, values: Mapping[str, str]) -> str | None:
    """What `{name}` stands for. `{database_url:asyncpg}` is the URL for a driver of SQLAlchemy,
    `{database_url:postgis://}` with a scheme as it stands there."""
    what, _, driver = name.partition(":")
    if what != "database_url" or not driver:
        return values.get(name)
    scheme = driver if driver.endswith("://") else f"postgresql+{driver}://"
    return scheme + values["database_url"].removeprefix("postgresql://")


def app_environment(
    image: Image, values: Mapping[str, str], environ: Mapping[str, str]
) -> dict[str, str]:
    """The environment of the app and of its commands.

    What `docker run -e` gives wins over the spec, and the spec over what the image has by itself.
    How to reach the database is the image's or the spec's to say: an image that is told from
    outside to use another one would still report the health of its own.
    """
    ways = {
        "HIVE_DATABASE_URL": fill("{database_url:psycopg}", values),
        "DATABASE_URL": values["database_url"],
        **connection(values),
        "PGPASSFILE": PASSFILE,
        "HIVE_API_PORT": str(image.port),
    }
    of_the_image, given = {}, {}
    for name, value in without_connection(environ).items():
        if name not in NOT_FOR_THE_APP and name not in ways:
            (given if is_given(name, value) else of_the_image)[name] = value
    spec = {name: fill(value, values) for name, value in image.environment.items()}
    return of_the_image | ways | spec | given


def connection(values: Mapping[str, str]) -> dict[str, str]:
    """libpq's variables for the database that the values name."""
    query = parse_qsl(urlsplit(values["database_url"]).query)
    return {
        "PGHOST": values["database_host"],
        "PGPORT": values["database_port"],
        "PGDATABASE": values["database_name"],
        "PGUSER": values["database_user"],
        # As libpq calls them: `sslmode` is PGSSLMODE.
        **{f"PG{name.upper()}": value for name, value in query},
    }


def is_given(name: str, value: str) -> bool:
    """Whether a variable is a wish of whoever runs the container. The engine sets HOME by itself:
    to the user's, and to `/` where it knows none."""
    if name == "HOME":
        return value not in ("/", "/tmp", own_home())
    return OF_THE_IMAGE.get(name) != value


def not_used(environ: Mapping[str, str], elsewhere: str | None = None) -> str | None:
    """A note on variables that lead to a database from outside: none of them is followed. Where
    the database is elsewhere, some are."""
    led = environ.keys() - without_connection(environ).keys()
    led |= {"DATABASE_URL", "HIVE_DATABASE_URL"} & environ.keys()
    if elsewhere:
        led -= {"HIVE_DATABASE_URL"}
    names = sorted(name for name in led if environ[name] and is_given(name, environ[name]))
    if not names:
        return None
    where = "in this container"
    if elsewhere:
        where = f"at {elsewhere}, as the variables HIVE_DATABASE_… say"
    return (
        f"not used: {', '.join(names)}; the app's database is the one {where},"
        " unless `app.environment` of the image's spec says otherwise"
    )


def own_home() -> str | None:
    """Where the user that this runs as is at home, if it has a name."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None


def read_values() -> dict[str, str] | None:
    """The values of this start, where there was one."""
    try:
        with open(VALUES_FILE, encoding="utf-8") as file:
            return json.load(file)
    except FileNotFoundError:
        return None


def without_connection(environ: Mapping[str, str]) -> dict[str, str]:
    """An environment that leads libpq nowhere."""
    return {
        name: value for name, value in environ.items() if not CONNECTION_VARIABLE.fullmatch(name)
    }


def server_environment(environ: Mapping[str, str]) -> dict[str, str]:
    """For PostgreSQL's own programs. They read variables that are meant for the app: formats of
    dates, libraries to load, locales that are not here."""
    return {"PATH": os.defpath, "LANG": "C.UTF-8", "HOME": environ.get("HOME", "/tmp")}


def read_password(environ: dict[str, str]) -> str | None:
    """The password given from outside, or None: then the volume keeps one of our own making."""
    if environ.get("HIVE_DATABASE_PASSWORD"):
        raise Fatal(
            "a password in the environment is seen by everyone who may inspect the container",
            "put it into a file and set HIVE_DATABASE_PASSWORD_FILE",
        )
    path = environ.get("HIVE_DATABASE_PASSWORD_FILE")
    if not path and not os.path.exists(PASSWORD_SECRET):
        return None
    path = path or PASSWORD_SECRET
    password = one_line_in(path, "password file")
    if re.fullmatch(r"md5[0-9a-f]{32}|SCRAM-SHA-256\$.*", password):
        raise Fatal(
            f"the password file {path} holds a hash,"
            " which PostgreSQL would not take for a password",
            "write the password itself into it",
        )
    return password


def one_line_in(path: str, what: str) -> str:
    """The line that a file from outside holds."""
    try:
        with open(path, encoding="utf-8") as file:
            line = file.read().removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise Fatal(
            f"cannot read the {what} {path}: {error.strerror}",
            f"mount a file that uid {os.geteuid()} can read",
        ) from error
    except UnicodeDecodeError as error:
        raise Fatal(f"the {what} {path} is not UTF-8 text") from error
    if not line or any(character in line for character in "\n\r\0"):
        raise Fatal(f"the {what} {path} must hold one line that is not empty")
    return line


def identifier(name: str) -> str:
    """A name as SQL takes it, whatever is in it."""
    return '"' + name.replace('"', '""') + '"'


def literal(text: str) -> str:
    """A text as SQL takes it, whatever is in it."""
    return " E'" + escape(text.replace("\\", "\\\\")) + "'"


def escape(text: str) -> str:
    """The inside of a literal, for a text without backslashes."""
    return text.replace("'", "''")


def pgpass_line(user: str, password: str) -> str:
    """One line of a libpq password file, for any host, port and database."""
    escaped = (text.replace("\\", "\\\\").replace(":", "\\:") for text in (user, password))
    return ":".join(["*", "*", "*", *escaped]) + "\n"


def write_run_files(
    image: Image,
    values: Mapping[str, str],
    superuser_passfile: str | None = None,
    major: int | None = None,
    *,
    has_archive: bool = False,
) -> None:
    """Writes what the other programs of this start read, into the run directory. Of a database that
    is elsewhere neither the superuser's password nor the version is known."""
    write_private(VALUES_FILE, json.dumps(values))
    ours = own_programs.ARCHIVE_SECTION if has_archive else ""
    if image.metrics_port:
        ours += own_programs.METRICS_SECTION
        write_private(METRICS_PASSFILE, pgpass_line(METRICS_ROLE, secrets.token_urlsafe(32)))
    write_private(PROGRAMS_FILE, own_programs.configuration(image.programs) + ours)
    write_private(PASSFILE, pgpass_line(values["database_user"], values["database_password"]))
    ways = connection(values)
    shell = {
        "HIVE_PORT": _text(image.port),
        "HIVE_HEALTH_PATH": image.health_path or "",
        "HIVE_RESTART_AFTER": str(image.restart_after),
        "HIVE_DATABASE": "" if image.has_database else f"{ways['PGHOST']}:{ways['PGPORT']}",
        **ways,
        "PGPASSFILE": PASSFILE,
    }
    if image.has_database:
        # What is elsewhere may be behind a pooler, which takes no options.
        shell["PGOPTIONS"] = settings.as_options(settings.of_any_session(major))
    # By bash: whatever libpq listens to, now and in its next version.
    lines = ["unset ${!PG@}\n"]
    lines += (f"export {key}={shlex.quote(value)}\n" for key, value in shell.items())
    write_private(SHELL_FILE, "".join(lines))
    write_private(SERVICE_FILE, services(image, ways, superuser_passfile, major))


def services(
    image: Image, ways: Mapping[str, str], superuser_passfile: str | None, major: int | None
) -> str:
    """libpq's file of services: where psql in the container connects to, and as whom."""
    if not image.has_database:
        names = {"PGDATABASE": "dbname"}
        lines = [f"{names.get(key, key[2:].lower())}={value}" for key, value in ways.items()]
        return "\n".join(["[app]", *lines, f"passfile={PASSFILE}", ""])
    return (
        f"[app]\nhost={RUN}\nport={DATABASE_PORT}\ndbname={image.database}\n"
        f"user={image.role}\npassfile={PASSFILE}\n\n"
        f"[superuser]\nhost={RUN}\nport={DATABASE_PORT}\ndbname={image.database}\n"
        f"user={SUPERUSER}\npassfile={superuser_passfile}\n"
        f"options={settings.as_options(settings.of_the_superuser(major))}\n"
    )


def become(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """Becomes another program; the exit status of a shell that cannot, when it cannot."""
    import signal

    # Python ignores these, and what it becomes would inherit that: `yes | head` in a shell, say.
    for ignored in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(ignored, signal.SIG_DFL)
    try:
        os.execvpe(command[0], command, environment)
    except FileNotFoundError:
        from hive_container import programs

        why = programs.trouble(command[0], environment) or f"no such program: {command[0]}"
        print(f"hive: {why}", file=sys.stderr)
        return 127
    except OSError as error:
        print(f"hive: cannot run {command[0]}: {error.strerror}", file=sys.stderr)
        return 126


def write_private(path: str, text: str, *, durable: bool = False) -> None:
    """Writes a file of mode 0600 that is there whole or not at all.

    A durable one is there after a power cut, too. What is for this start only need not be: on
    many disks a sync takes as long as a program's start.
    """
    temporary = f"{path}.new"
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        if durable:
            file.flush()
            os.fsync(descriptor)
    os.rename(temporary, path)
    if durable:
        sync(os.path.dirname(path))


def sync(path: str) -> None:
    """The file, or the names in the directory, are on disk when this returns."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
