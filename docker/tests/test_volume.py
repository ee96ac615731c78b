"""What lies on a volume, and what the cluster on it has to have."""

import json
import os
import struct
import tempfile
import unittest
from unittest import mock

from hive_container import cluster, mounts, volume
from hive_container.image import Fatal
from test_image import spec


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = folder.name

    def write(self, name, content=b""):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        return path


class Kinds(Folder):
    def setUp(self):
        super().setUp()
        ours = {"PGDATA": "pgdata", "OURS": "hive", "LOCK": "hive/lock", "ADOPTED": "hive/adopted"}
        for name, place in ours.items():
            patched = mock.patch.object(volume, name, os.path.join(self.path, place))
            patched.start()
            self.addCleanup(patched.stop)

    def test_what_is_not_there_or_right_is_fine(self):
        volume.inspect_kinds()
        os.mkdir(volume.PGDATA)
        self.write("hive/lock")
        volume.inspect_kinds()

    def test_each_odd_thing_is_named(self):
        os.symlink("nowhere", volume.PGDATA)
        with self.assertRaisesRegex(Fatal, "pgdata is a link that leads nowhere"):
            volume.inspect_kinds()
        os.unlink(volume.PGDATA)
        self.write("hive")
        with self.assertRaisesRegex(Fatal, "hive is no folder"):
            volume.inspect_kinds()
        os.unlink(volume.OURS)
        os.makedirs(volume.LOCK)
        with self.assertRaisesRegex(Fatal, "hive/lock is no file"):
            volume.inspect_kinds()

    def test_foreign_files_and_nobodys(self):
        volume.inspect_empty({"lost+found", ".gitkeep", "hive", ".hive-adopt-1234"})
        with self.assertRaisesRegex(Fatal, r"not ours \(it holds photo.jpg\)"):
            volume.inspect_empty({"photo.jpg", "lost+found"})
        self.write("hive/adopted")
        with self.assertRaisesRegex(Fatal, "had a cluster"):
            volume.inspect_empty(set())


class Whose(Folder):
    def setUp(self):
        super().setUp()
        for name in ("APP", "IDENTITY"):
            patched = mock.patch.object(volume, name, os.path.join(self.path, name))
            patched.start()
            self.addCleanup(patched.stop)

    def app(self, name, was=None):
        return spec({"HIVE_APP_WAS": was} if was else {}, app_name=name)

    def test_another_apps_image_is_refused_by_both_names_and_with_the_way_out(self):
        volume.inspect_app(self.app("ledger"))
        volume.remember_app(self.app("ledger"))
        volume.inspect_app(self.app("ledger"))
        # Built without the tool: nobody knows which app it is.
        volume.inspect_app(self.app(None))
        volume.remember_app(self.app(None))
        said = "app 'ledger', and this image is the app 'my shop'; hint: .* -e HIVE_APP_WAS=ledger"
        with self.assertRaisesRegex(Fatal, said):
            volume.inspect_app(self.app("my shop", was="other"))
        volume.inspect_app(self.app("my shop", was="ledger"))
        volume.remember_app(self.app("my shop", was="ledger"))
        volume.inspect_app(self.app("my shop"))
        with self.assertRaises(Fatal):
            volume.inspect_app(self.app("ledger"))

    def test_a_later_images_keys_are_no_damage(self):
        one = self.app("ledger")
        for more, said in (
            ({"since": "0.9"}, None),
            ({"image": "agent"}, "belongs to image 'agent'"),
        ):
            identity = volume.identity_of(one) | more
            self.write("IDENTITY", json.dumps(identity).encode())
            if said is None:
                volume.inspect_identity(one)
            else:
                with self.assertRaisesRegex(Fatal, said):
                    volume.inspect_identity(one)
        self.write("IDENTITY", b'{"image": "genie"}')
        with self.assertRaisesRegex(Fatal, "hive.json is damaged|IDENTITY is damaged"):
            volume.inspect_identity(one)


class Cluster(Folder):
    def test_the_map_of_vital_catalogs(self):
        content = struct.pack("=Ii", cluster.MAP_MAGIC, 2) + struct.pack("=IIII", 1, 1259, 2, 1249)
        self.write("base/1/pg_filenode.map", content)
        found = cluster.mapped_files(self.path, "base/1")
        self.assertEqual(found, ["base/1/1259", "base/1/1249"])
        self.assertEqual(cluster.mapped_files(self.path, "global"), ["global/pg_filenode.map"])
        for damaged in (b"", content[:-6], b"x" + content[1:]):
            self.write("base/1/pg_filenode.map", damaged)
            with self.assertRaisesRegex(Fatal, "pg_filenode.map is damaged"):
                cluster.mapped_files(self.path, "base/1")

    def test_the_files_that_the_last_checkpoint_needs(self):
        control = {
            "Latest checkpoint's REDO WAL file": "000000010000000000000001",
            "Bytes per WAL segment": "16",
            "Latest checkpoint's NextXID": f"0:{32 * 32768 + 1}",
            "Latest checkpoint's NextMultiXactId": "1",
            "Latest checkpoint's NextMultiOffset": "0",
        }
        self.write("pg_wal/000000010000000000000001", b"x" * 16)
        self.write("pg_xact/0000", b"x" * 8192)
        self.write("pg_multixact/offsets/0000", b"x" * 8192)
        self.write("pg_multixact/members/0000", b"x" * 100)
        missing = cluster.missing_files(self.path, control)
        # The first entry of the second file; and half a page is none.
        self.assertEqual(missing, ["pg_xact/0001", "pg_multixact/members/0000"])

    def test_the_version(self):
        prepared = os.path.dirname(self.write("prepared/PG_VERSION", b"17\n"))
        self.assertEqual(cluster.major_version(prepared), 17)
        for version, why in (
            (b"16\n", "of PostgreSQL 16, this image has 17"),
            (b"", "is damaged"),
        ):
            self.write("PG_VERSION", version)
            with self.assertRaisesRegex(Fatal, why):
                cluster.inspect_version(self.path, prepared)

    def test_the_way_back_from_alter_system(self):
        self.assertIsNone(cluster.way_back(self.path))
        head = b"# Do not edit this file manually!\n"
        path = self.write("postgresql.auto.conf", head)
        self.assertIsNone(cluster.way_back(self.path))
        self.write("postgresql.auto.conf", head + b"port = '1'\nplpgsql.x = 'a = b'\n")
        said = cluster.way_back(self.path)
        self.assertIn("has set port, plpgsql.x;", said)
        self.assertIn(f"`mv {path} {path}.bad`", said)


class Mounts(Folder):
    DATA = "/var/lib/postgresql/data"

    def inspect(self, *mounted, environ=None):
        lines = "".join(
            f"1 0 8:1 {root} {point} rw - ext4 /dev/sda rw\n" for root, point in mounted
        )
        path = self.write("mountinfo", lines.encode())
        with mock.patch.object(mounts, "read", side_effect=lambda: READ(path)):
            return mounts.inspect(self.DATA, f"{self.DATA}/pgdata", environ or {})

    def test_a_named_volume_needs_no_word_and_a_nameless_one_a_note(self):
        self.assertIsNone(self.inspect(("/", "/"), ("/docker/volumes/genie/_data", self.DATA)))
        nameless = f"/docker/volumes/{'a' * 64}/_data"
        self.assertIn("without a name", self.inspect(("/", "/"), (nameless, self.DATA)))

    def test_a_volume_at_another_path(self):
        for point, why in (
            (f"{self.DATA}/pgdata", "inside of the volume's own place"),
            ("/var/lib/postgresql", "the data would not be on it"),
        ):
            with self.assertRaisesRegex(Fatal, why):
                self.inspect(("/", "/"), ("/x", point))
        with self.assertRaisesRegex(Fatal, "PGDATA is '/nope'"):
            self.inspect(("/", "/"), environ={"PGDATA": "/nope"})

    def test_blanks_in_mountinfo(self):
        self.assertEqual(mounts.plain(r"/a\040b\134c"), "/a b\\c")


#: Before any test replaces it.
READ = mounts.read
