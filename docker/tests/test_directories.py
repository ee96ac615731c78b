"""The app's folders on the volume: made once, whole, and each cluster's own."""

import json
import os
from unittest import mock

from hive_container import directories, volume
from hive_container.image import Fatal
from test_image import spec
from test_volume import Folder


class Directories(Folder):
    def setUp(self):
        super().setUp()
        for module, name, place in (
            (directories, "FILES", "files"),
            (directories, "PGDATA", "pgdata"),
            (directories, "SHIPPED", "shipped"),
            (directories, "LINK", "link"),
        ):
            patched = mock.patch.object(module, name, os.path.join(self.path, place))
            patched.start()
            self.addCleanup(patched.stop)
        self.write("shipped/app/media/logo.svg", b"of the image")
        self.write("pgdata/PG_VERSION")
        self.image = spec(app_directories=["/app/media"])

    def start(self):
        if os.path.lexists(directories.LINK):
            os.unlink(directories.LINK)
        directories.provide(self.image)
        return f"{directories.LINK}/app/media"

    def restored(self, identifier):
        self.write("pgdata/hive-restored.json", json.dumps({"id": identifier}).encode())

    def test_what_the_image_has_is_copied_once(self):
        media = self.start()
        self.assertEqual(os.listdir(media), ["logo.svg"])
        self.assertEqual(os.stat(media).st_mode & 0o777, 0o750)
        os.unlink(f"{media}/logo.svg")
        self.write("files/first/app/media/upload", b"of a user")
        self.assertEqual(os.listdir(self.start()), ["upload"])

    def test_a_copy_that_was_interrupted_is_made_again(self):
        self.write("files/first/app/.hive-copy/half")
        self.assertEqual(os.listdir(self.start()), ["logo.svg"])
        self.assertEqual(os.listdir(f"{directories.FILES}/first/app"), ["media"])

    def test_a_restored_cluster_has_its_own(self):
        self.start()
        self.restored("20261121T031500.000Z-0a0a0a0a")
        self.write("files/20261121T031500.000Z-0a0a0a0a/app/media/then")
        self.assertEqual(os.listdir(self.start()), ["then"])
        self.restored("../../hive")
        with self.assertRaisesRegex(Fatal, "hive-restored.json is damaged"):
            self.start()

    def test_an_image_without_any_makes_nothing(self):
        directories.provide(spec())
        self.assertFalse(os.path.lexists(directories.LINK))

    def test_what_cannot_be_used_is_named(self):
        self.write("files/first/app/media")
        with self.assertRaisesRegex(Fatal, "files/first/app/media is no folder"):
            self.start()
        mounted = [mock.Mock(point=f"{directories.LINK}/app/media")]
        with (
            mock.patch.object(directories.mounts, "read", return_value=mounted),
            self.assertRaisesRegex(Fatal, "mounted at /app/media, which this image keeps"),
        ):
            self.start()


class Kept(Folder):
    def test_they_are_there_before_the_first_cluster(self):
        with mock.patch.object(volume, "ADOPTED", f"{self.path}/adopted"):
            volume.inspect_empty({"hive", "files"})
            with self.assertRaisesRegex(Fatal, r"not ours \(it holds files\)"):
                volume.inspect_empty({"files"})
