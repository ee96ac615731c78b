"""Programs of the image's own: what supervisord is told of them, and what they wait for."""

import configparser
import os
import pathlib
import socket
import tempfile
import threading
import unittest

from hive_container import own_programs
from hive_container.own_programs import OwnProgram


def program(name="worker", starts_after="database"):
    return OwnProgram(name, ["true"], "QUIT", 7, starts_after, fatal=True)


class Configuration(unittest.TestCase):
    def test_each_has_a_section_with_what_the_spec_says(self):
        text = own_programs.configuration([program(), program("redis", "nothing")])
        parsed = configparser.RawConfigParser()
        parsed.read_string(text)
        self.assertEqual(parsed.sections(), ["program:worker", "program:redis"])
        worker, redis = parsed["program:worker"], parsed["program:redis"]
        self.assertEqual((worker["stopsignal"], worker["stopwaitsecs"]), ("QUIT", "7"))
        self.assertTrue(worker["command"].endswith("/run-app --program worker"))
        # The app has 200: what it needs starts before it and stops after it.
        self.assertEqual((worker["priority"], redis["priority"]), ("250", "150"))

    def test_without_any_there_is_a_file_all_the_same(self):
        self.assertTrue(own_programs.configuration([]).startswith(";"))

    def test_a_key_that_is_not_known_is_not_dropped(self):
        document = {**vars(program()), "cpu": 1}
        with self.assertRaises(TypeError):
            own_programs.of([document])


class Waiting(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.ready = pathlib.Path(folder.name) / "ready"
        self.server = socket.socket()
        self.addCleanup(self.server.close)
        self.server.bind(("127.0.0.1", 0))

    def waits(self, starts_after: str) -> bool:
        """Whether it is still waiting after a quarter of a second."""
        port = self.server.getsockname()[1]
        thread = threading.Thread(
            target=own_programs.wait,
            args=(program(starts_after=starts_after), os.fspath(self.ready), port),
            daemon=True,
        )
        thread.start()
        thread.join(0.25)
        return thread.is_alive()

    def test_each_kind(self):
        self.assertFalse(self.waits("nothing"))
        self.assertTrue(self.waits("database"))
        self.ready.touch()
        self.assertFalse(self.waits("database"))
        self.assertTrue(self.waits("app"))
        self.server.listen()
        self.assertFalse(self.waits("app"))
