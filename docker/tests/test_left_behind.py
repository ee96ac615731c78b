"""Who is found when a program has ended, and how it ends."""

import os
import subprocess
import sys
import time
import unittest
from unittest import mock

from hive_container import left_behind

#: In a session of its own, as a daemon is: says its PID, and then that it listens.
DAEMON = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, {answer})
print(os.getpid(), flush=True)
while True:
    time.sleep(0.05)
"""


class LeftBehind(unittest.TestCase):
    def daemon(self, answer, **environment):
        """Starts one below this process, which stands for PID 1."""
        process = subprocess.Popen(
            [sys.executable, "-c", DAEMON.format(answer=answer)],
            stdout=subprocess.PIPE,
            start_new_session=True,
            env=os.environ | environment,
        )
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        process.stdout.readline()
        return process

    def known(self, *daemons):
        """All that lives here, but for these."""
        ours = {one.pid for one in daemons}
        return {int(entry) for entry in os.listdir("/proc") if entry.isdecimal()} - ours

    def test_who_listens_is_asked_and_who_does_not_is_killed(self):
        polite = self.daemon("lambda *_: sys.exit(0)")
        stubborn = self.daemon("signal.SIG_IGN")
        known = self.known(polite, stubborn)
        found = left_behind.found(known)
        self.assertEqual({one.pid for one in found}, {polite.pid, stubborn.pid})
        self.assertIn(f"({polite.pid})", str(found[0]) + str(found[1]))
        began = time.monotonic()
        asked, killed = left_behind.end(known, grace=0.5)
        self.assertLess(time.monotonic() - began, 5)
        self.assertEqual({one.pid for one in asked}, {polite.pid, stubborn.pid})
        self.assertEqual([one.pid for one in killed], [stubborn.pid])
        self.assertEqual((polite.wait(), stubborn.wait()), (0, -9))

    def test_groups_of_programs_and_the_databases_processes_are_none(self):
        daemon = self.daemon("signal.SIG_IGN")
        self.assertEqual(left_behind.found(self.known(daemon) | {os.getpgid(daemon.pid)}), [])
        known = self.known(daemon)
        with mock.patch.object(left_behind, "DATABASE", left_behind.found(known)[0].name):
            self.assertEqual(left_behind.found(known), [])

    def test_a_program_is_told_of_what_it_started_itself(self):
        known_program = self.daemon("signal.SIG_IGN", SUPERVISOR_PROCESS_NAME="worker")
        by_hand = self.daemon("signal.SIG_IGN")
        found = left_behind.found(self.known(known_program, by_hand))
        of_worker = [one.pid for one in found if one.may_be_of("worker")]
        self.assertEqual(of_worker, [known_program.pid])
        self.assertEqual([one.pid for one in found if one.may_be_of("app")], [])

    def test_where_nobody_is_left_there_is_nothing_to_wait_for(self):
        self.assertEqual(left_behind.end(self.known()), ([], []))
