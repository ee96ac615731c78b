"""What becomes of a backup that is another image's, and of clusters that change places."""

import json
import pathlib
import tempfile
import unittest
from unittest import mock

from test_proof import copied, load

generation = load("generation")

OURS = {"image": "copy", "database": "copied", "role": "the role"}


class TakeOver(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.part = folder.name
        self.identity = pathlib.Path(self.part, "hive.json")
        self.asked = []
        self.taken = ()

    def take_over(self, identity):
        self.identity.write_text(json.dumps(identity), encoding="utf-8")

        def ask(_, *statements):
            self.asked += statements
            return json.dumps(any(f"E'{name}'" in statements[0] for name in self.taken))

        with (
            mock.patch.object(generation, "ask", ask),
            mock.patch.object(generation.image, "load", lambda _: None),
            mock.patch.object(generation.volume, "identity_of", lambda _: OURS),
        ):
            generation.take_over(self.part)

    def renames(self):
        return [statement for statement in self.asked if statement.startswith("ALTER")]

    def test_role_and_database_get_the_names_of_the_image(self):
        self.take_over({"image": "old", "database": 'o"dd', "role": "old", "later": 1})
        self.assertEqual(
            self.renames(),
            ['ALTER ROLE "old" RENAME TO "the role"', 'ALTER DATABASE "o""dd" RENAME TO "copied"'],
        )
        self.assertEqual(json.loads(self.identity.read_text("utf-8")), OURS | {"later": 1})

    def test_names_that_are_the_same_stay(self):
        self.take_over(OURS | {"image": "old"})
        self.assertEqual(self.asked, [])
        self.assertEqual(json.loads(self.identity.read_text("utf-8")), OURS)

    def test_names_that_are_taken_are_told_at_once(self):
        self.taken = ("copied", "the role")
        with self.assertRaises(copied.Refused) as told:
            self.take_over({"image": "old", "database": "d", "role": "r"})
        self.assertIn("a role 'the role' beside 'r' and a database 'copied'", str(told.exception))
        self.assertEqual(self.renames(), [])

    def test_a_backup_that_does_not_know_itself_is_refused(self):
        for identity in ({"image": "old"}, [], None):
            with self.assertRaises(copied.Refused):
                self.take_over(identity)


class Archive(unittest.TestCase):
    def test_what_is_put_aside_does_not_go_on_in_the_archive_when_it_comes_back(self):
        with tempfile.TemporaryDirectory() as folder:
            mount = pathlib.Path(folder)
            places = {
                "MOUNT": folder,
                "PGDATA": f"{folder}/pgdata",
                "GENERATIONS": f"{folder}/generations",
                "PASSFILE": f"{folder}/none",
            }
            for cluster in ("pgdata", "generations/new-1"):
                (mount / cluster).mkdir(parents=True)
                (mount / cluster / generation.ARCHIVED).touch()
            (mount / "generations/new-1" / generation.RESTORED).write_text('{"id": "1"}')
            with mock.patch.multiple(generation, locked=lambda: 0, **places):
                generation.exchange("1")
                # The copy that an update runs goes on; what ran before does not.
                self.assertTrue((mount / "pgdata" / generation.ARCHIVED).exists())
                self.assertFalse((mount / "generations/before-1" / generation.ARCHIVED).exists())
                generation.back("1")
                self.assertFalse((mount / "pgdata" / generation.ARCHIVED).exists())
                self.assertFalse((mount / "generations/failed-1" / generation.ARCHIVED).exists())

    def test_recovery_ended_where_the_newest_timeline_begins(self):
        with tempfile.TemporaryDirectory() as log:
            old = "1\t0/9000000\tbefore\n"
            pathlib.Path(log, "00000002.history").write_text(old)
            pathlib.Path(log, "00000003.history").write_text(
                f"# said by hand\n{old}\n2\tA/3A4B5C8\tno recovery target specified\n"
            )
            pathlib.Path(log, "0000000300000000000000A3").touch()
            ended = generation.end_of_recovery(log)
        self.assertEqual(ended, 0xA03A4B5C8)
        self.assertEqual(generation.position(ended), "A/3A4B5C8")


class Moment(unittest.TestCase):
    def recover(self, said, own="757-1"):
        """Which moments were tried, where PostgreSQL says this of the first."""
        tried = []

        def replay(_part, _name, moment, _of_another):
            tried.append(moment)
            if moment and said:
                raise copied.Refused(said)

        with (
            mock.patch.object(generation, "verify", lambda _: None),
            mock.patch.object(generation, "read", lambda _: {"stretch": own}),
            mock.patch.object(generation, "replay", replay),
            mock.patch.object(generation, "ready", lambda *_: None),
        ):
            generation.recover_at("1", "757-1", "2026-11-26T15:00:00Z")
        return tried

    def test_where_nothing_was_committed_since_then_all_of_the_log_is_taken(self):
        moment = "2026-11-26T15:00:00Z"
        self.assertEqual(self.recover(""), [moment])
        self.assertEqual(self.recover(f"FATAL: {generation.TOO_LATE}"), [moment, None])

    def test_what_cannot_be_reached_is_refused(self):
        for said, told in (
            (f"FATAL: {generation.TOO_EARLY}", "the backup had not ended at 2026-11-26T15:00:00Z"),
            ("PANIC: something else", "something else"),
        ):
            with self.assertRaisesRegex(copied.Refused, told):
                self.recover(said)
        with self.assertRaisesRegex(copied.Refused, "does not belong to the log in 757-1"):
            self.recover("", own="757-2")


if __name__ == "__main__":
    unittest.main()
