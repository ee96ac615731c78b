"""Where the database of an app alone is, and how long is waited for it."""

import contextlib
import io
import pathlib
import subprocess
import tempfile
import unittest
from unittest import mock

from hive_container import elsewhere, image, kept
from hive_container.image import Fatal
from test_image import spec

FILE = "HIVE_DATABASE_PASSWORD_FILE"


def app_alone(**changes):
    return spec(database_elsewhere="postgres", **changes)


class Given(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        path = pathlib.Path(folder.name) / "password"
        path.write_text("p@ss\n")
        self.password = {FILE: str(path)}

    def of(self, environ, **changes):
        return elsewhere.of(app_alone(**changes), self.password | environ)

    def test_nothing_but_a_password_has_to_be_said(self):
        place = self.of({})
        self.assertEqual(str(place), "postgres:5432")
        self.assertEqual((place.database, place.role), ("hive_genie", "hive"))
        url = "postgresql://hive:p%40ss@postgres:5432/hive_genie"
        values = elsewhere.placeholders(app_alone(), place)
        self.assertEqual(values["database_url"], url)
        self.assertEqual(values["port"], "8000")
        with self.assertRaisesRegex(Fatal, "no password for the database at postgres:5432"):
            elsewhere.of(app_alone(), {})
        self.assertIsNone(elsewhere.of(app_alone(), {}, starts=False).password)

    def test_host_and_port(self):
        place = self.of({"HIVE_DATABASE_HOST": "db.example", "HIVE_DATABASE_PORT": "6432"})
        self.assertEqual(str(place), "db.example:6432")
        for port in ("http", "0", "65536", "-1"):
            with self.assertRaisesRegex(Fatal, "HIVE_DATABASE_PORT is"):
                self.of({"HIVE_DATABASE_PORT": port})

    def test_a_url_says_all_of_it_and_the_spec_the_rest(self):
        url = "postgresql+psycopg://o%2Fne@[::1]:6432/other?sslmode=require"
        place = self.of({"HIVE_DATABASE_URL": url})
        self.assertEqual((place.host, place.port, place.role), ("::1", 6432, "o/ne"))
        values = elsewhere.placeholders(app_alone(), place)
        self.assertEqual(
            values["database_url"],
            "postgresql://o%2Fne:p%40ss@[::1]:6432/other?sslmode=require",
        )
        ways = image.connection(values)
        self.assertEqual((ways["PGHOST"], ways["PGSSLMODE"]), ("::1", "require"))
        services = image.services(app_alone(), ways, None, None)
        for line in ("host=::1", "dbname=other", "sslmode=require", f"passfile={image.PASSFILE}"):
            self.assertIn(line, services.splitlines())
        self.assertNotIn("superuser", services)
        place = self.of({"HIVE_DATABASE_URL": "postgres://db"})
        self.assertEqual(str(place), "db:5432")
        self.assertEqual((place.database, place.role), ("hive_genie", "hive"))

    def test_a_password_in_a_url_is_for_files_and_is_never_told(self):
        url = "postgresql://hive:s3cret@db/x"
        with self.assertRaisesRegex(Fatal, "is seen by everyone") as told:
            self.of({"HIVE_DATABASE_URL": url})
        self.assertNotIn("s3cret", str(told.exception))
        with tempfile.NamedTemporaryFile("w") as file:
            file.write(url)
            file.flush()
            place = elsewhere.of(app_alone(), {"HIVE_DATABASE_URL_FILE": file.name})
        self.assertEqual(place.password, "s3cret")

    def test_what_is_no_url_is_refused_without_its_words(self):
        for text in (
            *("mysql://hive:s3cret@db", "postgresql://", "postgresql://hive:s3c#ret@db"),
            *("postgresql://db:port", "postgresql://[::1", "postgresql://one,two/x", "s3cret"),
        ):
            with self.assertRaisesRegex(Fatal, "HIVE_DATABASE_URL is no URL") as told:
                self.of({"HIVE_DATABASE_URL": text})
            self.assertNotIn("s3c", str(told.exception))
        for text, why in (
            ("postgresql://db/x?options=-c", "has options after its `\\?`"),
            ("postgresql://db/x%0Ahost=evil", "has a control character"),
        ):
            with self.assertRaisesRegex(Fatal, why):
                self.of({"HIVE_DATABASE_URL": text})

    def test_two_ways_at_once_are_none(self):
        given = {"HIVE_DATABASE_URL": "postgresql://db", "HIVE_DATABASE_HOST": "other"}
        with self.assertRaisesRegex(Fatal, "HIVE_DATABASE_URL and HIVE_DATABASE_HOST say"):
            self.of(given)

    def test_the_app_is_told_where_it_is_and_not_how_that_was_said(self):
        one = app_alone()
        environ = {"HIVE_DATABASE_HOST": "db", "HIVE_DATABASE_WAIT": "5", "PGHOST": "no"}
        values = elsewhere.placeholders(one, self.of(environ))
        environment = image.app_environment(one, values, self.password | environ)
        self.assertEqual(environment["PGHOST"], "db")
        for name in (FILE, "HIVE_DATABASE_HOST", "HIVE_DATABASE_WAIT"):
            self.assertNotIn(name, environment)
        note = image.not_used(environ | {"HIVE_DATABASE_URL": "postgresql://db"}, "db:5432")
        self.assertTrue(note.startswith("not used: PGHOST; the app's database is the one at db:5"))

    def test_metrics_are_those_of_a_database(self):
        with self.assertRaisesRegex(Fatal, "HIVE_METRICS_PORT is set, and metrics are those"):
            spec({"HIVE_METRICS_PORT": "9187"}, database_elsewhere="postgres")


class Secrets(unittest.TestCase):
    def test_each_has_to_be_given_where_nothing_is_kept(self):
        one = app_alone(app_environment={"A": "{secret:A_KEY} {secret:B_KEY} {secret:C_KEY}"})
        with tempfile.NamedTemporaryFile("w") as file:
            file.write("of-a-file")
            file.flush()
            given = {"B_KEY": "of-a-variable", "A_KEY_FILE": file.name}
            with self.assertRaisesRegex(Fatal, "nobody gives the secret C_KEY, and"):
                kept.values(one, given)
            values = kept.values(one, given | {"C_KEY": "x"})
        self.assertEqual(values["secret:A_KEY"], "of-a-file")
        self.assertEqual(values["secret:B_KEY"], "of-a-variable")
        # Nothing is started in a build.
        self.assertTrue(kept.values(one, {}, started=False)["secret:C_KEY"])


VALUES = {"database_host": "db", "database_port": "5432", "database_name": "x"}


class Wait(unittest.TestCase):
    def waited(self, stderr, limit=1):
        """What is raised when each try ends with this, and what was printed."""
        done = subprocess.CompletedProcess([], 2, "", stderr)
        told = io.StringIO()
        with (
            mock.patch.object(elsewhere, "ask", return_value=done),
            contextlib.redirect_stdout(told),
            self.assertRaises(Fatal) as raised,
        ):
            elsewhere.wait(VALUES, limit)
        return raised.exception, told.getvalue()

    def test_a_server_that_is_not_there_may_come(self):
        said = (
            'psql: error: connection to server at "db" (10.0.0.2), port 5432 failed:'
            " Connection refused\n\tIs the server running on that host?\n"
        )
        error, told = self.waited(said)
        self.assertEqual(error.status, 75)
        self.assertIn("no answer from the database at db:5432 within 1 s: Connection", str(error))
        self.assertTrue(
            told.startswith("waiting for the database at db:5432, 1 s more: Conn"), told
        )

    def test_one_that_refuses_is_told_as_such(self):
        server = 'psql: error: connection to server at "db" (10.0.0.2), port 5432 failed: FATAL:  '
        for said, what in (
            (server + 'password authentication failed for user "hive"', "password authent"),
            (
                server + 'database "x" does not exist\npassword retrieved from file "y"',
                'database "x"',
            ),
            ('psql: error: could not translate host name "db" to address: x', "could not transl"),
        ):
            error, _ = self.waited(said)
            self.assertEqual(error.status, 78, said)
            self.assertIn(f"the database at db:5432 cannot be used: {what}", str(error))
        for said in ("the database system is starting up", "sorry, too many clients already"):
            self.assertEqual(self.waited(server + said)[0].status, 75, said)

    def test_a_certificate_that_nobody_vouches_for_is_no_matter_of_passwords(self):
        for why in (
            'root certificate file "/home/hive/.postgresql/root.crt" does not exist',
            "SSL error: certificate verify failed",
            'server certificate for "db" does not match host name "10.0.0.1"',
        ):
            error = elsewhere.gave_up("db:5432", why, 2)
            self.assertNotIsInstance(error, elsewhere.Absent)
            self.assertIn("sslrootcert=/run/secrets/NAME", str(error))
        error = elsewhere.gave_up("db:5432", 'password authentication failed for user "hive"', 2)
        self.assertIn("with which password", str(error))

    def test_the_limit(self):
        self.assertEqual(elsewhere.seconds_to_wait({}), 60)
        self.assertEqual(elsewhere.seconds_to_wait({"HIVE_DATABASE_WAIT": "5"}), 5)
        for text in ("0", "3601", "x", "-1"):
            with self.assertRaisesRegex(Fatal, "HIVE_DATABASE_WAIT is"):
                elsewhere.seconds_to_wait({"HIVE_DATABASE_WAIT": text})

    def test_an_extension_that_is_not_there_is_named(self):
        one = app_alone(database_extensions=["vector", "pg_trgm"])
        done = subprocess.CompletedProcess([], 0, "plpgsql\nvector\n", "")
        with (
            mock.patch.object(elsewhere, "ask", return_value=done),
            self.assertRaisesRegex(Fatal, "'x' at db:5432 has no extension pg_trgm; hint: CREATE"),
        ):
            elsewhere.inspect(one, VALUES)
