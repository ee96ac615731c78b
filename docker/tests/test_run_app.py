"""What `run-app` says of what it cannot run, to the build and to whoever calls it."""

import contextlib
import io
import os
import pathlib
import sys
import tempfile
import types
import unittest
from dataclasses import replace
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from unittest import mock

import hive_container
from hive_container import image
from hive_container.own_programs import OwnProgram
from test_image import spec


def load():
    path = pathlib.Path(hive_container.__file__).parents[1] / "run-app"
    loader = SourceFileLoader("run_app", str(path))
    module = module_from_spec(spec_from_loader("run_app", loader))
    loader.exec_module(module)
    return module


class RunApp(unittest.TestCase):
    def setUp(self):
        self.run_app = load()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.addCleanup(os.chdir, os.getcwd())
        for name, value in (("APP", folder.name), ("VALUES_FILE", f"{folder.name}/values.json")):
            patched = mock.patch.object(image, name, value)
            patched.start()
            self.addCleanup(patched.stop)

    def says(self, arguments, *commands):
        """The status and what stands on stderr, of an image with these programs."""
        programs = [
            OwnProgram(f"p{number}", command, "TERM", 5, "nothing", fatal=True)
            for number, command in enumerate(commands, 1)
        ]
        one = replace(spec(app_command=["/bin/true"]), programs=programs)
        said = io.StringIO()
        with (
            mock.patch.object(image, "load", return_value=one),
            mock.patch.object(image, "OF_THE_IMAGE", {"PATH": "/usr/bin:/bin"}),
            contextlib.redirect_stderr(said),
        ):
            return self.run_app.answer(arguments), said.getvalue()

    def test_only_checks_that_went_well_are_left_out_of_the_access_log(self):
        import logging

        def is_told(path, asked, status, client="127.0.0.1:5"):
            logger = logging.Logger("uvicorn.access")
            with mock.patch.object(logging, "getLogger", return_value=logger):
                self.run_app.quieten_health_checks(path)
            given = (client, "GET", asked, "1.1", status)
            record = logging.LogRecord("n", 20, "f", 1, '%s - "%s %s HTTP/%s" %d', given, None)
            return bool(logger.filter(record))

        for path, asked in (("/health", "/health"), (None, "/")):
            self.assertFalse(is_told(path, asked, 200))
            self.assertTrue(is_told(path, asked, 500))
            self.assertTrue(is_told(path, "/else", 200))
        # No route is an answer, too; and users are not the check.
        self.assertFalse(is_told(None, "/", 404))
        self.assertTrue(is_told(None, "/", 404, client="10.0.0.1:5"))

    def test_the_check_looks_at_each_word_of_a_program(self):
        self.assertEqual(self.says(["--check"], ["sleep", "{secret:KEY}", "{port}"]), (0, ""))
        status, said = self.says(["--check"], ["sleep", "{nope}"], ["no-such-program"])
        self.assertEqual(status, 1)
        self.assertIn("programs: p1: unknown placeholder '{nope}' in '{nope}'\nhint: ", said)
        self.assertIn("programs: p2: no such program: no-such-program", said)

    def test_a_program_that_the_image_does_not_have_is_one_line(self):
        for words, what in (([], "no name after --program"), (["nope"], "nope")):
            self.assertEqual(
                self.says(["--program", *words], ["true"], ["true"]),
                (78, f"hive: no program of this image's own: {what}; hint: the image has p1, p2\n"),
            )

    def test_an_old_uvicorn_is_asked_for_what_it_has(self):
        def asked(parameters):
            calls = []
            config = eval(f"lambda app, {parameters}: None")
            run = lambda _app, **given: calls.append(given)  # noqa: E731
            uvicorn = types.SimpleNamespace(Config=config, run=run)
            with mock.patch.dict(sys.modules, uvicorn=uvicorn):
                self.run_app.serve(spec())
            return calls[0].get("timeout_graceful_shutdown")

        self.assertIsNone(asked("host, port"))
        self.assertEqual(asked("host, timeout_graceful_shutdown=None"), self.run_app.GRACE)

    def test_a_word_that_cannot_be_filled_is_one_line(self):
        status, said = self.says(["--program", "p1"], ["true", "{nope}"])
        self.assertEqual((status, said.count("\n")), (78, 1))
        self.assertTrue(said.startswith("hive: unknown placeholder '{nope}'"), said)
