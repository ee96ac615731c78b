"""What of a lock of pipenv's is installed, and from where."""

import importlib.util
import os
import pathlib
import sys
import unittest
from unittest import mock

PLACE = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile/pipfile.py"
sys.path.insert(0, str(PLACE.parent))
SPEC = importlib.util.spec_from_file_location("pipfile", PLACE)
pipfile = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pipfile)

PUBLIC = "https://pypi.org/simple"


def lock(urls=(), **packages):
    return {"_meta": {"sources": [{"url": url} for url in urls]}, "default": packages}


class Sources(unittest.TestCase):
    def test_the_public_index_is_left_to_the_machine(self):
        for urls, said in [
            ([], []),
            ([PUBLIC], []),
            ([PUBLIC, "https://h/simple"], ["--extra-index-url https://h/simple"]),
            (
                ["https://h/simple", PUBLIC],
                ["--index-url https://h/simple", f"--extra-index-url {PUBLIC}"],
            ),
        ]:
            self.assertEqual(pipfile.indexes(lock(urls)), said)

    def test_a_login_that_has_no_value_is_left_to_the_machine(self):
        for url, said in [
            ("https://$HIVE_USER:${HIVE_PASS}@h/simple", "https://h/simple"),
            ("https://me:${HIVE_PASS}@h:8/simple", "https://h:8/simple"),
            ("https://me@h/simple", "https://me@h/simple"),
            ("https://h/a$b@c", "https://h/a$b@c"),
        ]:
            self.assertEqual(pipfile.address(url), said)
        with mock.patch.dict(os.environ, {"HIVE_USER": "me", "HIVE_PASS": "pw"}):
            url = pipfile.address("https://$HIVE_USER:${HIVE_PASS}@$HIVE_USER.h/simple")
        # By uv, which has the login from its environment: no file of a step has it.
        self.assertEqual(url, "https://${HIVE_USER}:${HIVE_PASS}@me.h/simple")


class Lines(unittest.TestCase):
    def test_each_kind_of_package(self):
        for entry, said in [
            (
                {"version": "==1", "extras": ["x"], "hashes": ["sha256:0"], "markers": "os == 'y'"},
                ("a[x]==1 ; os == 'y' --hash=sha256:0", False),
            ),
            ({"path": "libs/a", "editable": True}, ("-e /app/libs/a", True)),
            ({"file": "./a.whl"}, ("/app/./a.whl", True)),
            ({"file": "https://h/a.whl"}, ("a @ https://h/a.whl", False)),
            (
                {"git": "https://h/a.git", "ref": "0a", "subdirectory": "s"},
                ("a @ git+https://h/a.git@0a#subdirectory=s", False),
            ),
        ]:
            self.assertEqual(pipfile.line("a", entry), said)

    def test_any_index_may_have_what_has_its_hashes(self):
        hashed = {"version": "==1", "hashes": ["sha256:0"]}
        self.assertTrue(pipfile.is_hashed(lock(a=hashed, b={"git": "https://h/b.git", "ref": "0"})))
        self.assertFalse(pipfile.is_hashed(lock(a=hashed, b={"version": "==1"})))
