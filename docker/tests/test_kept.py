"""Secrets that the spec asks for: given by a file, or made and kept."""

import base64
import os
import tempfile
import unittest
from dataclasses import replace
from unittest import mock

from hive_container import image, kept
from hive_container.image import Fatal
from hive_container.own_programs import OwnProgram
from test_image import spec


class Kept(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.path = folder.name
        for name, place in (("OURS", self.path), ("GIVEN", f"{self.path}/given")):
            patched = mock.patch.object(kept, name, place)
            patched.start()
            self.addCleanup(patched.stop)
        os.mkdir(kept.GIVEN)
        self.one = spec(
            app_environment={"A": "x{secret:KEY_1}", "B": "{{secret:NO}}"},
            app_command=["run", "{secret:OTHER}"],
        )

    def give(self, name, text):
        path = f"{self.path}/{name}"
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        return path

    def test_one_that_nobody_gives_is_made_once_and_is_nobodys_to_read(self):
        first = kept.values(self.one, {})
        self.assertEqual(sorted(first), ["secret:KEY_1", "secret:OTHER"])
        self.assertEqual(len(set(first.values())), 2)
        self.assertEqual(len(base64.urlsafe_b64decode(first["secret:KEY_1"])), 32)
        self.assertEqual(kept.values(self.one, {}), first)
        self.assertEqual(os.stat(kept.file_of("KEY_1")).st_mode & 0o777, 0o600)
        values = image.placeholders(self.one, "p") | first
        self.assertEqual(image.fill("x{secret:KEY_1}", values), "x" + first["secret:KEY_1"])

    def test_a_password_is_one_that_forms_take(self):
        one = spec(app_environment={"A": "{secret:FIRST_USER_PASSWORD}", "B": "{secret:ADMIN_PWD}"})
        made = kept.values(one, {})
        self.assertEqual(kept.values(one, {}), made)
        for password in made.values():
            self.assertRegex(password, "^[A-Za-z0-9][A-Za-z0-9_-]{31}$")
            for kind in ("[0-9]", "[A-Z]", "[a-z]", "-"):
                self.assertRegex(password, kind)

    def test_a_program_of_the_images_own_may_ask_for_one(self):
        command = ["redis-server", "--requirepass", "{secret:REDIS}", "{{secret:NO}}"]
        program = OwnProgram("redis", command, "TERM", 5, "nothing", fatal=True)
        one = replace(self.one, programs=[program])
        self.assertEqual(kept.names(one), ["KEY_1", "OTHER", "REDIS"])
        made = kept.values(one, {})["secret:REDIS"]
        self.assertGreaterEqual(len(made), 43)
        self.assertEqual(kept.values(one, {})["secret:REDIS"], made)

    def test_a_file_from_outside_wins_and_has_to_hold_one(self):
        made = kept.values(self.one, {})
        self.give("given/key_1", "mounted\n")
        self.assertEqual(kept.values(self.one, {})["secret:KEY_1"], "mounted")
        named = {"KEY_1_FILE": self.give("named", "by name")}
        self.assertEqual(kept.values(self.one, named)["secret:KEY_1"], "by name")
        self.assertEqual(kept.values(self.one, named)["secret:OTHER"], made["secret:OTHER"])
        for text in ("", "a\nb"):
            named = {"KEY_1_FILE": self.give("named", text)}
            with self.assertRaisesRegex(Fatal, "file of the secret KEY_1, .* must hold one line"):
                kept.values(self.one, named)

    def test_where_nothing_was_started_none_is_kept(self):
        self.assertNotEqual(kept.values(self.one, {}, started=False)["secret:OTHER"], "")
        self.assertEqual(os.listdir(self.path), ["given"])
