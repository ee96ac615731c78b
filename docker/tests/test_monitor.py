"""When the monitor restarts the app."""

import os
import pathlib
import subprocess
import tempfile
import unittest

MONITOR = pathlib.Path(__file__).parents[1] / "rootfs/usr/local/lib/hive/health-monitor"
SILENT = "unhealthy: app: no answer on /health within 3 s"


class Restarts(unittest.TestCase):
    #: What makes the database ready where there is no app.
    makes_ready = "echo ready"

    def told(
        self, answers: list[str], *, after: int = 2, started: bool = False, port: str = "8000"
    ) -> list[str]:
        """What the monitor says of these answers of the health check, and each restart as it was
        asked for."""
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        run = pathlib.Path(folder.name)
        text = MONITOR.read_text()
        for place, ours in (
            ("/usr/local/lib/hive", folder.name),
            ("/run/hive", folder.name),
            ("pause=10", "pause=0.001"),
            ("pause=1\n", "pause=0.002\n"),
            ("$pause == 1 ", "$pause == 0.002 "),
            ("well=60", "well=3"),
        ):
            self.assertIn(place, text)
            text = text.replace(place, ours)
        (run / "image.sh").write_text(f"HIVE_RESTART_AFTER={after} HIVE_PORT={port}\n")
        (run / "answers").write_text("\n".join(answers) + "\n")
        if not started:
            (run / "was-healthy").touch()
        # The monitor ends where there are no more answers.
        check = f"""\
            IFS= read -r answer < {run}/answers
            [[ -s {run}/answers ]] || {{ kill "$MONITOR"; exit; }}
            sed -i 1d {run}/answers
            [[ ${{1-}} != once ]] || echo "$answer"
        """
        scripts = {
            "healthcheck": check,
            "supervisorctl": f'echo "-> $*" >> {run}/log',
            "make-ready": self.makes_ready,
        }
        for name, script in scripts.items():
            (run / name).write_text(f"#!/bin/bash\n{script}\n")
            (run / name).chmod(0o755)
        (run / "monitor").write_text(text.replace("set -u", "set -u; export MONITOR=$$", 1))
        with open(run / "log", "a", encoding="utf-8") as log:
            command = ["bash", run / "monitor"]
            subprocess.run(command, stdout=log, env={"PATH": os.environ["PATH"]}, check=False)
        return (run / "log").read_text().splitlines()

    def restarts(self, answers: list[str], **options) -> int:
        return self.told(answers, **options).count("-> restart app")

    def test_after_so_many_in_a_row(self):
        self.assertEqual(self.restarts(["healthy", SILENT, "healthy", SILENT]), 0)
        told = self.told(["healthy", SILENT, SILENT, "healthy"])
        self.assertEqual(
            told,
            [
                "healthy",
                SILENT,
                "the app gave no answer 2 times in a row: restarting it (1 of 3)",
                "-> restart app",
                "healthy",
            ],
        )

    def test_only_where_the_app_gives_no_answer(self):
        for other in (
            "unhealthy: database: timeout expired",
            "unhealthy: no answer within 5 s",
            "unhealthy: app: nothing listens on port 8000",
            "unhealthy: app: /health answered 503",
        ):
            self.assertEqual(self.restarts([SILENT, other, SILENT, other] * 3), 0, other)

    def test_never_where_the_spec_says_so_nor_before_it_was_healthy(self):
        self.assertEqual(self.restarts([SILENT] * 9, after=0), 0)
        self.assertEqual(self.restarts([SILENT] * 9, started=True), 0)

    def test_a_restart_that_does_not_help_is_not_tried_for_ever(self):
        self.assertEqual(self.restarts(["healthy", SILENT, SILENT] * 9), 3)
        # Three healthy looks are a good while here.
        well = ["healthy"] * 3
        self.assertEqual(self.restarts([SILENT, SILENT, *well] * 9), 9)

    def test_a_database_alone_is_made_ready_first(self):
        self.assertEqual(self.told(["healthy"], port=""), ["ready", "healthy"])
        self.assertEqual(self.told(["healthy"]), ["healthy"])
        self.makes_ready = "echo no; exit 78"
        self.assertEqual(self.told(["healthy"], port=""), ["no"])
