"""The archive, as far as it is folders, numbers and what PostgreSQL says."""

import json
import os
import tempfile
import unittest
from unittest import mock

from hive_container import archiving, own_programs
from hive_container.archiving import Look, Stretch

MIB = 1024 * 1024
SEGMENT = 16 * MIB


def look(slot="reserved", identifier="7575757575757575757"):
    return Look(2000.0, identifier, SEGMENT, 500, 400, slot)


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
    def found(self, name, at=None):
        if name is not None:
            with open(self.token, "w", encoding="utf-8") as file:
                file.write(name if name.startswith("{") else json.dumps({"stretch": name}))
        found = archiving.own(self.root, at or look(), self.token)
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
            for left, told in ((300 * MIB, None), (200 * MIB, "has only 200 MB free")):
                with mock.patch.object(archiving, "free", return_value=left):
                    said = archiving.want_of_room(folder, folder)
                    self.assertEqual(told is None, said is None)
                    self.assertIn(told or "", said or "")
                    # A disk of its own may be as full as it wants.
                    self.assertIsNone(archiving.want_of_room("/proc", folder))


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

    def test_an_answer_is_read(self):
        line = '[1.5, "757", 16777216, 5e2, null, null]'
        self.assertEqual(archiving.read(line), Look(1.5, "757", SEGMENT, 500, None, None))
        self.assertEqual(archiving.read(line.replace("null", "4e2", 1)).received, 400)


if __name__ == "__main__":
    unittest.main()
