"""The app's folders beside a cluster: put into a backup of it, and looked at in one.

    hive-files/app/media/…     in the backup, what is in `files` on the volume
    hive-files/SHA256SUMS      of all of its files, as `sha256sum` writes and checks them

They are copied when the cluster has been: the file that a row speaks of was written before it, and
is there unless the app has deleted it since.
"""

import contextlib
import ctypes
import errno
import glob
import hashlib
import io
import itertools
import json
import os
import re
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO

MOUNT = "/var/lib/postgresql/data"
FILES = f"{MOUNT}/files"
IN_A_BACKUP = "hive-files"
SUMS = "SHA256SUMS"

#: Of a cluster that was restored: by which restore.
RESTORED = "hive-restored.json"

#: The app's secrets, which lie beside a cluster.
SECRETS = f"{MOUNT}/hive/secret."

Archive = tarfile.TarFile

CHUNK = 1 << 20
#: Two blocks of zeros (POSIX, pax).
END_OF_ARCHIVE = bytes(1024)


#: What generations and their folders are called: nothing else leads out of a folder, or cannot be
#: shown.
NAME = re.compile(r"[0-9A-Za-z_][0-9A-Za-z_.-]*")

#: Names that a spec can have for a secret.
WORD = re.compile(r"\w+")


def name_of(cluster: str) -> str:
    """Which folders belong to a cluster; the container's `directories` goes by the same."""
    path = f"{cluster}/{RESTORED}"
    try:
        with open(path, encoding="utf-8") as file:
            name = json.load(file)["id"]
    except FileNotFoundError:
        return "first"
    except (KeyError, TypeError, ValueError):
        name = ""
    if not NAME.fullmatch(str(name)):
        raise OSError(errno.EBADMSG, "is damaged: restore the data from a backup", path)
    return name


def remove_tree(path: str) -> None:
    """Also a folder that nobody may write into, its owner neither: an app's may be one."""
    for folder, names, _ in os.walk(path):
        for inner in (folder, *(f"{folder}/{name}" for name in names)):
            # Of one that is somebody else's it is seen below what can be deleted.
            with contextlib.suppress(PermissionError):
                if not os.path.islink(inner):
                    os.chmod(inner, 0o700)
    shutil.rmtree(path)


def kept_secrets() -> list[str]:
    """What the app's secrets on the volume are called."""
    names = (path.removeprefix(SECRETS) for path in glob.glob(f"{SECRETS}*"))
    return sorted(filter(WORD.fullmatch, names))


def of_cluster(cluster: str) -> str | None:
    """Where they lie, if there are any."""
    home = f"{FILES}/{name_of(cluster)}"
    return home if os.path.isdir(home) else None


class Zstd:
    """Compresses by the library that PostgreSQL has. Each chunk is a frame of its own."""

    def __init__(self, target: BinaryIO):
        self.target = target
        self.library = ctypes.CDLL("libzstd.so.1")
        self.library.ZSTD_compressBound.restype = ctypes.c_size_t
        self.library.ZSTD_compress.restype = ctypes.c_size_t
        self.bound = self.library.ZSTD_compressBound(ctypes.c_size_t(CHUNK))
        self.buffer = ctypes.create_string_buffer(self.bound)
        self.waiting = bytearray()

    def write(self, content: bytes) -> int:
        self.waiting += content
        while len(self.waiting) >= CHUNK:
            self.frame(bytes(self.waiting[:CHUNK]))
            del self.waiting[:CHUNK]
        return len(content)

    def close(self) -> None:
        self.frame(bytes(self.waiting))
        self.waiting.clear()
        self.target.flush()

    def frame(self, content: bytes) -> None:
        sizes = [ctypes.c_size_t(size) for size in (self.bound, len(content))]
        done = self.library.ZSTD_compress(self.buffer, sizes[0], content, sizes[1], 3)
        if self.library.ZSTD_isError(ctypes.c_size_t(done)):
            raise OSError("zstd does not compress")
        self.target.write(ctypes.string_at(self.buffer, done))


def without_end(archive: BinaryIO, target: Zstd) -> None:
    """Copies an archive to which more is added."""
    held = b""
    while chunk := archive.read(CHUNK):
        held += chunk
        target.write(held[: -len(END_OF_ARCHIVE)])
        held = held[-len(END_OF_ARCHIVE) :]
    if held != END_OF_ARCHIVE:
        raise OSError("pg_basebackup has not come to the end of its archive")


def archive_on(target: Zstd) -> Archive:
    """An archive that is written there."""
    # Names are bytes, as long as they like.
    return tarfile.open(
        fileobj=target,
        mode="w|",
        format=tarfile.GNU_FORMAT,
        encoding="utf-8",
        errors="surrogateescape",
    )


def add(home: str, target: Zstd) -> None:
    """Adds the folders to an archive, and ends it."""
    with archive_on(target) as archive:
        add_all(archive, home)


def add_all(archive: Archive, home: str) -> None:
    """Adds the folders, and their sums."""
    sums = io.BytesIO()
    for path in all_below(home):
        # What went meanwhile is gone, as a row would be.
        with contextlib.suppress(FileNotFoundError):
            add_one(archive, path, os.path.relpath(path, home), sums)
    add_content(archive, f"{IN_A_BACKUP}/{SUMS}", sums.getvalue())


def add_content(archive: Archive, name: str, content: bytes) -> None:
    """Adds a file that is nowhere on a disk."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.size = 0o600, len(content)
    archive.addfile(entry, io.BytesIO(content))


def all_below(home: str) -> Iterator[str]:
    """Folders, files and links; nothing where there is no such folder."""

    def fail(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError):
            raise error

    for directory, folders, files in os.walk(home, onerror=fail):
        folders.sort()
        yield directory
        yield from (f"{directory}/{name}" for name in sorted(files))
        yield from (
            f"{directory}/{name}" for name in folders if os.path.islink(f"{directory}/{name}")
        )


def add_one(archive: tarfile.TarFile, path: str, inside: str, sums: io.BytesIO) -> None:
    kind = os.lstat(path).st_mode
    name = os.path.normpath(f"{IN_A_BACKUP}/{inside}")
    if stat.S_ISREG(kind):
        digest = None
        with contextlib.suppress(FileNotFoundError):
            # Of several entries of one name the last one stays.
            for reading in range(1, READINGS + 1):
                before, digest = add_file(archive, path, name)
                now = os.lstat(path)
                if state_of(now) == before or (reading > 1 and reading * now.st_size > AGAIN):
                    break
        if digest is None:
            raise FileNotFoundError(path)
        sums.write(sum_line(digest, inside))
    elif stat.S_ISDIR(kind) or stat.S_ISLNK(kind):
        # By one look; what else there is (a socket, a pipe) holds no data.
        entry = archive.gettarinfo(path, arcname=name)
        if entry is not None and not entry.isreg():
            archive.addfile(entry)


#: So often is a file read that somebody writes to meanwhile; one that never stands still is as
#: the last reading found it.
READINGS = 4
#: A large one is read twice and no more: each reading takes its place in the backup. So many bytes
#: are for the readings after the second one.
AGAIN = 256 << 20


def state_of(status: os.stat_result) -> tuple[int, int, int, int]:
    """What changes when a file does."""
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def add_file(archive: Archive, path: str, name: str) -> tuple[tuple[int, int, int, int], str]:
    """Adds a file; its state before that, and the digest of what was read."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        entry = tarfile.TarInfo(name)
        status = os.fstat(file.fileno())
        entry.mode, entry.mtime, entry.size = (
            stat.S_IMODE(status.st_mode),
            int(status.st_mtime),
            status.st_size,
        )
        content = Content(file, entry.size)
        archive.addfile(entry, content)
    return state_of(status), content.digest.hexdigest()


class Content:
    """So many bytes of a file, which may shrink or grow meanwhile, and their digest."""

    def __init__(self, file: BinaryIO, size: int):
        self.file = file
        self.left = size
        self.digest = hashlib.sha256()

    def read(self, size: int) -> bytes:
        size = min(size, self.left)
        content = self.file.read(size).ljust(size, b"\0")
        self.left -= size
        self.digest.update(content)
        return content


def sum_line(digest: str, name: str) -> bytes:
    """A line of sha256sum, which escapes what would end it."""
    escaped = name.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    mark = "\\" if escaped != name else ""
    return os.fsencode(f"{mark}{digest}  {escaped}\n")


def unreadable(home: str) -> list[str]:
    """Files below it that whoever asks may not read: of another owner, or with a mode without that.
    A folder of that kind is an error by itself."""
    found = []
    for path in all_below(home):
        with contextlib.suppress(FileNotFoundError):
            is_file = stat.S_ISREG(os.lstat(path).st_mode)
            if is_file and not os.access(path, os.R_OK) and os.path.lexists(path):
                found.append(os.path.relpath(path, home))
    return found


def size_of(home: str) -> tuple[int, int]:
    """Bytes of all files, and number of files and folders, which come and go meanwhile."""
    size, count = 0, 0
    for path in all_below(home):
        with contextlib.suppress(FileNotFoundError):
            status = os.lstat(path)
            size += 0 if stat.S_ISDIR(status.st_mode) else status.st_size
            count += 1
    return size, count


#: So many files are synced by themselves, and so many at a time: each waits for the disk, and those
#: that wait together do so once.
MANY, TOGETHER = 20_000, 16


def sync(path: str) -> None:
    # To open a pipe would wait for whoever writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def has_content(path: str) -> bool:
    kind = os.lstat(path).st_mode
    return stat.S_ISREG(kind) or stat.S_ISDIR(kind)


def sync_all(home: str) -> None:
    """Whatever comes: nothing below it is in memory only. What others write on the same disk is not
    waited for, unless these are many files, or some that may not be read. What is no file (a link,
    a pipe, a socket) is in its folder."""
    try:
        paths = list(itertools.islice(filter(has_content, all_below(home)), MANY))
        if len(paths) < MANY:
            with ThreadPoolExecutor(TOGETHER) as pool:
                for _ in pool.map(sync, paths):
                    pass
            return
    except PermissionError:
        pass
    # It says where the disk has failed, which sync(2) does not.
    subprocess.run(["sync", "--file-system", home], check=True)


def sums_in(folder: str) -> list[bytes]:
    """What an unpacked backup says of the app's files in it, a line each."""
    home = f"{folder}/{IN_A_BACKUP}"
    if not os.path.isdir(home):
        return []
    with open(f"{home}/{SUMS}", "rb") as file:
        return file.read().splitlines()


def count(folder: str) -> int:
    """How many files of the app an unpacked backup has."""
    return len(sums_in(folder))


def verify(folder: str) -> None:
    """Raises ValueError with the first of them that is not what was written."""
    home = f"{folder}/{IN_A_BACKUP}"
    found = io.BytesIO()
    for path in all_below(home):
        inside = os.path.relpath(path, home)
        if inside == SUMS or os.path.islink(path) or not os.path.isfile(path):
            continue
        with open(path, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        found.write(sum_line(digest, inside))
    compare(folder, set(found.getvalue().splitlines()))


def compare(folder: str, found: set[bytes]) -> None:
    """The same by lines of sums that are known."""
    wrong = set(sums_in(folder)) ^ {line.rstrip(b"\n") for line in found}
    if wrong:
        # Behind the digest.
        name = min(os.fsdecode(line).partition("  ")[2] for line in wrong)
        raise ValueError(f"the app's file {name} is not what was written")
