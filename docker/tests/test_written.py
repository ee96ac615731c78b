"""What was written to a generation that is put aside, and copies of one for a backup."""

import contextlib
import io
import json
import os
import pathlib
import sys
import tempfile
import time
import unittest
from unittest import mock

from hive_container import image
from test_image import spec
from test_proof import copied, load

written = load("written")
kept = load("kept")

#: Between what was there when the generation was made and what came later.
MOMENT = 1_000_000_000_000


def touch(path, moment):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, ns=(moment, moment))


class Count(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.cluster = pathlib.Path(folder.name, "failed-1")
        self.cluster.mkdir()
        identity = {"image": "genie", "database": "genie", "role": "the role"}
        (self.cluster / "hive.json").write_text(json.dumps(identity), encoding="utf-8")
        touch(self.cluster / "global/pg_control", MOMENT + 2)
        self.counted = []

    def count(self, tables, since="3"):
        """What is told where the app's database has these tables: files and what a count says."""
        places = [[name, f"base/{name}"] for name in tables]

        def ask(database, statement, environment=None):
            if statement == written.DATABASES:
                return '["genie", "other"]'
            if statement == written.TABLES:
                return json.dumps(places if database == "genie" else [["b", "base/late"]])
            if environment is None:
                self.assertEqual(statement, written.SINCE.format(made=(1 << 32) + 7))
                return since
            self.assertEqual(environment["PGUSER"], "the role")
            self.counted.append(statement)
            rows = tables[statement.split()[4]] if database == "genie" else 1
            if isinstance(rows, str):
                raise copied.Refused(rows)
            return str(rows)

        with (
            mock.patch.object(written, "ask", ask),
            mock.patch.object(written, "serving", lambda _: contextlib.nullcontext()),
        ):
            return written.count(str(self.cluster), "1:7", MOMENT)

    def test_rows_of_tables_that_were_written_to_are_counted(self):
        touch(self.cluster / "base/early", MOMENT - 1)
        touch(self.cluster / "base/late", MOMENT)
        touch(self.cluster / "base/none", MOMENT)
        # Its second gigabyte is what has changed.
        touch(self.cluster / "base/large", MOMENT - 1)
        touch(self.cluster / "base/large.1", MOMENT + 1)
        touch(self.cluster / "base/others", MOMENT)
        tables = {"early": 9, "late": 2, "none": 0, "large": 5, "others": "permission denied"}
        told = self.count(tables)
        self.assertEqual(told["tables"], [["large", 5], ["late", 2], ["b (database other)", 1]])
        self.assertEqual(told["not_counted"], [["others", "permission denied"]])
        self.assertIn("age(xmin) BETWEEN 1 AND 3", self.counted[0])

    def test_where_the_clock_was_set_back_no_table_is_left_out(self):
        touch(self.cluster / "base/early", MOMENT - 1)
        touch(self.cluster / "global/pg_control", MOMENT - 1)
        told = self.count({"early": 2})["tables"]
        self.assertEqual(told, [["early", 2], ["b (database other)", 1]])
        # A note of the future, and a server that has ended before that.
        touch(self.cluster / "global/pg_control", time.time_ns() + (10 << 30))
        moment = time.time_ns() + (5 << 30)
        self.assertFalse(written.told_apart_by_time(str(self.cluster), moment))

    def test_without_a_transaction_since_then_nothing_is_read(self):
        touch(self.cluster / "base/late", MOMENT)
        self.assertEqual(self.count({"late": 1}, since="0")["tables"], [])
        self.assertEqual(self.counted, [])

    def test_what_would_take_too_long_is_told_as_not_counted(self):
        touch(self.cluster / "base/late", MOMENT)
        with mock.patch.object(written, "BUDGET", -1.0):
            told = self.count({"late": 1})
        self.assertEqual(told["tables"], [])
        self.assertEqual([name for name, _ in told["not_counted"]], ["late", "b (database other)"])

    def test_files_of_the_app_are_counted_by_their_time(self):
        home = self.cluster.parent / "files"
        touch(home / "app/media/old", MOMENT - 1)
        touch(home / "app/media/new", MOMENT)
        self.assertEqual(written.new_files(str(home), MOMENT), 1)
        self.assertEqual(written.new_files(None, MOMENT), 0)

    def test_on_what_no_server_has_run_nothing_was_written(self):
        """Its note is later than all else, as where the clock was set back."""
        control = self.cluster / "global/pg_control"
        note = {"next_transaction": "1:7", "control": copied.control_of(str(self.cluster))}
        (self.cluster / written.files.RESTORED).write_text(json.dumps(note))
        with (
            mock.patch.object(written, "GENERATIONS", str(self.cluster.parent)),
            mock.patch.object(written.sys, "argv", ["written", self.cluster.name]),
            mock.patch.object(written, "count", lambda *_: {"tables": [["a", 1]]}),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            self.assertEqual(written.main(), 0)
            control.write_text("in production")
            self.assertEqual(written.main(), 0)
        nothing, some = map(json.loads, said.getvalue().splitlines())
        self.assertEqual(nothing, {"tables": [], "not_counted": [], "files": 0})
        self.assertEqual(some, {"tables": [["a", 1]]})

    def test_one_that_does_not_say_since_when_is_not_counted(self):
        note = self.cluster / "hive-restored.json"
        note.write_text('{"id": "1"}', encoding="utf-8")
        with (
            mock.patch.object(written, "GENERATIONS", str(self.cluster.parent)),
            mock.patch.object(sys, "argv", ["-c", "failed-1"]),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            self.assertEqual(written.main(), 0)
        self.assertEqual(said.getvalue(), "null\n")


class Copy(unittest.TestCase):
    def copy(self, major="17", tablespace=None, free=1 << 40):
        """What lies on the volume of a copy, and what became of it."""
        with tempfile.TemporaryDirectory() as place:
            source, target = pathlib.Path(place, "from"), pathlib.Path(place, "to")
            cluster = source / "generations/failed-2"
            for one in ("pg_tblspc", "base"):
                (cluster / one).mkdir(parents=True)
            if tablespace:
                (cluster / "pg_tblspc" / tablespace).touch()
            (cluster / "PG_VERSION").write_text(f"{major}\n")
            (cluster / "hive-restored.json").write_text('{"id": "2"}')
            for name in (*kept.NOT_COPIED, "base/1"):
                (cluster / name).touch()
            touch(source / "files/2/app/media/a", MOMENT)
            touch(source / "files/1/app/media/b", MOMENT)
            (source / "hive").mkdir()
            (source / "hive/secret.KEY").write_text("of the app")
            target.mkdir()
            places = {
                "FROM": str(source),
                "MOUNT": str(target),
                "PGDATA": f"{target}/pgdata",
            }
            usage = mock.Mock(return_value=mock.Mock(free=free))
            with (
                mock.patch.multiple(kept, **places),
                mock.patch.object(kept.files, "FILES", f"{target}/files"),
                mock.patch.object(kept.files, "SECRETS", f"{target}/hive/secret."),
                mock.patch.object(kept.shutil, "disk_usage", usage),
            ):
                kept.copy("failed-2", f"{os.getuid()}:{os.getgid()}")
            self.assertEqual((target / "hive/secret.KEY").read_bytes(), b"")
            found = (one.relative_to(target) for one in target.rglob("*") if one.is_file())
            return sorted(map(str, found))

    def test_the_cluster_its_files_and_names_of_secrets_are_copied(self):
        of_cluster = ["PG_VERSION", "base/1", "hive-restored.json"]
        expected = ["files/2/app/media/a", "hive/secret.KEY", *(f"pgdata/{n}" for n in of_cluster)]
        self.assertEqual(self.copy(), expected)

    def test_nothing_of_the_copys_own_says_how_the_superuser_works(self):
        options = kept.SERVICE.split("options=")[1]
        for setting in ("-c search_path=pg_catalog", "-c session_preload_libraries= "):
            self.assertIn(setting, options)
        service = image.services(spec(), {}, "/none", copied.MAJOR)
        self.assertEqual(options, service.split("options=")[1])

    def test_what_cannot_be_served_is_refused_before_it_is_copied(self):
        for told, how in (
            ("of PostgreSQL 16, and the image has 17", {"major": "16"}),
            ("tablespaces, whose files lie elsewhere: 16400", {"tablespace": "16400"}),
            ("0 MB free, 200 MB are needed", {"free": 1}),
        ):
            with self.assertRaisesRegex(copied.Refused, told):
                self.copy(**how)


if __name__ == "__main__":
    unittest.main()
