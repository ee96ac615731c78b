"""How a dump lies in a backup, and comes out of it again."""

import io
import json
import os
import tarfile
from pathlib import Path
from unittest import mock

from test_migrate import dumped, migrate
from test_proof import files, load
from test_volume import Folder

dump = load("dump")

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

    def test_a_dump_that_fails_is_no_backup(self):
        with self.assertRaises(dump.Failed) as failed:
            self.archive(["sh", "-c", "echo half; exit 3"])
        self.assertEqual(failed.exception.args, (3,))


class Names(Folder):
    def test_a_database_of_any_name_is_no_connection_string(self):
        self.assertEqual(dump.named("a'b\\c=d"), "dbname='a\\'b\\\\c=d'")
