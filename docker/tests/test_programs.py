"""What a spec names, looked at without running it; and whose modules are found first."""

import importlib
import os
import sys
import tempfile
import unittest

import app_path
from hive_container import programs


class Folder(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        self.path = folder.name
        os.chdir(self.path)

    def write(self, name, content=b"", mode=0o755):
        path = os.path.join(self.path, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        return path


class Trouble(Folder):
    def trouble(self, content, mode=0o755):
        self.write("run.sh", content, mode)
        return programs.trouble("./run.sh", {"PATH": os.defpath})

    def test_each_way_in_which_a_script_cannot_be_run(self):
        self.assertIsNone(self.trouble(b"#!/bin/sh\ntrue\n"))
        self.assertIsNone(self.trouble(b"\x7fELF"))
        self.assertIn("end as on Windows", self.trouble(b"#!/bin/sh\r\ntrue\r\n"))
        self.assertIn("byte order mark", self.trouble(b"\xef\xbb\xbf#!/bin/sh\n"))
        self.assertIn("is to be run by /nope", self.trouble(b"#!/nope -x\n"))
        self.assertIn("git update-index --chmod=+x ./run.sh", self.trouble(b"#!/bin/sh\n", 0o644))

    def test_a_program_is_looked_for_as_it_will_be(self):
        self.write("bin/tool", b"#!/bin/sh\n")
        path = {"PATH": f"{self.path}/bin"}
        self.assertIsNone(programs.trouble("tool", path))
        self.assertEqual(programs.trouble("sh", path), "no such program: sh")


class Modules(Folder):
    def test_a_module_is_found_without_being_run(self):
        boom = b"raise SystemExit('it was run')"
        self.write("shop_x/__init__.py", boom)
        self.write("shop_x/web.py", boom)
        self.write("bare_x/inner/web.py", boom)
        importlib.invalidate_caches()
        missing = {
            name: programs.missing_module(name, [self.path])
            for name in (
                "shop_x.web",
                "shop_x.wep",
                "shop_x.web.x",
                "bare_x.inner.web",
                "bare_x.inner.wep",
                "nope_x.y",
                "json",
            )
        }
        self.assertEqual(
            missing,
            {
                "shop_x.web": None,
                "shop_x.wep": "shop_x.wep",
                "shop_x.web.x": "shop_x.web.x",
                "bare_x.inner.web": None,
                "bare_x.inner.wep": "bare_x.inner.wep",
                "nope_x.y": "nope_x",
                "json": None,
            },
        )
        self.assertNotIn(self.path, sys.path)

    def test_the_app_comes_before_its_dependencies_but_not_before_a_namesake(self):
        site = f"{self.path}/lib/site-packages"
        for name in ("utils_x", "docker_x"):
            self.write(f"lib/site-packages/{name}/__init__.py")
            self.write(f"app/{name}/__init__.py")
        # Only a package hides something.
        self.write("lib/site-packages/only_x/__init__.py")
        self.write("app/only_x/README")
        self.write("lib/site-packages/docker_x-7.1.dist-info/METADATA")
        app = f"{self.path}/app"
        path, finders = ["/stdlib", site, app], []
        app_path.put_the_app_first(app, path, finders)
        self.assertEqual(path, ["/stdlib", app, site])
        self.addCleanup(setattr, sys, "path", sys.path[:])
        self.addCleanup(setattr, sys, "meta_path", sys.meta_path[:])
        sys.path[:0], sys.meta_path[:0] = path[1:], finders
        importlib.invalidate_caches()
        found = {
            name: importlib.util.find_spec(name).origin.removeprefix(f"{self.path}/").split("/")[0]
            for name in ("utils_x", "docker_x", "only_x")
        }
        self.assertEqual(found, {"utils_x": "app", "docker_x": "lib", "only_x": "lib"})
