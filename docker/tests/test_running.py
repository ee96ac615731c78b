"""When a program is given up, what is said of it, and what the container may use."""

import os
import signal
import tempfile
import unittest
from unittest import mock

from hive_container import limits, logs, ports
from hive_container.image import Fatal
from hive_container.steadiness import Steadiness

FAILED = 3 << 8


class Flapping(unittest.TestCase):
    def ends(self, runs, status=FAILED):
        """The number of the end with which it is given up, and why; None if it never is."""
        one, now = Steadiness(), 0.0
        for number, ran in enumerate(runs, 1):
            now += ran
            if why := one.verdict(ran, status, now):
                return number, why
        return None

    def test_six_ends_in_a_row_however_slow(self):
        why = "ended 6 times in a row, each time within 60 s of its start"
        self.assertEqual(self.ends([0.1] * 9), (6, why))
        self.assertEqual(self.ends([50] * 9), (6, why))

    def test_a_good_run_begins_anew(self):
        self.assertIsNone(self.ends([50, 50, 50, 50, 50, 61] * 9))

    def test_kills_count_apart_and_within_a_minute(self):
        killed = int(signal.SIGKILL)
        self.assertEqual(self.ends([2] * 99, killed), (21, "was killed 21 times within 60 s"))
        self.assertIsNone(self.ends([4] * 99, killed))


class Logs(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = folder.name
        self.printed = b""
        write = logs._write_all

        def keep(descriptor, data):
            if descriptor == 1:
                self.printed += data
            else:
                write(descriptor, data)

        patched = mock.patch.object(logs, "_write_all", keep)
        patched.start()
        self.addCleanup(patched.stop)
        self.log = logs.ProgramLog("app", self.folder)
        self.addCleanup(lambda: os.close(self.log.file))

    def test_whole_lines_with_the_programs_name(self):
        self.log.write(b"one\ntw")
        self.assertEqual(self.printed, b"app | one\n")
        self.log.write(b"o\n")
        self.log.write(b"rest")
        self.log.flush()
        self.assertEqual(self.printed, b"app | one\napp | two\napp | rest\n")

    def test_a_line_without_end_is_passed_on_in_parts(self):
        self.log.write(b"x" * (logs.LONGEST_LINE + 1))
        self.assertEqual(len(self.printed), logs.LONGEST_LINE + 1 + len("app | \n"))

    def test_the_last_words_are_postgresqls_own_where_it_gave_up(self):
        self.assertEqual(self.log.last_words(), "")
        self.log.write(b"Traceback\nValueError: set SHOP_KEY\n\n")
        self.assertEqual(self.log.last_words(), "ValueError: set SHOP_KEY")
        self.log.write(b'2026 [1] user= FATAL:  could not access file "x"\nLOG:  shut down\n')
        self.assertEqual(self.log.last_words(), 'FATAL:  could not access file "x"')
        self.log.begin()
        self.assertEqual(self.log.last_words(), "")

    def test_a_reason_is_no_note(self):
        self.log.write(b"hive: the database cannot be made ready\nhive: note: text\n")
        self.assertEqual(self.log.reason, "the database cannot be made ready")

    def test_files_rotate(self):
        with mock.patch.object(logs, "MAX_BYTES", 10):
            for number in range(9):
                self.log.write(b"line %d\n" % number)
        names = sorted(os.listdir(self.folder))
        self.assertEqual(names, ["app.log", "app.log.1", "app.log.2", "app.log.3"])


class Limits(unittest.TestCase):
    def file(self, text):
        file = tempfile.NamedTemporaryFile("w")  # noqa: SIM115
        self.addCleanup(file.close)
        file.write(text)
        file.flush()
        return file.name

    def with_files(self, **files):
        places = {name: ("/nope", self.file(text)) for name, text in files.items()}
        return mock.patch.multiple(limits, **places)

    def test_too_few_processes(self):
        for text in ("max\n", "25\n", "100\n"):
            with self.with_files(PROCESSES=text):
                limits.inspect()
        with self.with_files(PROCESSES="10\n"), self.assertRaisesRegex(Fatal, "only 10 processes"):
            limits.inspect()

    def test_kills_of_both_versions_of_control_groups(self):
        for text in ("oom 3\noom_kill 2\noom_group_kill 0\n", "under_oom 0\noom_kill 2\n"):
            with self.with_files(KILLS=text):
                self.assertEqual(limits.kills(), 2)

    def test_where_the_memory_went(self):
        with self.with_files(MEMORY="83886080\n"):
            self.assertIn("may use 80 MB", limits.out_of_memory(3))
        for text in ("max\n", "9223372036854771712\n"):
            with self.with_files(MEMORY=text):
                self.assertIn("the machine has none left", limits.out_of_memory(3))


class Ports(unittest.TestCase):
    def test_loopback_is_an_address_and_has_ipv6_only_where_there_is_any(self):
        self.assertEqual(ports.of_postgresql(has_app=True)[0], "127.0.0.1")
        with mock.patch("socket.socket", side_effect=OSError):
            self.assertEqual(ports.of_postgresql(has_app=True), ["127.0.0.1"])
            self.assertEqual(ports.of_postgresql(has_app=False), ["0.0.0.0"])
