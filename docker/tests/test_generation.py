"""What becomes of a backup that is another image's."""

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


if __name__ == "__main__":
    unittest.main()
