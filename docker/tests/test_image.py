"""What the image is, and the environment that its programs get."""

import errno
import json
import os
import tempfile
import unittest

from hive_container import image
from hive_container.image import Fatal

DOCUMENT = {
    "image": "genie",
    "app": {"port": 8000, "health_path": "/health", "import": "main:app"},
    "database": {"name": "hive_genie", "role": "hive"},
}


def spec(environ=None, **changes):
    """An image.json with changes, read."""
    document = json.loads(json.dumps(DOCUMENT))
    for name, value in changes.items():
        part, _, key = name.partition("_")
        document[part][key] = value
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(document, file)
        file.flush()
        return image.load(environ or {}, file.name)


class Load(unittest.TestCase):
    def test_the_port_moves(self):
        self.assertEqual(spec().port, 8000)
        self.assertEqual(spec({"HIVE_API_PORT": "40001"}).port, 40001)
        for port in ("http", "0", "65536", "5432", "tcp://10.43.0.1:38886"):
            with self.assertRaisesRegex(Fatal, "HIVE_API_PORT is"):
                spec({"HIVE_API_PORT": port})

    def test_a_database_alone_has_no_port_that_moves(self):
        document = DOCUMENT | {"app": None}
        with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
            json.dump(document, file)
            file.flush()
            given = {"HIVE_API_PORT": "http", "HIVE_METRICS_PORT": "9187"}
            alone = image.load(given, file.name)
            self.assertEqual((alone.has_app, alone.port, alone.metrics_port), (False, None, 9187))
            self.assertEqual(image.placeholders(alone, "p")["port"], "")
            with self.assertRaisesRegex(Fatal, "which is PostgreSQL's$"):
                image.load({"HIVE_METRICS_PORT": "5432"}, file.name)
        self.assertTrue(spec().has_app)

    def test_names_that_are_the_superusers(self):
        for changes in (
            {"database_role": "postgres"},
            {"database_name": "postgres"},
            {"database_name": "template1"},
            {"database_role": "a\nb"},
        ):
            with self.assertRaises(Fatal):
                spec(**changes)


class Text(unittest.TestCase):
    def test_placeholders(self):
        values = image.placeholders(spec(), "p@ss")
        self.assertEqual(
            image.fill("{database_url}?{{x}}", values),
            "postgresql://hive:p%40ss@127.0.0.1:5432/hive_genie?{x}",
        )
        with self.assertRaisesRegex(Fatal, "unknown placeholder '{nope}'"):
            image.fill("{nope}", values)

    def test_a_url_for_each_driver(self):
        values = image.placeholders(spec(), "p")
        rest = "hive:p@127.0.0.1:5432/hive_genie"
        for name, scheme in (
            ("database_url:asyncpg", "postgresql+asyncpg://"),
            ("database_url:postgis://", "postgis://"),
        ):
            self.assertEqual(image.fill(f"{{{name}}}", values), scheme + rest)
        for name in ("database_url:", "port:x", ""):
            with self.assertRaisesRegex(Fatal, "unknown placeholder"):
                image.fill(f"{{{name}}}" if name else "{", values)

    def test_sql_and_password_files(self):
        self.assertEqual(image.identifier('a"b'), '"a""b"')
        self.assertEqual(image.literal("o'n\\e"), " E'o''n\\\\e'")
        self.assertEqual(image.pgpass_line("a:b", "c\\d"), "*:*:*:a\\:b:c\\\\d\n")

    def test_a_reason_is_one_line(self):
        self.assertEqual(str(Fatal("a \n b\nc", "d")), "a b c; hint: d")

    def test_what_the_system_refuses_is_told_with_its_place(self):
        full = OSError(errno.ENOSPC, "No space left on device", "/run/hive/x")
        self.assertEqual(
            str(image.in_words(full)), "/run/hive/x: No space left on device; hint: make room there"
        )
        few = image.in_words(OSError(errno.EAGAIN, "Resource temporarily unavailable"))
        self.assertIn("--pids-limit", str(few))


class Environment(unittest.TestCase):
    def test_libpqs_variables_do_not_reach_the_app(self):
        led = [
            *("PGHOST", "PGHOSTADDR", "PGPORT", "PGUSER", "PGPASSWORD", "PGPASSFILE"),
            *("PGSERVICE", "PGSERVICEFILE", "PGREQUIREAUTH", "PGCHANNELBINDING"),
            *("PGSSLMODE", "PGSSLCERTMODE", "PGSSLMINPROTOCOLVERSION", "PGGSSDELEGATION"),
            *("PGTARGETSESSIONATTRS", "PGMINPROTOCOLVERSION"),
        ]
        kept = [
            *("PGOPTIONS", "PGTZ", "PGAPPNAME", "PGDATESTYLE"),
            *("PGBOUNCER_URL", "PGUSERS", "PG_POOL", "HOME"),
        ]
        environ = dict.fromkeys(led + kept, "x")
        self.assertEqual(list(image.without_connection(environ)), kept)

    def app(self, environment, given=()):
        one = spec(app_environment=environment)
        given = image.OF_THE_IMAGE | {"HOME": "/"} | dict(given)
        return image.app_environment(one, image.placeholders(one, "p@"), given)

    def test_who_runs_it_wins_over_the_spec(self):
        environment = self.app({"A": "spec", "B": "{port}"}, {"A": "given", "PGDATA": "x"})
        self.assertEqual((environment["A"], environment["B"]), ("given", "8000"))
        self.assertNotIn("PGDATA", environment)

    def test_the_spec_wins_over_what_the_image_has_by_itself(self):
        wanted = {
            "PATH": "/app/bin",
            "LANG": "C",
            "HOME": "/app",
            "PYTHONSAFEPATH": "",
            "DATABASE_URL": "sqlite://",
            "PGHOST": "db.example",
            "PGSERVICE": "mine",
        }
        environment = self.app(wanted)
        self.assertEqual({name: environment[name] for name in wanted}, wanted)
        given = {"LANG": "tr_TR", "HOME": "/data", "PATH": "/x"}
        environment = self.app(wanted, given)
        self.assertEqual({name: environment[name] for name in given}, given)

    def test_the_database_is_not_led_elsewhere_from_outside(self):
        given = {"DATABASE_URL": "elsewhere", "PGHOST": "db", "PGPASSWORD": "x", "PGTZ": "UTC"}
        environment = self.app({}, given)
        url = "postgresql://hive:p%40@127.0.0.1:5432/hive_genie"
        self.assertEqual(environment["DATABASE_URL"], url)
        self.assertEqual(environment["PGHOST"], "127.0.0.1")
        note = image.not_used(given | image.OF_THE_IMAGE)
        self.assertTrue(note.startswith("not used: DATABASE_URL, PGHOST, PGPASSWORD;"), note)
        self.assertIsNone(image.not_used(image.OF_THE_IMAGE | {"PGTZ": "UTC", "PGHOST": ""}))

    def test_what_the_image_sets_is_what_its_stage_says(self):
        here = os.path.dirname(__file__)
        with open(f"{here}/../../images/genie/Dockerfile", encoding="utf-8") as file:
            text = file.read().replace("\\\n", " ")
        line = [line for line in text.split("\n") if line.startswith("ENV ")][-1]
        said = dict(word.split("=", 1) for word in line.split()[1:])
        # These two have a meaning of their own.
        for name in ("HIVE_SERVICE_MODE", "HIVE_API_PORT"):
            del said[name]
        self.assertEqual(said, image.OF_THE_IMAGE)

    def test_postgresql_gets_none_of_it(self):
        environ = {"LD_PRELOAD": "x", "PGDATESTYLE": "y", "LC_ALL": "z", "HOME": "/home/hive"}
        environment = image.server_environment(environ)
        self.assertEqual(sorted(environment), ["HOME", "LANG", "PATH"])


class Passwords(unittest.TestCase):
    def read(self, content):
        with tempfile.NamedTemporaryFile() as file:
            file.write(content)
            file.flush()
            return image.read_password({"HIVE_DATABASE_PASSWORD_FILE": file.name})

    def test_one_line_with_any_end(self):
        for content in (b"secret", b"secret\n", b"secret\r\n"):
            self.assertEqual(self.read(content), "secret")
        self.assertEqual(self.read(b" a b \n"), " a b ")

    def test_what_is_no_password(self):
        for content, why in (
            (b"", "one line that is not empty"),
            (b"a\nb\n", "one line that is not empty"),
            (b"\xff\xfe", "not UTF-8"),
            (b"SCRAM-SHA-256$4096:x", "holds a hash"),
        ):
            with self.assertRaisesRegex(Fatal, why):
                self.read(content)
        with self.assertRaisesRegex(Fatal, "in the environment is seen"):
            image.read_password({"HIVE_DATABASE_PASSWORD": "x"})


class Files(unittest.TestCase):
    def test_a_private_file_is_whole_or_not_there(self):
        with tempfile.TemporaryDirectory() as folder:
            path = f"{folder}/one"
            image.write_private(path, "text", durable=True)
            self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
            self.assertEqual(os.listdir(folder), ["one"])
