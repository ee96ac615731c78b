"""Looks at a cluster that does not run: can this image's PostgreSQL run it, and is it whole?

Nothing is written. What PostgreSQL would find by itself, in several lines and after it has begun
to write, is said here in one; and what it would not find at all: where part of pg_xact is missing
it takes the transactions for aborted, and their rows are gone.
"""

import os
import re
import struct
import subprocess

from hive_container.image import Fatal

#: PostgreSQL's own programs; a link to the version the image was built with.
POSTGRES_BIN = "/usr/lib/postgresql/current/bin"

#: template1, template0 and postgres (pg_database.dat): in every cluster, while an app's database
#: may be dropped and made again.
INITDB_DATABASES = (1, 4, 5)

#: Directories whose content comes and goes; the rest of the prepared cluster's is in every one.
CHANGING = ("base", "pg_wal")

#: Numbered files that hold what later records of the log build on: the last entry, as the last
#: checkpoint knew it, lies in a file that has to be there. Entries for each file: 32 pages of
#: 8 KB (SLRU_PAGES_PER_SEGMENT) with 4, 1/4 and 1636/8192 entries a byte (clog.c, multixact.c).
NUMBERED = (
    ("pg_xact", "NextXID", 32 * 32768),
    ("pg_multixact/offsets", "NextMultiXactId", 32 * 2048),
    ("pg_multixact/members", "NextMultiOffset", 32 * 1636),
)

#: First word of a pg_filenode.map (relmapper.c, RELMAPPER_FILEMAGIC).
MAP_MAGIC = 0x592717

#: While one of these is there, PostgreSQL starts from a backup's checkpoint, not from pg_control's.
OF_A_BACKUP = ("backup_label", "recovery.signal", "standby.signal")


def inspect(cluster: str, prepared: str) -> None:
    """Raises Fatal unless `cluster` is whole and of the version that `prepared` has."""
    inspect_version(cluster, prepared)
    missing = missing_parts(cluster, prepared)
    if not missing:
        control = read_control(cluster)
        if not any(os.path.exists(f"{cluster}/{name}") for name in OF_A_BACKUP):
            missing = missing_files(cluster, control)
    if missing:
        some = ", ".join(missing[:4]) + (f" and {len(missing) - 4} more" if missing[4:] else "")
        raise not_whole(cluster, f"{some} missing")


def inspect_version(cluster: str, prepared: str) -> None:
    ours = read_first_line(f"{prepared}/PG_VERSION")
    theirs = read_first_line(f"{cluster}/PG_VERSION")
    if theirs is None:
        raise Fatal(
            f"{cluster} is not empty and holds no PostgreSQL cluster",
            "restore it from a backup, or mount an empty volume; it was not touched",
        )
    if not re.fullmatch(r"\d+(\.\d+)?", theirs):
        raise not_whole(cluster, "PG_VERSION is damaged")
    if theirs != ours:
        raise Fatal(
            f"the volume's cluster is of PostgreSQL {theirs}, this image has {ours}",
            "dump it with its own version and restore it here; it was not touched",
        )


def missing_parts(cluster: str, prepared: str) -> list[str]:
    """What each cluster of this version has, and this one lacks."""
    vital = ["global/pg_control", *mapped_files(cluster, "global")]
    for directory, directories, _files in os.walk(prepared):
        inside = os.path.relpath(directory, prepared)
        if inside in CHANGING:
            directories.clear()
        vital += (os.path.normpath(f"{inside}/{name}") for name in directories)
    for number in INITDB_DATABASES:
        vital += [f"base/{number}/PG_VERSION", *mapped_files(cluster, f"base/{number}")]
    return [part for part in vital if not os.path.exists(f"{cluster}/{part}")]


def mapped_files(cluster: str, directory: str) -> list[str]:
    """The files that a directory's map of vital catalogs names; the map, where that is missing."""
    path = f"{directory}/pg_filenode.map"
    try:
        with open(f"{cluster}/{path}", "rb") as file:
            content = file.read()
    except (FileNotFoundError, NotADirectoryError):
        return [path]
    try:
        magic, count = struct.unpack_from("=Ii", content)
        pairs = struct.iter_unpack("=II", content[8 : 8 + 8 * count])
        files = [f"{directory}/{number}" for _catalog, number in pairs]
    except struct.error:
        magic, files, count = 0, [], 0
    if magic != MAP_MAGIC or not files or len(files) != count:
        raise not_whole(cluster, f"{path} is damaged")
    return files


def read_control(cluster: str) -> dict[str, str]:
    """What pg_control says, by pg_controldata's words for it."""
    done = subprocess.run(
        [f"{POSTGRES_BIN}/pg_controldata", cluster],
        env={"LC_ALL": "C"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0 or "warning: " in text.lower():
        raise not_whole(cluster, "global/pg_control is damaged")
    pairs = (line.partition(":") for line in text.splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def missing_files(cluster: str, control: dict[str, str]) -> list[str]:
    """What the last checkpoint needs, and is not there or too short."""
    checkpoint = "Latest checkpoint's "
    log = f"pg_wal/{control[f'{checkpoint}REDO WAL file']}"
    needed = [(log, int(control["Bytes per WAL segment"]))]
    for directory, field, entries in NUMBERED:
        # A transaction number has its epoch before it.
        following = int(control[f"{checkpoint}{field}"].rpartition(":")[2])
        last = max(following - 1, 0)
        page = last % entries // (entries // 32)
        needed.append((f"{directory}/{last // entries:04X}", (page + 1) * 8192))
    return [path for path, size in needed if size_of(f"{cluster}/{path}") < size]


def size_of(path: str) -> int:
    """Bytes; -1 for a file that is not there."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return -1


def not_whole(cluster: str, what: str) -> Fatal:
    return Fatal(
        f"the cluster in {cluster} is not whole: {what}",
        "restore it from a backup; it was not touched",
    )


def read_first_line(path: str) -> str | None:
    """Without the blanks around it; None where there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.readline().strip()
    except FileNotFoundError:
        return None


def major_version(prepared: str) -> int:
    """PostgreSQL's, as `prepared` and with it the image has it."""
    return int(read_first_line(f"{prepared}/PG_VERSION"))


def way_back(cluster: str) -> str | None:
    """How to start without what `ALTER SYSTEM` set, if anything."""
    path = f"{cluster}/postgresql.auto.conf"
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            names = re.findall(r"^\s*([a-z_.0-9]+)\s*=", file.read(), re.MULTILINE | re.IGNORECASE)
    except OSError:
        return None
    if not names:
        return None
    return (
        f"ALTER SYSTEM has set {', '.join(names)}; it starts without after `mv {path} {path}.bad`,"
        " run by this image on this volume"
    )
