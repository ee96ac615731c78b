"""What a migration makes of dumps and of the files of its source."""

import contextlib
import io
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

    def test_numbers_count_and_not_how_a_version_writes_them(self):
        header = b'COPY "a b".f (id, four, eight, "point", rows, t) FROM stdin;\n'
        # As 11 and as 17 write the same values.
        old = (
            header + b"1\t0.100000001\t0.100000000000000006\t(0.100000000000000006,-0)\t"
            b"{1.17549435e-38,3.40282347e+38,NaN,\\N}\t0.100000000000000006\n"
            b"2\t\\N\t1.79769313486231571e+308\t(1e-300,Infinity)\t{0.300000012}\t\n\\.\n"
        )
        new = (
            header + b"1\t0.1\t0.1\t(0.1,-0)\t"
            b"{1.1754944e-38,3.4028235e+38,NaN,\\N}\t0.100000000000000006\n"
            b"2\t\\N\t1.7976931348623157e+308\t(1e-300,Infinity)\t{0.3}\t\n\\.\n"
        )
        floats = dumped.by_table([["a b", "f", [0, 4, 8, 8, 4, 0]]])

        def differences(one, other, floats):
            return dumped.differences(
                *(dumped.rows_of(lines(text), floats) for text in (one, other))
            )

        self.assertEqual(differences(old, new, floats), [])
        self.assertEqual(differences(old, new, None), ['"a b".f has other contents'])
        for one, other in (
            # The next number of 4 and of 8 bytes, and a text that is none.
            (b"\t0.1\t0.1\t", b"\t0.10000001\t0.1\t"),
            (b"\t0.1\t0.1\t", b"\t0.1\t0.10000000000000002\t"),
            (b"(0.1,-0)", b"(0.1,0)"),
            (b"\t0.100000000000000006\n", b"\t0.1\n"),
            (b"2\t", b"2.0\t"),
        ):
            self.assertIn(one, new)
            changed = new.replace(one, other)
            self.assertEqual(len(differences(old, changed, floats)), 1, other)

    def test_tables_with_bytes_that_are_no_text_are_named(self):
        self.assertEqual(dumped.no_utf8(lines(DATA.replace(b"one", "é".encode()))), [])
        text = DATA.replace(b"one", b"\xe9").replace(
            b"own.empty (id) FROM stdin;\n", b"own.e (id) FROM stdin;\n\xff\n\xff\n"
        )
        self.assertEqual(dumped.no_utf8(lines(text)), ['public."a b"', "own.e"])

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


class OfExtensions(unittest.TestCase):
    LIST = b"""; Archive created at 2026-11-26
;
2; 3079 16384 EXTENSION - postgis
215; 1259 16400 TABLE public a owner
216; 1259 16402 SEQUENCE public a_seq owner
3000; 0 16390 TABLE DATA public spatial_ref_sys postgres
3001; 0 16400 TABLE DATA public a owner
3002; 0 0 SEQUENCE SET public a_seq owner
3003; 0 0 SEQUENCE SET cron jobid_seq postgres
3004; 2606 16410 CONSTRAINT public a a_pkey owner
"""

    def test_rows_of_tables_that_an_extension_makes_are_known(self):
        names = [b"TABLE DATA public spatial_ref_sys", b"SEQUENCE SET cron jobid_seq"]
        found = migrate.without_definition(lines(self.LIST))
        self.assertEqual([line.split(b" ", 3)[3].rsplit(b" ", 1)[0] for line in found], names)

    def test_a_schema_may_be_called_as_what_tables_have(self):
        """What the app's role makes is never the superuser's to restore."""
        odd = b"""215; 1259 16400 TABLE DATA t1 app
216; 1259 16402 SEQUENCE SET s1 app
217; 1259 16403 TABLE DATA DATA app
3001; 0 16400 TABLE DATA DATA t1 app
3002; 0 0 SEQUENCE SET SET s1 app
3003; 0 16403 TABLE DATA DATA DATA app
"""
        self.assertEqual(migrate.without_definition(lines(odd)), [])
        spec = mock.Mock(database="app", role="the_app")
        listed = mock.Mock(stdout=b"3000; 0 16390 TABLE DATA public no_such app\n")
        with (
            mock.patch.object(migrate.subprocess, "run", return_value=listed),
            mock.patch.object(migrate, "of_extensions", lambda _: ["public spatial_ref_sys"]),
            self.assertRaisesRegex(migrate.Refused, "nothing makes: public no_such app"),
        ):
            migrate.restore("dump", spec, {"extensions": []})

    def test_they_are_loaded_by_the_superuser_before_anything_else(self):
        extensions = [{"name": "postgis", "schema": "public"}]
        spec = mock.Mock(database="app", role="the_app")
        seen = []

        def some(_, __, wanted, whose, how):
            seen.append((whose["PGUSER"], len(wanted), how))
            return ["failed"], ["warned"]

        listed = mock.Mock(stdout=self.LIST)
        with (
            mock.patch.object(migrate.subprocess, "run", return_value=listed),
            mock.patch.object(migrate, "restore_some", some),
            mock.patch.object(
                migrate, "of_extensions", lambda _: ["public spatial_ref_sys", "cron jobid_seq"]
            ),
        ):
            told = migrate.restore("dump", spec, {"extensions": extensions}, "--jobs=2")
        how = ("--jobs=2",)
        # Comments of the list go along, the extension does not.
        self.assertEqual(seen, [("postgres", 2, how), ("the_app", 7, how)])
        self.assertEqual(told, (["failed"] * 2, ["warned"] * 2))


class Settings(unittest.TestCase):
    WANTED = ([False, True, "app.jwt_secret", "hidden's"], [True, False, "search_path", "a, b"])

    def test_no_argument_has_a_value(self):
        asked = []

        def run(command, **given):
            asked.append((" ".join(command), given["input"].decode()))
            return mock.Mock(returncode=0, stdout=b"")

        wanted = list(self.WANTED)
        with (
            mock.patch.object(migrate.subprocess, "run", run),
            mock.patch.object(migrate, "ask", lambda *_: json.dumps(wanted)),
        ):
            migrate.give_settings(mock.Mock(role="r", database="d"), wanted)
        for arguments, _ in asked:
            self.assertNotIn("hidden", arguments)
        self.assertEqual(
            [sql for _, sql in asked],
            [
                """ALTER DATABASE "d" SET "app.jwt_secret" TO  E'hidden''s';""",
                """SELECT set_config( E'search_path',  E'a, b', false);
ALTER ROLE "r" SET "search_path" FROM CURRENT;""",
            ],
        )


class Prepared(unittest.TestCase):
    def asked(self, chosen):
        """What the superuser does for an image whose role is `shop`, with what he makes by it."""
        spec = mock.Mock(role="shop", database="shop")
        asked, marked = [], []

        def mark(_database, named):
            marked.append(named)

        def ask(_database, *statements):
            asked.extend(statements)
            return "t"

        with (
            mock.patch.object(migrate, "ask", ask),
            mock.patch.object(migrate.dataclasses, "replace", lambda _, role: role),
            mock.patch.object(migrate.database, "make_marker", mark),
        ):
            migrate.prepare(spec, {"extensions": [], "ran": True} | chosen)
        return asked, marked

    def test_a_role_is_made_by_the_name_that_policies_have(self):
        asked, marked = self.asked({"role": "genie", "roles": ["reporting"]})
        self.assertEqual(asked[0], 'CREATE ROLE "genie" LOGIN')
        self.assertIn('CREATE ROLE "reporting" NOLOGIN', asked)
        self.assertEqual(marked, ["genie"], "its rights are the renamed role's")
        # Of an older tool, which does not say.
        self.assertEqual(self.asked({})[0][0], 'CREATE ROLE "shop" LOGIN')

    def test_where_the_new_name_is_taken_it_is_refused(self):
        with self.assertRaisesRegex(copied.Refused, "a role 'shop' beside 'genie'"):
            self.asked({"role": "genie", "roles": ["shop"]})


class AsRun(unittest.TestCase):
    def mark(self, **found):
        chosen = {"name": "d", "tables": 0, "marker": False, "has_schema": False} | found
        with mock.patch.object(migrate, "ask", lambda *_, **__: "f"):
            migrate.mark_as_run(chosen, {})
        return chosen["ran"], chosen["marker"]

    def test_one_that_comes_with_tables_gets_no_initial_sql(self):
        self.assertEqual(self.mark(tables=3), (True, True))
        self.assertEqual(self.mark(), (False, False))
        # Of ours it is known.
        self.assertEqual(self.mark(tables=3, marker=True, has_schema=True), (False, True))
        self.assertEqual(self.mark(tables=3, has_schema=True), (False, False))


class Load(unittest.TestCase):
    def test_rows_come_before_what_is_made_of_them_and_all_that_fails_is_told(self):
        asked = []

        def restore(_, __, ___, *how):
            asked.append(how)
            return ([f"table {n}" for n in range(12)], []) if len(asked) == fails else ([], ["w"])

        with mock.patch.object(migrate, "restore", restore):
            fails = 0
            self.assertEqual(migrate.load_all(None, {}), ["w", "w"])
            rows, after = ("--section=pre-data", "--section=data"), ("--section=post-data",)
            self.assertEqual(asked, [(*rows, "--jobs=2"), (*after, "--jobs=2")])
            for fails in (1, 2):
                asked.clear()
                with self.assertRaisesRegex(copied.Refused, "table 0; .*; table 9; and 2 more$"):
                    migrate.load_all(None, {})
                self.assertEqual(len(asked), fails)


class Locks(unittest.TestCase):
    def test_one_session_can_lock_all_there_is(self):
        for objects in (0, 12_000, 100_000):
            given = int(migrate.with_locks(objects)["max_locks_per_transaction"])
            self.assertGreaterEqual(given, 64)
            self.assertGreater(given * 100, 2 * objects)


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

    def test_only_what_is_prepared_in_it_is_ended_in_the_copy(self):
        prepared = [{"name": "it's", "database": "own"}, {"name": "b", "database": "other"}]
        with mock.patch.object(migrate, "ask") as ask:
            migrate.end_prepared(prepared, "own", {"PGUSER": "ours"})
        ended = "ROLLBACK PREPARED E'it''s'"
        self.assertEqual(ask.mock_calls, [mock.call("own", ended, environment={"PGUSER": "ours"})])

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

    def test_what_programs_warn_of_is_told(self):
        text = """pg_dump: warning: WITH OIDS is not supported anymore (table "t")
pg_restore: error: could not execute query: ERROR:  x
pg_restore: warning: errors ignored on restore: 1
"""
        told = ['pg_dump: warning: WITH OIDS is not supported anymore (table "t")']
        self.assertEqual(migrate.warnings(text), told)

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
        places = {"SOURCE": "source", "WORK": "work", "OLD": "work/old", "SEEN": "work/seen.json"}
        for name, place in places.items():
            patched = mock.patch.object(foreign, name, str(self.root / place))
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

    def told(self, verb, *arguments):
        with contextlib.redirect_stdout(io.StringIO()) as said:
            foreign.VERBS[verb]("data/16/main", *arguments)
        return json.loads(said.getvalue())

    def test_what_was_written_since_is_named(self):
        (self.cluster / "base/5").mkdir(parents=True)
        for number in range(1000):
            (self.cluster / f"base/5/{number}").touch()
        self.told("copy", f"{os.getuid()}:{os.getgid()}")
        self.assertEqual(self.told("changed"), {"changed": []})
        # All of them can be locked at once.
        self.assertIn("max_locks_per_transaction = 66\n", (self.root / "work/old.conf").read_text())
        os.utime(self.cluster / "base/5/7", ns=(0, 1))
        (self.cluster / "base/5/8").unlink()
        self.assertEqual(self.told("changed"), {"changed": ["base/5", "base/5/7", "base/5/8"]})

    def test_a_file_that_is_written_before_it_is_read_is_seen(self):
        read_tree = foreign.read_tree

        def late(folder, target):
            (self.cluster / "PG_VERSION").write_text("17\n")
            return read_tree(folder, target)

        with (
            mock.patch.object(foreign, "read_tree", late),
            self.assertRaisesRegex(foreign.Refused, "^PG_VERSION changed while it was read"),
        ):
            foreign.copy("data/16/main", "0:0")

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
