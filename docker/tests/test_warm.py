"""A copy that was taken while the cluster worked becomes the same as that, or is refused."""

import contextlib
import pathlib
import tempfile
import unittest
from unittest import mock

from test_proof import load

warm = load("warm")

SIZE = 1 << 20
ENDED = {
    "Database cluster state": "shut down",
    "Bytes per WAL segment": str(SIZE),
    "Latest checkpoint location": "0/5000028",
    "Latest checkpoint's TimeLineID": "1",
}


def segment(number):
    return warm.segment_name(1, number, SIZE)


class Warm(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cluster, self.part, self.log = (
            pathlib.Path(folder.name, name) for name in ("pgdata", "part", "log")
        )
        for home in (self.cluster, self.part):
            for name in ("pg_wal", "pg_replslot", "pg_stat", "pg_logical", "base"):
                (home / name).mkdir(parents=True)
        self.log.mkdir()
        label = "START WAL LOCATION: 0/4E00028 (file 00000001000000000000004E)\n"
        (self.part / "backup_label").write_text(label)
        self.reached = "0/5000028"
        self.ended = dict(ENDED)
        self.received(*range(0x4E, 0x50))
        self.in_cluster(0x50, 0x51)

    def received(self, *numbers):
        for number in numbers:
            (self.log / segment(number)).write_bytes(b"r".ljust(SIZE, b"r"))

    def in_cluster(self, *numbers):
        for number in numbers:
            (self.cluster / "pg_wal" / segment(number)).write_bytes(b"c" * SIZE)

    def catch_up(self):
        def control(folder):
            is_cluster = folder == str(self.cluster)
            return self.ended if is_cluster else {"Latest checkpoint location": self.reached}

        with (
            mock.patch.object(warm, "control", control),
            mock.patch.object(warm, "serving", lambda *_: contextlib.nullcontext()),
        ):
            warm.catch_up(str(self.cluster), str(self.part), str(self.log))

    def refused(self):
        with self.assertRaises(warm.Unfit) as told:
            self.catch_up()
        return str(told.exception)

    def test_it_is_worth_it_where_it_is_large_and_there_is_room_for_the_log(self):
        def judged(size, free, unlogged=False, shares=False):
            usage = mock.Mock(free=free)
            with mock.patch.multiple(
                warm,
                has_unlogged=lambda _: unlogged,
                shares_blocks=lambda *_: shares,
                shutil=mock.Mock(disk_usage=lambda _: usage),
            ):
                return warm.is_worth_it("cluster", size, "beside")

        size = warm.WORTH_IT
        room = size + warm.ROOM
        self.assertTrue(judged(size, room))
        for otherwise in (
            judged(size - 1, room),
            # `follow` would give up, and a copy of the stopped cluster has room.
            judged(size, room - 1),
            judged(size, room, unlogged=True),
            judged(size, room, shares=True),
        ):
            self.assertFalse(otherwise)

    def test_all_of_the_log_comes_from_where_it_is(self):
        (self.log / f"{segment(0x50)}.partial").write_bytes(b"p" * SIZE)
        (self.cluster / "pg_replslot/archive").mkdir()
        (self.cluster / "pg_stat/pgstat.stat").write_text("counted")
        # Kept for a slot, and made ahead for what is to come.
        self.in_cluster(0x40, 0x60)
        (self.part / "backup_label.old").touch()
        self.catch_up()
        log = {path.name: path.read_bytes()[:1] for path in (self.part / "pg_wal").iterdir()}
        expected = {0x40: b"c", 0x4E: b"r", 0x4F: b"r", 0x50: b"c"}
        self.assertEqual(log, {segment(number): byte for number, byte in expected.items()})
        self.assertTrue((self.part / "pg_replslot/archive").is_dir())
        self.assertEqual((self.part / "pg_stat/pgstat.stat").read_text(), "counted")
        self.assertFalse((self.part / "backup_label.old").exists())

    def test_a_last_record_may_reach_into_the_next_segment(self):
        self.ended["Latest checkpoint location"] = self.reached = "0/50FFFE0"
        self.catch_up()
        self.assertTrue((self.part / "pg_wal" / segment(0x51)).exists())

    def test_a_segment_that_was_not_called_whole_yet_is_tried(self):
        (self.log / segment(0x4F)).rename(self.log / f"{segment(0x4F)}.partial")
        self.catch_up()
        self.assertTrue((self.part / "pg_wal" / segment(0x4F)).exists())

    def test_log_that_nobody_has_is_told(self):
        (self.log / segment(0x4F)).unlink()
        self.assertEqual(
            self.refused(),
            f"segment {segment(0x4F)} of the log was removed before it was received",
        )

    def test_a_copy_that_ends_before_the_cluster_is_no_copy(self):
        self.reached = "0/4FFFFF8"
        self.assertEqual(
            self.refused(), "its log ends at 0/4FFFFF8, and that of the cluster at 0/5000028"
        )

    def test_what_no_log_has_is_not_left_out(self):
        self.ended["Database cluster state"] = "in production"
        self.assertEqual(self.refused(), "the server did not shut down cleanly")
        self.ended = dict(ENDED)
        (self.cluster / "base/5").mkdir(parents=True)
        (self.cluster / "base/5/16400_init").touch()
        self.assertEqual(self.refused(), "an unlogged table was made meanwhile")

    def test_what_was_set_meanwhile_is_in_the_copy(self):
        def content(home):
            return {
                str(path.relative_to(home)): path.read_text()
                for path in home.rglob("*")
                if path.is_file() and path.parent.name != "pg_wal"
            }

        for name, text in {
            "postgresql.auto.conf": "work_mem = '64MB'",
            "hive-archive.json": '{"stretch": "2"}',
            "pg_hba.conf": "new",
            "pg_logical/replorigin_checkpoint": "new",
            "pg_stat/pgstat.stat": "new",
            "conf.d/own.conf": "new",
        }.items():
            (self.cluster / name).parent.mkdir(exist_ok=True)
            (self.cluster / name).write_text(text)
        wanted = content(self.cluster)
        old = ("postgresql.auto.conf", "conf.d/old.conf", "backup_manifest", "base/1", "gone")
        for name in old:
            (self.part / name).parent.mkdir(exist_ok=True)
            (self.part / name).write_text("old")
        (self.cluster / "base/1").write_text("in the log")
        (self.cluster / "server.key").symlink_to("/run/secrets/key")
        self.catch_up()
        self.assertEqual(content(self.part), wanted | {"base/1": "old"})
        self.assertEqual((self.part / "server.key").readlink(), pathlib.Path("/run/secrets/key"))

    def test_segments_are_called_as_postgresql_does(self):
        self.assertEqual(warm.segment_name(3, 0x2A1, 16 << 20), "0000000300000002000000A1")
        self.assertEqual(warm.number_of("A/3A4B5C8"), 0xA03A4B5C8)


if __name__ == "__main__":
    unittest.main()
