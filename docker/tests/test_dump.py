"""How a dump lies in a backup, and comes out of it again."""

import io
import json
import os
import re
import subprocess
import tarfile
import unittest
from pathlib import Path
from unittest import mock

from test_migrate import dumped, migrate
from test_proof import files, load
from test_volume import Folder

dump = load("dump")
note = load("note")

#: More pieces than one digit counts.
CONTENT = bytes(range(256)) * 20


class InABackup(Folder):
    def archive(self, command):
        target = io.BytesIO()
        with (
            mock.patch.object(dump, "command_of", lambda _: command),
            mock.patch.object(dump, "PIECE", 400),
            files.archive_on(target) as archive,
        ):
            dump.add_dump(archive, {})
        target.seek(0)
        return tarfile.open(fileobj=target)

    def test_pieces_are_joined_in_their_order(self):
        self.write("content", CONTENT)
        with self.archive(["cat", f"{self.path}/content"]) as archive:
            names = archive.getnames()
            archive.extractall(f"{self.path}/d", filter="fully_trusted")
        self.assertEqual(len(names), 13)
        self.assertEqual(names, sorted(names))
        note = {"dump": {"name": "shop"}}
        Path(f"{self.path}/d/{dumped.NOTE}").write_text(json.dumps(note), encoding="utf-8")
        read = {"DUMP": f"{self.path}/dump", "PLAN": f"{self.path}/p", "BEFORE": f"{self.path}/b"}
        with (
            mock.patch.multiple(migrate, **read),
            mock.patch.object(migrate, "of_archive", lambda *_: {}),
        ):
            migrate.take(f"{self.path}/d")
        self.assertEqual(Path(f"{self.path}/dump").read_bytes(), CONTENT)
        self.assertEqual(os.listdir(f"{self.path}/d/{dumped.IN_A_BACKUP}"), [])

    def test_pieces_are_joined_by_number_where_five_digits_are_not_enough(self):
        for name in ("100000", "99999"):
            self.write(f"d/{dumped.IN_A_BACKUP}/{name}", f"{name} ".encode())
        self.write(f"d/{dumped.NOTE}", b'{"dump": {}}')
        read = {"DUMP": f"{self.path}/dump", "PLAN": f"{self.path}/p", "BEFORE": f"{self.path}/b"}
        with (
            mock.patch.multiple(migrate, **read),
            mock.patch.object(migrate, "of_archive", lambda *_: {}),
        ):
            migrate.take(f"{self.path}/d")
        self.assertEqual(Path(f"{self.path}/dump").read_bytes(), b"99999 100000 ")

    def test_a_dump_that_fails_is_no_backup(self):
        with self.assertRaises(dump.Failed) as failed:
            self.archive(["sh", "-c", "echo half; exit 3"])
        self.assertEqual(failed.exception.args, (3,))


class LeftOut(unittest.TestCase):
    def test_each_thing_is_named_and_many_are_counted(self):
        names = [f"r{number}" for number in range(12)]
        found = {"role": names, "event trigger": ["fires"], "setting": ["work_mem"]}
        lines = note.told(found | {"default rights": ["app in schema own"]})
        self.assertTrue(lines[9].startswith("role r9 comes back without login and rights"))
        self.assertEqual(
            lines[10:],
            [
                "and 2 more like that",
                "event trigger fires does not come back: pg_restore makes it",
                "default rights of app in schema own do not come back: pg_restore gives them",
                "work_mem, set by ALTER SYSTEM, is not in it",
            ],
        )

    def test_what_is_asked_for_is_told(self):
        asked = re.findall(r"^    '([a-z ]+)',", note.LEFT_OUT_OF_THE_DATABASE, re.MULTILINE)
        asked += re.findall(r"^    '([a-z ]+)',", note.LEFT_OUT, re.MULTILINE)
        self.assertEqual({*asked, "unlogged", "locked", "slot"}, {*note.HOW})

    def test_where_a_sequence_is_locked_the_others_are_noted_all_the_same(self):
        def ask(_database, statement):
            if statement == note.SEQUENCES:
                raise subprocess.CalledProcessError(1, "psql")
            return [{"16400": 7}, ["public.s"]]

        with mock.patch.object(note, "ask", ask):
            known = note.sequences("shop")
        self.assertEqual(known, ({"16400": 7}, ["public.s (database shop)"]))
        told = "where sequence public.s (database shop) stood is not noted: it was locked"
        self.assertTrue(note.told({"locked": known[1]})[0].startswith(told))
        with mock.patch.object(note, "ask", lambda *_: {"16400": 7}):
            self.assertEqual(note.sequences("shop"), ({"16400": 7}, []))

    def test_files_that_cannot_be_read_are_told_before_anything_is_copied(self):
        with (
            mock.patch.object(note.files, "of_cluster", return_value="/home"),
            mock.patch.object(note.files, "unreadable", return_value=[]) as unreadable,
        ):
            note.inspect_files()
            unreadable.return_value = [f"media/{number}" for number in range(12)]
            with self.assertRaises(OSError) as refused:
                note.inspect_files()
        self.assertTrue(refused.exception.filename.endswith("media/9 and 2 more"))
        self.assertIn("the container's user may not read them", refused.exception.strerror)

    def test_event_triggers_and_what_is_said_of_them_are_not_compared(self):
        had = {"EVENT TRIGGER fires": "1", "COMMENT EVENT TRIGGER fires": "2", "TABLE own.t": "3"}
        self.assertEqual(dumped.without(had, ["EVENT TRIGGER"]), {"TABLE own.t": "3"})


class Names(Folder):
    def test_a_database_of_any_name_is_no_connection_string(self):
        self.assertEqual(dump.named("a'b\\c=d"), "dbname='a\\'b\\\\c=d'")
