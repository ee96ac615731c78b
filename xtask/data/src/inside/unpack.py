"""Unpacks a compressed tar archive from stdin into a folder, by the library that PostgreSQL has.

An engine could do so by itself (`docker cp`), and may die of it: it gives its buffer away when the
archive is over, while its decoder still reads on (seen with engine 26: SIGSEGV in
klauspost/compress/zstd). `tar` would do it, too, and has each byte go through two more pipes, of
64 KiB at a time: that takes longer than all else.

Nothing is written but into the folder, whatever the archive says: names do not lead out of it, and
links are made when all else is there. The files become those of whoever unpacks them.

Asked to compare, it says whether each file is the one that PostgreSQL's manifest and the sums of
the app's files speak of; what is read again then is not compared any more.
"""

import contextlib
import ctypes
import errno
import fcntl
import hashlib
import json
import mmap
import os
import sys
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import files

#: What is decompressed and written at a time: a disk is at its fastest by then.
ROOM = 4 << 20

#: Files up to this size are not worth a way of their own.
SMALL = 1 << 20

#: Pieces below this are hashed before another core would have begun.
TINY = 1 << 16

#: Headers and contents fill blocks (POSIX, pax).
BLOCK = tarfile.BLOCKSIZE

#: Files and links; of what GNU calls a sparse file the map would be wanted, too.
KINDS = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.SYMTYPE)

#: A name, or what is said of one, is never longer: PATH_MAX, and some more.
LONGEST_WORD = 1 << 16


class Damaged(Exception):
    """Why it is no archive that can be unpacked."""


class Buffer(ctypes.Structure):
    """ZSTD_inBuffer and ZSTD_outBuffer, which look the same."""

    _fields_ = (
        ("place", ctypes.c_void_p),
        ("size", ctypes.c_size_t),
        ("position", ctypes.c_size_t),
    )


class Unzstd:
    """Frames of zstd, one after the other; those that are to be skipped are."""

    def __init__(self) -> None:
        library = self.library = ctypes.CDLL("libzstd.so.1")
        library.ZSTD_createDStream.restype = ctypes.c_void_p
        library.ZSTD_decompressStream.argtypes = [ctypes.c_void_p] + [ctypes.POINTER(Buffer)] * 2
        library.ZSTD_decompressStream.restype = ctypes.c_size_t
        library.ZSTD_isError.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.argtypes = [ctypes.c_size_t]
        library.ZSTD_getErrorName.restype = ctypes.c_char_p
        self.stream = library.ZSTD_createDStream()
        #: They begin where a page does. One is written to while the other one is read.
        rooms = [mmap.mmap(-1, ROOM) for _ in range(2)]
        self.views = [memoryview(room) for room in rooms]
        self.places = [ctypes.addressof(ctypes.c_char.from_buffer(room)) for room in rooms]
        self.target = Buffer(self.places[0], ROOM, 0)
        #: 0 where a frame is over.
        self.missing = 0
        self.decoding = ThreadPoolExecutor(1)

    def pieces(self, compressed: Iterator[bytes]) -> Iterator[memoryview]:
        """What these bytes are, in pieces that are gone with the next one; all but the last fill
        the room. The next one is made meanwhile, by another core."""
        made = self.made(compressed)
        following = self.decoding.submit(next, made, None)
        while (piece := following.result()) is not None:
            following = self.decoding.submit(next, made, None)
            yield piece

    def made(self, compressed: Iterator[bytes]) -> Iterator[memoryview]:
        for chunk in compressed:
            place = ctypes.cast(ctypes.c_char_p(chunk), ctypes.c_void_p)
            source = Buffer(place, len(chunk), 0)
            while self.goes_on(source):
                yield self.given()
        if self.target.position:
            yield self.given()

    def given(self) -> memoryview:
        piece = self.views[0][: self.target.position]
        self.views.reverse()
        self.places.reverse()
        self.target.place = self.places[0]
        self.target.position = 0
        return piece

    def goes_on(self, source: Buffer) -> bool:
        """Takes what there is; whether the room is full before that."""
        while True:
            before = source.position, self.target.position
            missing = self.library.ZSTD_decompressStream(self.stream, self.target, source)
            if self.library.ZSTD_isError(missing):
                name = self.library.ZSTD_getErrorName(missing).decode()
                raise Damaged(f"the archive is damaged: {name}")
            # Asked for nothing, after a frame that just filled the room, it would like a next one.
            if before != (source.position, self.target.position):
                self.missing = missing
            if self.target.position == ROOM:
                return True
            if source.position == source.size:
                return False


class Tape:
    """What the archive is once it is decompressed, from its beginning to its end."""

    def __init__(self) -> None:
        self.unzstd = Unzstd()
        self.pieces = self.all_pieces()
        self.rest = memoryview(b"")

    def all_pieces(self) -> Iterator[memoryview]:
        given = sys.stdin.buffer
        compressed = iter(lambda: given.read1(1 << 17), b"")
        yield from self.unzstd.pieces(compressed)
        if self.unzstd.missing:
            raise Damaged("the archive ends too early")

    def some(self, most: int) -> memoryview:
        """The next bytes, gone when the next are asked for; none at the end."""
        if not self.rest:
            self.rest = next(self.pieces, self.rest)
        piece, self.rest = self.rest[:most], self.rest[most:]
        return piece

    def content(self, size: int) -> Iterator[memoryview]:
        """So many bytes, and what fills their last block."""
        left = size
        while left:
            piece = self.some(left)
            if not piece:
                raise Damaged("the archive ends too early")
            left -= len(piece)
            yield piece
        if fill := -size % BLOCK:
            self.word(fill)

    def word(self, size: int) -> bytes:
        """So many bytes at once; fewer at the end alone."""
        word = b""
        while len(word) < size and (piece := self.some(size - len(word))):
            word += piece
        return word


class Headers:
    """The entries of an archive, in its order: what POSIX, GNU and pax say before a content."""

    def __init__(self, tape: Tape) -> None:
        self.tape = tape

    def __iter__(self) -> Iterator[tarfile.TarInfo]:
        said: dict[str, str] = {}
        while entry := self.one():
            kind = entry.type
            if kind in (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK):
                key = "path" if kind == tarfile.GNUTYPE_LONGNAME else "linkpath"
                said[key] = os.fsdecode(self.said(entry).partition(b"\0")[0])
            elif kind == tarfile.XHDTYPE:
                said |= records(self.said(entry))
            elif kind == tarfile.XGLTYPE:
                # Nobody who writes a backup says anything of all its entries that matters here.
                self.said(entry)
            else:
                entry.name = said.get("path", entry.name)
                entry.linkname = said.get("linkpath", entry.linkname)
                entry.size = number(said.get("size", entry.size))
                said = {}
                yield entry

    def one(self) -> tarfile.TarInfo | None:
        block = self.tape.word(BLOCK)
        try:
            return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.EOFHeaderError:
            return None
        except (tarfile.EmptyHeaderError, tarfile.TruncatedHeaderError):
            raise Damaged("the archive ends too early") from None
        except tarfile.HeaderError as error:
            raise Damaged(f"the archive is damaged: {error}") from None

    def said(self, entry: tarfile.TarInfo) -> bytes:
        if entry.size > LONGEST_WORD:
            raise Damaged(f"the archive has a name of {entry.size} bytes")
        return b"".join(bytes(piece) for piece in self.tape.content(entry.size))


def records(said: bytes) -> dict[str, str]:
    """`LENGTH KEY=VALUE` and a line end, one after the other (pax)."""
    found = {}
    while said:
        length, _, rest = said.partition(b" ")
        record = rest[: number(length) - len(length) - 1]
        key, _, value = record.removesuffix(b"\n").partition(b"=")
        found[os.fsdecode(key)] = os.fsdecode(value)
        if not record.endswith(b"\n"):
            raise Damaged("the archive is damaged: a record of pax is not whole")
        said = rest[len(record) :]
    return found


def number(said: int | str | bytes) -> int:
    try:
        return int(said)
    except ValueError:
        raise Damaged(f"the archive is damaged: {said!r} is no number") from None


class Folder:
    """Where it is unpacked."""

    def __init__(self, home: str) -> None:
        self.home = home
        self.sums: dict[str, str] = {}
        self.hashing = ThreadPoolExecutor(1)
        #: Made last, so that nothing is written through one.
        self.links: dict[str, str] = {}
        #: Some may not be written to.
        self.folders: dict[str, tarfile.TarInfo] = {}
        os.makedirs(home, mode=0o700, exist_ok=True)

    def take(self, entry: tarfile.TarInfo, tape: Tape) -> None:
        path = self.inside(entry.name)
        if entry.isdir():
            os.makedirs(path, mode=0o700, exist_ok=True)
            self.folders[path] = entry
            return
        if entry.type not in KINDS:
            raise Damaged(f"the archive has what no backup has: {entry.name!r}")
        os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
        # Of several entries of one name the last one stays.
        self.links.pop(path, None)
        self.sums.pop(os.path.relpath(path, self.home), None)
        if os.path.lexists(path):
            os.unlink(path)
        if entry.issym():
            self.links[path] = entry.linkname
        else:
            self.sums[os.path.relpath(path, self.home)] = self.write(path, entry, tape)

    def write(self, path: str, entry: tarfile.TarInfo, tape: Tape) -> str:
        """Its digest, which another core makes meanwhile."""
        digest = hashlib.sha256()
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        try:
            if entry.size > SMALL:
                go_past_cache(descriptor)
            for piece in tape.content(entry.size):
                if len(piece) < TINY:
                    digest.update(piece)
                    write_all(descriptor, piece)
                else:
                    hashed = self.hashing.submit(digest.update, piece)
                    write_all(descriptor, piece)
                    hashed.result()
            os.fchmod(descriptor, entry.mode)
            os.utime(descriptor, (entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)
        return digest.hexdigest()

    def inside(self, name: str) -> str:
        if name.startswith("/") or ".." in name.split("/") or "\0" in name:
            raise Damaged(f"the archive has a name that leads out of it: {name!r}")
        return os.path.normpath(f"{self.home}/{name}")

    def close(self) -> None:
        for path, target in self.links.items():
            os.symlink(target, path)
        # What is in a folder is made, so that its times stay.
        for path, entry in sorted(self.folders.items(), reverse=True):
            os.chmod(path, entry.mode)
            os.utime(path, (entry.mtime, entry.mtime))


def go_past_cache(descriptor: int) -> None:
    """What a service beside this has in memory stays there, and what is compared later is what the
    disk has. Not all file systems can."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETFL, fcntl.fcntl(descriptor, fcntl.F_GETFL) | os.O_DIRECT)


def goes_past_cache(descriptor: int) -> bool:
    return bool(fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT)


def go_through_cache(descriptor: int) -> None:
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    fcntl.fcntl(descriptor, fcntl.F_SETFL, flags & ~os.O_DIRECT)


def write_all(descriptor: int, piece: memoryview) -> None:
    while piece:
        whole = len(piece) // BLOCK * BLOCK
        if not whole:
            go_through_cache(descriptor)
        try:
            written = os.write(descriptor, piece[:whole] or piece)
        except OSError as error:
            if error.errno != errno.EINVAL or not goes_past_cache(descriptor):
                raise
            # Its blocks are larger.
            go_through_cache(descriptor)
        else:
            piece = piece[written:]


def compare(home: str, found: dict[str, str]) -> None:
    """What the manifest does not speak of, and what is missing, PostgreSQL's own program says."""
    with open(f"{home}/backup_manifest", encoding="utf-8") as file:
        entries = json.load(file)["Files"]
    for entry in entries:
        name = entry.get("Path") or os.fsdecode(bytes.fromhex(entry["Encoded-Path"]))
        if entry.get("Checksum-Algorithm") != "SHA256":
            raise Damaged(f"the manifest has no SHA256 of {name}")
        if found.get(name) != entry["Checksum"]:
            raise Damaged(f"{name} is not what was written")
    folder = f"{files.IN_A_BACKUP}/"
    files.compare(
        home,
        {
            files.sum_line(digest, name.removeprefix(folder))
            for name, digest in found.items()
            if name.startswith(folder) and name != f"{folder}{files.SUMS}"
        },
    )


def unpack(home: str, is_compared: bool) -> None:
    tape, folder = Tape(), Folder(home)
    for entry in Headers(tape):
        folder.take(entry, tape)
    folder.close()
    # What comes behind its end is of no use, and yet has to be whole.
    while tape.some(ROOM):
        pass
    if is_compared:
        compare(home, folder.sums)


def main(home: str, is_compared: str = "") -> int:
    try:
        unpack(home, bool(is_compared))
        return 0
    except (Damaged, ValueError) as error:
        print(error, file=sys.stderr)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            said = f"the disk is full: there is no room to unpack the archive into {home}"
        else:
            # Of two names, as of a link, the second is the one that is made.
            said = f"{error.filename2 or error.filename or home}: {error.strerror}"
        print(said, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
