"""What of a lock of pipenv's is installed, and from where."""

import importlib.util
import os
import pathlib
import sys
import unittest
from unittest import mock

PLACE = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile/pipfile.py"
sys.path.insert(0, str(PLACE.parent))
address = importlib.import_module("address")
SPEC = importlib.util.spec_from_file_location("pipfile", PLACE)
pipfile = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(pipfile)

PUBLIC = "https://pypi.org/simple"


def source(name, url):
    return {"name": name, "url": url}


CORP, MORE = "https://corp.example/simple", "https://more.example/simple"
HASHED = {"version": "==1", "hashes": ["sha256:0"]}


class Sources(unittest.TestCase):
    def test_a_package_comes_from_the_index_that_pipenv_would_ask(self):
        public, corp, more = source("pypi", PUBLIC), source("corp", CORP), source("more", MORE)
        before, alone = ("UV_INDEX", f"corp={CORP}"), ("UV_DEFAULT_INDEX", f"corp={CORP}")
        bare = {"version": "==1"}
        for sources, entry, said in [
            # The public index is left to the machine.
            ([], HASHED, ((), False)),
            ([public], HASHED, ((), False)),
            ([corp, public], HASHED | {"index": "pypi"}, ((), False)),
            ([public, corp], HASHED | {"index": "corp"}, ((before,), False)),
            # What has no hash comes from no other.
            ([public, corp], bare | {"index": "corp"}, ((alone,), False)),
            ([corp, public], bare, ((alone,), False)),
            ([public, corp], bare, ((), False)),
            # No index that is no source is asked.
            ([corp], HASHED, ((alone,), False)),
            ([corp, more], HASHED | {"index": "corp"}, ((alone,), False)),
            # Any may have the file of a hash.
            ([public, corp], HASHED, ((before,), True)),
            ([corp, more], HASHED, ((alone, ("UV_INDEX", f"more={MORE}")), True)),
        ]:
            self.assertEqual(pipfile.places(entry, sources), said, (sources, entry))

    def test_an_index_that_is_no_source_is_refused_by_name(self):
        with self.assertRaisesRegex(SystemExit, "Pipfile.lock: there is no source corp"):
            pipfile.places(HASHED | {"index": "corp"}, [source("pypi", PUBLIC)])

    def test_a_login_that_has_no_value_is_left_to_the_machine(self):
        for url, said in [
            ("https://$HIVE_USER:${HIVE_PASS}@h/simple", "https://h/simple"),
            ("https://me:${HIVE_PASS}@h:8/simple", "https://h:8/simple"),
            ("https://me@h/simple", "https://me@h/simple"),
            ("https://h/a$b@c", "https://h/a$b@c"),
        ]:
            self.assertEqual(address.address(url), said)
        with mock.patch.dict(os.environ, {"HIVE_USER": "me", "HIVE_PASS": "pw"}):
            url = address.address("https://$HIVE_USER:${HIVE_PASS}@$HIVE_USER.h/simple")
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
