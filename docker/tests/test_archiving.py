"""The archive, as far as it is folders, numbers and what PostgreSQL says."""

import gzip
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import sys
import tempfile
import unittest
from unittest import mock

from hive_container import archiving, database, own_programs
from hive_container.archiving import Look, Stretch

MIB = 1024 * 1024
SEGMENT = 16 * MIB

PROGRAM = pathlib.Path(__file__).parents[1] / "rootfs/usr/local/lib/hive/archive"


def load_program():
    """A script without an ending."""
    loader = importlib.machinery.SourceFileLoader("archive_program", str(PROGRAM))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    path = list(sys.path)
    loader.exec_module(module)
    sys.path[:] = path
    return module


program = load_program()


def look(slot="reserved", identifier="7575757575757575757", at=2000.0, flushed=500):
    return Look(at, identifier, SEGMENT, flushed, 400, slot)


class WithArchive(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = folder.name
        self.token = f"{self.root}.token"
        self.addCleanup(lambda: os.path.exists(self.token) and os.unlink(self.token))

    def stretch(self, since=1000.0, segments=0, size=10):
        one = Stretch.begin(self.root, "7575757575757575757", since)
        for number in range(segments):
            path = f"{one.folder}/0000000100000000{number:08X}"
            with open(path, "wb") as file:
                file.write(b"x" * size)
            os.utime(path, (since + number, since + number))
        return one


class Own(WithArchive):
    def found(self, name, at=None, seen=0.0):
        if name is not None:
            with open(self.token, "w", encoding="utf-8") as file:
                file.write(name if name.startswith("{") else json.dumps({"stretch": name}))
        found = archiving.own(self.root, at or look(), seen, self.token)
        return found if isinstance(found, str) else found.name

    def test_a_cluster_goes_on_with_its_stretch_while_nothing_is_missing(self):
        name = self.stretch().name
        for slot in ("reserved", "extended", "unreserved"):
            self.assertEqual(self.found(name, look(slot)), name)

    def test_all_else_is_a_gap_and_has_a_reason(self):
        one = self.stretch()
        self.assertIn("nothing is archived of this cluster", self.found(None))
        self.assertIn("the slot is gone", self.found(one.name, look(None)))
        self.assertIn("has removed log", self.found(one.name, look("lost")))
        self.assertIn("of another cluster", self.found(one.name, look(identifier="1")))
        gone = "is not on this volume, or cannot be read"
        for name in ("7575-20260101T000000Z", "..", "", "{"):
            self.assertIn(gone, self.found(name))
        os.unlink(f"{one.folder}/stretch.json")
        self.assertIn(gone, self.found(one.name))

    def test_a_cluster_that_was_put_back_does_not_go_on_in_the_log_of_its_later_life(self):
        one = self.stretch()
        one.reaches(until=1500.0, end=500)
        self.assertEqual(self.found(one.name, look(flushed=500)), one.name)
        self.assertIn("is ahead of this cluster", self.found(one.name, look(flushed=499)))

    def test_a_clock_that_was_set_back_ends_a_stretch_where_the_next_begins(self):
        one = self.stretch()
        one.reaches(until=1500.0, end=77)
        # Put right bit by bit.
        self.assertEqual(self.found(one.name, look(at=1499.5)), one.name)
        self.assertEqual(self.found(one.name, look(at=1600.0), seen=1600.5), one.name)
        # More was committed since what was written down.
        self.assertIn("clock was set back", self.found(one.name, look(at=1600.0), seen=1700.0))
        self.assertEqual(Stretch(one.folder).until, 1500.0)
        self.assertIn("clock was set back", self.found(one.name, look(at=1400.0)))
        self.assertEqual(Stretch(one.folder).until, 1400.0)


class Stretches(WithArchive):
    def test_what_it_reaches_is_read_back(self):
        one = self.stretch()
        self.assertEqual((one.since, one.until), (1000.0, 1000.0))
        one.reaches(until=1500.5, end=77)
        again = Stretch(one.folder)
        self.assertEqual((again.since, again.until, again.end), (1000.0, 1500.5, 77))
        self.assertTrue(again.name.endswith("-19700101T001640Z"), again.name)

    def test_a_segment_that_a_full_disk_has_cut_off_goes(self):
        one = self.stretch(segments=1)
        sizes = {"0000000100000000000000A0": 0, "0000000100000000000000A1": SEGMENT}
        for name, size in sizes.items() | {("0000000100000000000000A2", 4096)}:
            with open(f"{one.folder}/{name}.partial", "wb") as file:
                file.truncate(size)
        one.clear(SEGMENT)
        left = sorted(name for name in os.listdir(one.folder) if name.endswith(".partial"))
        self.assertEqual(left, [f"{name}.partial" for name in sizes])
        # A whole one has any length: that is pg_receivewal's to judge.
        self.assertEqual(len(one.segments()), 1)

    def test_the_oldest_goes_first_and_what_is_said_is_there(self):
        ended, goes_on = self.stretch(1000.0, 3), self.stretch(2000.0, 6)
        small = os.path.getsize(f"{goes_on.folder}/stretch.json")
        archiving.prune(self.root, 10**6, goes_on)
        self.assertEqual(len(ended.segments()), 3)
        archiving.prune(self.root, 60 + small, goes_on)
        self.assertFalse(os.path.exists(ended.folder))
        self.assertEqual((len(goes_on.segments()), goes_on.since), (6, 2000.0))
        archiving.prune(self.root, 35 + small, goes_on)
        # Three went, and nothing in them is younger than the third.
        self.assertEqual(len(goes_on.segments()), 3)
        self.assertEqual(Stretch(goes_on.folder).since, 2002.0)
        archiving.prune(self.root, 0, goes_on)
        self.assertEqual(len(goes_on.segments()), 2, "what is being written to stays")

    def test_older_segments_are_compressed_and_count_as_before(self):
        one = self.stretch(segments=4, size=1000)
        for _ in range(2):
            packer = archiving.Packer.of(one)
            packer.program.wait()
            self.assertTrue(packer.has_ended() and packer.keep())
        self.assertIsNone(archiving.Packer.of(one), "the last two stay as they are")
        first, second, third = one.segments()[:3]
        names = sorted(name for name in os.listdir(one.folder) if name.startswith("0"))
        self.assertEqual(names[:3], [f"{first}.gz", f"{second}.gz", third])
        self.assertEqual(len(one.segments()), 4)
        path = f"{one.folder}/{second}.gz"
        with gzip.open(path) as file:
            self.assertEqual(file.read(), b"x" * 1000)
        # When it was written says what is in it.
        self.assertEqual((os.stat(path).st_mtime, one.ended(second)), (1001.0, 1001.0))
        archiving.prune(self.root, 0, one)
        self.assertEqual(one.segments(), [third, one.segments()[-1]])
        self.assertEqual(Stretch(one.folder).since, 1001.0)

    def test_a_segment_that_cannot_be_compressed_stays_as_it_is(self):
        one = self.stretch(segments=3)
        packer = archiving.Packer.of(one)
        packer.program.wait()
        packer.program.returncode = 1
        self.assertFalse(packer.keep())
        first = one.segments()[0]
        self.assertEqual(one.not_packed(), [first])
        self.assertEqual([name for name in os.listdir(one.folder) if first in name], [first])
        # Killed meanwhile.
        with open(f"{one.folder}/{first}.packing", "wb"):
            one.clear(SEGMENT)
        self.assertNotIn(f"{first}.packing", os.listdir(one.folder))

    def test_what_the_data_want_back_they_get(self):
        one = self.stretch(segments=6)
        archiving.prune(self.root, 10**6, one, -1)
        self.assertEqual(len(one.segments()), 6)
        archiving.prune(self.root, 10**6, one, 15)
        self.assertEqual(len(one.segments()), 4)

    def test_what_no_backup_needs_goes_once_it_is_asked_for(self):
        old, held = self.stretch(1000.0, 3), self.stretch(10_000.0, 6)
        idle, own = self.stretch(20_000.0, 4), self.stretch(30_000.0, 5)
        # The second segment of `held`, and all of `own` but the last two, ended long before.
        needed = {held.name: 10_001.5 + archiving.MARGIN, own.name: 40_000.0}
        size = archiving.ask_for_less(self.root, needed)
        self.assertEqual(size, 10 * (3 + 2 + 4 + 3))
        self.assertEqual(len(own.segments()), 5, "only who writes to it removes something")
        later = self.stretch(os.stat(self.root).st_mtime + 1000, 1)
        archiving.do_with_less(self.root, own)
        left = [one.name for one in archiving.stretches(self.root)]
        self.assertEqual(left, [held.name, own.name, later.name])
        self.assertEqual((len(held.segments()), Stretch(held.folder).since), (4, 10_001.0))
        self.assertEqual((len(own.segments()), own.since), (2, 30_002.0))
        self.assertNotIn(idle.name, os.listdir(self.root))
        self.assertNotIn(old.name, os.listdir(self.root))
        # Once: what comes later was not asked for.
        self.assertNotIn("needed.json", os.listdir(self.root))
        archiving.do_with_less(self.root, own)
        self.assertEqual(archiving.ask_for_less(self.root, needed), 0)

    def test_a_segment_that_goes_while_somebody_looks_is_old_and_has_no_size(self):
        one = self.stretch(segments=3)
        first = one.segments()[0]
        self.assertEqual([form.st_size for form in one.found(first)], [10])
        os.unlink(f"{one.folder}/{first}")
        self.assertEqual((one.found(first), one.ended(first)), ([], 0.0))

    def test_what_somebody_else_has_left_there_is_no_order(self):
        own = self.stretch(1000.0, 5)
        for text in ("{", "[]", '{"asked": 1, "needed": 2}', '{"asked": null, "needed": {}}'):
            pathlib.Path(self.root, "needed.json").write_text(text, encoding="utf-8")
            archiving.do_with_less(self.root, own)
            self.assertEqual(os.listdir(self.root), [own.name])
            self.assertEqual(len(own.segments()), 5)

    def test_what_was_killed_while_it_was_begun_or_removed_goes(self):
        ended, goes_on = self.stretch(1000.0, 1), self.stretch(2000.0)
        with mock.patch("shutil.rmtree"):
            # Killed before the rest.
            archiving.remove(ended.folder)
        self.assertEqual([one.name for one in archiving.stretches(self.root)], [goes_on.name])
        self.assertEqual(len(ended.segments()), 1)
        archiving.prune(self.root, 10**6, goes_on)
        self.assertEqual(os.listdir(self.root), [goes_on.name])

    def test_what_is_not_called_as_a_stretch_is_none(self):
        one = self.stretch()
        for name in ("757-20261126T150000Z;id", "copy", "757-20261126T150000Z.old"):
            os.mkdir(f"{self.root}/{name}")
            with open(f"{one.folder}/stretch.json", "rb") as known:
                pathlib.Path(self.root, name, "stretch.json").write_bytes(known.read())
        self.assertEqual([two.name for two in archiving.stretches(self.root)], [one.name])

    def test_what_is_no_stretch_is_left_alone(self):
        os.mkdir(f"{self.root}/lost+found")
        one = self.stretch()
        self.assertEqual([two.name for two in archiving.stretches(self.root)], [one.name])
        archiving.prune(self.root, 0, one)
        self.assertTrue(os.path.isdir(f"{self.root}/lost+found"))


class Bounds(unittest.TestCase):
    def test_the_slot_keeps_a_part_of_what_is_free(self):
        self.assertEqual(archiving.kept_megabytes(100 * MIB), 64)
        self.assertEqual(archiving.kept_megabytes(2000 * MIB), 500)
        self.assertEqual(archiving.kept_megabytes(10**12), 1024)

    def test_the_size_of_the_archive_is_a_number(self):
        self.assertEqual(archiving.most_bytes({}), 10240 * MIB)
        self.assertEqual(archiving.most_bytes({"HIVE_ARCHIVE_MB": "500"}), 500 * MIB)
        for wrong in ("", "5", "1e3", "-20", "٣٣٣"):
            self.assertEqual(archiving.most_bytes({"HIVE_ARCHIVE_MB": wrong}), 10240 * MIB)

    def test_room_is_left_to_the_data(self):
        with tempfile.TemporaryDirectory() as folder:
            for left, told in ((256 * MIB, None), (200 * MIB, "less than 256 MB free")):
                with mock.patch.object(archiving, "free", return_value=left):
                    said = archiving.want_of_room(folder, folder)
                    self.assertEqual(told is None, said is None)
                    self.assertIn(told or "", said or "")
                    # A disk of its own may be as full as it wants.
                    self.assertIsNone(archiving.want_of_room("/proc", folder))
            with mock.patch.object(archiving, "free", return_value=100 * MIB):
                self.assertIn("less than 128 MB", archiving.want_of_room("/proc", folder))

    def test_a_trouble_that_lasts_is_one(self):
        with tempfile.TemporaryDirectory() as folder:
            said = set()
            for left in (200 * MIB, 199 * MIB):
                with mock.patch.object(archiving, "free", return_value=left):
                    said.add(archiving.want_of_room(folder, folder))
            self.assertEqual(len(said), 1)

    def test_the_data_get_room_back_before_nothing_is_archived(self):
        with tempfile.TemporaryDirectory() as folder:
            for left, wanted in ((300, 212), (512, 0), (600, -88)):
                with mock.patch.object(archiving, "free", return_value=left * MIB):
                    self.assertEqual(archiving.wanted_back(folder, folder), wanted * MIB)
                    self.assertEqual(archiving.wanted_back("/proc", folder), 0)

    def test_an_older_image_does_not_keep_the_log_without_end(self):
        # Each statement of psql's own ends its line.
        self.assertRegex(archiving.BOUNDED, r"max_slot_wal_keep_size = %L[^;]* \\gexec\n")
        with mock.patch.object(archiving, "forget"):
            said = database.archive_slot(False)
        # Only while the slot is there: what an admin has set himself stays.
        reset, drop = said.index("ALTER SYSTEM RESET"), said.index("pg_drop_replication_slot")
        self.assertLess(reset, drop)
        self.assertIn("AND (false", said[reset:drop])
        self.assertIn("FROM pg_replication_slots", said[reset:drop])
        self.assertEqual(database.archive_slot(True), "")

    def test_a_copy_without_the_slot_knows_whose_bound_it_has(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/hive-archive-bound.json"
            with mock.patch.object(archiving, "BOUND", path):
                self.assertIsNone(archiving.bound())
                archiving.note_bound("1GB")
                self.assertEqual(archiving.bound(), "1GB")
                with mock.patch.object(archiving, "forget"):
                    self.assertIn("AND (setting = '1GB'", database.archive_slot(False))
                # It is the cluster's file, and goes into SQL.
                for text in ("{", "[]", '{"max_slot_wal_keep_size": "1GB\' OR true"}'):
                    pathlib.Path(path).write_text(text, encoding="utf-8")
                    self.assertIsNone(archiving.bound())
                archiving.forget_bound()
                archiving.forget_bound()
                self.assertEqual(os.listdir(folder), [])


class Steps(unittest.TestCase):
    def steps(self, looks, trouble=None):
        archive, done = program.Archive(), []
        archive.receiver = mock.Mock(poll=mock.Mock(return_value=None))
        names = ("begin", "watch", "prune", "tell")
        steps = {name: lambda *_, name=name: done.append(name) for name in names}
        with (
            mock.patch.object(program, "ask", mock.Mock(side_effect=looks)),
            mock.patch.multiple(program.Archive, **steps),
            mock.patch.object(program.Archive, "trouble_with_place", lambda _: trouble),
            mock.patch.object(program.Archive, "give_up_slot", lambda *_: None),
        ):
            for _ in looks:
                archive.step()
        return archive, done

    def test_where_the_clock_is_set_back_it_begins_again(self):
        looks = [look(at=at) for at in (2000.0, 2010.0, 2009.5, 2008.0, 2008.5)]
        archive, done = self.steps(looks)
        self.assertEqual(done, ["watch", "watch", "watch", "begin"])
        self.assertIsNone(archive.receiver)
        # So that `own` sees it, too, also where it is tried more than once.
        self.assertEqual(archive.seen, 2010.0)

    def test_where_no_room_is_left_some_of_the_archive_goes(self):
        archive, done = self.steps([look()], "less than 256 MB free")
        self.assertEqual(done, ["prune", "tell"])
        self.assertIsNone(archive.receiver)

    def test_it_begins_as_soon_as_postgresql_takes_connections(self):
        answers = mock.Mock(side_effect=[False, True])
        with (
            mock.patch.object(program.database, "takes_connections", answers),
            mock.patch.object(program.Archive, "step", lambda _: 7.0),
            mock.patch.object(program.os.path, "exists", lambda _: False),
        ):
            archive = program.Archive()
            # Not asked again: what is said then is a step's to judge.
            self.assertEqual([archive.look() for _ in range(3)], [0.5, 7.0, 7.0])

    def test_what_fails_to_be_compressed_waits_for_the_next_look(self):
        archive = program.Archive()
        archive.stretch = object()
        packers = [mock.Mock(), None]
        packers[0].has_ended.side_effect = [False, True, True]
        packers[0].keep.side_effect = [False, True]
        with mock.patch.object(archiving.Packer, "of", mock.Mock(side_effect=packers)) as begun:
            archive.pack()
            archive.pack()
            self.assertEqual(begun.call_count, 1)
            archive.pack()
            self.assertIsNone(archive.packer)
            self.assertEqual(begun.call_count, 1, "not in the same breath")
            archive.pack()
            self.assertEqual(begun.call_count, 2)


class Program(unittest.TestCase):
    def test_it_stops_after_what_writes_and_before_postgresql(self):
        text = own_programs.ARCHIVE_SECTION
        self.assertIn("[program:archive]\npriority=110\n", text)
        self.assertLess(110, own_programs.BEFORE_THE_APP)

    def test_why_it_has_ended_begins_with_the_cause(self):
        said = (
            'pg_receivewal: error: could not open "0A.partial": No space left on device\n'
            "pg_receivewal: error: disconnected\n"
        )
        told = 'No space left on device (could not open "0A.partial")'
        self.assertEqual(archiving.cause(said), told)
        self.assertEqual(archiving.cause("pg_receivewal: error: disconnected\n"), "disconnected")
        self.assertEqual(archiving.cause("Killed"), "Killed")
        self.assertEqual(archiving.cause(""), "")

    def test_what_postgresql_refuses_to_send_begins_a_stretch(self):
        mark = "pg_receivewal: error: could not send replication command"
        removed = "requested WAL segment 0000000100000000000000A0 has already been removed"
        ahead = "requested starting point 0/9 is ahead of the WAL flush position of this server 0/8"
        for said, why in ((removed, "lacks log"), (ahead, "is ahead of this cluster")):
            told = archiving.cause(f'{mark} "START_REPLICATION": ERROR:  {said}\n')
            self.assertIn(why, program.no_way_on(told))
        for other in (None, "disconnected"):
            self.assertIsNone(program.no_way_on(other))

    def test_who_receives_nothing_for_a_minute_hangs(self):
        progress = archiving.Progress(100.0)
        none = Look(0.0, "757", SEGMENT, 500, None, "reserved")
        self.assertFalse(progress.stands_still(none, 160.0))
        self.assertTrue(progress.stands_still(none, 161.0))
        some, more = (Look(0.0, "757", SEGMENT, 500, n, "reserved") for n in (400, 500))
        self.assertFalse(progress.stands_still(some, 162.0))
        self.assertFalse(progress.stands_still(some, 222.0))
        self.assertTrue(progress.stands_still(some, 223.0))
        # An idle server has nothing to receive.
        for now in (224.0, 1000.0):
            self.assertFalse(progress.stands_still(more, now))
        later = Look(0.0, "757", SEGMENT, 600, 500, "reserved")
        self.assertFalse(progress.stands_still(later, 1005.0))

    def test_an_answer_is_read(self):
        line = '[1.5, "757", 16777216, 5e2, null, null]'
        self.assertEqual(archiving.read(line), Look(1.5, "757", SEGMENT, 500, None, None))
        self.assertEqual(archiving.read(line.replace("null", "4e2", 1)).received, 400)


if __name__ == "__main__":
    unittest.main()
