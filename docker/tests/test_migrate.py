"""What a migration makes of dumps and of the files of its source."""

import json
import os
import pathlib
import struct
import tempfile
import unittest
from unittest import mock

from test_proof import copied, load

dumped = load("dumped")
foreign = load("foreign")
migrate = load("migrate")

DATA = b"""--
-- PostgreSQL database dump
--

\\restrict abc
SET statement_timeout = 0;
--
-- Data for Name: a b; Type: TABLE DATA; Schema: public; Owner: -
--

COPY public."a b" (id, "x (y") FROM stdin;
1\tone
2\t\\N
2\t\\N
\\.


COPY own.empty (id) FROM stdin;
\\.

SELECT pg_catalog.setval('public.s', 2, true);
"""

DEFINITIONS = b"""SET default_tablespace = '';
--
-- Name: vector; Type: EXTENSION; Schema: -; Owner: -
--
CREATE EXTENSION vector;
--
-- Name: a b; Type: TABLE; Schema: public; Owner: -
--
CREATE TABLE public."a b" (id integer);
SET default_table_access_method = heap;
--
-- Name: public; Type: SCHEMA; Schema: -; Owner: -
--
--
-- Name: v; Type: VIEW; Schema: own; Owner: -
--
CREATE VIEW own.v AS
 SELECT 1;
"""


def lines(text):
    return text.splitlines(keepends=True)


class Rows(unittest.TestCase):
    def of(self, text):
        return dumped.rows_of(lines(text))

    def test_tables_are_counted(self):
        tables = self.of(DATA)["tables"]
        told = {dumped.name_of(name): (one["rows"], one["bytes"]) for name, one in tables.items()}
        self.assertEqual(told, {'public."a b"': (3, 16), "own.empty": (0, 0)})

    def differences(self, text):
        # As it is kept between the two dumps.
        return dumped.differences(json.loads(json.dumps(self.of(DATA))), self.of(text))

    def test_another_order_and_another_key_of_psqls_are_no_difference(self):
        other = DATA.replace(b"1\tone\n2\t\\N\n", b"2\t\\N\n1\tone\n").replace(b"abc", b"xyz")
        self.assertNotEqual(other, DATA)
        self.assertEqual(self.differences(other), [])

    def test_each_difference_is_named(self):
        for old, new, told in (
            (b"2\t\\N\n2\t\\N\n", b"2\t\\N\n", 'public."a b" has 2 rows and had 3'),
            (b"1\tone", b"1\tOne", 'public."a b" has other contents'),
            # Two equal rows in the place of two others.
            (b"2\t\\N\n2\t\\N\n", b"3\t\\N\n3\t\\N\n", 'public."a b" has other contents'),
            (b"'public.s', 2", b"'public.s', 1", "positions of sequences, or large objects"),
        ):
            found = self.differences(DATA.replace(old, new))
            self.assertEqual(len(found), 1)
            self.assertIn(told, found[0])

    def test_what_a_comment_of_a_large_object_says_is_no_table(self):
        comment = b"COMMENT ON LARGE OBJECT 7 IS 'of it''s\nCOPY of the contract\n\n-- end\n';\n"
        view = b'REFRESH MATERIALIZED VIEW own."it\'s";\n'
        objects = b"SELECT pg_catalog.lowrite(0, '\\x5550');\n"
        before = self.of(view + comment + objects + DATA)
        self.assertEqual(before["tables"], self.of(DATA)["tables"])
        # A blank line and one like a comment are part of the text.
        self.assertEqual(before["others"]["rows"], self.of(DATA)["others"]["rows"] + 7)
        for old, new in ((b"5550", b"5551"), (b"-- end", b"-- END"), (b"contract", b"treaty")):
            changed = self.of(view + comment.replace(old, new) + objects.replace(old, new) + DATA)
            self.assertEqual(len(dumped.differences(before, changed)), 1, old)
        alike = b"COMMENT ON LARGE OBJECT 7 IS '\nCOPY own.a (b) FROM stdin;\n\\.\n';\n"
        self.assertEqual(self.of(alike + DATA)["tables"], self.of(DATA)["tables"])

    def test_names_have_quotes_and_line_ends(self):
        for name in (b'own."it\'s"', b'own."a\nCOPY ""b"', b'"o""w\'n"."\n"'):
            found = self.of(b"COPY " + name + b' (a, "b\n") FROM stdin;\n1\t2\n\\.\n' + DATA)
            self.assertEqual(len(found["tables"]), 3, name)
            told = {dumped.name_of(header) for header in found["tables"]}
            self.assertIn(name.decode(), told)

    def test_a_dump_that_is_cut_off_is_none(self):
        for text in (
            b"COPY own.a (b) FROM stdin;\n1\n",
            b'COPY own."a\n',
            b"COMMENT ON LARGE OBJECT 7 IS 'half\n",
        ):
            with self.assertRaisesRegex(ValueError, "cut off"):
                self.of(DATA + text)
        with self.assertRaisesRegex(ValueError, "cannot be read: COPY own.a WHERE"):
            self.of(b"COPY own.a WHERE b;\n")

    def test_a_program_that_has_failed_is_heard_before_its_reader(self):
        half = ["sh", "-c", "echo 'COPY own.a (b) FROM stdin;'; echo no room >&2; exit 1"]
        with self.assertRaisesRegex(copied.Refused, "^sh: no room$"):
            migrate.read_from([half], {}, dumped.rows_of)
        with self.assertRaisesRegex(ValueError, "cut off"):
            migrate.read_from([["echo", "COPY own.a (b) FROM stdin;"]], {}, dumped.rows_of)
        long = ["sh", "-c", "echo 'COPY x;'; while echo; do :; done"]
        with self.assertRaises(copied.Refused):
            migrate.read_from([long], {}, dumped.rows_of)

    def test_a_table_that_lacks_a_column_is_another_one(self):
        found = self.differences(DATA.replace(b'(id, "x (y")', b"(id)"))
        self.assertEqual(len(found), 2)
        self.assertIn("not in the new database", " ".join(found))

    def test_names_with_line_ends_are_read(self):
        text = DATA.replace(b'"a b"', b'"a\n FROM b"')
        names = [dumped.name_of(name) for name in self.of(text)["tables"]]
        self.assertEqual(names, ['public."a\n FROM b"', "own.empty"])


class Definitions(unittest.TestCase):
    def of(self, text):
        return dumped.definitions_of(lines(text))

    def test_objects_are_known_by_kind_and_name(self):
        self.assertEqual(list(self.of(DEFINITIONS)), ["TABLE public.a b", "VIEW own.v"])

    def test_what_is_lost_and_what_reads_otherwise_are_told_apart(self):
        before = self.of(DEFINITIONS)
        after = self.of(DEFINITIONS.replace(b"SELECT 1", b"SELECT 2"))
        self.assertEqual(
            (dumped.lost(before, after), dumped.otherwise(before, after)), ([], ["VIEW own.v"])
        )
        after = self.of(DEFINITIONS.replace(b"Name: v;", b"Name: w;"))
        self.assertEqual(
            dumped.lost(before, after),
            ["VIEW own.v is not in the new database", "VIEW own.w is only in the new database"],
        )


class Choice(unittest.TestCase):
    def choose(self, named, *databases):
        return migrate.choose(
            [
                {"name": name, "open": True, "tables": tables, "large_objects": 0}
                for name, tables in databases
            ],
            named,
        )

    def test_the_only_one_with_tables_is_meant(self):
        self.assertEqual(self.choose(None, ("a", 1), ("postgres", 0))["name"], "a")
        self.assertIsNone(self.choose(None, ("a", 1), ("b", 1)))
        self.assertIsNone(self.choose(None, ("a", 0)))

    def test_one_that_is_named_is_meant(self):
        self.assertEqual(self.choose("b", ("a", 1), ("b", 0))["name"], "b")
        self.assertIsNone(self.choose("c", ("a", 1)))
        shut = {"name": "a", "open": False}
        self.assertIsNone(migrate.choose([shut], "a"))


class Errors(unittest.TestCase):
    def test_each_is_told_with_its_object(self):
        text = """pg_restore: error: could not execute query: ERROR:  collation "x" does not exist
LINE 1: ...
Command was: CREATE TABLE public."a b" (
    t text COLLATE x
);

pg_restore: error: could not execute query: ERROR:  permission denied to create event trigger "e"
HINT:  Must be superuser to create an event trigger.
Command was: CREATE EVENT TRIGGER e ON ddl_command_end
pg_restore: warning: errors ignored on restore: 2
"""
        self.assertEqual(
            migrate.errors(text),
            [
                'CREATE TABLE public."a b": collation "x" does not exist',
                "CREATE EVENT TRIGGER e ON ddl_command_end:"
                ' permission denied to create event trigger "e"',
            ],
        )

    def test_what_follows_from_another_one_is_known(self):
        self.assertTrue(migrate.OF_ANOTHER.search('CREATE: relation "public.a" does not exist'))
        self.assertFalse(migrate.OF_ANOTHER.search('CREATE: collation "x" does not exist'))

    def test_older_versions_do_not_know_each_setting(self):
        options = migrate.of_the_source(13, "r")["PGOPTIONS"]
        self.assertNotIn("idle_session_timeout", options)
        self.assertNotIn("event_triggers", options)
        self.assertIn("search_path=pg_catalog,pg_temp", options)


class Source(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.root = pathlib.Path(folder.name)
        for name in ("SOURCE", "WORK", "OLD"):
            place = self.root / {"SOURCE": "source", "WORK": "work", "OLD": "work/old"}[name]
            patched = mock.patch.object(foreign, name, str(place))
            patched.start()
            self.addCleanup(patched.stop)
        (self.root / "work").mkdir()
        self.cluster = self.make("data/16/main")

    def make(self, inside):
        cluster = self.root / "source" / inside
        (cluster / "global").mkdir(parents=True)
        (cluster / "PG_VERSION").write_text("16\n")
        (cluster / "global/pg_control").write_bytes(bytes(16) + struct.pack("=I", 1) + bytes(492))
        return cluster

    def test_clusters_are_found_where_layouts_have_them(self):
        self.make("generations/before-1")
        self.make("pgdata")
        self.assertEqual(foreign.clusters(), ["data/16/main", "pgdata"])

    def test_a_cluster_at_the_top_hides_none_below(self):
        self.make(".")
        self.make("base/1")
        self.assertEqual(foreign.clusters(), [".", "data/16/main"])

    def test_what_the_files_say(self):
        (self.cluster / "pg_replslot/standby").mkdir(parents=True)
        (self.cluster / "pg_tblspc").mkdir()
        os.symlink("/elsewhere", self.cluster / "pg_tblspc/16400")
        (self.cluster / "postgresql.conf").write_text(
            "port = 5433\nwork_mem = 8MB # more\n#shared_buffers = 1GB\nmax_connections = 100\n"
        )
        (self.cluster / "postgresql.auto.conf").write_text("Work_mem = '16MB'\nx.y = 'it''s'\n")
        told = foreign.described("data/16/main")
        self.assertEqual(told["settings"], {"work_mem": "16MB", "x.y": "it's"})
        self.assertEqual((told["links"], told["slots"]), (["pg_tblspc/16400"], ["standby"]))
        self.assertEqual((told["version"], told["shut_down"]), ("16", True))

    def copied(self):
        return foreign.read_tree(str(self.cluster), str(self.root / "copy"))

    def test_a_copy_has_the_digest_of_what_was_copied(self):
        os.symlink("PG_VERSION", self.cluster / "link")
        digest = self.copied()
        self.assertEqual(foreign.read_tree(str(self.cluster), None), digest)
        self.assertEqual((self.root / "copy/PG_VERSION").read_text(), "16\n")
        self.assertEqual(os.readlink(self.root / "copy/link"), "PG_VERSION")

    def test_each_change_is_another_digest(self):
        file = self.cluster / "PG_VERSION"
        seen = {self.copied()}
        changes = (
            lambda: file.write_text("17\n"),
            lambda: file.chmod(0o600),
            lambda: os.utime(file, ns=(0, 1)),
            (self.cluster / "empty").mkdir,
            lambda: file.rename(self.cluster / "OTHER"),
        )
        for number, change in enumerate(changes, 2):
            change()
            seen.add(foreign.read_tree(str(self.cluster), None))
            self.assertEqual(len(seen), number)

    def test_what_changes_while_it_is_read_is_refused(self):
        grows = self.cluster / "grows"
        grows.write_bytes(b"x")
        stat = os.fstat

        def grown(descriptor):
            found = stat(descriptor)
            with grows.open("ab") as file:
                file.write(b"y")
            return found

        with (
            mock.patch.object(foreign.os, "fstat", grown),
            self.assertRaisesRegex(foreign.Refused, "grows changed while it was read"),
        ):
            foreign.read_tree(str(self.cluster), None)


if __name__ == "__main__":
    unittest.main()
