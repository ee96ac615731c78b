"""What the proof of a backup makes of what it is told, and that it comes to an end."""

import contextlib
import errno
import importlib.util
import io
import os
import pathlib
import subprocess
import sys
import unittest
from unittest import mock

from hive_container import cluster

INSIDE = pathlib.Path(__file__).parents[2] / "xtask/data/src/inside"


def load(name):
    """As a container has it: the scripts are given to Python as text."""
    spec = importlib.util.spec_from_file_location(name, INSIDE / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    with mock.patch.object(cluster, "major_version", lambda _: 17):
        spec.loader.exec_module(module)
    return module


# All of them import it.
files = sys.modules.get("files") or load("files")
copied = load("copied")
prove = load("prove")


class Watch(unittest.TestCase):
    def setUp(self):
        for name, value in {"STILL": 0.4, "LOOK": 0.05, "at_work": lambda: "; it sleeps"}.items():
            patched = mock.patch.object(copied, name, value)
            patched.start()
            self.addCleanup(patched.stop)

    def test_what_sleeps_is_ended_and_told(self):
        with mock.patch.object(copied, "moved", dict), self.assertRaises(copied.Refused) as told:
            copied.run(["sleep", "60"], "it")
        self.assertEqual(str(told.exception), "it: nothing was read or written for 0 s; it sleeps")

    def test_what_moves_has_as_long_as_it_takes(self):
        counts = iter(range(10_000))
        with mock.patch.object(copied, "moved", lambda: {"io": next(counts)}):
            self.assertEqual(copied.run(["sh", "-c", "sleep 1; echo done"], "it"), "done")

    def test_reading_is_seen(self):
        reading = ["sh", "-c", "while :; do read line < /proc/version; done"]
        program = subprocess.Popen(reading)
        self.addCleanup(program.wait)
        self.addCleanup(program.kill)
        path = f"/proc/{program.pid}/io"
        first = copied.moved()[path]
        for _ in range(1000):
            if copied.moved()[path] != first:
                return
        self.fail("nothing moves")

    def test_what_fails_says_why(self):
        with self.assertRaises(copied.Refused) as told:
            copied.run(["sh", "-c", "echo why >&2; exit 3"], "it")
        self.assertEqual(str(told.exception), "it: why")

    def test_any_name_of_a_database_is_one(self):
        command = copied.psql("a'b\\c = d", "SELECT 1", "SELECT 2")
        self.assertIn("dbname='a\\'b\\\\c = d'", command)
        self.assertEqual(command[-4:], ["-c", "SELECT 1", "-c", "SELECT 2"])


class Room(unittest.TestCase):
    """A backup is not to blame for a disk that is full where it is proved."""

    def ended(self, error, free):
        usage = mock.Mock(free=free)
        with (
            mock.patch.object(prove, "prove", side_effect=error),
            mock.patch.object(prove, "PGDATA", "/"),
            mock.patch.object(copied.shutil, "disk_usage", lambda _: usage),
            contextlib.redirect_stderr(io.StringIO()) as said,
        ):
            return prove.main(), said.getvalue()

    def test_what_fails_on_a_full_disk_says_nothing_of_the_backup(self):
        broken = copied.Refused("pg_amcheck: broken")
        self.assertEqual(self.ended(broken, 1 << 40), (1, "pg_amcheck: broken\n"))
        self.assertEqual(self.ended(broken, 1 << 20)[0], 3)
        # What it has written is gone by now.
        wanting = copied.Refused('could not extend file "base/1": No space left on device')
        self.assertEqual(self.ended(wanting, 1 << 40)[0], 3)
        no_room = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/hive/x")
        self.assertEqual(
            self.ended(no_room, 1 << 40), (3, "/run/hive/x: No space left on device\n")
        )


class Answers(unittest.TestCase):
    def test_an_index_leads_to_each_row_and_to_nothing_else(self):
        self.assertIsNone(prove.flaw(found=5, looked_up=0, rows=5))
        self.assertIsNone(prove.flaw(found=0, looked_up=0, rows=0))
        for found, looked_up, rows, why in (
            (5, 3, 5, "leads to 3 rows that are not there"),
            (7, 0, 5, "leads to 2 rows that are not there"),
            (4, 0, 5, "leads to 4 of 5 rows"),
        ):
            self.assertEqual(prove.flaw(found, looked_up, rows), why)

    def test_one_index_of_a_table_at_a_time(self):
        indexes = [{"table": table, "n": n} for n, table in enumerate("aabac")]
        turns = [[index["n"] for index in turn] for turn in prove.rounds(indexes)]
        self.assertEqual(turns, [[0, 2, 4], [1], [3]])
        self.assertEqual(prove.rounds([]), [])

    def test_documents_stand_one_after_the_other(self):
        self.assertEqual(prove.documents('[\n 1]\n[{"a": "]"}]\n'), [[1], [{"a": "]"}]])
        self.assertEqual(prove.documents("\n"), [])

    def test_an_index_anywhere_in_a_plan_is_seen(self):
        plan = {"Plans": [{"Plans": [{"Index Name": "i"}]}, {}]}
        self.assertTrue(prove.uses(plan, {"name": "i"}))
        self.assertFalse(prove.uses(plan, {"name": "j"}))

    def test_nothing_of_the_apps_is_called_by_the_superuser(self):
        self.assertEqual(copied.ENVIRONMENT["PGUSER"], "postgres")
        self.assertEqual(prove.AS_READER["PGUSER"], prove.READER)
        self.assertIn("default_transaction_read_only=on", prove.AS_READER["PGOPTIONS"])
        # Only the superuser may say these, and a session that did would not begin.
        self.assertNotIn("session_preload_libraries", prove.AS_READER["PGOPTIONS"])
