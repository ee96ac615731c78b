"""What becomes of a backup that is another image's, and of clusters that change places."""

import contextlib
import errno
import fcntl
import io
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
import types
import unittest
from unittest import mock

from hive_container import archiving
from test_proof import copied, load

load("warm")
load("ahead")
collations = load("collations")
frozen = load("frozen")
generation = load("generation")

OURS = {"image": "copy", "database": "copied", "role": "the role"}


class TakeOver(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.part = folder.name
        self.identity = pathlib.Path(self.part, "hive.json")
        self.asked = []
        self.taken = ()

    def take_over(self, identity):
        self.identity.write_text(json.dumps(identity), encoding="utf-8")

        def ask(_, *statements):
            self.asked += statements
            return json.dumps(any(f"E'{name}'" in statements[0] for name in self.taken))

        with (
            mock.patch.object(generation, "ask", ask),
            mock.patch.object(generation.image, "load", lambda _: None),
            mock.patch.object(generation.volume, "identity_of", lambda _: OURS),
        ):
            generation.take_over(self.part)

    def renames(self):
        return [statement for statement in self.asked if statement.startswith("ALTER")]

    def test_role_and_database_get_the_names_of_the_image(self):
        self.take_over({"image": "old", "database": 'o"dd', "role": "old", "later": 1})
        self.assertEqual(
            self.renames(),
            ['ALTER ROLE "old" RENAME TO "the role"', 'ALTER DATABASE "o""dd" RENAME TO "copied"'],
        )
        self.assertEqual(json.loads(self.identity.read_text("utf-8")), OURS | {"later": 1})

    def test_names_that_are_the_same_stay(self):
        self.take_over(OURS | {"image": "old"})
        self.assertEqual(self.asked, [])
        self.assertEqual(json.loads(self.identity.read_text("utf-8")), OURS)

    def test_names_that_are_taken_are_told_at_once(self):
        self.taken = ("copied", "the role")
        with self.assertRaises(copied.Refused) as told:
            self.take_over({"image": "old", "database": "d", "role": "r"})
        self.assertIn("a role 'the role' beside 'r' and a database 'copied'", str(told.exception))
        self.assertEqual(self.renames(), [])

    def test_a_backup_that_does_not_know_itself_is_refused(self):
        for identity in ({"image": "old"}, [], None):
            with self.assertRaises(copied.Refused):
                self.take_over(identity)


STATE = copied.STATE


def said_of(state):
    """What pg_controldata says of each cluster."""
    known = {"Database cluster state": state, "Latest checkpoint's NextXID": "1:7"}
    return lambda _: known


@contextlib.contextmanager
def as_its_owner(folder):
    """Root writes into every folder; who has the volume does not."""
    if os.geteuid() != 0:
        yield
        return
    subprocess.run(["chown", "--recursive", "65534", folder], check=True)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def places_in(folder):
    """Where the script finds its volume, if that is this folder."""
    return {
        "MOUNT": folder,
        "PGDATA": f"{folder}/pgdata",
        "GENERATIONS": f"{folder}/generations",
        "PASSFILE": f"{folder}/none",
        "JOURNAL": f"{folder}/generations/journal.json",
        "WAS_HEALTHY": f"{folder}/hive/was-healthy",
    }


def clusters(folder, **made_by):
    """Makes clusters on a volume, each with the operation that has made it."""
    for name, identifier in made_by.items():
        place = "pgdata" if name == "pgdata" else f"generations/{name.replace('_', '-')}"
        home = pathlib.Path(folder, place)
        home.mkdir(parents=True)
        (home / generation.RESTORED).write_text(json.dumps({"id": identifier}))


def opened_or(content, ending):
    """`open`, with this in files that are called so."""
    plain = open

    def opened(path, *args, **kwargs):
        if str(path).endswith(f"cluster/{ending}"):
            return io.StringIO(content.decode())
        return plain(path, *args, **kwargs)

    return opened


class Archive(unittest.TestCase):
    def test_what_is_put_aside_does_not_go_on_in_the_archive_when_it_comes_back(self):
        with tempfile.TemporaryDirectory() as folder:
            mount = pathlib.Path(folder)
            for cluster in ("pgdata", "generations/new-1"):
                (mount / cluster).mkdir(parents=True)
                (mount / cluster / generation.ARCHIVED).touch()
            (mount / "generations/new-1" / generation.RESTORED).write_text('{"id": "1"}')
            with mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)):
                generation.exchange("1")
                # The copy that an update runs goes on; what ran before does not.
                self.assertTrue((mount / "pgdata" / generation.ARCHIVED).exists())
                self.assertFalse((mount / "generations/before-1" / generation.ARCHIVED).exists())
                generation.back("1")
                self.assertFalse((mount / "pgdata" / generation.ARCHIVED).exists())
                self.assertFalse((mount / "generations/failed-1" / generation.ARCHIVED).exists())

    def test_what_is_taken_back_goes_unless_a_server_has_run_on_it(self):
        for used, left in ((False, []), (True, ["failed-1"])):
            with tempfile.TemporaryDirectory() as folder:
                mount = pathlib.Path(folder)
                for cluster in ("pgdata", "generations/new-1.part"):
                    (mount / cluster / "global").mkdir(parents=True)
                    (mount / cluster / "global/pg_control").write_text("shut down")
                printed = io.StringIO()
                with (
                    mock.patch.multiple(
                        generation, locked=lambda: 0, control=said_of(STATE), **places_in(folder)
                    ),
                    contextlib.redirect_stdout(printed),
                ):
                    generation.ready("1", "{}")
                    generation.exchange("1")
                    self.assertFalse(generation.is_used(f"{folder}/pgdata"))
                    if used:
                        (mount / "pgdata/global/pg_control").write_text("in production")
                        self.assertTrue(generation.is_used(f"{folder}/pgdata"))
                    generation.back("1")
                    generation.forget_unused("1")
                self.assertEqual(os.listdir(f"{folder}/generations"), left)
                self.assertEqual(printed.getvalue().split(), left)

    def test_folders_that_nobody_may_write_into_go_too(self):
        with tempfile.TemporaryDirectory() as folder:
            mount = pathlib.Path(folder)
            for name in ("files/1", "files/old", "generations/new-1.part/hive-files/app"):
                closed = mount / name / "media/2026"
                closed.mkdir(parents=True)
                (closed / "one").touch()
                (mount / name / "elsewhere").symlink_to(mount / "kept")
                for each in (closed, closed.parent):
                    each.chmod(0o555)
            (mount / "kept").mkdir(mode=0o555)
            clusters(folder, pgdata="1", before_2="old")
            with (
                as_its_owner(folder),
                mock.patch.object(generation.files, "FILES", f"{folder}/files"),
                mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)),
            ):
                generation.settle()
                self.assertEqual(os.listdir(f"{folder}/generations"), ["before-2"])
                generation.forget("before-2")
            self.assertEqual(os.listdir(f"{folder}/generations"), [])
            self.assertEqual(os.listdir(f"{folder}/files"), [])
            self.assertEqual(stat.S_IMODE((mount / "kept").stat().st_mode), 0o555)

    def test_what_somebody_has_put_beside_generations_is_left_alone(self):
        """Some of it would lead out of the folder: `new-...part` to all of the volume."""
        with tempfile.TemporaryDirectory() as folder:
            mount, beside = pathlib.Path(folder), pathlib.Path(folder, "generations")
            (mount / "files/1").mkdir(parents=True)
            clusters(folder, pgdata="1", before_2="old")
            odd = [b"before-X.tar", b"new-x", b"before-\xff", b"new-...part", b"before-$(touch x)"]
            for name in odd[:2]:
                pathlib.Path(os.fsdecode(bytes(beside) + b"/" + name)).touch()
            for name in odd[2:]:
                os.mkdir(bytes(beside) + b"/" + name)
            (beside / "failed-7").symlink_to(mount / "files")
            os.mkdir(f"{folder}/hive")
            for name in (b"secret.KEY", b"secret.\xff"):
                pathlib.Path(os.fsdecode(bytes(mount) + b"/hive/" + name)).touch()
            # A note that is no note.
            os.mkdir(beside / "before-3")
            (beside / "before-3" / generation.RESTORED).write_text("[1]")
            with (
                mock.patch.multiple(
                    generation.files, FILES=f"{folder}/files", SECRETS=f"{folder}/hive/secret."
                ),
                mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)),
                mock.patch.object(generation.glob, "glob", return_value=["/nonexistent"]),
                mock.patch("builtins.open", opened_or(b"17", "PG_VERSION")),
                contextlib.redirect_stdout(io.StringIO()) as said,
            ):
                generation.look("[]")
                generation.settle()
                generation.forget("before-2")
                generation.forget("before-3")
                for name in ("before-X.tar", "failed-7", "before-$(touch x)"):
                    with self.assertRaisesRegex(copied.Refused, "there is no generation"):
                        generation.forget(name)
            self.assertEqual(json.loads(said.getvalue())["generations"], ["before-2", "before-3"])
            left = {os.fsencode(name) for name in os.listdir(beside)}
            self.assertEqual(left, {*odd, b"failed-7"})
            self.assertTrue((mount / "pgdata").is_dir() and (mount / "files/1").is_dir())

    def test_names_that_lead_out_of_the_folder_are_none(self):
        for name in ("..", "../pgdata", ".", "", "a/b", "a\n"):
            self.assertRaises(ValueError, generation.remove_files, name)

    def test_a_damaged_note_costs_no_folder_of_another_one(self):
        with tempfile.TemporaryDirectory() as folder:
            mount = pathlib.Path(folder)
            for name in ("1", "old"):
                (mount / "files" / name).mkdir(parents=True)
            clusters(folder, pgdata="1", before_2="old", before_3="?")
            note = mount / "generations/before-3" / generation.RESTORED
            for damaged in ('{"id": "o', "[1]", "{}", '{"id": "../pgdata"}'):
                note.write_text(damaged)
                with self.assertRaisesRegex(OSError, "is damaged: restore the data from a backup"):
                    generation.files.name_of(str(note.parent))
            with (
                mock.patch.object(generation.files, "FILES", f"{folder}/files"),
                mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)),
            ):
                generation.forget("before-2")
                self.assertEqual(sorted(os.listdir(f"{folder}/files")), ["1", "old"])
                generation.forget("before-3")
            self.assertEqual(os.listdir(f"{folder}/generations"), [])

    def test_no_generation_goes_while_an_operation_works_with_it(self):
        with tempfile.TemporaryDirectory() as folder:
            clusters(folder, pgdata="1", before_1="0")
            with mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)):
                with open(generation.JOURNAL, "w") as journal:
                    journal.write("{}")
                # Nor what that operation is about to make, by whoever would end a deletion.
                os.mkdir(f"{folder}/generations/new-2.part")
                for refused in (lambda: generation.forget("before-1"), generation.end_forgetting):
                    with self.assertRaisesRegex(copied.Refused, "no generation is deleted"):
                        refused()
                names = ["before-1", "journal.json", "new-2.part"]
                self.assertEqual(sorted(os.listdir(f"{folder}/generations")), names)
                os.unlink(generation.JOURNAL)
                generation.end_forgetting()
                self.assertEqual(os.listdir(f"{folder}/generations"), ["before-1"])
                holder = os.open(f"{folder}/generations", os.O_RDONLY)
                fcntl.flock(holder, fcntl.LOCK_EX)
                with self.assertRaisesRegex(copied.Refused, "no generation is deleted"):
                    generation.forget("before-1")
                os.close(holder)
                generation.forget("before-1")
            self.assertEqual(os.listdir(f"{folder}/generations"), [])

    def test_a_folder_of_somebody_elses_goes_where_that_is_possible(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "files/media/empty").mkdir(parents=True)
            with mock.patch.object(generation.files.os, "chmod", side_effect=PermissionError):
                generation.files.remove_tree(f"{folder}/files")
            self.assertEqual(os.listdir(folder), [])

    def test_what_was_done_is_not_done_again(self):
        with tempfile.TemporaryDirectory() as folder:
            clusters(folder, pgdata="1", before_1="0")
            with mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)):
                generation.exchange("1")
                self.assertTrue(generation.is_called(f"{folder}/pgdata", "1"))
                clusters(folder, new_2="2")
                generation.ready("2", "{}")
            self.assertEqual(sorted(os.listdir(f"{folder}/generations")), ["before-1", "new-2"])

    def test_a_generation_that_was_deleted_in_part_is_no_way_back(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "files/old").mkdir(parents=True)
            clusters(folder, pgdata="1", before_2="old")
            with (
                mock.patch.object(generation.files, "FILES", f"{folder}/files"),
                mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)),
            ):
                killed = mock.Mock(side_effect=KeyboardInterrupt)
                with mock.patch.object(generation, "remove_files", killed):
                    self.assertRaises(KeyboardInterrupt, generation.forget, "before-2")
                self.assertEqual(os.listdir(f"{folder}/generations"), ["new-old.part"])
                generation.settle()
            self.assertEqual(os.listdir(f"{folder}/generations"), [])
            self.assertEqual(os.listdir(f"{folder}/files"), [])

    def test_only_a_copy_of_ours_is_deleted_as_never_in_use(self):
        for note, left in (('{"id": "3"}', []), ("{", ["before-3"]), ('{"id": "2"}', ["before-3"])):
            with tempfile.TemporaryDirectory() as folder:
                mount = pathlib.Path(folder)
                for name in ("generations/new-3", "pgdata"):
                    (mount / name).mkdir(parents=True)
                (mount / "generations/new-3" / generation.RESTORED).write_text(note)
                # A damaged note does not say what runs.
                (mount / "pgdata" / generation.RESTORED).write_text("")
                with mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)):
                    generation.settle()
                self.assertEqual(os.listdir(f"{folder}/generations"), left)

    def test_what_backups_need_is_told_by_the_same_clock_alone(self):
        with mock.patch.object(archiving, "ask_for_less", lambda *_: 7):
            with contextlib.redirect_stdout(io.StringIO()) as said:
                generation.less("{}", str(time.time() - 200))
            self.assertEqual(said.getvalue(), "7\n")
            for between, told in ((-3600, "3600 s behind this machine's"), (400, "400 s ahead of")):
                with self.assertRaisesRegex(copied.Refused, told):
                    generation.less("{}", str(time.time() - between))

    def test_other_data_than_those_that_were_asked_about_are_not_put_aside(self):
        with tempfile.TemporaryDirectory() as folder:
            clusters(folder, pgdata="2", before_1="0")
            with mock.patch.multiple(generation, locked=lambda: 0, **places_in(folder)):
                with self.assertRaises(copied.Refused) as told:
                    generation.back("1")
                self.assertEqual(str(told.exception), "the data that run are those of 2, not of 1")
                running = generation.read(f"{folder}/pgdata/{generation.RESTORED}")
                self.assertEqual(running["id"], "2")

    def test_who_is_healthy_is_so_since_the_step_that_is_noted(self):
        with tempfile.TemporaryDirectory() as folder:
            mark = pathlib.Path(folder, "hive/was-healthy")
            mark.parent.mkdir()
            for step in ("stop", "exchange", "start"):
                with mock.patch.multiple(generation, **places_in(folder)):
                    mark.touch()
                    generation.note(json.dumps({"step": step}))
                    self.assertFalse(mark.exists())
                    mark.touch()
                    # Whatever is done on the volume by then leaves it: only a step begins anew.
                    generation.settle()
                    self.assertTrue(mark.exists())

    def test_who_cannot_exchange_names_is_told_before_anything_stops(self):
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.multiple(generation, **places_in(folder)),
        ):
            beside = pathlib.Path(folder, "generations")
            beside.mkdir()
            cannot = mock.Mock(side_effect=OSError(errno.EINVAL, "Invalid argument"))
            full = mock.Mock(side_effect=OSError(errno.ENOSPC, "No space left on device"))
            with mock.patch.object(generation, "exchange_names", cannot):
                # Nothing has the place yet.
                generation.begin("1")
                self.assertEqual(os.listdir(beside), ["new-1.part"])
                os.mkdir(f"{folder}/pgdata")
                with self.assertRaises(copied.Refused) as told:
                    generation.begin("2")
                self.assertIn("cannot exchange two names", str(told.exception))
            with mock.patch.object(generation, "exchange_names", full):
                self.assertRaises(OSError, generation.begin, "3")
            self.assertEqual(os.listdir(beside), [])
            # By the kernel's own call, where this file system has it.
            with contextlib.suppress(copied.Refused):
                generation.inspect_exchange()
            self.assertEqual(os.listdir(beside), [])

    def test_what_acts_on_names_does_so_alone(self):
        with tempfile.TemporaryDirectory() as folder:
            pathlib.Path(folder, "generations/new-1.part").mkdir(parents=True)
            holder = os.open(folder, os.O_RDONLY)
            fcntl.flock(holder, fcntl.LOCK_EX)
            said = io.StringIO()
            with (
                mock.patch.multiple(generation, PATIENCE=0.0, **places_in(folder)),
                mock.patch.object(sys, "argv", ["generation", "settle"]),
                contextlib.redirect_stderr(said),
            ):
                self.assertEqual(generation.main(), 1)
                self.assertEqual(said.getvalue(), "another command works on the volume\n")
                self.assertEqual(os.listdir(f"{folder}/generations"), ["new-1.part"])
                os.close(holder)
                self.assertEqual(generation.main(), 0)
                self.assertEqual(os.listdir(f"{folder}/generations"), [])

    def test_only_what_has_ended_well_says_which_transaction_comes_next(self):
        for state, following in ((STATE, "1:7"), ("in production", None)):
            with (
                tempfile.TemporaryDirectory() as folder,
                mock.patch.object(generation, "control", said_of(state)),
            ):
                made = generation.made(folder, "1")
            self.assertEqual((made["id"], made.get("next_transaction")), ("1", following))

    def test_the_image_that_ran_is_that_of_the_note_about_this_generation(self):
        with tempfile.TemporaryDirectory() as folder:
            cluster = pathlib.Path(folder, "before-2")
            cluster.mkdir()
            self.assertIsNone(generation.image_of(str(cluster)))
            restored = {"id": "1", "image_id": "first"}
            (cluster / generation.RESTORED).write_text(json.dumps(restored))
            self.assertEqual(generation.image_of(str(cluster)), "first")
            # The one of an update that was taken back stays with the data.
            for identifier, image in (("1", "first"), ("2", "second")):
                note = {"id": identifier, "image_id": "second"}
                (cluster / generation.PUT_ASIDE).write_text(json.dumps(note))
                self.assertEqual(generation.image_of(str(cluster)), image)

    def test_what_does_not_say_how_it_was_made_counts_as_used(self):
        with tempfile.TemporaryDirectory() as folder:
            self.assertTrue(generation.is_used(folder))
            pathlib.Path(folder, generation.RESTORED).write_text('{"id": "1"}')
            self.assertTrue(generation.is_used(folder))

    def test_recovery_ended_where_the_newest_timeline_begins(self):
        with tempfile.TemporaryDirectory() as log:
            old = "1\t0/9000000\tbefore\n"
            pathlib.Path(log, "00000002.history").write_text(old)
            pathlib.Path(log, "00000003.history").write_text(
                f"# said by hand\n{old}\n2\tA/3A4B5C8\tno recovery target specified\n"
            )
            pathlib.Path(log, "0000000300000000000000A3").touch()
            ended = frozen.end_of_recovery(log)
        self.assertEqual(ended, 0xA03A4B5C8)
        self.assertEqual(frozen.position(ended), "A/3A4B5C8")


class Held(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.generations = f"{folder.name}/generations"
        self.journal = f"{self.generations}/journal.json"
        patched = mock.patch.multiple(
            generation, GENERATIONS=self.generations, JOURNAL=self.journal, LOOKS=0.0
        )
        patched.start()
        self.addCleanup(patched.stop)

    def attended(self, *lines):
        """What is said first, and to each of these."""
        told = "".join(f"{json.dumps(line)}\n" for line in lines).encode()
        with (
            mock.patch.object(generation.sys, "stdin", io.TextIOWrapper(io.BytesIO(told))),
            mock.patch.multiple(
                generation, MOUNT=os.path.dirname(self.generations), WAS_HEALTHY="/nonexistent"
            ),
            contextlib.redirect_stdout(io.StringIO()) as said,
        ):
            generation.attend()
        first, *answers = map(json.loads, said.getvalue().splitlines())
        return first, answers

    def test_a_volume_is_held_as_long_as_the_one_is_there_who_asked(self):
        self.assertIs(generation.is_held(), False, "no operation was ever there")
        asked, ours = os.pipe()
        held = threading.Semaphore(0)
        with (
            mock.patch.object(generation.sys, "stdin", open(asked)),
            mock.patch("builtins.print", lambda *_, **__: held.release()),
            open(ours, "wb", buffering=0) as ours,
        ):
            holder = threading.Thread(target=generation.attend)
            holder.start()
            self.assertTrue(held.acquire(timeout=10))
            for verb, is_held in (("hold", True), ("release", False), ("hold", True)):
                ours.write(f'[1, "{verb}"]\n'.encode())
                # Its own words, and its answer.
                for _ in range(1 + (verb == "hold")):
                    self.assertTrue(held.acquire(timeout=10))
                self.assertIs(generation.is_held(), is_held)
            ours.close()
            holder.join(10)
            generation.sys.stdin.close()
        self.assertFalse(holder.is_alive())
        self.assertIs(generation.is_held(), False)

    def test_what_another_one_holds_is_refused(self):
        os.mkdir(self.generations)
        folder = os.open(self.generations, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        generation.fcntl.flock(folder, generation.fcntl.LOCK_EX)
        _, (refused,) = self.attended([1, "hold"])
        told = "another command carries out an operation on the volume\n"
        self.assertEqual(refused, {"number": 1, "code": 1, "said": "", "told": told})

    def test_where_folders_cannot_be_locked_nothing_is_claimed(self):
        with mock.patch.object(generation.fcntl, "flock", side_effect=OSError(95, "no locks")):
            _, (answer,) = self.attended([1, "hold"])
            self.assertIsNone(generation.is_held())
        self.assertEqual(json.loads(answer["said"]), {"is_held": False, "journal": None})

    def test_who_holds_it_sees_what_the_journal_says_by_then(self):
        os.mkdir(self.generations)
        pathlib.Path(self.journal).write_text('{"id": "of another"}')
        _, (answer,) = self.attended([1, "hold"])
        seen = {"is_held": True, "journal": {"id": "of another"}}
        self.assertEqual(json.loads(answer["said"]), seen)

    def test_it_is_said_whose_the_volume_is(self):
        ours = f"{os.getuid()}:{os.getgid()}"
        self.assertEqual(self.attended()[0], {"user": ours, "owner": ours})
        others = types.SimpleNamespace(st_uid=4711, st_gid=4712)
        with mock.patch.object(generation.os, "stat", return_value=others):
            self.assertEqual(self.attended()[0], {"user": ours, "owner": "4711:4712"})
        with mock.patch.object(generation.os, "stat", side_effect=PermissionError(13, "no")):
            self.assertEqual(self.attended()[0], {"user": ours, "owner": None})

    def test_who_attends_to_it_carries_out_what_he_is_told(self):
        lines = [[1, "forget", "before-9"], [2, "note", '{"id": "1"}'], [3, "dance"]]
        os.mkdir(self.generations)
        _, (refused, noted, unknown) = self.attended(*lines)
        self.assertEqual(noted, {"number": 2, "code": 0, "said": "", "told": ""})
        self.assertEqual(generation.read(self.journal), {"id": "1"})
        told = "there is no generation before-9\n"
        self.assertEqual(refused, {"number": 1, "code": 1, "said": "", "told": told})
        self.assertEqual((unknown["number"], unknown["code"]), (3, 1))
        self.assertIn("KeyError: 'dance'", unknown["told"])


class Moment(unittest.TestCase):
    def recover(self, said, own="757-1"):
        """Which moments were tried, and what end of the log was asked for, where PostgreSQL says
        this of the first and the archive goes on meanwhile."""
        tried, ends = [], iter([5, 9])

        def replay(_part, moment, end, _of_another):
            tried.append((moment, end))
            if moment and said:
                raise copied.Refused(said)

        with (
            mock.patch.object(generation, "verify_rest", lambda _: None),
            mock.patch.object(generation, "read", lambda _: {"stretch": own}),
            mock.patch.object(generation, "known_end", lambda _: next(ends)),
            mock.patch.object(frozen, "segment_size", lambda _: 16),
            mock.patch.object(frozen, "freeze", lambda *_: tried.append("freeze")),
            mock.patch.object(generation, "replay", replay),
            mock.patch.object(generation, "ready", lambda *_: None),
        ):
            generation.recover_at("1", "757-1", "2026-11-26T15:00:00Z")
        return tried

    def test_where_nothing_was_committed_since_then_all_of_the_log_is_taken(self):
        first = ("2026-11-26T15:00:00Z", 0)
        self.assertEqual(self.recover(""), ["freeze", first])
        # The same log, and the end that was known before.
        too_late = f"FATAL: {generation.TOO_LATE}"
        self.assertEqual(self.recover(too_late), ["freeze", first, (None, 5)])

    def test_what_cannot_be_reached_is_refused(self):
        for said, told in (
            (f"FATAL: {generation.TOO_EARLY}", "the backup had not ended at 2026-11-26T15:00:00Z"),
            ("PANIC: something else", "something else"),
        ):
            with self.assertRaisesRegex(copied.Refused, told):
                self.recover(said)
        with self.assertRaisesRegex(copied.Refused, "does not belong to the log in 757-1"):
            self.recover("", own="757-2")

    def test_what_the_exit_status_says_is_whose_fault_it_is(self):
        for error, status in (
            (generation.Unreachable("take another backup"), 64),
            (copied.Refused("no room"), 1),
        ):
            with (
                mock.patch.dict(generation.VERBS, recover_at=mock.Mock(side_effect=error)),
                mock.patch.object(sys, "argv", ["-c", "recover_at"]),
                contextlib.redirect_stderr(io.StringIO()) as said,
            ):
                self.assertEqual(generation.main(), status)
            self.assertEqual(said.getvalue(), f"{error}\n")

    def test_the_log_leaves_room_to_what_runs(self):
        with mock.patch.object(archiving, "free", return_value=archiving.FREE_FOR_BOTH):
            generation.leave_room()
        with (
            mock.patch.object(archiving, "free", return_value=archiving.FREE_FOR_BOTH - 1),
            self.assertRaisesRegex(copied.Refused, "has no room for the log since the backup"),
        ):
            generation.leave_room()

    def test_a_server_that_may_not_go_on_is_ended(self):
        server = mock.Mock(poll=mock.Mock(return_value=None))
        is_ready = [mock.Mock(returncode=status) for status in (2, 2, 0)]
        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.dict(copied.SETTINGS, hba_file=f"{folder}/hba"),
            mock.patch.multiple(copied, LOG=f"{folder}/log", AFTERWARDS=0),
            mock.patch.object(copied, "as_there", return_value={}),
            mock.patch.object(copied.subprocess, "Popen", return_value=server),
            mock.patch.object(copied.subprocess, "run", side_effect=is_ready),
            self.assertRaisesRegex(copied.Refused, "no room"),
            copied.serving(
                folder, may_go_on=mock.Mock(side_effect=[None, copied.Refused("no room")])
            ),
        ):
            self.fail("it is served")
        server.kill.assert_called_once()


class Collations(unittest.TestCase):
    def inspect(self, databases, found):
        asked = []

        def ask(database, *statements):
            asked.append((database, *statements))
            if statements == (collations.DATABASES,):
                return json.dumps(databases)
            nothing = {"bounds": "", "indexes": [], "collations": [], "database": False}
            return json.dumps(nothing | found.get(database, {}))

        with mock.patch.object(collations, "ask", ask):
            try:
                return collations.mend_collations()
            finally:
                self.asked = asked[1:]

    def test_a_database_that_its_owner_has_closed_is_looked_at_and_closed_again(self):
        bounds = {"bounds": "de_DE", "indexes": ["i"]}
        with self.assertRaisesRegex(copied.Refused, r"by them: de_DE \(database shut\)$"):
            self.inspect([["open", True], ["shut", False]], {"shut": bounds})
        self.assertEqual(
            self.asked,
            [
                ("open", collations.SORTED),
                ("postgres", 'ALTER DATABASE "shut" ALLOW_CONNECTIONS true'),
                ("shut", collations.SORTED),
                ("postgres", 'ALTER DATABASE "shut" ALLOW_CONNECTIONS false'),
            ],
        )

    def test_indexes_of_another_order_are_made_again(self):
        moved = {"indexes": ["public.i"], "collations": ['"de_DE"'], "database": True}
        made_again = self.inspect([["shop", True], ["other", True]], {"shop": moved})
        self.assertEqual(made_again, ["public.i (database shop)"])
        self.assertEqual(
            self.asked,
            [
                ("shop", collations.SORTED),
                ("shop", "REINDEX INDEX public.i"),
                ("shop", 'ALTER COLLATION "de_DE" REFRESH VERSION'),
                ("postgres", 'ALTER DATABASE "shop" REFRESH COLLATION VERSION'),
                ("other", collations.SORTED),
            ],
        )

    def test_what_was_made_again_is_told_and_not_at_any_length(self):
        def told(indexes):
            with contextlib.redirect_stdout(io.StringIO()) as said:
                collations.tell_made_again(indexes)
            return said.getvalue()

        how = "again, whose text this image sorts otherwise:"
        self.assertEqual(told([]), "")
        self.assertEqual(told(["i (database d)"]), f"made 1 index {how} i (database d)\n")
        many = told([f"i{number}" for number in range(12)])
        self.assertTrue(many.startswith(f"made 12 indexes {how} i0, i1, "), many)
        self.assertTrue(many.endswith(", i9 and 2 more\n"), many)


class Frozen(unittest.TestCase):
    SIZE = 64

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.archive = pathlib.Path(folder.name, "757-20261126T150000Z")
        self.archive.mkdir()
        self.log = pathlib.Path(folder.name, "log")
        self.target = pathlib.Path(folder.name, "RECOVERYXLOG")
        patched = mock.patch.object(frozen, "FROZEN", str(self.log))
        patched.start()
        self.addCleanup(patched.stop)

    def put(self, name, size=SIZE):
        (self.archive / name).write_bytes(b"x" * size)

    def freeze(self):
        frozen.freeze(str(self.archive), str(self.log), self.SIZE)
        return sorted(path.name for path in self.log.iterdir())

    def ask(self, name, target=None):
        """As PostgreSQL asks for a file."""
        command = frozen.fetch().replace("%f", name).replace("%p", str(target or self.target))
        return subprocess.run(["sh", "-c", command], capture_output=True, check=False)

    def fetched(self, name):
        """How long the file is that comes; else the exit status."""
        status = self.ask(name).returncode
        return status or self.target.stat().st_size

    def test_what_comes_later_is_not_there(self):
        first, second, third = (f"0000000100000000000000A{n}" for n in (1, 2, 3))
        self.put(first)
        self.put(f"{second}.partial")
        self.put("00000001.history", 7)
        self.put("stretch.json", 7)
        self.assertEqual(self.freeze(), ["00000001.history", first, second])
        (self.archive / f"{second}.partial").write_bytes(b"later")
        os.rename(self.archive / f"{second}.partial", self.archive / second)
        self.put(third)
        self.assertEqual(self.fetched(first), self.SIZE)
        self.assertEqual(self.fetched(second), self.SIZE)
        self.assertEqual(self.fetched("00000001.history"), 7)
        self.assertEqual(self.fetched(third), 1)

    def test_a_segment_that_is_only_being_made_is_not_there(self):
        # PostgreSQL would give up: "archive file has wrong size".
        for size in (0, self.SIZE // 2):
            self.put("0000000100000000000000A1.partial", size)
            self.freeze()
            self.assertEqual(self.fetched("0000000100000000000000A1"), 1)
            shutil.rmtree(self.log)

    def test_a_segment_that_gets_whole_meanwhile_is_taken_as_that(self):
        name = "0000000100000000000000A1"
        self.put(f"{name}.partial")

        def gone(source, _target):
            os.rename(source, source.removesuffix(".partial"))
            raise FileNotFoundError(source)

        with mock.patch.object(frozen.shutil, "copyfile", gone):
            self.assertEqual(self.freeze(), [name])
        self.assertEqual(self.fetched(name), self.SIZE)

    def test_a_compressed_segment_is_one_also_where_that_comes_later(self):
        first, second, third = (f"0000000100000000000000A{n}" for n in (1, 2, 3))
        for name in (first, second, third):
            self.put(name)
        subprocess.run(["gzip", str(self.archive / first)], check=True)
        # Both forms are there for a moment.
        subprocess.run(["gzip", "--keep", str(self.archive / second)], check=True)
        (self.archive / f"{first}.packing").write_bytes(b"half")
        self.assertEqual(self.freeze(), [first, second, third])
        subprocess.run(["gzip", str(self.archive / third)], check=True)
        for name in (first, second, third):
            self.assertEqual(self.fetched(name), self.SIZE)
            self.assertEqual(self.target.read_bytes(), b"x" * self.SIZE)
        (self.archive / f"{third}.gz").write_bytes(b"cut off")
        self.assertEqual(self.fetched(third), 126)
        (self.archive / f"{third}.gz").unlink()
        self.assertEqual(self.fetched(third), 1)

    def test_a_full_disk_is_not_the_end_of_the_log(self):
        name = "0000000100000000000000A1"
        self.put(name)
        self.freeze()
        done = self.ask(name, "/dev/full")
        # From here on PostgreSQL does not take it for a file that is not there.
        self.assertEqual(done.returncode, 126)
        self.assertIn(b"No space left on device", done.stderr)

    def test_the_size_of_a_segment_is_what_the_cluster_says(self):
        said = "pg_control version number:  1300\nBytes per WAL segment:   16777216\n\n"
        with mock.patch.object(copied, "run", lambda *_: said):
            self.assertEqual(frozen.segment_size("part"), 16777216)


if __name__ == "__main__":
    unittest.main()
