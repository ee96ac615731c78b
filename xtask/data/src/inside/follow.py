"""Copies the cluster that runs into a folder beside it, says so, and goes on with its log until the
server has ended or nobody wants it any more.

The log is received without a slot, so that nothing is left in the server however this ends. Where
the receiver falls behind, the server has removed log that it lacks: whoever uses the copy finds
that out, and takes another one.
"""

import os
import select
import subprocess
import sys

GENERATIONS = "/var/lib/postgresql/data/generations"

ENVIRONMENT = {
    "PATH": "/usr/lib/postgresql/current/bin:/usr/bin:/bin",
    "LC_ALL": "C",
    "PGSERVICEFILE": "/run/hive/pg_service.conf",
    "PGSERVICE": "superuser",
    "PGCONNECT_TIMEOUT": "10",
}

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


def follow(identifier: str, programs: list[subprocess.Popen]) -> int:
    part = f"{GENERATIONS}/new-{identifier}.part"
    log = f"{GENERATIONS}/new-{identifier}.log.part"
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
