"""The data volume: whose it is, and its lock.

    /var/lib/postgresql/data/
      pgdata/                  the cluster; `hive.json` in it says which image made it
      hive/app                 whose data it is, among the apps that an image may hold. Not in
                               `hive.json`: images before this want to find there what they know
      hive/lock                held by the container that uses the volume
      hive/adopted             there was a cluster once: a volume without one now is an alarm
      hive/database-password   the app's, unless one is given from outside
      hive/superuser-password  and hive/superuser.pgpass, the same for `psql`
      hive/backup.json         of which moments there are backups, as whoever took them has noted
      hive/was-healthy         the service was healthy since the last operation on the data
      hive/archive.json        how far the archive reaches, and what is wrong with it
      hive/secret.NAME         what the spec asks for by `{secret:NAME}`
      files/                   the app's folders; see `directories`
      .hive-adopt-*            a copy that was interrupted; removed at the next start

Nothing is written before the volume is known to be ours or empty.
"""

import contextlib
import fcntl
import json
import os
import secrets
import shlex
import socket
import subprocess

from hive_container import cluster
from hive_container.cluster import read_first_line
from hive_container.image import APP_WAS, Fatal, Image, write_private

MOUNT = "/var/lib/postgresql/data"
PGDATA = f"{MOUNT}/pgdata"
IDENTITY = f"{PGDATA}/hive.json"
OURS = f"{MOUNT}/hive"
FILES = f"{MOUNT}/files"
LOCK = f"{OURS}/lock"
APP = f"{OURS}/app"
ADOPTED = f"{OURS}/adopted"
BACKUPS = f"{OURS}/backup.json"
DATABASE_PASSWORD = f"{OURS}/database-password"
SUPERUSER_PASSWORD = f"{OURS}/superuser-password"
SUPERUSER_PASSFILE = f"{OURS}/superuser.pgpass"
ADOPTING = ".hive-adopt-"

#: The cluster that the image was built with. See the postgres-base stage.
PREPARED = "/usr/share/hive/cluster"

#: The lock's descriptor in every program. Above supervisord's `minfds`: it closes those below.
LOCK_DESCRIPTOR = 100

#: Things in an empty volume that are nobody's data.
HARMLESS = {"lost+found", ".gitkeep", ".gitignore", ".keep", ".DS_Store"}

MIB = 1024 * 1024
#: A start with less free than this fails half-way, and then nothing says so clearly: recovery
#: needs a WAL segment of 16 MB, and a checkpoint.
FREE_TO_START = 24 * MIB
#: A cluster as adopted, the app's database and the first WAL segments.
FREE_TO_ADOPT = 128 * MIB
#: Files of a cluster as adopted, and as many again.
FILES_TO_ADOPT = 2500
FILES_TO_START = 50


def open_volume(image: Image) -> None:
    """Makes the volume ours for as long as any program of the container lives.

    Raises Fatal, with the volume untouched, when it is not one that this image may use.
    """
    inspect_kinds()
    descriptor = open_lock(os.O_RDWR)
    if descriptor is None:
        # Nothing is written to a volume that may not be used.
        inspect(image)
        os.makedirs(OURS, mode=0o700, exist_ok=True)
        descriptor = open_lock(os.O_RDWR | os.O_CREAT)
    inspect(image)
    keep_lock(descriptor)
    remember_app(image)
    forget_killed_server()
    tighten()


def inspect(image: Image) -> None:
    """Looks at the volume without writing; raises Fatal when this image must not use it."""
    try:
        names = set(os.listdir(MOUNT))
    except PermissionError:
        raise wrong_owner(MOUNT) from None
    except FileNotFoundError:
        raise Fatal(f"{MOUNT} is missing", "mount a volume there") from None
    filled = "pgdata" in names and (os.stat(PGDATA).st_uid != os.geteuid() or os.listdir(PGDATA))
    if filled:
        inspect_filled(image)
    else:
        inspect_empty(names)
    if os.statvfs(MOUNT).f_flag & os.ST_RDONLY:
        raise Fatal(f"the volume {MOUNT} is read-only", "mount it without `ro`")
    if not os.access(OURS if os.path.isdir(OURS) else MOUNT, os.W_OK | os.X_OK):
        raise wrong_owner(OURS if os.path.isdir(OURS) else MOUNT)
    if not filled and not os.access(MOUNT, os.W_OK | os.X_OK):
        raise wrong_owner(MOUNT)
    if filled:
        inspect_space(FREE_TO_START, FILES_TO_START)
    else:
        inspect_space(FREE_TO_ADOPT, FILES_TO_ADOPT)


def inspect_kinds() -> None:
    """A name of ours for something else: a link that leads nowhere, a folder for a file."""
    folders = (PGDATA, OURS, FILES)
    files = (
        IDENTITY,
        LOCK,
        APP,
        ADOPTED,
        DATABASE_PASSWORD,
        SUPERUSER_PASSWORD,
        SUPERUSER_PASSFILE,
    )
    for path in (*folders, *files):
        is_right, kind = (os.path.isdir, "folder") if path in folders else (os.path.isfile, "file")
        if os.path.lexists(path) and not is_right(path):
            what = "a link that leads nowhere" if not os.path.exists(path) else f"no {kind}"
            raise Fatal(
                f"the volume's {path} is {what}", "put it right on the volume, or remove it"
            )


def inspect_filled(image: Image) -> None:
    if os.stat(PGDATA).st_uid != os.geteuid():
        raise wrong_owner(PGDATA)
    inspect_owners()
    cluster.inspect(PGDATA, PREPARED)
    inspect_identity(image)
    inspect_app(image)


def inspect_owners() -> None:
    """PostgreSQL looks at its top directory only, and would miss a file when it needs it."""
    # Quicker than a loop here; 100,000 files took it half a second on a busy machine.
    places = [place for place in (PGDATA, OURS) if os.path.isdir(place)]
    not_ours = ["(", "!", "-user", str(os.geteuid()), "-o", "!", "-perm", "-u=rw", ")"]
    done = subprocess.run(
        ["/usr/bin/find", *places, *not_ours, "-print", "-quit"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    found = os.fsdecode(done.stdout).split("\n")[0]
    if found:
        raise wrong_owner(found)


def inspect_identity(image: Image) -> None:
    try:
        with open(IDENTITY, encoding="utf-8") as file:
            made_by = json.load(file)
    except FileNotFoundError:
        raise Fatal(
            f"the cluster in {PGDATA} was not made by an image of this kind",
            "dump and restore it into an empty volume; it was not touched",
        ) from None
    except (OSError, ValueError, RecursionError):
        # Brackets without end are no JSON either.
        made_by = None
    ours = identity_of(image)
    # A later image may know more of it than this one.
    if not isinstance(made_by, dict) or not ours.keys() <= made_by.keys():
        raise cluster.not_whole(PGDATA, f"{os.path.basename(IDENTITY)} is damaged")
    if any(made_by[key] != value for key, value in ours.items()):
        raise Fatal(
            "the volume belongs to image {image!r} (database {database!r}, role {role!r}),"
            " this is image {0!r} (database {1!r}, role {2!r})".format(
                image.name, image.database, image.role, **made_by
            ),
            "give each image a volume of its own",
        )


def inspect_app(image: Image) -> None:
    """The image's name is not enough: `--app` puts another app into an image of the same name, and
    its migrations would work on this one's tables."""
    known = read_first_line(APP)
    if image.app and known and known not in (image.app, image.app_was):
        raise Fatal(
            f"the volume has the data of the app {known!r}, and this image is the app"
            f" {image.app!r}",
            "give each app a volume of its own; if it is the same app and only its name has"
            f" changed: -e {APP_WAS}={shlex.quote(known)}",
        )


def remember_app(image: Image) -> None:
    if image.app and read_first_line(APP) != image.app:
        write_private(APP, image.app + "\n")


def inspect_empty(names: set[str]) -> None:
    if os.path.exists(ADOPTED):
        raise Fatal(
            f"the volume had a cluster and {PGDATA} is gone",
            f"restore it, or remove {OURS} to start with an empty database",
        )
    ours = {"hive", "pgdata"}
    if "hive" in names:
        # A first boot that was killed: they are there before the cluster.
        ours.add("files")
    foreign = {name for name in names - HARMLESS - ours if not name.startswith(ADOPTING)}
    if foreign:
        some = ", ".join(sorted(foreign)[:3])
        raise Fatal(
            f"the volume {MOUNT} is not empty and not ours (it holds {some})",
            "mount an empty one",
        )


def inspect_space(bytes_needed: int, files_needed: int) -> None:
    """Raises Fatal when the volume has too little room for a start."""
    status = os.statvfs(MOUNT)
    free = status.f_bavail * status.f_frsize
    if free < bytes_needed:
        raise Fatal(
            f"the volume {MOUNT} is full: {free // MIB} MB free,"
            f" {bytes_needed // MIB} MB needed to start",
            "make room on it",
        )
    # Some file systems count no files: 0 of 0.
    if status.f_files and status.f_favail < files_needed:
        raise Fatal(
            f"the volume {MOUNT} is full: room for {status.f_favail} more files,"
            f" {files_needed} needed to start",
            "make room on it",
        )


def wrong_owner(path: str) -> Fatal:
    status = os.stat(path)
    return Fatal(
        f"the volume's {path} belongs to {status.st_uid}:{status.st_gid}"
        f" (mode {status.st_mode & 0o7777:o}), this container runs as"
        f" {os.geteuid()}:{os.getegid()} and cannot use it",
        f"give the volume to it (chown -R {os.geteuid()}:{os.getegid()}),"
        " or run as its owner with --user",
    )


def identity_of(image: Image) -> dict[str, str]:
    return {"image": image.name, "database": image.database, "role": image.role}


def open_lock(flags: int) -> int | None:
    """Locks the volume against other containers; None where there is no lock file to be had.

    PostgreSQL's own lock file does not do that: it holds a process id of another container,
    which means nothing here, and the second server starts and corrupts the first.
    """
    try:
        descriptor = os.open(LOCK, flags, 0o600)
    except OSError:
        if flags & os.O_CREAT:
            raise
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode(errors="replace").strip() or "unknown"
        raise Fatal(
            f"another container (hostname {holder}) is using the volume {MOUNT}",
            "stop it first",
        ) from None
    return descriptor


def keep_lock(descriptor: int) -> None:
    """Every program inherits the lock."""
    os.dup2(descriptor, LOCK_DESCRIPTOR, inheritable=True)
    os.close(descriptor)
    os.ftruncate(LOCK_DESCRIPTOR, 0)
    os.pwrite(LOCK_DESCRIPTOR, socket.gethostname().encode() + b"\n", 0)


def tighten() -> None:
    """Takes back what copying and Kubernetes' `fsGroup` give to others.

    PostgreSQL refuses a directory that a group may write to, and libpq a password file that it
    may read.
    """
    for directory in (PGDATA, OURS):
        if os.path.isdir(directory) and os.stat(directory).st_mode & 0o027:
            os.chmod(directory, 0o700)
    for entry in os.scandir(OURS):
        if entry.is_file(follow_symlinks=False) and entry.stat().st_mode & 0o077:
            os.chmod(entry.path, 0o600)


def forget_killed_server() -> None:
    """Removes PostgreSQL's lock file when a container was killed.

    It names a process id of that container. Here the same id may well be another program, and
    PostgreSQL would refuse to start. We hold the volume's lock and no program runs yet: whoever
    wrote the file is gone.
    """
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{PGDATA}/postmaster.pid")


def keep_password(path: str, made: str | None = None) -> str:
    """The password kept in a file of the volume; if there is none, the one given here, or a new
    one, is kept from now on."""
    password = read_first_line(path)
    if not password:
        password = made or secrets.token_urlsafe(24)
        write_private(path, password + "\n", durable=True)
    return password
