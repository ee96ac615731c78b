"""The data volume: whose it is, its lock, and how an empty one gets its cluster.

    /var/lib/postgresql/data/
      pgdata/                  the cluster; `hive.json` in it says which image made it
      hive/lock                held by the container that uses the volume
      hive/adopted             there was a cluster once: a volume without one now is an alarm
      hive/database-password   the app's, unless one is given from outside
      hive/superuser-password  and hive/superuser.pgpass, the same for `psql`
      .hive-adopt-*            a copy that was interrupted; removed at the next start

Nothing is written before the volume is known to be ours or empty.
"""

import fcntl
import json
import os
import secrets
import shutil
import socket
import subprocess
import threading

from hive_container.image import (
    SUPERUSER,
    Fatal,
    Image,
    identifier,
    pgpass_line,
    write_private,
)

MOUNT = "/var/lib/postgresql/data"
PGDATA = f"{MOUNT}/pgdata"
IDENTITY = f"{PGDATA}/hive.json"
OURS = f"{MOUNT}/hive"
LOCK = f"{OURS}/lock"
ADOPTED = f"{OURS}/adopted"
DATABASE_PASSWORD = f"{OURS}/database-password"
SUPERUSER_PASSWORD = f"{OURS}/superuser-password"
SUPERUSER_PASSFILE = f"{OURS}/superuser.pgpass"
ADOPTING = ".hive-adopt-"

#: The cluster that the image was built with. See the postgres-base stage.
PREPARED = "/usr/share/hive/cluster"

#: Databases it has that an app may use under their own names.
PREPARED_DATABASES = ("postgres", "hive_app")

#: What a cluster that was copied only in part may lack.
VITAL_PARTS = ("base", "global/pg_control", "pg_wal", "pg_xact")

#: PostgreSQL's own programs; a link to the version the image was built with.
POSTGRES_BIN = "/usr/lib/postgresql/current/bin"

#: The lock's descriptor in every program. Above supervisord's `minfds`: it closes those below.
LOCK_DESCRIPTOR = 100

#: Things in an empty volume that are nobody's data.
HARMLESS = {"lost+found", ".gitkeep", ".gitignore", ".keep", ".DS_Store"}

#: Files that are synced at a time.
SYNC_THREADS = 16

MIB = 1024 * 1024
#: A start with less free than this fails half-way, and then nothing says so clearly.
FREE_TO_START = 8 * MIB
#: A cluster as adopted, the app's database and the first WAL segments.
FREE_TO_ADOPT = 128 * MIB


def open_volume(image: Image) -> None:
    """Makes the volume ours for as long as any program of the container lives.

    Raises Fatal, with the volume untouched, when it is not one that this image may use.
    """
    inspect(image)
    take_lock()
    # Another container may have been at it until a moment ago.
    inspect(image)
    forget_killed_server()


def inspect(image: Image) -> None:
    """Looks at the volume without writing; raises Fatal when this image must not use it."""
    try:
        names = set(os.listdir(MOUNT))
    except PermissionError:
        raise wrong_owner(MOUNT) from None
    except FileNotFoundError:
        raise Fatal(f"{MOUNT} is missing", "mount a volume there") from None
    cluster = "pgdata" in names and (os.stat(PGDATA).st_uid != os.geteuid() or os.listdir(PGDATA))
    if cluster:
        inspect_cluster(image)
    else:
        inspect_empty(names)
    if os.statvfs(MOUNT).f_flag & os.ST_RDONLY:
        raise Fatal(f"the volume {MOUNT} is read-only", "mount it without `ro`")
    if not os.access(OURS if os.path.isdir(OURS) else MOUNT, os.W_OK | os.X_OK):
        raise wrong_owner(OURS if os.path.isdir(OURS) else MOUNT)
    if not cluster and not os.access(MOUNT, os.W_OK | os.X_OK):
        raise wrong_owner(MOUNT)
    inspect_space(FREE_TO_START if cluster else FREE_TO_ADOPT)


def inspect_cluster(image: Image) -> None:
    if os.stat(PGDATA).st_uid != os.geteuid():
        raise wrong_owner(PGDATA)
    ours = read_first_line(f"{PREPARED}/PG_VERSION")
    theirs = read_first_line(f"{PGDATA}/PG_VERSION")
    if theirs is None:
        raise Fatal(f"{PGDATA} is not empty and holds no PostgreSQL cluster")
    if theirs != ours:
        raise Fatal(
            f"the volume's cluster is of PostgreSQL {theirs}, this image has {ours}",
            "dump it with its own version and restore it here; it was not touched",
        )
    missing = [part for part in VITAL_PARTS if not os.path.exists(f"{PGDATA}/{part}")]
    if missing:
        raise Fatal(
            f"the cluster in {PGDATA} is not whole: {', '.join(missing)} missing",
            "restore it from a backup; it was not touched",
        )
    try:
        with open(IDENTITY, encoding="utf-8") as file:
            identity = json.load(file)
    except FileNotFoundError:
        raise Fatal(
            f"the cluster in {PGDATA} was not made by an image of this kind",
            "dump and restore it into an empty volume; it was not touched",
        ) from None
    except (OSError, ValueError) as error:
        raise Fatal(f"cannot read {IDENTITY}: {error}") from error
    if identity != identity_of(image):
        raise Fatal(
            "the volume belongs to image {image!r} (database {database!r}, role {role!r}),"
            " this is image {0!r} (database {1!r}, role {2!r})".format(
                image.name, image.database, image.role, **identity
            ),
            "give each image a volume of its own",
        )


def inspect_empty(names: set[str]) -> None:
    if os.path.exists(ADOPTED):
        raise Fatal(
            f"the volume had a cluster and {PGDATA} is gone",
            f"restore it, or remove {OURS} to start with an empty database",
        )
    foreign = {
        name
        for name in names - HARMLESS - {"hive", "pgdata"}
        if not name.startswith(ADOPTING)
    }
    if foreign:
        some = ", ".join(sorted(foreign)[:3])
        raise Fatal(
            f"the volume {MOUNT} is not empty and not ours (it holds {some})",
            "mount an empty one",
        )


def inspect_space(needed: int) -> None:
    status = os.statvfs(MOUNT)
    free = status.f_bavail * status.f_frsize
    if free < needed:
        raise Fatal(
            f"the volume {MOUNT} is full: {free // MIB} MB free, {needed // MIB} MB needed to start",
            "make room on it",
        )


def wrong_owner(path: str) -> Fatal:
    status = os.stat(path)
    return Fatal(
        f"the volume's {path} belongs to {status.st_uid}:{status.st_gid}"
        f" (mode {status.st_mode & 0o7777:o}), this container runs as"
        f" {os.geteuid()}:{os.getegid()} and cannot use it",
        f"chown -R {os.geteuid()}:{os.getegid()} it, or run as its owner with --user",
    )


def read_first_line(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8") as file:
            return file.readline().strip()
    except FileNotFoundError:
        return None


def identity_of(image: Image) -> dict[str, str]:
    return {"image": image.name, "database": image.database, "role": image.role}


def take_lock() -> None:
    """Locks the volume against other containers; every program inherits the lock.

    PostgreSQL's own lock file does not do that: it holds a process id of another container,
    which means nothing here, and the second server starts and corrupts the first.
    """
    os.makedirs(OURS, mode=0o700, exist_ok=True)
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
        raise Fatal(
            f"another container (hostname {holder}) is using the volume {MOUNT}",
            "stop it first",
        ) from None
    os.dup2(descriptor, LOCK_DESCRIPTOR, inheritable=True)
    os.close(descriptor)
    os.ftruncate(LOCK_DESCRIPTOR, 0)
    os.pwrite(LOCK_DESCRIPTOR, socket.gethostname().encode() + b"\n", 0)


def forget_killed_server() -> None:
    """Removes PostgreSQL's lock file when a container was killed.

    It names a process id of that container. Here the same id may well be another program, and
    PostgreSQL would refuse to start. We hold the volume's lock and no program runs yet: whoever
    wrote the file is gone.
    """
    try:
        os.unlink(f"{PGDATA}/postmaster.pid")
    except FileNotFoundError:
        pass


def keep_password(path: str) -> str:
    """The password kept in a file of the volume, made now if there is none."""
    password = read_first_line(path)
    if not password:
        password = secrets.token_urlsafe(24)
        write_private(path, password + "\n")
    return password


def adopt(image: Image) -> None:
    """Turns an empty volume into one with a cluster; does nothing where there is one.

    A copy of the prepared cluster is made whole and durable under another name and then
    renamed: a kill or a power cut at any moment leaves no cluster, or a good one.
    """
    for name in os.listdir(MOUNT):
        if name.startswith(ADOPTING):
            shutil.rmtree(f"{MOUNT}/{name}")
    if not os.path.isfile(f"{PGDATA}/PG_VERSION"):
        copy = f"{MOUNT}/{ADOPTING}{secrets.token_hex(4)}"
        copy_cluster(copy)
        with open(f"{copy}/hive.json", "w", encoding="utf-8") as file:
            json.dump(identity_of(image), file)
        give_password_and_name(copy, image)
        sync_tree(copy)
        os.rename(copy, PGDATA)
        sync(MOUNT)
    if not os.path.exists(ADOPTED):
        write_private(ADOPTED, "")


def copy_cluster(copy: str) -> None:
    os.umask(0o077)
    # `cp` is quicker than Python at a thousand small files. Not -a: modes are ours to choose.
    subprocess.run(["cp", "-r", "--no-preserve=all", PREPARED, copy], check=True)
    # The image holds the first WAL segment without the zeros it ends in.
    wal = f"{copy}/pg_wal"
    for name in os.listdir(wal):
        if len(name) == 24:
            with open(f"{wal}/{name}", "r+b") as file:
                os.posix_fallocate(file.fileno(), 0, 16 * MIB)


def give_password_and_name(cluster: str, image: Image) -> None:
    """Sets the superuser's password and names the app's database, in a cluster that does not run.

    Nothing has to be durable yet: the cluster is synced as a whole.
    """
    password = keep_password(SUPERUSER_PASSWORD)
    write_private(SUPERUSER_PASSFILE, pgpass_line(SUPERUSER, password))
    statements = [f"ALTER ROLE {SUPERUSER} PASSWORD '{password}'"]
    if image.database not in PREPARED_DATABASES:
        # Part of the prepared cluster, as making a database takes longer than all the rest.
        statements.append(f"ALTER DATABASE hive_app RENAME TO {identifier(image.database)}")
    done = subprocess.run(
        [f"{POSTGRES_BIN}/postgres", "--single", "-F", "-D", cluster, "template1"],
        input="".join(f"{statement}\n" for statement in statements).encode(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode != 0 or "ERROR:" in output:
        raise Fatal(f"cannot complete the new cluster: {output.strip()}")


def sync_tree(root: str) -> None:
    """All files below `root` are on disk when this returns.

    Many at a time: the disk then flushes once for several. Not syncfs(): it would also wait for
    everything else that is being written to the disk the volume lies on.
    """
    paths = [root]
    for directory, directories, files in os.walk(root):
        paths += (os.path.join(directory, name) for name in directories + files)
    work = iter(paths)
    failures: list[OSError] = []

    def sync_some() -> None:
        for path in iter(lambda: next(work, None), None):
            try:
                sync(path)
            except OSError as error:
                failures.append(error)

    threads = [threading.Thread(target=sync_some) for _ in range(SYNC_THREADS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
