"""Copies the cluster that runs into a folder beside it, says so, and goes on with its log until the
server has ended or nobody wants it any more.

The server keeps its log for a slot of a session that is open as long, and that goes with the
session, however this ends: nothing is left in the server. Without it the receiver, which syncs each
segment to a disk that the copy keeps busy, would find the next ones removed.
"""

import os
import select
import subprocess
import sys

import slot

GENERATIONS = "/var/lib/postgresql/data/generations"

ENVIRONMENT = slot.ENVIRONMENT | {"PATH": "/usr/lib/postgresql/current/bin:/usr/bin:/bin"}

RECEIVE = ["pg_receivewal", "--no-loop", "--no-password"]

COPY = [
    # The app's requests come first.
    *("nice", "-n", "10"),
    "pg_basebackup",
    # All of it is received beside.
    "--wal-method=none",
    "--checkpoint=fast",
    "--label=hive",
    "--no-password",
]

LOOK_SECONDS = 0.2

SLOT = f"hive_update_{os.getpid()}"

#: Left to the server that runs: without room for its own log it would end.
LEAST_ROOM = 256 << 20

#: Ends it where the server sends nobody its log: `wal_level`, `max_wal_senders`.
SENDS_NO_LOG = 2


class Unwanted(Exception):
    """Whoever has asked for it is gone, or it would harm the server."""


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.DEVNULL, stdout=sys.stderr)


def wait() -> None:
    """For a moment, unless nobody waits for this any more: then its input has ended."""
    readable, _, _ = select.select([sys.stdin], [], [], LOOK_SECONDS)
    if readable and not os.read(sys.stdin.fileno(), 1):
        raise Unwanted
    disk = os.statvfs(GENERATIONS)
    if disk.f_bavail * disk.f_frsize < LEAST_ROOM:
        raise Unwanted("the disk of the data has no room for a copy and for the log that comes")


def current_segment() -> str:
    """The file of the log that the server writes to."""
    done = subprocess.run(
        ["/usr/bin/psql", "-XAtqc", "SELECT pg_walfile_name(pg_current_wal_lsn())"],
        env=ENVIRONMENT,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return done.stdout.strip()


def follow(identifier: str, programs: list[subprocess.Popen]) -> int:
    part = f"{GENERATIONS}/new-{identifier}.part"
    log = f"{GENERATIONS}/new-{identifier}.log.part"
    session = slot.open_session()
    programs.append(session)
    if not slot.keeps_log(session, SLOT):
        return SENDS_NO_LOG
    receiver = start([*RECEIVE, f"--directory={log}"])
    programs.append(receiver)
    # What the copy begins with is received, too, if the receiver was there before.
    while not os.listdir(log):
        if receiver.poll() is not None:
            return SENDS_NO_LOG
        wait()
    copy = start([*COPY, f"--pgdata={part}"])
    programs.append(copy)
    while copy.poll() is None:
        wait()
    if copy.returncode != 0:
        return 1
    # The copy has kept the disk busy, and the receiver has waited for that at the end of each
    # segment: what it lacks when the server stops would be gone.
    now = current_segment()
    while max(name.removesuffix(".partial") for name in os.listdir(log)) < now:
        if receiver.poll() is not None:
            return SENDS_NO_LOG
        wait()
    print("copied", flush=True)
    while receiver.poll() is None:
        wait()
    return 0


def main() -> int:
    programs: list[subprocess.Popen] = []
    try:
        return follow(sys.argv[1], programs)
    except Unwanted as why:
        print(why, file=sys.stderr)
        return 1
    finally:
        for program in programs:
            program.kill()
            program.wait()


sys.exit(main())
