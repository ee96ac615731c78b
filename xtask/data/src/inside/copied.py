"""A PostgreSQL that is started from a copy of a cluster, to be looked at by the superuser.

Nobody else is there: it listens in a container without network alone.
"""

import errno
import glob
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

import files

# `python -I` looks in no other place.
sys.path.insert(0, "/usr/local/lib/hive")
from hive_container import cluster, settings, volume

RUN = "/run/hive"
BIN = "/usr/lib/postgresql/current/bin"
LOG = f"{RUN}/copied.log"

#: Of the image.
MAJOR = cluster.major_version(volume.PREPARED)

ENVIRONMENT = {
    "PATH": f"{BIN}:/usr/bin:/bin",
    "LC_ALL": "C",
    "PGHOST": RUN,
    "PGPORT": "5432",
    "PGUSER": "postgres",
    # However slow the machine is: whether the server goes on is seen elsewhere.
    "PGCONNECT_TIMEOUT": "0",
    # The copy holds whatever the app's role has put into its databases, and this is the superuser:
    # nothing of it may be called in place of PostgreSQL's own (CVE-2018-1058), or say what is
    # proved.
    "PGOPTIONS": settings.as_options(settings.of_the_start(MAJOR)),
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

#: What recovery takes as much of as the server of the copy had: prepared transactions and their
#: locks come back. With the name that pg_controldata has for each, and what a server has by itself.
AS_THERE = {
    "max_connections": ("max_connections setting", 100),
    "max_locks_per_transaction": ("max_locks_per_xact setting", 64),
    "max_prepared_transactions": ("max_prepared_xacts setting", 0),
    "max_wal_senders": ("max_wal_senders setting", 10),
    "max_worker_processes": ("max_worker_processes setting", 8),
}

#: What is synced as a whole once its server has ended. A server that recovers syncs each file of
#: its cluster by itself before that, one after the other.
NOT_SYNCED = {"fsync": "off"}

#: A checkpoint takes as long as the disk does: a day, in seconds. Where nothing moves is noticed.
LONGEST_STOP = 86_400.0

#: What pg_controldata says of a server that has ended as it should.
STATE = "shut down"


#: What neither reads nor writes a byte for so many seconds does not come to an end: a function of
#: the app's may sleep, or go round for ever. They are counted in looks: while all of the container
#: is paused nobody looks.
STILL = 180.0

#: How often is looked.
LOOK = 1.0

#: How long a server has to say what became of a process: why one of its own has ended it says in
#: its log, a moment after that.
AFTERWARDS = 0.5

#: What the sessions are at.
AT_WORK = """
SELECT coalesce(json_agg(json_build_array(pid, datname, query)), '[]') FROM pg_stat_activity
WHERE backend_type = 'client backend' AND state = 'active' AND pid <> pg_backend_pid()
"""

#: On which tables and indexes: programs name them by number.
IN_USE = """
SELECT coalesce(string_agg(DISTINCT relation::regclass::text, ', '), '') FROM pg_locks
WHERE pid = {pid} AND relation >= 16384
"""


#: How a program ends where the data, and where the machine is the cause. Python ends with 1 by
#: itself, and an engine does so where the container is gone.
OF_THE_DATA = os.EX_DATAERR
OF_THE_MACHINE = 3

#: PostgreSQL writes its log in pieces of 16 MB, and some more.
LEAST_ROOM = 64 << 20


class Refused(Exception):
    """Why it cannot be done."""


#: A process waits in the kernel, which no function of the app's can make it do.
OF_THE_DISK = "a process waits for the disk"

#: What the system wanted where a program says so: of these no copy is the cause.
WANTING = (
    *map(os.strerror, (errno.ENOSPC, errno.EDQUOT, errno.ENOMEM, errno.EIO, errno.EAGAIN)),
    *map(os.strerror, (errno.EMFILE, errno.ENFILE)),
    "out of memory",
    OF_THE_DISK,
)

#: So the kernel ends what takes too much memory; PostgreSQL's own says it in its log alone.
KILLED = "was terminated by signal 9"


def whose_fault(error: Exception, folder: str) -> int:
    """A program that has failed where a disk is full may have wanted room: it says so in words
    alone, and what it has written may be gone by now."""
    is_full = os.path.isdir(folder) and shutil.disk_usage(folder).free < LEAST_ROOM
    is_wanting = any(words in str(error) for words in (*WANTING, KILLED))
    return OF_THE_MACHINE if is_full or is_wanting or was_killed() else OF_THE_DATA


def was_killed() -> bool:
    """Whether one of the server's processes was."""
    try:
        with open(LOG, encoding="utf-8", errors="replace") as file:
            return any(KILLED in line for line in file)
    except FileNotFoundError:
        return False


def ended(program: subprocess.Popen) -> str:
    """How a program has ended that says nothing."""
    code = program.returncode
    return f"it {KILLED}" if code == -signal.SIGKILL else f"exit code {code}"


def run(command: list[str], what: str, environment: Mapping[str, str] = ENVIRONMENT) -> str:
    """What a program prints; where it fails, `what` and what it said. It may take as long as
    anything moves."""
    program = subprocess.Popen(
        command,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, err = watched(program, what)
    if program.returncode != 0:
        said = (err or out).decode(errors="replace").strip()
        raise Refused(f"{what}: {said[-2000:] or ended(program)}")
    return out.decode(errors="replace").strip()


def watched(program: subprocess.Popen, what: str) -> tuple[bytes, bytes]:
    before, looks = moved(), 0
    while True:
        try:
            return program.communicate(timeout=LOOK)
        except subprocess.TimeoutExpired:
            now = moved()
        before, looks = now, looks + 1 if now == before else 0
        if looks * LOOK > STILL:
            # Of that no statement is the cause.
            stuck = f"; {OF_THE_DISK}" if waits_for_disk() else at_work()
            program.kill()
            program.communicate()
            raise Refused(f"{what}: nothing was read or written for {STILL:.0f} s{stuck}") from None


def moved() -> dict[str, bytes]:
    """What each process but this one has read and written. In a container of our own these are
    the server's and those that ask it."""
    counts = {}
    for path in glob.glob("/proc/[0-9]*/io"):
        if path == f"/proc/{os.getpid()}/io":
            continue
        try:
            with open(path, "rb") as file:
                counts[path] = file.read()
        except OSError:
            # It has ended, or is of another user.
            continue
    return counts


def waits_for_disk() -> bool:
    """Whether a process is in the kernel and cannot be interrupted."""
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path, "rb") as file:
                # The name before it may have anything in it.
                if file.read().rpartition(b")")[2].split()[0] == b"D":
                    return True
        except (OSError, IndexError):
            continue
    return False


def at_work() -> str:
    """Which statements do not end. A server that does not say so is not waited for, either."""
    try:
        said = ""
        for pid, database, statement in json.loads(answered("postgres", AT_WORK)):
            used = answered(database, IN_USE.format(pid=pid))
            said += f"; database {database}, on {used or 'no table'}: {statement[:200].strip()!r}"
        return said
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def answered(database: str, statement: str) -> str:
    done = subprocess.run(
        psql(database, statement),
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        timeout=20,
    )
    return done.stdout.decode(errors="replace").strip()


def psql(database: str, *statements: str) -> list[str]:
    # A name may be one with `=` or `'` in it, which libpq would take for a connection string.
    quoted = database.replace("\\", "\\\\").replace("'", "\\'")
    command = ["psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", f"dbname='{quoted}'"]
    return command + [part for statement in statements for part in ("-c", statement)]


def ask(database: str, *statements: str, environment: Mapping[str, str] = ENVIRONMENT) -> str:
    return run(psql(database, *statements), f"database {database}", environment)


def verify(folder: str, *more: str) -> None:
    """Compares a copy with PostgreSQL's manifest, and its files with their sums."""
    # The app's files are no part of the cluster; they have sums of their own.
    ignored = f"--ignore={files.IN_A_BACKUP}"
    run(["pg_verifybackup", "--quiet", *more, ignored, folder], "pg_verifybackup")
    try:
        files.verify(folder)
    except (OSError, ValueError) as error:
        raise Refused(str(error)) from error


def verify_rest(folder: str) -> None:
    """The same where each file was compared while it was unpacked: what is missing, what is more,
    and whether the log is whole."""
    ignored = f"--ignore={files.IN_A_BACKUP}"
    run(["pg_verifybackup", "--quiet", "--skip-checksums", ignored, folder], "pg_verifybackup")


@contextmanager
def served(folder: str, more: Mapping[str, str] | None = None) -> Iterator[None]:
    """Compares a copy with PostgreSQL's manifest, and serves it."""
    verify(folder)
    with serving(folder, more):
        yield


def started(
    folder: str,
    more: Mapping[str, str] | None = None,
    may_go_on: Callable[[], None] = lambda: None,
) -> subprocess.Popen:
    """The server of a cluster, which answers by now, and goes on where this process ends."""
    with open(SETTINGS["hba_file"], "w", encoding="utf-8") as file:
        file.write("local all all trust\nlocal replication all trust\n")
    given = SETTINGS | as_there(folder) | dict(more or {})
    options = [part for name, value in given.items() for part in ("-c", f"{name}={value}")]
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
                raise Refused(f"PostgreSQL does not start from it: {log_tail() or ended(server)}")
            may_go_on()
            time.sleep(0.05)
    except BaseException as error:
        if isinstance(error, Refused):
            time.sleep(AFTERWARDS)
        end(server)
        raise
    return server


def end(server: subprocess.Popen) -> None:
    """At once, where it runs yet."""
    if server.poll() is None:
        server.kill()
        server.wait()


@contextmanager
def serving(
    folder: str,
    more: Mapping[str, str] | None = None,
    may_go_on: Callable[[], None] = lambda: None,
) -> Iterator[None]:
    """Serves a cluster, with more settings where somebody wants them: it has come to a consistent
    state by then, or whoever is asked meanwhile has refused. Shut down at the end."""
    server = started(folder, more, may_go_on)
    try:
        yield
        # A fast shutdown; pg_ctl would look for its end ten times a second.
        server.send_signal(signal.SIGINT)
        try:
            server.wait(LONGEST_STOP)
        except subprocess.TimeoutExpired:
            raise Refused(f"PostgreSQL does not stop: {log_tail()}") from None
        if control(folder)["Database cluster state"] != STATE:
            raise Refused("PostgreSQL did not shut down cleanly")
    except Refused:
        time.sleep(AFTERWARDS)
        raise
    finally:
        end(server)


def control(folder: str) -> dict[str, str]:
    """What pg_controldata says of a cluster."""
    said = run(["pg_controldata", folder], "pg_controldata")
    lines = [line.partition(":") for line in said.splitlines()]
    return {name: value.strip() for name, _, value in lines}


def control_of(cluster: str) -> str | None:
    """The digest of the file that PostgreSQL writes at each start and at each stop."""
    try:
        with open(f"{cluster}/global/pg_control", "rb") as file:
            return hashlib.sha256(file.read()).hexdigest()
    except FileNotFoundError:
        return None


def as_there(folder: str) -> dict[str, str]:
    """What a server wants of its settings to recover a copy of this cluster."""
    known = control(folder)
    return {name: str(max(int(known[there]), own)) for name, (there, own) in AS_THERE.items()}


def log_tail() -> str:
    with open(LOG, encoding="utf-8", errors="replace") as file:
        return file.read()[-2000:].strip()
