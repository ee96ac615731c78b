"""How long the health check waits for what starts."""

import contextlib
import os
import pathlib
import socket
import subprocess
import tempfile
import threading
import time
import unittest

HEALTHCHECK = pathlib.Path(__file__).parents[1] / "rootfs/usr/local/lib/hive/healthcheck"
PSQL = "/usr/lib/postgresql/current/bin/psql"
VOLUME = "/var/lib/postgresql/data"


class AfterAMigration(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.run = pathlib.Path(folder.name)
        # Bound from here on, so that nobody else gets the port; until it listens, a connection to
        # it is refused.
        self.server = socket.socket()
        self.addCleanup(self.server.close)
        self.server.bind(("127.0.0.1", 0))
        self.port = self.server.getsockname()[1]
        text = HEALTHCHECK.read_text()
        self.mark = self.run / "volume/hive/was-healthy"
        ours_of = {
            "/run/hive": folder.name,
            PSQL: "echo 1; :",
            VOLUME: str(self.run / "volume"),
        }
        for place, ours in ours_of.items():
            self.assertIn(place, text)
            text = text.replace(place, ours)
        self.script = self.run / "healthcheck"
        self.script.write_text(text)
        self.script.chmod(0o755)
        (self.run / "image.sh").write_text(f"HIVE_PORT={self.port} HIVE_HEALTH_PATH=/health\n")
        (self.run / "database-ready").touch()
        # So that one look does not wait by itself.
        (self.run / "was-healthy").touch()
        (self.run / "before-start").touch()

    def check(self, waited: int) -> subprocess.CompletedProcess:
        """The check's answer, after a migration that took so many seconds; the app starts 1.5 s
        after it."""

        over = threading.Event()

        def start():
            (self.run / "before-start").unlink()
            time.sleep(1.5)
            self.server.settimeout(0.1)
            self.server.listen()
            # To the end of the check: on a busy machine its first look may come late, or give up.
            while not over.is_set():
                try:
                    connection, _ = self.server.accept()
                except TimeoutError:
                    continue
                # One that gave up has nobody to read the answer.
                with connection, contextlib.suppress(ConnectionError):
                    self.asked = connection.recv(4096)
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

        app = threading.Thread(target=start)
        app.start()
        # Bash goes on counting from there.
        environment = {"PATH": os.environ["PATH"], "SECONDS": str(waited)}
        done = subprocess.run(
            [self.script], env=environment, capture_output=True, text=True, check=False
        )
        over.set()
        app.join()
        return done

    def test_what_the_container_goes_on_without_is_told(self):
        (self.run / "without").write_text("worker ended 6 times in a row")
        done = self.check(waited=60)
        said = "healthy, without worker ended 6 times in a row\n"
        self.assertEqual((done.returncode, done.stdout), (0, said), done)
        # An app that sends everybody to HTTPS has to take it for what a proxy has ended.
        self.assertIn(b"\r\nX-Forwarded-Proto: https\r\n", self.asked)

    def test_without_a_health_path_an_error_of_the_server_is_no_answer(self):
        (self.run / "image.sh").write_text(f"HIVE_PORT={self.port} HIVE_HEALTH_PATH=\n")
        (self.run / "before-start").unlink()
        self.server.listen()

        def answer(status):
            connection, _ = self.server.accept()
            with connection:
                self.asked = b""
                # The shell writes line by line, and is ended where nobody reads the last one.
                while not self.asked.endswith(b"\r\n\r\n"):
                    self.asked += connection.recv(4096)
                connection.sendall(f"HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n".encode())

        # Somebody is there who has no such route, wants a login, leads elsewhere. What answers
        # everything by 500 is an app that its server cannot run.
        good = ["200 OK", "302 Found", "401 Unauthorized", "404 Not Found", "405 No"]
        for status in [*good, "500 Internal Server Error", "503 No"]:
            with self.subTest(status):
                app = threading.Thread(target=answer, args=(status,))
                app.start()
                done = subprocess.run(
                    [self.script, "once"], capture_output=True, text=True, check=False
                )
                app.join()
                self.assertTrue(self.asked.startswith(b"GET / HTTP/1.1\r\n"), self.asked)
                code = status.partition(" ")[0]
                said = "healthy" if status in good else f"unhealthy: app: / answered {code}"
                self.assertEqual(done.stdout, f"{said}\n")
                self.assertEqual(done.returncode == 0, status in good)

    def test_the_volume_knows_that_the_service_was_healthy(self):
        def said():
            return subprocess.run([self.script], capture_output=True, text=True, check=False).stdout

        (self.run / "image.sh").write_text("HIVE_PORT= HIVE_HEALTH_PATH=\n")
        (self.run / "before-start").unlink()
        self.assertEqual(said(), "healthy\n")
        self.assertFalse(self.mark.exists(), "an app alone has no volume of ours")
        self.mark.parent.mkdir(parents=True)
        (self.run / "database-ready").unlink()
        self.assertIn("unhealthy: ", said())
        self.assertFalse(self.mark.exists())
        (self.run / "database-ready").touch()
        # An operation takes it away: the container was healthy before, and is so again.
        for _ in range(2):
            self.assertEqual(said(), "healthy\n")
            self.assertEqual(self.mark.stat().st_mode & 0o777, 0o600)
            self.mark.unlink()

    def test_a_database_alone_is_asked_nothing_but_sql(self):
        (self.run / "image.sh").write_text("HIVE_PORT= HIVE_HEALTH_PATH=\n")
        done = self.check(waited=1)
        self.assertEqual((done.returncode, done.stdout), (0, "healthy\n"), done)

    def test_an_app_has_time_to_start_after_a_long_one(self):
        done = self.check(waited=900)
        self.assertEqual((done.returncode, done.stdout), (0, "healthy\n"), done)

    def test_an_app_has_time_to_start_where_a_part_of_the_start_period_is_used_up(self):
        done = self.check(waited=6)
        self.assertEqual((done.returncode, done.stdout), (0, "healthy\n"), done)

    def test_it_is_held_for_as_long_as_the_start_period_has_lost(self):
        (self.run / "before-start").unlink()
        environment = {"PATH": os.environ["PATH"], "SECONDS": "5"}
        for words, least, most in (((), 4, 30), (("once",), 0, 4)):
            began = time.monotonic()
            done = subprocess.run(
                [self.script, *words],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            took = time.monotonic() - began
            self.assertEqual(done.returncode, 1, done)
            self.assertIn("unhealthy: app: nothing listens", done.stdout)
            self.assertTrue(least <= took <= most, (words, took))

    def test_and_fails_at_once_after_a_short_one(self):
        done = self.check(waited=1)
        self.assertEqual(done.returncode, 1, done)
        self.assertIn("nothing listens", done.stdout)
