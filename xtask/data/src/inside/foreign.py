"""Looks at a cluster that is to be migrated, which is mounted read-only, and copies it.

    find                  the clusters below the mount, as JSON
    copy FOLDER UID:GID   copies one, ready for a server of its version; prints what was copied
    digest FOLDER         the digest of it once more
    changed FOLDER        what has another size or time than it was copied with; reads no content

The digest covers each name with kind, mode, owner, time and content. Whoever writes to the cluster
meanwhile is found by it: PostgreSQL's own lock file says nothing of a server in another container.
"""

import contextlib
import hashlib
import json
import os
import re
import shutil
import stat
import struct
import sys

SOURCE = "/hive-source"
WORK = "/hive-migrate"
OLD = f"{WORK}/old"
#: Sizes and times of what was copied.
SEEN = f"{WORK}/seen.json"

#: How far below the mount a cluster may lie: `pgdata`, `16/main`, `data/16/docker`.
DEPTH = 4

#: At the root of a volume of ours: what was put aside, and copies that were interrupted.
NOT_IN_USE = re.compile(r"generations|\.hive-adopt-.*")

#: What a cluster itself consists of.
OF_A_CLUSTER = re.compile(r"base|global|pg_.*|log")

#: Third word of pg_control (pg_control.h): how the cluster was left.
STATE_AT, SHUT_DOWN = 16, (1, 2)

#: Of a standby, or of a recovery that is asked for.
SIGNALS = ("standby.signal", "recovery.signal", "recovery.conf")

#: What initdb writes for each cluster, and what says where files of that machine lie.
OF_ITS_PLACE = re.compile(
    "(data_directory|hba_file|ident_file|external_pid_file|unix_socket_directories|port"
    "|listen_addresses|cluster_name|ssl(_.*)?|lc_.*|datestyle|(log_)?timezone"
    "|dynamic_shared_memory_type|include_dir|stats_temp_directory)"
)
AS_INITDB = {
    "max_connections": "100",
    "shared_buffers": "128MB",
    "max_wal_size": "1GB",
    "min_wal_size": "80MB",
    "log_line_prefix": "%m [%p] %q%u@%d ",
    "default_text_search_config": "pg_catalog.english",
}

#: Who dumps a database locks all tables, views and sequences of it. A server has room for this many
#: locks for each connection and each prepared transaction, which are more than a thousand.
FEWEST_LOCKS, FILES_FOR_ONE = 64, 500

#: So many changed files say who works there as well as all.
MOST_NAMES = 5

#: The server of the copy: nothing that the source says of it counts.
SETTINGS = f"""
listen_addresses = ''
unix_socket_directories = '{WORK}/run'
hba_file = '{WORK}/hba.conf'
ident_file = '{WORK}/ident.conf'
max_connections = 40
max_prepared_transactions = 1000
max_logical_replication_workers = 0
max_parallel_workers_per_gather = 0
dynamic_shared_memory_type = sysv
autovacuum = off
fsync = off
full_page_writes = off
logging_collector = off
log_destination = stderr
default_transaction_read_only = off
"""


class Refused(Exception):
    """Why it cannot be done."""


def find() -> None:
    """Says which clusters there are; changes nothing."""
    status = os.statvfs(WORK)
    print(
        json.dumps(
            {
                "clusters": [described(folder) for folder in clusters()],
                "free_bytes": status.f_bavail * status.f_frsize,
                "free_files": status.f_favail if status.f_files else None,
                "disk": os.stat(WORK).st_dev,
            }
        )
    )


def clusters() -> list[str]:
    found = []
    for directory, directories, files in os.walk(SOURCE, onerror=unread):
        directories.sort()
        inside = os.path.relpath(directory, SOURCE)
        if "PG_VERSION" in files and os.path.exists(f"{directory}/global/pg_control"):
            found.append(inside)
            # One that is in use may lie in one that was left there.
            directories[:] = [name for name in directories if not OF_A_CLUSTER.fullmatch(name)]
        if inside.count("/") + (inside != ".") >= DEPTH:
            directories.clear()
        elif inside == ".":
            directories[:] = [name for name in directories if not NOT_IN_USE.fullmatch(name)]
    return found


def unread(error: OSError) -> None:
    # In a place that nobody may look into, a cluster may be.
    raise error


def described(inside: str) -> dict:
    folder = os.path.join(SOURCE, inside)
    size = files = 0
    links = []
    for path in tree(folder):
        status = os.lstat(os.path.join(folder, path))
        size += status.st_size if stat.S_ISREG(status.st_mode) else 0
        files += 1
        if stat.S_ISLNK(status.st_mode):
            links.append(path)
    with open(f"{folder}/PG_VERSION", encoding="utf-8", errors="replace") as file:
        version = file.readline().strip()
    with open(f"{folder}/global/pg_control", "rb") as file:
        (state,) = struct.unpack_from("=I", file.read(512), STATE_AT)
    image = json_of(f"{folder}/hive.json").get("image")
    beside = os.path.dirname(os.path.normpath(folder))
    # As the containers of ours call the app's folders.
    named = json_of(f"{folder}/hive-restored.json").get("id", "first")
    return {
        "folder": inside,
        "version": version,
        "bytes": size,
        "files": files,
        # In pg_tblspc is a tablespace each, and the log may lie elsewhere, too.
        "links": [path for path in links if path.startswith(("pg_tblspc/", "pg_wal", "base"))],
        "signals": [name for name in SIGNALS if os.path.exists(f"{folder}/{name}")],
        "shut_down": state in SHUT_DOWN,
        "process": cluster_process(folder),
        "image": image,
        "secrets": kept_secrets(f"{beside}/hive") if image else [],
        "directories": listed(f"{beside}/files/{named}") if image else [],
        "slots": listed(f"{folder}/pg_replslot"),
        "settings": settings_of(folder),
    }


def cluster_process(folder: str) -> int | None:
    """The process that says it is its server: of another machine or container, or gone."""
    try:
        with open(f"{folder}/postmaster.pid", encoding="utf-8", errors="replace") as file:
            return int(file.readline())
    except (FileNotFoundError, ValueError):
        return None


def json_of(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def kept_secrets(folder: str) -> list[str]:
    return [name.partition(".")[2] for name in listed(folder) if name.startswith("secret.")]


def listed(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def settings_of(folder: str) -> dict[str, str]:
    """What somebody has set for the whole server, `ALTER SYSTEM` last."""
    found = {}
    for name in ("postgresql.conf", "postgresql.auto.conf"):
        try:
            with open(f"{folder}/{name}", encoding="utf-8", errors="replace") as file:
                text = file.read()
        except OSError:
            continue
        for key, quoted, plain in re.findall(
            r"^[ \t]*([\w.]+)[ \t]*=?[ \t]*(?:'((?:[^'\n]|'')*)'|([^\s#']+))", text, re.MULTILINE
        ):
            found[key.lower()] = quoted.replace("''", "'") if quoted else plain
    return {
        key: value
        for key, value in found.items()
        if not OF_ITS_PLACE.fullmatch(key) and AS_INITDB.get(key) != value
    }


def tree(folder: str) -> list[str]:
    """All names below, and the folder itself, in one order."""
    found = ["."]
    for directory, directories, files in os.walk(folder, onerror=unread):
        inside = os.path.relpath(directory, folder)
        found += (os.path.normpath(f"{inside}/{name}") for name in directories + files)
    return sorted(found)


def read_tree(folder: str, target: str | None) -> str:
    """The digest of all of it; copied where there is a target."""
    whole = hashlib.sha256()
    for path in tree(folder):
        place = os.path.join(folder, path)
        copy = os.path.join(target, path) if target else None
        try:
            whole.update(read_one(place, path, copy))
        except FileNotFoundError:
            raise changed(path) from None
    return whole.hexdigest()


def read_one(place: str, path: str, copy: str | None) -> bytes:
    status = os.lstat(place)
    content = ""
    if stat.S_ISDIR(status.st_mode):
        if copy:
            os.makedirs(copy, mode=0o700, exist_ok=True)
    elif stat.S_ISLNK(status.st_mode):
        content = os.readlink(place)
        if copy:
            os.symlink(content, copy)
    elif stat.S_ISREG(status.st_mode):
        content = read_file(place, path, copy)
    facts = (path, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content)
    return f"{facts!r}\n".encode(errors="surrogateescape")


def read_file(place: str, path: str, copy: str | None) -> str:
    digest = hashlib.sha256()
    with open(place, "rb") as source, open(copy or os.devnull, "wb") as out:
        before = os.fstat(source.fileno())
        while part := source.read(1 << 20):
            digest.update(part)
            out.write(part)
        after = os.fstat(source.fileno())
    if (before.st_size, before.st_ctime_ns) != (after.st_size, after.st_ctime_ns):
        raise changed(path)
    return digest.hexdigest()


def changed(path: str) -> Refused:
    return Refused(f"{path} changed while it was read: somebody writes to the source")


def sizes_and_times(folder: str) -> dict[str, list[int]]:
    found = {}
    for path in tree(folder):
        # One that goes meanwhile is one that has changed.
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(os.path.join(folder, path))
            found[path] = [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return found


def others(before: dict[str, list[int]], now: dict[str, list[int]]) -> list[str]:
    return sorted(path for path in before.keys() | now.keys() if before.get(path) != now.get(path))


def copy(inside: str, owner: str) -> None:
    shutil.rmtree(OLD, ignore_errors=True)
    folder = os.path.join(SOURCE, inside)
    seen = sizes_and_times(folder)
    digest = read_tree(folder, OLD)
    # A file that was written to before it was read, and others after that.
    if found := others(seen, sizes_and_times(folder)):
        raise changed(", ".join(found[:MOST_NAMES]))
    write(SEEN, json.dumps(seen))
    make_ready()
    user, group = (int(number) for number in owner.split(":"))
    os.chown(WORK, user, group)
    for path in tree(WORK):
        os.chown(f"{WORK}/{path}", user, group, follow_symlinks=False)
    print(json.dumps({"digest": digest}))


def make_ready() -> None:
    """What would keep a server of its version from the copy, or it from being alone, goes."""
    for name in ("postmaster.pid", "postgresql.auto.conf"):
        if os.path.lexists(f"{OLD}/{name}"):
            os.unlink(f"{OLD}/{name}")
    write(f"{OLD}/postgresql.auto.conf", "")
    for name in listed(f"{OLD}/pg_replslot"):
        # A slot may want more log than there is.
        shutil.rmtree(f"{OLD}/pg_replslot/{name}")
    for name in ("pg_wal/archive_status", "pg_replslot", "pg_stat_tmp", "pg_tblspc", "pg_notify"):
        # Tools that copy files leave out empty folders.
        os.makedirs(f"{OLD}/{name}", mode=0o700, exist_ok=True)
    os.makedirs(f"{WORK}/run", mode=0o700, exist_ok=True)
    os.makedirs(f"{WORK}/locale", mode=0o700, exist_ok=True)
    # Each relation has a file or more.
    files = sum(len(names) for _, _, names in os.walk(f"{OLD}/base"))
    locks = FEWEST_LOCKS + files // FILES_FOR_ONE
    write(f"{WORK}/old.conf", f"{SETTINGS}max_locks_per_transaction = {locks}\n")
    write(f"{WORK}/hba.conf", "local all all trust\n")
    write(f"{WORK}/ident.conf", "")
    os.chmod(OLD, 0o700)


def write(path: str, text: str) -> None:
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def digest(inside: str) -> None:
    print(json.dumps({"digest": read_tree(os.path.join(SOURCE, inside), None)}))


def changed_since(inside: str) -> None:
    with open(SEEN, encoding="utf-8") as file:
        found = others(json.load(file), sizes_and_times(os.path.join(SOURCE, inside)))
    print(json.dumps({"changed": found[:MOST_NAMES]}))


VERBS = {"find": find, "copy": copy, "digest": digest, "changed": changed_since}


def main() -> int:
    try:
        VERBS[sys.argv[1]](*sys.argv[2:])
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or SOURCE}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
