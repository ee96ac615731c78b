"""The app's folders in a backup: all of them, whatever happens to them meanwhile."""

import errno
import io
import os
import shutil
import socket
import sys
import tarfile
from pathlib import Path
from unittest import mock

from test_volume import Folder

INSIDE = Path(__file__).parents[2] / "xtask/data/src/inside"
sys.path.insert(0, str(INSIDE))
import files  # noqa: E402

sys.path.remove(str(INSIDE))

LONG = "a" * 200
ODD = {
    f"app/media/{LONG}/{LONG}": b"long",
    "app/media/pgsql_tmp1/backup_label": b"what pg_basebackup leaves out",
    "app/media/new\nline \\ back": b"odd",
    "app/media/empty": b"",
}


class InABackup(Folder):
    def setUp(self):
        super().setUp()
        for name, content in ODD.items():
            self.write(f"home/{name}", content)
        self.write("home/var/lib/shop/data", b"x" * 3000)
        os.symlink("data", f"{self.path}/home/var/lib/shop/link")
        os.mkfifo(f"{self.path}/home/var/lib/shop/fifo")
        os.mkdir(f"{self.path}/home/var/lib/nothing")

    def unpacked(self):
        """After an archive of PostgreSQL's, as a restore has it."""
        before = io.BytesIO()
        with tarfile.open(fileobj=before, mode="w") as archive:
            entry = tarfile.TarInfo("PG_VERSION")
            entry.size = 3
            archive.addfile(entry, io.BytesIO(b"17\n"))
        # pg_basebackup pads to two blocks, Python to a record.
        cluster = before.getvalue()[:1024] + bytes(1024)
        target = io.BytesIO()
        files.without_end(io.BytesIO(cluster), target)
        files.add(f"{self.path}/home", target)
        target.seek(0)
        folder = f"{self.path}/d"
        with tarfile.open(fileobj=target) as archive:
            archive.extractall(folder, filter="fully_trusted")
        return folder

    def test_all_of_them_come_back(self):
        folder = self.unpacked()
        files.verify(folder)
        self.assertEqual(files.count(folder), len(ODD) + 1)
        for name, content in ODD.items():
            self.assertEqual(Path(folder, "hive-files", name).read_bytes(), content)
        self.assertEqual(os.readlink(f"{folder}/hive-files/var/lib/shop/link"), "data")
        self.assertTrue(os.path.isdir(f"{folder}/hive-files/var/lib/nothing"))
        self.assertEqual(Path(folder, "PG_VERSION").read_bytes(), b"17\n")

    def test_a_file_that_changes_while_it_is_read_is_read_again(self):
        place = Path(self.path, "home/var/lib/shop/data")
        whole = files.Content.read
        for changes, length in ((1, 2000), (99, None)):
            left = [changes]

            def read(content, size, left=left, changes=changes):
                got = whole(content, size)
                if content.left == 0 and got[:1] == b"x" and left[0]:
                    # As an app does that writes a file anew, shorter each time.
                    left[0] -= 1
                    place.write_bytes(b"x" * (2000 - changes + left[0] + 1))
                return got

            place.write_bytes(b"x" * 3000)
            with mock.patch.object(files.Content, "read", read):
                folder = self.unpacked()
            files.verify(folder)
            read_last = Path(folder, "hive-files/var/lib/shop/data").read_bytes()
            if length:
                self.assertEqual(read_last, b"x" * length)
            else:
                self.assertEqual(changes - left[0], files.READINGS, "it ends all the same")
            shutil.rmtree(folder)

    def test_a_large_file_that_never_stands_still_is_read_twice(self):
        place = Path(self.path, "home/var/lib/shop/data")
        for again, readings in ((3000 * 3 - 1, 3), (3000 * 4, 4), (1, 2)):
            read = []

            def add_file(_archive, path, _name, read=read):
                read.append(path)
                status = os.lstat(path)
                # As a log that somebody writes to, whose size is the same for this one.
                os.utime(path, ns=(0, status.st_mtime_ns + 1))
                return files.state_of(status), ""

            place.write_bytes(b"x" * 3000)
            with (
                mock.patch.multiple(files, AGAIN=again, add_file=add_file),
                io.BytesIO() as sums,
            ):
                files.add_one(mock.Mock(), str(place), "data", sums)
            self.assertEqual(len(read), readings, again)

    def test_what_may_not_be_read_is_named(self):
        home = f"{self.path}/home"
        self.assertEqual(files.unreadable(home), [])
        denied = f"{home}/var/lib/shop/data"
        may = os.access

        def access(path, mode):
            return path != denied and may(path, mode)

        with mock.patch.object(files.os, "access", access):
            self.assertEqual(files.unreadable(home), ["var/lib/shop/data"])
            os.unlink(denied)
            self.assertEqual(files.unreadable(home), [], "it is gone meanwhile")

    def test_each_file_is_synced_and_what_is_none_is_not_waited_for(self):
        home = f"{self.path}/home"
        listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(listener.close)
        listener.bind(f"{home}/socket")
        synced, whole = set(), files.sync

        def sync(path):
            whole(path)
            synced.add(os.path.relpath(path, home))

        with mock.patch.object(files, "sync", sync):
            files.sync_all(home)
        folders = {".", "app", "app/media", "var/lib/shop", "var/lib/nothing"}
        self.assertLessEqual(folders | set(ODD) | {"var/lib/shop/data"}, synced)
        self.assertFalse({"socket", "var/lib/shop/fifo", "var/lib/shop/link"} & synced)

    def test_where_one_cannot_be_opened_all_of_the_disk_is_synced(self):
        home = f"{self.path}/home"
        for values, error in (({"MANY": 2}, None), ({}, PermissionError)):
            with (
                mock.patch.multiple(files, **values, sync=mock.Mock(side_effect=error)),
                mock.patch.object(files.subprocess, "run") as run,
            ):
                files.sync_all(home)
            run.assert_called_once_with(["sync", "--file-system", home], check=True)
        failed = mock.Mock(side_effect=OSError(errno.EIO, "Input/output error"))
        with mock.patch.object(files, "sync", failed), self.assertRaises(OSError):
            files.sync_all(home)

    def test_a_cluster_without_any_is_fine(self):
        os.mkdir(f"{self.path}/d")
        files.verify(f"{self.path}/d")
        self.assertEqual(files.count(f"{self.path}/d"), 0)

    def test_what_was_changed_lost_or_added_is_named(self):
        folder = self.unpacked()
        place = Path(folder, "hive-files/var/lib/shop/data")
        for harm in (lambda: place.write_bytes(b"y" * 3000), place.unlink):
            harm()
            with self.assertRaisesRegex(ValueError, "file var/lib/shop/data is not what was"):
                files.verify(folder)
        self.write("d/hive-files/app/more")
        with self.assertRaisesRegex(ValueError, "file app/more is not"):
            files.verify(folder)

    def test_a_file_that_shrinks_or_goes_meanwhile_spoils_nothing(self):
        shrinks = files.Content(io.BytesIO(b"ab"), 4)
        self.assertEqual(shrinks.read(10), b"ab\0\0")
        self.assertEqual(shrinks.read(10), b"")
        gone = f"{self.path}/home/app/media/empty"
        with mock.patch.object(files, "all_below", return_value=iter([gone, f"{gone}-2"])):
            target = io.BytesIO()
            files.add(f"{self.path}/home", target)
        with tarfile.open(fileobj=io.BytesIO(target.getvalue())) as archive:
            names = archive.getnames()
        self.assertEqual(names, ["hive-files/app/media/empty", "hive-files/SHA256SUMS"])

    def test_half_of_a_cluster_is_no_backup(self):
        with self.assertRaisesRegex(OSError, "not come to the end"):
            files.without_end(io.BytesIO(b"x" * 5000), io.BytesIO())

    def test_chunks_of_any_size_are_frames(self):
        class Library:
            ZSTD_compressBound = mock.Mock(return_value=files.CHUNK + 99)
            ZSTD_isError = mock.Mock(return_value=0)

            def ZSTD_compress(self, buffer, _size, content, size, _level):
                buffer[: size.value] = content
                return size.value

        target = io.BytesIO()
        library = Library()
        library.ZSTD_compress = mock.Mock(side_effect=library.ZSTD_compress)
        with mock.patch.object(files.ctypes, "CDLL", return_value=library):
            zstd = files.Zstd(target)
        for size in (1, files.CHUNK, files.CHUNK * 2):
            zstd.write(b"z" * size)
        zstd.close()
        self.assertEqual(len(target.getvalue()), 1 + files.CHUNK * 3)
        self.assertEqual(library.ZSTD_compress.call_count, 4)
