"""A copy of a cluster that `follow` has taken while that worked, and what brings it to where the
cluster ended: the log that was received since, and what the stopped cluster has besides."""

import glob
import os
import re
import shutil
import subprocess

from copied import NOT_SYNCED, STATE, control, serving
from files import remove_tree

#: Below this a copy of the stopped cluster is there sooner than PostgreSQL has replayed its log.
WORTH_IT = 128 << 20

#: For the log that comes meanwhile, and what `follow` leaves to the server that runs.
ROOM = 512 << 20

SEGMENT = re.compile(r"[0-9A-F]{24}")

#: More than the record takes that a shutdown ends the log with.
LAST_RECORD = 1024

#: The first line of a copy's label: from where on its log is replayed.
BEGIN = re.compile(r"START WAL LOCATION: ([0-9A-F]+/[0-9A-F]+) ")


class Unfit(Exception):
    """Why the copy cannot become the same as the cluster."""


def number_of(position: str) -> int:
    """A place in the log, which PostgreSQL writes in two halves."""
    high, low = position.split("/")
    return int(high, 16) << 32 | int(low, 16)


def is_worth_it(cluster: str, size: int, beside: str) -> bool:
    """Whether a copy that is taken while it works saves time later on, and can become the same."""
    has_room = shutil.disk_usage(beside).free >= size + ROOM
    is_large = size >= WORTH_IT and has_room
    return is_large and not has_unlogged(cluster) and not shares_blocks(cluster, beside)


def has_unlogged(cluster: str) -> bool:
    """Rows of unlogged tables are in no log."""
    return bool(glob.glob(f"{cluster}/base/*/*_init"))


def shares_blocks(cluster: str, beside: str) -> bool:
    """Whether a copy has the blocks of what it is of, until one of them is written to."""
    probe = f"{beside}/shares-blocks"
    command = ["cp", "--reflink=always", f"{cluster}/PG_VERSION", probe]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if os.path.exists(probe):
        os.unlink(probe)
    return done.returncode == 0


def catch_up(cluster: str, part: str, log: str) -> None:
    """Makes the copy what the stopped cluster is. Raises Unfit where that cannot be: then it is to
    be copied once more."""
    ended = control(cluster)
    if ended["Database cluster state"] != STATE:
        raise Unfit("the server did not shut down cleanly")
    if has_unlogged(cluster):
        raise Unfit("an unlogged table was made meanwhile")
    bring_log(cluster, part, log, ended)
    bring_folder(cluster, part, "pg_replslot")
    end = ended["Latest checkpoint location"]
    # All of it is synced when it has its place.
    with serving(part, NOT_SYNCED):
        # It begins with a checkpoint, which lies where the log that it was given ends.
        reached = control(part)["Latest checkpoint location"]
        if number_of(reached) < number_of(end):
            raise Unfit(f"its log ends at {reached}, and that of the cluster at {end}")
    bring_what_no_log_has(cluster, part)


#: In no log either: what is counted of tables, by which they are vacuumed, and what a slot has
#: decoded.
BESIDE_THE_LOG = ("pg_stat", "pg_logical")

#: The data themselves, which are recovered.
DATA = ("base", "global")


def bring_what_no_log_has(cluster: str, part: str) -> None:
    """Settings of ALTER SYSTEM, certificates and notes may be others by now, and whatever else
    somebody keeps there. What the cluster has no more goes: its copy's label, too."""
    here, there = names(cluster), names(part)
    for name in sorted(here | there):
        source, target = f"{cluster}/{name}", f"{part}/{name}"
        is_data = name in DATA or (name.startswith("pg_") and name not in BESIDE_THE_LOG)
        if is_data and os.path.isdir(target):
            continue
        if os.path.isdir(target) and not os.path.islink(target):
            remove_tree(target)
        elif os.path.lexists(target):
            os.unlink(target)
        if name in here and os.path.isdir(source) and not os.path.islink(source):
            shutil.copytree(source, target, symlinks=True)
        elif name in here:
            shutil.copy2(source, target, follow_symlinks=False)


def names(folder: str) -> set[str]:
    return set(os.listdir(folder)) - {"postmaster.pid"}


def bring_log(cluster: str, part: str, log: str, ended: dict[str, str]) -> None:
    """Puts all of the log in its place: from where the copy begins to where the cluster ended, and
    what a slot keeps from before that."""
    size = int(ended["Bytes per WAL segment"])
    end = number_of(ended["Latest checkpoint location"])
    timeline = int(ended["Latest checkpoint's TimeLineID"])
    needed = [
        segment_name(timeline, number, size)
        for number in range(begin(part) // size, end // size + 1)
    ]
    received = whole_segments(log, size)
    kept = whole_segments(f"{cluster}/pg_wal", size)
    for name in needed:
        partial = f"{log}/{name}.partial"
        if name in received:
            os.rename(f"{log}/{name}", f"{part}/pg_wal/{name}")
        elif name not in kept and os.path.exists(partial):
            # Its receiver ended while it was synced, or before all of it was there: where the log
            # then ends is seen.
            os.rename(partial, f"{part}/pg_wal/{name}")
        elif name not in kept:
            raise Unfit(f"segment {name} of the log was removed before it was received")
    last = segment_name(timeline, (end + LAST_RECORD) // size, size)
    for name in kept:
        if name <= last and not os.path.exists(f"{part}/pg_wal/{name}"):
            shutil.copy2(f"{cluster}/pg_wal/{name}", f"{part}/pg_wal/{name}")
    for path in glob.glob(f"{cluster}/pg_wal/*.history"):
        shutil.copy2(path, f"{part}/pg_wal")


def begin(part: str) -> int:
    with open(f"{part}/backup_label", encoding="utf-8") as file:
        found = BEGIN.match(file.readline())
    if not found:
        raise Unfit("its label does not say where its log begins")
    return number_of(found[1])


def segment_name(timeline: int, number: int, size: int) -> str:
    each = (1 << 32) // size
    return f"{timeline:08X}{number // each:08X}{number % each:08X}"


def whole_segments(folder: str, size: int) -> set[str]:
    return {
        name
        for name in os.listdir(folder)
        if SEGMENT.fullmatch(name) and os.path.getsize(f"{folder}/{name}") == size
    }


def bring_folder(cluster: str, part: str, name: str) -> None:
    """Replaces one that no copy of a running cluster has."""
    shutil.rmtree(f"{part}/{name}", ignore_errors=True)
    shutil.copytree(f"{cluster}/{name}", f"{part}/{name}", symlinks=True)
