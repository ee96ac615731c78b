"""What the container's metrics say, asked anew for each scrape.

Names of postgres_exporter where the meaning is the same, so that boards and alerts made for it
work; `hive_` for what only this container knows. Where PostgreSQL gives no answer in time `pg_up`
is 0 and nothing else is said of it: an old number looks like a good one.
"""

import json
import os
import subprocess
import time
from collections.abc import Iterable, Iterator

from hive_container import archiving, image, limits, settings, statistics_sql, volume
from hive_container.cluster import POSTGRES_BIN, major_version
from hive_container.exposition import COUNTER, GAUGE, Family

HEALTHCHECK = "/usr/local/lib/hive/healthcheck"

#: How long PostgreSQL and the health check may take. Prometheus gives up after 10 s by default.
LIMIT_SECONDS = 6


def all_of(spec: image.Image) -> Iterator[Family]:
    """Everything, with the duration of the asking last."""
    began = time.monotonic()
    # Both are other processes, and wait for each other's processor at most.
    asked = _ask_postgresql()
    looked = subprocess.Popen(
        ["timeout", str(LIMIT_SECONDS), HEALTHCHECK, "now"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={"PATH": os.defpath},
    )
    yield Family("hive_image_info", GAUGE, "Which image the container is of.").add(
        1, image=spec.name, app=spec.app or ""
    )
    yield from of_programs()
    yield from of_start()
    yield from of_volume()
    yield from of_memory()
    yield from of_backups()
    yield from of_archive()
    said = _answer_of(asked)
    yield Family("pg_up", GAUGE, "Whether PostgreSQL answered this scrape.").add(said is not None)
    if said is not None:
        yield from statistics_sql.families(said)
    yield Family("hive_healthy", GAUGE, "Whether the health check is content at this moment.").add(
        looked.wait() == 0
    )
    yield Family(
        "hive_scrape_duration_seconds", GAUGE, "How long it took to ask for all of this."
    ).add(time.monotonic() - began)


def of_programs() -> Iterable[Family]:
    """What the supervisor has written down of each program."""
    up = Family("hive_program_up", GAUGE, "Whether the program runs.")
    since = Family("hive_program_start_time_seconds", GAUGE, "When the program was last started.")
    starts = Family("hive_program_starts_total", COUNTER, "Starts since the container's start.")
    for name, seen in _json_in(image.PROGRAMS_SEEN_FILE, {}).items():
        up.add(seen["runs"], program=name)
        since.add(seen["started"], program=name)
        starts.add(seen["starts"], program=name)
    return up, since, starts


def of_start() -> Iterable[Family]:
    """How long this start of the container took until the app's turn came."""
    took = None
    if os.path.exists(image.READY):
        took = os.stat(image.READY).st_mtime - _started()
    yield Family(
        "hive_ready_seconds",
        GAUGE,
        "From the container's start until the database was ready and before_start had run.",
    ).add(took)


def of_volume() -> Iterable[Family]:
    """The room on the file system of the volume, as a user without privileges has it."""
    room = os.statvfs(volume.MOUNT)
    yield Family("hive_volume_size_bytes", GAUGE, "Size of the volume's file system.").add(
        room.f_blocks * room.f_frsize
    )
    yield Family("hive_volume_free_bytes", GAUGE, "Free room on the volume's file system.").add(
        room.f_bavail * room.f_frsize
    )
    # Some file systems have no fixed number of them, and say 0 of 0.
    yield Family("hive_volume_free_inodes", GAUGE, "Files that can be made on it.").add(
        room.f_favail if room.f_files else None
    )


def of_memory() -> Iterable[Family]:
    """What the container's control group says."""
    yield Family("hive_memory_used_bytes", GAUGE, "Memory that the container uses.").add(
        limits.memory_used()
    )
    yield Family("hive_memory_limit_bytes", GAUGE, "Memory that the container may use.").add(
        limits.memory_limit()
    )
    yield Family(
        "hive_oom_kills_total", COUNTER, "Processes that the kernel has killed for memory."
    ).add(limits.kills())


def of_backups() -> Iterable[Family]:
    """Of which moment the last backup is, and the last one that was restored to prove it."""
    known = _json_in(volume.BACKUPS, {})
    yield Family(
        "hive_backup_last_success_timestamp_seconds", GAUGE, "Moment of the last backup."
    ).add(known.get("written"))
    yield Family(
        "hive_backup_last_verified_timestamp_seconds",
        GAUGE,
        "Moment of the last backup that was restored to prove it.",
    ).add(known.get("restored"))


def of_archive() -> Iterable[Family]:
    """From when until when the archive has all of the log, where there is one."""
    known = _json_in(archiving.STATE, {})
    yield Family(
        "hive_archive_since_timestamp_seconds",
        GAUGE,
        "From when on the archive has all of the log.",
    ).add(known.get("since"))
    yield Family(
        "hive_archive_until_timestamp_seconds", GAUGE, "Until when the archive has all of the log."
    ).add(known.get("until"))


def _ask_postgresql() -> subprocess.Popen:
    """Starts to ask, in the database `postgres`, in which the app can make nothing."""
    major = major_version(volume.PREPARED)
    pinned = settings.of_any_session(major) | {"statement_timeout": "5s"}
    environment = {
        "PATH": os.defpath,
        "PGHOST": image.RUN,
        "PGPORT": str(image.DATABASE_PORT),
        "PGUSER": image.METRICS_ROLE,
        "PGDATABASE": "postgres",
        "PGPASSFILE": image.METRICS_PASSFILE,
        "PGOPTIONS": settings.as_options(pinned),
        "PGCONNECT_TIMEOUT": "3",
        "PGCLIENTENCODING": "UTF8",
        "PGAPPNAME": "hive-metrics",
    }
    # Asking any earlier would be an error in PostgreSQL's log each time.
    if not os.path.exists(image.READY):
        return subprocess.Popen(["false"], stdout=subprocess.PIPE)
    command = [f"{POSTGRES_BIN}/psql", "-XAtq", "-v", "ON_ERROR_STOP=1"]
    return subprocess.Popen(
        ["timeout", str(LIMIT_SECONDS), *command, "-c", statistics_sql.of(major)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=environment,
    )


def _answer_of(asked: subprocess.Popen) -> list[list] | None:
    """Its rows; None where it gave no answer, or not all of it."""
    said, _ = asked.communicate()
    return [json.loads(line) for line in said.splitlines()] if asked.returncode == 0 else None


def _started() -> float:
    """When PID 1 started, in seconds since 1970."""
    with open("/proc/1/stat", encoding="utf-8") as file:
        ticks = int(file.read().rpartition(")")[2].split()[19])
    # Of this boot of the machine, as the process' own time is counted.
    boot = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    return boot + ticks / os.sysconf("SC_CLK_TCK")


def _json_in(path: str, otherwise: object) -> object:
    """What a file of others says; where it is not there, or not whole, nobody knows."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (FileNotFoundError, ValueError):
        return otherwise
