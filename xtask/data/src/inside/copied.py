"""A PostgreSQL that is started from a copy of a cluster, to be looked at by the superuser.

Nobody else is there: it listens in a container without network alone.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

# `python -I` looks in no other place.
sys.path.insert(0, "/usr/local/lib/hive")
from hive_container import cluster, settings, volume

RUN = "/run/hive"
BIN = "/usr/lib/postgresql/current/bin"
LOG = f"{RUN}/copied.log"

ENVIRONMENT = {
    "PATH": f"{BIN}:/usr/bin:/bin",
    "LC_ALL": "C",
    "PGHOST": RUN,
    "PGPORT": "5432",
    "PGUSER": "postgres",
    "PGCONNECT_TIMEOUT": "10",
    # The copy holds whatever the app's role has put into its databases, and this is the superuser:
    # nothing of it may be called in place of PostgreSQL's own (CVE-2018-1058), or say what is
    # proved.
    "PGOPTIONS": settings.as_options(settings.of_the_start(cluster.major_version(volume.PREPARED))),
}

#: What the copy says of its own server is not for this one: where it listens, whom it lets in,
#: where its log goes. `ALTER SYSTEM` is in the copy, and does not win over these.
SETTINGS = {
    "config_file": "/etc/hive/postgresql.conf",
    "hba_file": f"{RUN}/copied_hba.conf",
    "listen_addresses": "",
    "port": "5432",
    "unix_socket_directories": RUN,
    "archive_mode": "off",
    "autovacuum": "off",
    "log_destination": "stderr",
    "logging_collector": "off",
    "default_transaction_read_only": "off",
}

#: What pg_controldata says of a server that has ended as it should.
STATE = "Database cluster state: shut down"


class Refused(Exception):
    """Why it cannot be done."""


def run(command: list[str], what: str) -> str:
    """What a program prints; where it fails, `what` and what it said."""
    done = subprocess.run(
        command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    if done.returncode != 0:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()
        raise Refused(f"{what}: {said[-2000:] or f'exit code {done.returncode}'}")
    return done.stdout.decode(errors="replace").strip()


def ask(database: str, statement: str) -> str:
    # A name may be one with `=` or `'` in it, which libpq would take for a connection string.
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    return run(
        ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", f"dbname='{quoted}'", "-c", statement],
        f"database {database}",
    )


@contextmanager
def served(folder: str) -> Iterator[None]:
    """Compares a copy with PostgreSQL's manifest, and serves it: it has come to a consistent state
    by then. Shut down at the end."""
    run(["pg_verifybackup", "--quiet", folder], "pg_verifybackup")
    with open(SETTINGS["hba_file"], "w", encoding="utf-8") as file:
        file.write("local all all trust\n")
    options = [part for name, value in SETTINGS.items() for part in ("-c", f"{name}={value}")]
    with open(LOG, "wb") as log:
        server = subprocess.Popen(
            ["postgres", "-D", folder, *options],
            env=ENVIRONMENT,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        while subprocess.run(["pg_isready", "-q"], env=ENVIRONMENT, check=False).returncode:
            if server.poll() is not None:
                raise Refused(f"PostgreSQL does not start from it: {log_tail()}")
            time.sleep(0.05)
        yield
        run(["pg_ctl", "stop", "-D", folder, "-m", "fast", "-w"], "PostgreSQL does not stop")
        server.wait()
        control = run(["pg_controldata", folder], "pg_controldata")
        if not any(line.split() == STATE.split() for line in control.splitlines()):
            raise Refused("PostgreSQL did not shut down cleanly")
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


def log_tail() -> str:
    with open(LOG, encoding="utf-8", errors="replace") as file:
        return file.read()[-2000:].strip()
