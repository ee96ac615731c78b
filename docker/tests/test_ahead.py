"""The app's folders, copied while the app works, are in the end what the app has left."""

import contextlib
import io
import json
import os
import pathlib
import stat
import tempfile
import unittest
from unittest import mock

from test_proof import copied, load

load("warm")
ahead = load("ahead")
load("collations")
load("frozen")
generation = load("generation")

#: What was written a moment ago counts as old, where it does not change any more.
EARLIER = -3_600_000_000_000


def tree(home):
    """All that is below it, with what makes it out."""
    found = {}
    for path in ahead.files.all_below(str(home)):
        status = os.lstat(path)
        content = None
        if stat.S_ISLNK(status.st_mode):
            content = os.readlink(path)
        elif stat.S_ISREG(status.st_mode):
            content = pathlib.Path(path).read_bytes()
        times = status.st_mtime_ns
        found[os.path.relpath(path, home)] = (stat.filemode(status.st_mode), content, times)
    return found


class Ahead(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.volume = pathlib.Path(folder.name)
        self.home = self.volume / "files/1"
        self.place = self.volume / "generations/new-2.files.part"
        for path in (self.home / "app/media/2026", self.place):
            path.mkdir(parents=True)
        for number in range(5):
            (self.home / f"app/media/2026/{number}").write_text(f"of old {number}")
        (self.home / "app/media/a\nb").write_text("odd")
        (pathlib.Path(os.fsdecode(bytes(self.home) + b"/app/media/\xff"))).write_text("odd")
        (self.home / "app/link").symlink_to("media/2026/1")
        os.mkfifo(self.home / "app/pipe")

    def copy(self, shortly=EARLIER):
        with mock.patch.object(ahead, "SHORTLY", shortly):
            self.assertTrue(ahead.copy(str(self.home), str(self.place), lambda: False))

    def caught_up(self):
        """The names that were copied after the stop."""
        brought, bring = [], ahead.bring

        def some(paths, folder):
            brought.extend(os.path.basename(path) for path in paths)
            bring(paths, folder)

        with mock.patch.object(ahead, "bring", some):
            ahead.catch_up(str(self.home), str(self.place))
        self.assertEqual(tree(self.place / "copy"), tree(self.home))
        return sorted(brought)

    def test_what_has_not_changed_is_copied_once(self):
        self.copy()
        self.assertEqual(self.caught_up(), [])

    def test_what_was_changed_shortly_before_counts_as_changed(self):
        self.copy(ahead.SHORTLY)
        self.assertEqual(len(self.caught_up()), 9)

    def test_each_change_is_seen(self):
        self.copy()
        media = self.home / "app/media"
        # As long and as old as before: the time of the change cannot be set.
        before = os.stat(media / "2026/0")
        (media / "2026/0").write_text("is new 0")
        os.utime(media / "2026/0", ns=(before.st_atime_ns, before.st_mtime_ns))
        (media / "2026/1").unlink()
        (media / "2026/2").rename(media / "moved")
        (media / "2026/3").chmod(0o400)
        (self.home / "app/link").unlink()
        (self.home / "app/link").symlink_to("media/2026/4")
        os.replace(media / "a\nb", media / "c")
        os.mkdir(media / "a\nb")
        (media / "a\nb/new").write_text("new")
        (media / "2026").chmod(0o555)
        self.assertEqual(self.caught_up(), ["0", "3", "c", "link", "moved", "new"])

    def test_a_folder_takes_the_place_of_a_file_and_a_file_that_of_a_folder(self):
        self.copy()
        media = self.home / "app/media"
        for number in range(5):
            (media / f"2026/{number}").unlink()
        (media / "2026").rmdir()
        (media / "2026").write_text("a file")
        (self.home / "app/link").unlink()
        (self.home / "app/link").mkdir()
        self.assertEqual(self.caught_up(), ["2026"])

    def test_what_was_not_copied_whole_is_copied_again(self):
        self.copy()
        copied_there = self.place / "copy/app/media/2026"
        (copied_there / "0").unlink()
        (copied_there / "1").write_text("of o")
        # By its program, which was ended before it had set the time.
        (copied_there / "2").write_text("of old 2")
        (copied_there / "more").write_text("of nobody")
        self.assertEqual(self.caught_up(), ["0", "1", "2"])

    def test_a_copy_that_is_given_up_has_no_note(self):
        self.assertFalse(ahead.copy(str(self.home), str(self.place), lambda: True))
        self.assertFalse((self.place / "states").exists())

    def test_it_is_given_up_where_something_else_is_asked_for(self):
        reading, writing = os.pipe()
        with mock.patch.object(generation, "ASKED", [reading]):
            self.assertFalse(generation.is_given_up())
            os.write(writing, b"[2]\n")
            self.assertTrue(generation.is_given_up())
            os.read(reading, 4)
            os.close(writing)
            self.assertTrue(generation.is_given_up(), "at the end of who asks")
        os.close(reading)
        self.assertFalse(generation.is_given_up())

    def test_they_become_the_folders_of_what_takes_the_place(self):
        volume = str(self.volume)
        (self.volume / "pgdata").mkdir()
        (self.volume / "pgdata" / generation.RESTORED).write_text('{"id": "1"}')
        self.place.rmdir()
        places = {
            "PGDATA": f"{volume}/pgdata",
            "GENERATIONS": f"{volume}/generations",
        }
        with (
            mock.patch.multiple(generation, **places),
            mock.patch.object(generation.files, "FILES", f"{volume}/files"),
            mock.patch.object(generation.warm, "shares_blocks", lambda *_: False),
            mock.patch.object(ahead, "SHORTLY", EARLIER),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            generation.begin_files("2")
            self.assertEqual((said.getvalue(), self.place.exists()), ("", False), "too small")
            with mock.patch.object(ahead, "WORTH_IT", 1), mock.patch.object(ahead, "ROOM", 0):
                generation.begin_files("2")
            self.assertEqual(int(said.getvalue()), sum(self.sizes()))
            generation.copy_files("2")
            noted = json.loads((self.place / "states").read_text("utf-8", "replace"))
            self.assertEqual(len(noted), 9)
            (self.home / "app/media/since").write_text("since")
            generation.share_files("2")
            self.assertEqual(tree(self.volume / "files/2"), tree(self.home))
            self.assertFalse(self.place.exists())
            # One that was taken back leaves nothing.
            with mock.patch.object(ahead, "WORTH_IT", 1), mock.patch.object(ahead, "ROOM", 0):
                generation.begin_files("3")
            generation.copy_files("3")
            generation.settle()
            self.assertEqual(os.listdir(f"{volume}/generations"), [])
            self.assertEqual(sorted(os.listdir(f"{volume}/files")), ["1", "2"])
            with self.assertRaisesRegex(copied.Refused, "copy the app's folders"):
                ahead.bring([f"{volume}/none"], f"{volume}/files")

    def sizes(self):
        for path in ahead.files.all_below(str(self.home)):
            if not os.path.isdir(path) or os.path.islink(path):
                yield os.lstat(path).st_size


if __name__ == "__main__":
    unittest.main()
