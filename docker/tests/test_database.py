"""What the start makes of the server's answers, and the steps for extensions."""

import base64
import contextlib
import io
import json
import tempfile
import unittest
from unittest import mock

from hive_container import database, extensions
from hive_container.image import Fatal


def said(what, *arguments):
    """What a function printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        what(*arguments)
    return printed.getvalue()


class Answers(unittest.TestCase):
    def test_a_name_with_line_ends_is_no_row_of_its_own(self):
        name = 'x\n["lost", "everything"]'
        rows = database.rows(json.dumps(["moved", name]))
        self.assertEqual(rows, [["moved", name]])
        database.refuse_lost(rows)
        self.assertEqual(said(database.tell_moved, rows).count("\n"), 1)

    def test_what_is_lost_is_named(self):
        lost = [["lost", f"t{number}"] for number in range(5)]
        with self.assertRaisesRegex(Fatal, "no file of t0, t1, t2 and 2 more; hint: restore"):
            database.refuse_lost(lost)

    def test_more_notes_of_one_kind_are_counted(self):
        lines = said(database.tell_moved, [["moved", f"c{number}"] for number in range(20)])
        self.assertEqual(lines.count("\n"), database.MOST_NOTES + 1)
        self.assertIn("15 more indexes", lines)

    def test_only_what_keeps_everybody_out_is_taken_back(self):
        rows = [
            ["open", "ALTER DATABASE d ALLOW_CONNECTIONS true"],
            ["given", "statement_timeout", "1", "ALTER ROLE r RESET statement_timeout"],
            ["given", "search_path", "mine", "ALTER ROLE r RESET search_path"],
        ]
        with mock.patch.object(database, "as_superuser") as asked:
            lines = said(database.open_up, rows)
        self.assertEqual(
            [call.args for call in asked.mock_calls],
            [
                ("ALTER DATABASE d ALLOW_CONNECTIONS true;", "postgres"),
                ("ALTER ROLE r RESET statement_timeout;", "postgres"),
            ],
        )
        self.assertEqual(lines.count("hive: note: "), 2)

    def test_ours_win_over_the_settings_of_the_database(self):
        given = {"search_path": "evil", "DateStyle": "ISO, MDY"}
        with (
            mock.patch.object(database, "major_version", return_value=17),
            mock.patch.object(database, "psql") as psql,
        ):
            database.as_superuser("SELECT 1", "d", given)
        options = psql.call_args.args[-1]
        self.assertEqual(options["search_path"], "pg_catalog,pg_temp")
        self.assertEqual(options["DateStyle"], "ISO, MDY")


class Passwords(unittest.TestCase):
    def test_what_is_kept_of_one_is_what_the_standard_says(self):
        # RFC 7677, 3.
        self.assertEqual(
            database.verifier("pencil", base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")),
            "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
            ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=",
        )
        self.assertNotEqual(database.verifier("pencil"), database.verifier("pencil"))

    def test_no_statement_has_it(self):
        spec = mock.Mock(role="app", database="app")
        with tempfile.NamedTemporaryFile("w", suffix=".pgpass") as passfile:
            passfile.write("*:*:*:hive_metrics:of-metrics\n")
            passfile.flush()
            with mock.patch.object(database, "METRICS_PASSFILE", passfile.name):
                sql = database.role_and_database(spec, "pla'in") + database.metrics_role(True)
        self.assertEqual(sql.count("PASSWORD  E'SCRAM-SHA-256$4096:"), 2)
        self.assertNotRegex(sql, "pla.*in'|of-metrics")
        # The server is the one that knows other forms of it, and nobody keeps the statement.
        sql = database.role_and_database(spec, "straße")
        unseen, given = sql.index("track_utility = off"), sql.index("straße")
        self.assertLess(unseen, given)


class Server:
    """Answers what it was given, and keeps what it was asked."""

    database = "app"

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    def ask(self, sql, database=None):
        self.asked.append((sql, database))
        answer = self.answers.pop(0) if self.answers else ""
        if isinstance(answer, Exception):
            raise answer
        return answer


def prospects(**wanted):
    values = {
        "trusted": False,
        "movable": True,
        "settled": False,
        "way": True,
        "occupied": True,
        "callable": True,
    }
    return json.dumps(list((values | wanted).values()))


class Extensions(unittest.TestCase):
    def setUp(self):
        patched = mock.patch.object(extensions, "shipped_version", return_value="2")
        patched.start()
        self.addCleanup(patched.stop)

    def steps(self, ahead):
        server = Server(ahead)
        said(extensions.make, server, "vector")
        return server.asked[1][0] if len(server.asked) > 1 else None

    def test_a_script_runs_where_nobody_else_makes_anything(self):
        steps = self.steps(prospects())
        aside = steps.index("CREATE SCHEMA hive_")
        made = steps.index('CREATE EXTENSION "vector" SCHEMA hive_')
        moved = steps.index('ALTER EXTENSION "vector" SET SCHEMA public')
        gone = steps.index("DROP SCHEMA hive_")
        self.assertTrue(aside < made < moved < gone < steps.index("COMMIT"))

    def test_it_goes_where_it_belongs_when_nothing_is_in_its_way(self):
        for ahead in (prospects(callable=False), prospects(trusted=True)):
            steps = self.steps(ahead)
            self.assertIn('CREATE EXTENSION "vector" SCHEMA public', steps)
            self.assertNotIn("hive_", steps)
        settled = self.steps(prospects(callable=False, settled=True))
        self.assertIn('CREATE EXTENSION "vector";', settled)

    def test_one_that_cannot_move_is_left_to_a_person(self):
        self.assertIsNone(self.steps(prospects(movable=False)))

    def test_the_app_can_be_in_the_way_and_stops_nothing(self):
        server = Server(prospects(), Fatal('type "vector" already exists'))
        self.assertIn("already exists", said(extensions.make, server, "vector"))
        new = Server(prospects(occupied=False, callable=False), Fatal("broken"))
        with self.assertRaisesRegex(Fatal, "broken"):
            extensions.make(new, "vector")
        with self.assertRaisesRegex(Fatal, "does not have the extension 'nope'"):
            extensions.make(Server(""), "nope")

    def update(self, row, *answers):
        server = Server(json.dumps(row), *answers)
        return server, said(extensions.update, server, "vector", "app")

    def test_an_update_goes_aside_and_comes_back(self):
        row = ["extension", "vector", "1", "other", "postgres", True, False]
        server, lines = self.update(row, prospects())
        steps = server.asked[2][0]
        self.assertRegex(steps, r'SET SCHEMA hive_\w+;\nALTER EXTENSION "vector" UPDATE;\n')
        self.assertIn('SET SCHEMA "other"', steps)
        self.assertIn("from 1 to 2", lines)

    def test_an_extension_of_the_apps_is_the_apps_to_update(self):
        row = ["extension", "vector", "1", "public", "hive", False, False]
        server, lines = self.update(row, prospects())
        self.assertEqual(len(server.asked), 2)
        self.assertIn("is for its owner, 'hive'", lines)

    def test_no_way_back(self):
        row = ["extension", "vector", "3", "public", "postgres", True, False]
        _, lines = self.update(row, prospects(way=False))
        self.assertIn("there is no ALTER EXTENSION", lines)

    def test_what_pg_dump_leaves_out_is_mended_in_every_database_the_apps_last(self):
        row = ["extension", "vector", "2", "public", "postgres", True, True]
        server = Server('"template1"\n"app"')
        said(extensions.ensure, server, ["vector"], [row])
        self.assertEqual([name for _, name in server.asked[1:]], ["template1", "app"])
        self.assertIn("pg_nextoid", server.asked[1][0])
        again = Server()
        extensions.ensure(again, ["vector"], [[*row[:-1], False]])
        self.assertEqual(again.asked, [])
