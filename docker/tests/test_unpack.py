"""Backups are unpacked whole, with what lies behind the archive left alone, or not at all."""

import io
import os
import subprocess
import sys
import tarfile
import time
from pathlib import Path

from test_files_in_backup import INSIDE, files
from test_volume import Folder

#: A frame that zstd skips, such as a backup's seal.
SKIPPED = bytes.fromhex("502a4d18 04000000") + b"seal"


class Unpack(Folder):
    def setUp(self):
        super().setUp()
        content = bytes(range(256)) * 9000
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("base/1")
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        target = io.BytesIO()
        # Several frames.
        zstd = files.Zstd(target)
        zstd.write(archive.getvalue())
        zstd.close()
        self.content, self.compressed = content, target.getvalue()

    def unpack(self, compressed, path=os.environ["PATH"]):
        script = INSIDE / "unpack.py"
        command = [sys.executable, "-I", script, f"{self.path}/d"]
        environment = os.environ | {"PATH": path}
        return subprocess.run(
            command, input=compressed, capture_output=True, env=environment, check=False
        )

    def test_frames_are_unpacked_and_the_seal_is_skipped(self):
        done = self.unpack(self.compressed + SKIPPED)
        self.assertEqual((done.returncode, done.stderr), (0, b""))
        self.assertEqual(Path(self.path, "d/base/1").read_bytes(), self.content)

    def test_a_frame_may_fill_the_room_for_what_it_holds(self):
        # As much as zstd gives at once.
        room = 1 << 17
        content = b"".join(b"%d\n" % number for number in range(30000))
        archive = io.BytesIO()
        with tarfile.open(fileobj=archive, mode="w") as tar:
            entry = tarfile.TarInfo("numbers")
            entry.size = room - 2048
            tar.addfile(entry, io.BytesIO(content[: entry.size]))
        target = io.BytesIO()
        zstd = files.Zstd(target)
        zstd.write(archive.getvalue()[:room])
        zstd.close()
        done = self.unpack(target.getvalue())
        self.assertEqual((done.returncode, done.stderr), (0, b""))

    def test_a_full_disk_ends_it_at_once_and_is_named(self):
        # As tar does it: on and on, through the whole archive.
        no_room = "tar: base/1: Cannot write: No space left on device"
        script = (
            f"#!/bin/sh\necho tar: odd >&2\nwhile :; do echo '{no_room}' >&2; sleep 0.1; done\n"
        )
        tar = Path(self.write("bin/tar", script.encode()))
        tar.chmod(0o755)
        began = time.monotonic()
        done = self.unpack(self.compressed, f"{tar.parent}:{os.environ['PATH']}")
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(done.returncode, 1)
        told = f"{no_room}\nthe disk is full: there is no room to unpack the archive into"
        self.assertTrue(done.stderr.decode().startswith(told), done.stderr)

    def test_what_is_cut_off_or_changed_is_told(self):
        done = self.unpack(self.compressed[:-5])
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"the archive ends too early", done.stderr)
        changed = bytearray(self.compressed)
        changed[len(changed) // 2 : len(changed) // 2 + 40] = bytes(40)
        done = self.unpack(bytes(changed))
        self.assertNotEqual(
            (done.returncode, Path(self.path, "d/base/1").read_bytes()), (0, self.content)
        )
        done = self.unpack(b"no archive")
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"the archive is damaged", done.stderr)
