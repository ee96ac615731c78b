"""Backups are unpacked whole, with what lies behind the archive left alone, or not at all."""

import contextlib
import errno
import fcntl
import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from test_files_in_backup import INSIDE, files
from test_proof import load
from test_volume import Folder

unpack = load("unpack")

#: A frame that zstd skips, such as a backup's seal.
SKIPPED = bytes.fromhex("502a4d18 04000000") + b"seal"

LARGE = bytes(range(256)) * 9000 + b"odd"


def compressed(archive):
    target = io.BytesIO()
    # Several frames.
    zstd = files.Zstd(target)
    zstd.write(archive)
    zstd.close()
    return target.getvalue()


def entry(name, kind=tarfile.REGTYPE, **more):
    made = tarfile.TarInfo(name)
    made.type = kind
    for field, value in more.items():
        setattr(made, field, value)
    return made


def archive_of(*entries, form=tarfile.GNU_FORMAT):
    """Of pairs: an entry, and what is in it."""
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w", format=form, errors="surrogateescape") as tar:
        for one, content in entries:
            one.size = len(content)
            tar.addfile(one, io.BytesIO(content))
    return target.getvalue()


class Unpacked(Folder):
    def setUp(self):
        super().setUp()
        self.home = Path(self.path, "d")

    def unpack(self, archive, *more):
        """Its exit code, and what it says."""
        said = io.StringIO()
        stdin = SimpleNamespace(buffer=io.BytesIO(compressed(archive)))
        with mock.patch.object(sys, "stdin", stdin), contextlib.redirect_stderr(said):
            code = unpack.main(str(self.home), *more)
        return code, said.getvalue().strip()


class Stream(Unpacked):
    """As a container runs it."""

    def setUp(self):
        super().setUp()
        self.compressed = compressed(archive_of((entry("base/1"), LARGE)))

    def run_on(self, content):
        command = [sys.executable, INSIDE / "unpack.py", self.home]
        return subprocess.run(command, input=content, capture_output=True, check=False)

    def test_frames_are_unpacked_and_the_seal_is_skipped(self):
        done = self.run_on(self.compressed + SKIPPED)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(Path(self.home, "base/1").read_bytes(), LARGE)

    def test_a_frame_may_fill_the_room_for_what_it_holds(self):
        content = os.urandom(unpack.ROOM - 2048)
        archive = archive_of((entry("numbers"), content))[: unpack.ROOM]
        done = self.run_on(compressed(archive))
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(Path(self.home, "numbers").read_bytes(), content)

    def test_what_is_cut_off_or_changed_is_told(self):
        done = self.run_on(self.compressed[:-5])
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"the archive ends too early", done.stderr)
        changed = bytearray(self.compressed)
        changed[len(changed) // 2 : len(changed) // 2 + 40] = bytes(40)
        done = self.run_on(bytes(changed))
        self.assertNotEqual((done.returncode, Path(self.home, "base/1").read_bytes()), (0, LARGE))
        for damaged in (b"no archive", self.compressed + b"no frame"):
            done = self.run_on(damaged)
            self.assertEqual(done.returncode, 1)
            self.assertIn(b"the archive is damaged", done.stderr)


class Archive(Unpacked):
    def test_what_archives_have_comes_back_as_it_was(self):
        long, odd = "n" * 120, b"new\nline \\ \xff".decode(errors="surrogateescape")
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            with self.subTest(form=form):
                self.home = Path(self.path, f"d{form}")
                archive = archive_of(
                    (entry("base", tarfile.DIRTYPE, mode=0o500, mtime=1_000_000_000), b""),
                    (entry("base/1", mode=0o640, mtime=1_700_000_000), LARGE),
                    (entry(f"{long}/{long}/{odd}", mode=0o4755), b"long"),
                    (entry("link", tarfile.SYMTYPE, linkname=f"{long}/{long}"), b""),
                    (entry("./empty"), b""),
                    form=form,
                )
                self.assertEqual(self.unpack(archive), (0, ""))
                one, far = self.home / "base/1", self.home / long / long / odd
                self.assertEqual((one.read_bytes(), far.read_bytes()), (LARGE, b"long"))
                self.assertEqual(os.readlink(self.home / "link"), f"{long}/{long}")
                self.assertEqual((self.home / "empty").read_bytes(), b"")
                modes = [path.stat().st_mode & 0o7777 for path in (self.home, one.parent, one, far)]
                self.assertEqual(modes, [0o700, 0o500, 0o640, 0o4755])
                times = [int(path.stat().st_mtime) for path in (one.parent, one)]
                self.assertEqual(times, [1_000_000_000, 1_700_000_000])

    def test_of_several_entries_of_one_name_the_last_one_stays(self):
        archive = archive_of(
            (entry("a"), b"first, and longer"),
            (entry("a"), b"last"),
            (entry("b", tarfile.SYMTYPE, linkname="a"), b""),
            (entry("b"), b"a file"),
            (entry("c"), b"a file"),
            (entry("c", tarfile.SYMTYPE, linkname="a"), b""),
        )
        self.assertEqual(self.unpack(archive), (0, ""))
        self.assertEqual((self.home / "a").read_bytes(), b"last")
        self.assertFalse((self.home / "b").is_symlink())
        self.assertEqual((self.home / "b").read_bytes(), b"a file")
        self.assertEqual(os.readlink(self.home / "c"), "a")

    def test_nothing_is_written_outside_whatever_the_archive_says(self):
        outside = Path(self.path, "outside")
        outside.mkdir()
        for name in ("../x", f"{outside}/x", "a/../../x", ".."):
            code, said = self.unpack(archive_of((entry(name), b"x")))
            wanted = f"the archive has a name that leads out of it: {name!r}"
            self.assertEqual((code, said), (1, wanted))
        # A file behind a link: which of the two came first does not matter.
        through = (entry("l/x"), b"x"), (entry("l", tarfile.SYMTYPE, linkname=str(outside)), b"")
        for entries, why in ((through, errno.EISDIR), (through[::-1], errno.EEXIST)):
            self.home = Path(self.path, f"d{why}")
            done = self.unpack(archive_of(*entries))
            self.assertEqual(done, (1, f"{self.home}/l: {os.strerror(why)}"))
        self.assertEqual(os.listdir(outside), [])
        made = {"outside", "d", f"d{errno.EISDIR}", f"d{errno.EEXIST}"}
        self.assertEqual(set(os.listdir(self.path)), made)

    def test_what_no_backup_has_is_refused_by_name(self):
        odd = tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.GNUTYPE_SPARSE
        for kind in odd:
            done = self.unpack(archive_of((entry("odd", kind, linkname="a"), b"")))
            self.assertEqual(done, (1, "the archive has what no backup has: 'odd'"))

    def test_a_header_that_was_changed_is_told(self):
        archive = bytearray(archive_of((entry("a"), b"x")))
        archive[0:1] = b"b"
        code, said = self.unpack(bytes(archive))
        self.assertEqual((code, said), (1, "the archive is damaged: bad checksum"))
        code, said = self.unpack(archive_of((entry("a"), b"x"))[:512])
        self.assertEqual((code, said), (1, "the archive ends too early"))

    def test_a_full_disk_ends_it_at_once_and_is_named(self):
        for code in (errno.ENOSPC, errno.EDQUOT):
            error = OSError(code, os.strerror(code))
            with mock.patch.object(unpack.os, "write", side_effect=error) as write:
                done = self.unpack(archive_of((entry("a"), LARGE), (entry("b"), LARGE)))
            told = f"the disk is full: there is no room to unpack the archive into {self.home}"
            self.assertEqual((done, write.call_count), ((1, told), 1))

    def test_a_disk_that_takes_no_such_blocks_gets_them_through_the_cache(self):
        whole, refused = os.write, []

        def write(descriptor, content):
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_DIRECT:
                refused.append(len(content))
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return whole(descriptor, content)

        with mock.patch.object(unpack.os, "write", write):
            self.assertEqual(self.unpack(archive_of((entry("a"), LARGE))), (0, ""))
        self.assertEqual((self.home / "a").read_bytes(), LARGE)
        # Not all file systems know the flag at all.
        self.assertLessEqual(len(refused), 1)


class Compared(Unpacked):
    def setUp(self):
        super().setUp()
        self.content = {"PG_VERSION": b"17\n", "base/1": LARGE, "base/\udcff": b"odd"}
        self.sums = {name: hashlib.sha256(content) for name, content in self.content.items()}
        self.app = {"app/media/a\nb": b"picture"}

    def compared(self, **more):
        """An archive with what `setUp` says, or more."""
        manifest = {"Files": [self.listed(name) | more for name in self.sums]}
        content = self.content | {"backup_manifest": json.dumps(manifest).encode()}
        lines = [
            files.sum_line(hashlib.sha256(content).hexdigest(), name)
            for name, content in self.app.items()
        ]
        content |= {f"hive-files/{name}": inside for name, inside in self.app.items()}
        content |= {"hive-files/SHA256SUMS": b"".join(lines)}
        return [(entry(name), inside) for name, inside in content.items()]

    def listed(self, name):
        # As PostgreSQL writes one that is not UTF-8.
        is_text = name.isprintable()
        path = {"Path": name} if is_text else {"Encoded-Path": os.fsencode(name).hex()}
        sums = {"Checksum-Algorithm": "SHA256", "Checksum": self.sums[name].hexdigest()}
        return path | sums

    def judged(self, entries):
        return self.unpack(archive_of(*entries), "compare")

    def test_what_is_as_it_was_written_passes(self):
        self.assertEqual(self.judged(self.compared()), (0, ""))
        self.home = Path(self.path, "other")
        self.app.clear()
        # A cluster whose app has no folders.
        entries = [one for one in self.compared() if not one[0].name.startswith("hive-files")]
        self.assertEqual(self.judged(entries), (0, ""))

    def test_what_was_changed_or_lost_is_named(self):
        for name in self.content:
            others = [pair for pair in self.compared() if pair[0].name != name]
            for left in (others, [*others, (entry(name), b"x")]):
                self.home = Path(self.path, f"{list(self.content).index(name)}{len(left)}")
                self.assertEqual(self.judged(left), (1, f"{name} is not what was written"))

    def test_a_link_in_the_place_of_a_file_is_not_that(self):
        link = entry("base/1", tarfile.SYMTYPE, linkname="../PG_VERSION")
        told = (1, "base/1 is not what was written")
        self.assertEqual(self.judged([*self.compared(), (link, b"")]), told)

    def test_the_apps_files_are_named_too(self):
        entries = self.compared()
        harmed = [(one, b"x" if one.name.endswith("b") else content) for one, content in entries]
        told = "the app's file app/media/a\\nb is not what was written"
        self.assertEqual(self.judged(harmed), (1, told))

    def test_other_sums_are_no_sums(self):
        for more in ({"Checksum-Algorithm": "CRC32C"}, {"Checksum": None}):
            code, said = self.judged(self.compared(**more))
            self.assertEqual(code, 1)
            self.assertIn("PG_VERSION", said)
        self.assertEqual(said, "PG_VERSION is not what was written")
