"""What the proof of a backup makes of what it is told, and that it comes to an end."""

import contextlib
import errno
import importlib.util
import io
import itertools
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
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
        # On a machine with other work processes of others wait for the disk.
        values = {"STILL": 0.4, "LOOK": 0.05, "at_work": lambda: "; it sleeps"}
        for name, value in (values | {"waits_for_disk": lambda: False}).items():
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

    def test_a_container_that_is_paused_is_waited_for(self):
        # Whatever clocks say when it goes on.
        clock = itertools.count(0, 1000)
        with (
            mock.patch.multiple(copied, moved=dict, STILL=60.0),
            mock.patch.object(copied.time, "monotonic", lambda: next(clock)),
        ):
            self.assertEqual(copied.run(["sh", "-c", "sleep 0.2; echo done"], "it"), "done")

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
        self.assertEqual(self.ended(broken, 1 << 40), (os.EX_DATAERR, "pg_amcheck: broken\n"))
        self.assertEqual(self.ended(broken, 1 << 20)[0], 3)
        # What it has written is gone by now.
        wanting = copied.Refused('could not extend file "base/1": No space left on device')
        self.assertEqual(self.ended(wanting, 1 << 40)[0], 3)
        no_room = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/run/hive/x")
        self.assertEqual(
            self.ended(no_room, 1 << 40), (3, "/run/hive/x: No space left on device\n")
        )

    def test_a_disk_that_does_not_answer_says_nothing_of_the_backup(self):
        for waits, code in ((True, 3), (False, os.EX_DATAERR)):
            with (
                mock.patch.multiple(copied, moved=dict, STILL=0.1, LOOK=0.02),
                mock.patch.multiple(copied, waits_for_disk=lambda waits=waits: waits),
                mock.patch.object(copied, "at_work", lambda: "; it sleeps"),
                self.assertRaises(copied.Refused) as told,
            ):
                copied.run(["sleep", "60"], "pg_amcheck")
            self.assertEqual(self.ended(told.exception, 1 << 40)[0], code)

    def test_a_process_in_the_kernel_is_seen(self):
        with tempfile.TemporaryDirectory() as folder:
            stat = pathlib.Path(folder, "stat")
            with mock.patch.object(copied.glob, "glob", lambda _: [f"{folder}/gone", str(stat)]):
                for text, waits in (
                    ("7 (a) D) S 1 7", False),
                    ("7 (a b) D 1 7", True),
                    ("", False),
                ):
                    stat.write_text(text, encoding="utf-8")
                    self.assertEqual(copied.waits_for_disk(), waits, text)

    def test_what_the_kernel_has_ended_says_nothing_of_the_backup(self):
        with (
            mock.patch.object(copied, "moved", dict),
            self.assertRaises(copied.Refused) as told,
        ):
            copied.run(["sh", "-c", "kill -9 $$"], "pg_amcheck")
        self.assertEqual(self.ended(told.exception, 1 << 40)[0], 3)
        lost = copied.Refused("database a: server closed the connection unexpectedly")
        with tempfile.TemporaryDirectory() as folder:
            log = pathlib.Path(folder, "log")
            with mock.patch.object(copied, "LOG", str(log)):
                for signal, code in ((11, os.EX_DATAERR), (9, 3)):
                    said = f"LOG:  server process (PID 7) was terminated by signal {signal}: x\n"
                    log.write_text(f"LOG:  one\n{said}LOG:  another\n", encoding="utf-8")
                    self.assertEqual(self.ended(lost, 1 << 40)[0], code)

    def test_only_the_proof_itself_blames_the_backup(self):
        fails = subprocess.run([sys.executable, "-c", "raise ValueError"], stderr=-1, check=False)
        self.assertNotEqual(fails.returncode, copied.OF_THE_DATA)


class Sequences(unittest.TestCase):
    def inspect(self, place, noted, is_remote=False):
        proof = {"sequences": 0, "behind": [], "not_asked": []}
        one = [16400, "public.late_id_seq", "public.late", "id"]

        def ask(_, statement):
            return json.dumps([one] if statement == prove.SEQUENCES else is_remote)

        read = mock.Mock(side_effect=[place])
        with mock.patch.multiple(prove, ask=ask, read=read):
            prove.inspect_sequences("shop", noted, proof)
        # Who asks a foreign table reaches for a server.
        self.assertEqual(read.called, not is_remote)
        if not_asked := proof.pop("not_asked"):
            self.assertEqual(proof, {"sequences": 0, "behind": []})
            return not_asked
        return proof

    def test_one_whose_table_cannot_be_asked_is_told(self):
        self.assertEqual(self.inspect("7", {}, is_remote=True), ["public.late_id_seq"])
        failed = prove.AppFailed("function f(text) does not exist")
        self.assertEqual(self.inspect(failed, {}), ["public.late_id_seq"])

    def test_one_ahead_of_its_rows_counts(self):
        self.assertEqual(self.inspect("", {"16400": 7}), {"sequences": 1, "behind": []})

    def test_one_behind_rows_with_values_of_their_own_is_told(self):
        told = ["public.late_id_seq is behind public.late.id (database shop)"]
        for noted in ({"16400": 7}, {"16400": 3}, {}):
            self.assertEqual(self.inspect("7", noted), {"sequences": 0, "behind": told})

    def test_one_that_has_gone_back_is_refused(self):
        with self.assertRaises(copied.Refused) as told:
            self.inspect("6", {"16400": 7})
        self.assertEqual(
            str(told.exception),
            "database shop: public.late_id_seq is behind public.late.id: it stands at 6, and stood"
            " at 7",
        )

    def test_where_each_stood_is_in_the_backup_of_files_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertEqual(prove.positions_noted(folder), {})
            note = pathlib.Path(folder, prove.NOTE)
            note.write_text('{"schema": 1}', encoding="utf-8")
            self.assertEqual(prove.positions_noted(folder), {})
            note.write_text('{"sequences": {"shop": {"16400": 7}}}', encoding="utf-8")
            self.assertEqual(prove.positions_noted(folder), {"shop": {"16400": 7}})


class OfTheApp(unittest.TestCase):
    """A function that finds its names by a search_path is no fault of the rows."""

    def kind(self, *lines):
        return type(
            prove.of_kind(copied.Refused("\n".join(("database shop: " + lines[0], *lines[1:]))))
        )

    def test_only_what_a_function_can_do_is_the_apps(self):
        unknown = "ERROR:  42883: function unaccent(text) does not exist"
        self.assertIs(self.kind(unknown, 'CONTEXT:  SQL function "f"'), prove.AppFailed)
        self.assertIs(self.kind("ERROR:  P0001: raised"), prove.AppFailed)
        for state in ("XX001", "XX002", "XX000", "53100", "58030", "57P02"):
            self.assertIs(self.kind(f"ERROR:  {state}: unaccent"), copied.Refused)
        # Whatever a function says beside it.
        self.assertIs(self.kind("ERROR:  XX001: x", "ERROR:  42883: y"), copied.Refused)
        self.assertIs(self.kind("server closed the connection"), copied.Refused)

    def test_what_cannot_be_asked_ends_no_other_question(self):
        # `psql … -c a -c b …`: writes a plan for each, and ends at one that is called so.
        psql = """for one; do case $one in
            fails) echo "ERROR:  42883: no function" >&2; exit 1;;
            broken) echo "ERROR:  XX001: no page" >&2; exit 1;;
            plan*) echo "[{\\"Plan\\": \\"$one\\"}]";;
        esac; done"""

        def command(_, *statements):
            return ["sh", "-c", psql, "sh", *statements]

        def found(*statements):
            with mock.patch.multiple(prove, psql=command, AS_READER=os.environ):
                return prove.plans("shop", (), [(one, one) for one in statements])

        self.assertEqual(
            found("plan1", "fails", "plan2", "fails", "plan3"),
            ["plan1", None, "plan2", None, "plan3"],
        )
        self.assertEqual(found("fails"), [None])
        with self.assertRaisesRegex(copied.Refused, "^database shop: broken: ERROR:  XX001"):
            found("plan1", "fails", "broken", "plan2")

    def structure(self, answers):
        """With indexes that check so: with what their rows make, and without."""
        proof, asked, ran = {"not_asked": []}, [], []

        def told_apart(_, __, statement):
            number, is_all = re.search(r"\((\d+)::oid::regclass, (\w+)\)", statement).groups()
            answer = answers[int(number)][is_all == "false"]
            asked.append((int(number), is_all))
            if answer:
                raise answer

        def run(command, _):
            ran.append(command)
            if len(ran) == 1:
                raise copied.Refused("pg_amcheck: btree index: function does not exist")

        listed = json.dumps([[number, f"s.i{number}", "s", f"i{number}"] for number in answers])
        ask = {prove.AMCHECK: "pg_catalog", prove.OF_FUNCTIONS: listed}
        with mock.patch.multiple(
            prove, ask=lambda _, statement: ask[statement], run=run, told_apart=told_apart
        ):
            prove.inspect_structure(["shop"], proof)
        return proof["not_asked"], ran[1][4:], asked

    def test_an_index_whose_function_fails_is_looked_at_without_it(self):
        apps, broken = prove.AppFailed("function"), copied.Refused("index is corrupted")
        not_asked, left_out, asked = self.structure({7: (apps, None), 8: (None, None)})
        self.assertEqual(not_asked, ["s.i7"])
        self.assertEqual([one.split("=")[1].strip() for one in left_out], ['"shop".s.i7'])
        self.assertEqual(asked, [(7, "true"), (7, "false"), (8, "true")])
        for answers in ({7: (broken, None)}, {7: (apps, broken)}):
            with self.assertRaisesRegex(copied.Refused, "corrupted"):
                self.structure(answers)
        # Then something else is not whole.
        with self.assertRaisesRegex(copied.Refused, "pg_amcheck"):
            self.structure({8: (None, None)})


class Arguments(unittest.TestCase):
    """Linux takes no argument of 128 KiB, and not 2 MiB of all together."""

    COUNT = 9000

    def setUp(self):
        self.asked = []
        self.indexes = [
            {
                "oid": 4_000_000_000 + n,
                "index": f"i{n}",
                "table": f"pg_toast.pg_toast_{4_000_000_000 + n}",
                "where": "true",
            }
            for n in range(self.COUNT)
        ]

    def ask(self, _, *statements):
        for statement in statements:
            self.assertLess(len(statement), 128 << 10)
        self.assertLess(sum(map(len, statements)), 1 << 20)
        self.asked += statements
        return "[]"

    def test_each_table_is_cleaned_up_once(self):
        plan = {"Actual Rows": 3}
        with (
            mock.patch.object(prove, "ask", self.ask),
            mock.patch.object(prove, "plans", lambda _, __, asked: [plan] * len(asked)),
        ):
            rows = prove.count_rows("shop", self.indexes)
        self.assertEqual(len(rows), self.COUNT)
        start = "VACUUM (INDEX_CLEANUP ON) "
        self.assertTrue(all(statement.startswith(start) for statement in self.asked))
        names = [name for one in self.asked for name in one.removeprefix(start).split(", ")]
        self.assertEqual(names, [index["table"] for index in self.indexes])

    def test_each_index_is_shown_or_not(self):
        with mock.patch.object(prove, "ask", self.ask):
            prove.show("shop", self.indexes, self.indexes[::2], self.indexes[::3])
        found = ([], [], [])
        for statement in self.asked:
            numbers = re.findall(r"ANY \('\{([^}]*)\}'\)", statement)
            for of, text in zip(found, numbers, strict=True):
                of.extend(map(int, filter(None, text.split(","))))
        oids = [index["oid"] for index in self.indexes]
        self.assertEqual(found, (oids[::2], oids[::3], oids))

    def test_long_statements_go_to_more_sessions(self):
        asked = [(f"i{n}", "x" * 100_000) for n in range(20)] + [("i20", "x")] * 300
        parts = prove.in_parts(asked, prove.ARGUMENTS, lambda one: len(one[1]) + 5000)
        self.assertEqual([one for part in parts for one in part], asked)
        self.assertLess(max(sum(len(text) for _, text in part) for part in parts), 1 << 20)
        self.assertEqual(prove.in_parts([], 5), [])


class AsThere(unittest.TestCase):
    def test_recovery_has_no_less_than_the_server_of_the_copy_had(self):
        said = (
            "Database cluster state:               in production\n"
            "max_connections setting:              40\n"
            "max_worker_processes setting:         8\n"
            "max_wal_senders setting:              12\n"
            "max_prepared_xacts setting:           5\n"
            "max_locks_per_xact setting:           256\n"
            "Latest checkpoint's REDO location:    0/2000028\n"
        )
        with mock.patch.object(copied, "run", lambda *_: said):
            given = copied.as_there("part")
            self.assertEqual(copied.control("part")["Database cluster state"], "in production")
        self.assertEqual(
            given,
            {
                "max_connections": "100",
                "max_locks_per_transaction": "256",
                "max_prepared_transactions": "5",
                "max_wal_senders": "12",
                "max_worker_processes": "8",
            },
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
