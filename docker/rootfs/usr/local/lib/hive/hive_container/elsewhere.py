"""Where the database of an app alone is: in another container, or on another server.

Whoever runs the container says it by a URL in a file (HIVE_DATABASE_URL_FILE names it, or it is
/run/secrets/hive_database_url), by a URL without a password in HIVE_DATABASE_URL, or by
HIVE_DATABASE_HOST and HIVE_DATABASE_PORT. Where nothing is said it is the host that is called as
the image which the app was proved with. The password is in the URL of the file, or in a file of
its own, the one that the database's container is given, too.
"""

import os
import re
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from hive_container import image
from hive_container.cluster import POSTGRES_BIN
from hive_container.image import Fatal, Image

#: Where an engine puts a URL that it was given as a secret.
URL_SECRET = "/run/secrets/hive_database_url"

#: How long a start waits for the database, and how long where nothing is said, in seconds.
WAIT = "HIVE_DATABASE_WAIT"
DEFAULT_WAIT = 60
LONGEST_WAIT = 3600

#: Between two tries, at first and later, in seconds. Each that is turned away is an error in the
#: server's log.
FIRST_PAUSE = 0.1
LONGEST_PAUSE = 2.0
#: Between two lines that say that it still waits.
SAY_SECONDS = 10
#: One try.
TRY_SECONDS = 5

#: What more a URL may say: how the connection is encrypted. The app's own drivers know these, too.
OPTIONS = {"sslmode": "PGSSLMODE", "sslrootcert": "PGSSLROOTCERT"}

#: The server is there and says no, or there is none of that name. Trying again helps where the
#: database's own container is about to make the role; after that it does not.
HOPELESS = re.compile(
    "could not translate host name|password authentication failed|no password supplied"
    "|does not exist|pg_hba.conf|not permitted to log in|not currently accepting connections"
    "|does not support SSL|certificate|root.crt"
)

#: The server is not the one that the URL says, as far as its certificate tells.
OF_A_CERTIFICATE = re.compile("certificate|root.crt")


class Absent(Fatal):
    """The database does not answer. It may the next time."""

    status = image.EXIT_ABSENT


@dataclass(frozen=True)
class Place:
    """A database, and who logs in to it."""

    host: str
    port: int
    database: str
    role: str
    password: str | None
    options: dict[str, str]

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def of(spec: Image, environ: Mapping[str, str], *, starts: bool = True) -> Place:
    """What the container was told. To start, it needs a password."""
    place = _told(spec, environ)
    password = place.password or image.read_password(dict(environ))
    if starts and not password:
        raise Fatal(
            f"there is no password for the database at {place}",
            f"give both containers one file: as {image.PASSWORD_SECRET},"
            " or by HIVE_DATABASE_PASSWORD_FILE",
        )
    return Place(place.host, place.port, place.database, place.role, password, place.options)


def _told(spec: Image, environ: Mapping[str, str]) -> Place:
    path = environ.get("HIVE_DATABASE_URL_FILE")
    if not path and os.path.exists(URL_SECRET):
        path = URL_SECRET
    url = environ.get("HIVE_DATABASE_URL")
    host, port = environ.get("HIVE_DATABASE_HOST"), environ.get("HIVE_DATABASE_PORT")
    given = {
        "a file with a URL": path,
        "HIVE_DATABASE_URL": url,
        "HIVE_DATABASE_HOST": host or port,
    }
    ways = [name for name, value in given.items() if value]
    if len(ways) > 1:
        raise Fatal(f"{' and '.join(ways)} say where the database is", "leave all but one out")
    if path:
        return parse(image.one_line_in(path, "file of the database's URL,"), spec, path)
    if url:
        place = parse(url, spec, "HIVE_DATABASE_URL")
        if place.password:
            raise Fatal(
                "the password in HIVE_DATABASE_URL is seen by everyone who may inspect the"
                " container",
                "put the URL into a file and set HIVE_DATABASE_URL_FILE",
            )
        return place
    return Place(
        host or spec.elsewhere,
        _port(port or str(image.DATABASE_PORT), "HIVE_DATABASE_PORT"),
        spec.database,
        spec.role,
        None,
        {},
    )


def _port(text: str, what: str) -> int:
    port = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 0 < port < 65536:
        raise Fatal(f"{what} is {text!r}", "a number from 1 to 65535")
    return port


def parse(text: str, spec: Image, what: str) -> Place:
    """What a URL says. What it leaves out the image's spec says. No part of it is told: the
    password may be anywhere in one that is wrong."""
    try:
        url = urlsplit(text)
        port = url.port or image.DATABASE_PORT
        options = dict(parse_qsl(url.query, strict_parsing=True)) if url.query else {}
    except ValueError:
        raise _no_url(what) from None
    scheme = url.scheme.partition("+")[0]
    host = url.hostname or ""
    if scheme not in ("postgresql", "postgres") or not host or "," in host or url.fragment:
        raise _no_url(what)
    unknown = sorted(options.keys() - OPTIONS.keys())
    if unknown:
        raise Fatal(
            f"{what} has {', '.join(unknown)} after its `?`", f"known there: {', '.join(OPTIONS)}"
        )
    texts = [host, *(unquote(part or "") for part in (url.path, url.username, url.password))]
    if any(ord(character) < 32 for part in [*texts, *options.values()] for character in part):
        raise Fatal(f"{what} has a control character in it")
    return Place(
        host,
        port,
        texts[1].removeprefix("/") or spec.database,
        texts[2] or spec.role,
        texts[3] or None,
        options,
    )


def _no_url(what: str) -> Fatal:
    return Fatal(
        f"{what} is no URL of a database",
        "postgresql://ROLE:PASSWORD@HOST:PORT/DATABASE, with %XX for characters of URLs",
    )


def placeholders(spec: Image, place: Place) -> dict[str, str]:
    """The values of `{name}`, as those of a database in the container are."""
    password = place.password or ""
    user, secret, name = (quote(text, safe="") for text in (place.role, password, place.database))
    host = f"[{place.host}]" if ":" in place.host else place.host
    url = f"postgresql://{user}:{secret}@{host}:{place.port}/{name}"
    if place.options:
        url += f"?{urlencode(place.options)}"
    return image.placeholders(spec, password) | {
        "database_url": url,
        "database_host": place.host,
        "database_port": str(place.port),
        "database_name": place.database,
        "database_user": place.role,
    }


def seconds_to_wait(environ: Mapping[str, str]) -> int:
    """The limit of a start's wait."""
    text = environ.get(WAIT) or str(DEFAULT_WAIT)
    limit = int(text) if re.fullmatch("[0-9]{1,5}", text) else 0
    if not 0 < limit <= LONGEST_WAIT:
        raise Fatal(f"{WAIT} is {text!r}", f"seconds from 1 to {LONGEST_WAIT}")
    return limit


def wait(values: Mapping[str, str], limit: int) -> None:
    """Returns when SQL is answered; says for whom it waits, and why. Raises `Absent` when there is
    no answer in time, Fatal when the last answer was a refusal."""
    place = f"{values['database_host']}:{values['database_port']}"
    start = said = time.monotonic()
    pause = FIRST_PAUSE
    while True:
        why = refusal(ask("SELECT 1"))
        if why is None:
            return
        now = time.monotonic()
        if now - start >= limit:
            raise gave_up(place, why, limit)
        if pause == FIRST_PAUSE or now - said >= SAY_SECONDS:
            said = now
            print(
                f"waiting for the database at {place}, {limit - (now - start):.0f} s more: {why}",
                flush=True,
            )
        time.sleep(min(pause, limit - (now - start)))
        pause = min(pause * 1.5, LONGEST_PAUSE)


def gave_up(place: str, why: str, limit: int) -> Fatal:
    """What is to be said at the end of the wait."""
    if not HOPELESS.search(why):
        return Absent(
            f"no answer from the database at {place} within {limit} s: {why}",
            f"start it first, or give it more time by {WAIT}",
        )
    hint = "HIVE_DATABASE_HOST or a URL says where it is; both have to share a network"
    if OF_A_CERTIFICATE.search(why):
        hint = (
            "who signs the server's certificate: sslrootcert=/run/secrets/NAME in the URL, and the"
            " signer's certificate as that secret"
        )
    elif "could not translate" not in why:
        hint = "whoever runs the database says who may log in, and with which password"
    return Fatal(f"the database at {place} cannot be used: {why}", hint)


def ask(sql: str) -> subprocess.CompletedProcess:
    """Runs one statement as the app's role, by what the run files say."""
    environment = {
        "PATH": os.defpath,
        "PGSERVICEFILE": image.SERVICE_FILE,
        "PGSERVICE": "app",
        "PGCONNECT_TIMEOUT": "3",
        "PGCLIENTENCODING": "UTF8",
        "PGAPPNAME": "hive-start",
    }
    command = [f"{POSTGRES_BIN}/psql", "-XAtqw", "-v", "ON_ERROR_STOP=1", "-c", sql]
    try:
        return subprocess.run(
            command,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=TRY_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(command, 2, "", f"no answer within {TRY_SECONDS} s")


def refusal(done: subprocess.CompletedProcess) -> str | None:
    """Why a statement was not run, in libpq's or the server's words; None where it was."""
    if done.returncode == 0:
        return None
    # A host may have several addresses; and libpq goes on with where the password is from.
    lines = [line for line in done.stderr.splitlines() if line.strip()] or ["psql gave no reason"]
    tried = [line.partition(" failed: ")[2] for line in lines if " failed: " in line]
    why = tried[-1] if tried else lines[0].removeprefix("psql: error: ")
    return why.removeprefix("FATAL:").strip()


def inspect(spec: Image, values: Mapping[str, str]) -> None:
    """Raises Fatal where the database lacks what the spec says is there: an app's role makes no
    extensions."""
    done = ask("SELECT extname FROM pg_extension")
    place = f"{values['database_host']}:{values['database_port']}"
    why = refusal(done)
    if why is not None:
        raise Absent(f"the database at {place}: {why}")
    missing = [name for name in spec.extensions if name not in done.stdout.splitlines()]
    if missing:
        raise Fatal(
            f"the database {values['database_name']!r} at {place} has no extension"
            f" {', '.join(missing)}",
            f"CREATE EXTENSION {missing[0]} there, as its superuser",
        )
