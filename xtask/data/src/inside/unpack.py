"""Unpacks a compressed tar archive from stdin into a folder, by the library that PostgreSQL has.

An engine could do so by itself (`docker cp`), and may die of it: it gives its buffer away when the
archive is over, while its decoder still reads on (seen with engine 26: SIGSEGV in
klauspost/compress/zstd).
"""

import ctypes
import errno
import os
import subprocess
import sys
import threading

#: How tar says that nothing more can be written.
NO_ROOM = (os.strerror(errno.ENOSPC), os.strerror(errno.EDQUOT), ": Wrote only ")

#: Lines of tar's that are kept.
MOST = 10


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
        library.ZSTD_DStreamOutSize.restype = ctypes.c_size_t
        self.stream = library.ZSTD_createDStream()
        self.room = library.ZSTD_DStreamOutSize()
        self.out = ctypes.create_string_buffer(self.room)
        #: 0 where a frame is over.
        self.missing = 0

    def pieces(self, compressed: bytes):
        """What these bytes are, in pieces that are gone with the next one."""
        place = ctypes.cast(ctypes.c_char_p(compressed), ctypes.c_void_p)
        source = Buffer(place, len(compressed), 0)
        while True:
            target = Buffer(ctypes.cast(self.out, ctypes.c_void_p), self.room, 0)
            read = source.position
            missing = self.library.ZSTD_decompressStream(self.stream, target, source)
            if self.library.ZSTD_isError(missing):
                name = self.library.ZSTD_getErrorName(missing).decode()
                raise ValueError(f"the archive is damaged: {name}")
            # Asked for nothing, after a frame that just filled the room, it would like a next one.
            if source.position > read or target.position:
                self.missing = missing
            yield memoryview(self.out)[: target.position]
            if source.position == source.size and target.position < self.room:
                return


class Complaints(threading.Thread):
    """What tar says. It goes on where a disk is full, and fails at each file that is left."""

    def __init__(self, tar: subprocess.Popen):
        super().__init__(daemon=True)
        self.tar = tar
        self.said: list[str] = []
        self.has_no_room = False
        self.start()

    def run(self) -> None:
        for line in self.tar.stderr:
            told = line.decode(errors="replace").strip()
            if any(why in told for why in NO_ROOM):
                self.said, self.has_no_room = [told], True
                self.tar.kill()
                return
            self.said = [*self.said, told][-MOST:]


def unpack(folder: str) -> None:
    os.makedirs(folder, mode=0o700, exist_ok=True)
    tar = subprocess.Popen(
        ["tar", "-x", "-p", "-C", folder],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"LC_ALL": "C"},
    )
    complaints = Complaints(tar)
    unzstd = Unzstd()
    try:
        while compressed := sys.stdin.buffer.read1(1 << 17):
            for piece in unzstd.pieces(compressed):
                tar.stdin.write(piece)
        if unzstd.missing:
            raise ValueError("the archive ends too early")
        tar.stdin.close()
    except BrokenPipeError:
        # tar says why.
        pass
    except ValueError:
        tar.kill()
        raise
    code = tar.wait()
    complaints.join()
    for line in complaints.said:
        print(line, file=sys.stderr)
    if complaints.has_no_room:
        raise ValueError(f"the disk is full: there is no room to unpack the archive into {folder}")
    if code != 0:
        raise ValueError("the archive cannot be unpacked")


try:
    unpack(sys.argv[1])
except ValueError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
