"""Works on the generations of a volume: `pgdata` is what runs, `generations/` has the others.

    generations/new-ID.part    is being unpacked, or copied
    generations/new-ID.log.part  the log that comes while it is copied
    generations/new-ID.files.part  a copy of the app's folders, while the app works
    generations/new-ID         whole, and never yet in use
    generations/before-ID      what ran before the restore, update or migration ID
    generations/failed-ID      what was put in its place and taken back: the app did not get healthy
                               on it, or somebody wanted the data from before
    files/ID                   the app's folders of the cluster that the operation ID made
    generations/journal.json   the operation that goes on, and its step

A cluster that was put in the place of another one has `hive-restored.json`, with the ID, so that
the names and that file say how far an operation was that was killed, at any moment; with the
transaction that came next, so that it can be told what was written since then; and with the image
that an update has made it for. One that an update has put aside has `hive-kept.json`: of which
image it is, and since when.

Volumes cannot be renamed, so what takes the place of a cluster has to lie beside it; the exchange
is one call, and both clusters are whole before and after it.
"""

import contextlib
import ctypes
import errno
import fcntl
import glob
import io
import json
import os
import re
import select
import signal
import subprocess
import sys
import time
import traceback

import ahead
import collations
import files
import frozen
import warm
from copied import (
    NOT_SYNCED,
    STATE,
    Refused,
    ask,
    control,
    control_of,
    serving,
    verify,
    verify_rest,
)
from hive_container import cluster, image, volume
from hive_container.image import sync, write_private

MOUNT = "/var/lib/postgresql/data"
PGDATA = f"{MOUNT}/pgdata"
GENERATIONS = f"{MOUNT}/generations"
JOURNAL = f"{GENERATIONS}/journal.json"
LOCK = f"{MOUNT}/hive/lock"
#: What the health check leaves on a volume whose service is healthy.
WAS_HEALTHY = f"{MOUNT}/hive/was-healthy"
PASSFILE = f"{MOUNT}/hive/superuser.pgpass"
RESTORED = files.RESTORED
PUT_ASIDE = "hive-kept.json"
#: In a cluster: with which stretch of the archive it goes on.
ARCHIVED = "hive-archive.json"

AT_FDCWD = -100
RENAME_EXCHANGE = 2

#: Whether a name is taken.
IS_TAKEN = {
    "role": "SELECT to_json({} IN (SELECT rolname FROM pg_roles))",
    "database": "SELECT to_json({} IN (SELECT datname FROM pg_database))",
}


def look(extensions: str) -> None:
    """Says what a plan has to know; changes nothing."""
    folder = glob.glob("/usr/share/postgresql/*/extension")[0]
    missing = [
        name for name in json.loads(extensions) if not os.path.isfile(f"{folder}/{name}.control")
    ]
    with open("/usr/share/hive/cluster/PG_VERSION", encoding="utf-8") as file:
        major = int(file.read())
    status = os.statvfs(MOUNT)
    restored = read(f"{PGDATA}/{RESTORED}") or {}
    names = [name for name, _, _ in generations()]
    print(
        json.dumps(
            {
                "major": major,
                "missing_extensions": missing,
                "free_bytes": status.f_bavail * status.f_frsize,
                "free_files": status.f_favail if status.f_files else None,
                "generations": sorted(name for name in names if name.startswith(KEPT)),
                "versions": {
                    name: cluster.read_first_line(f"{GENERATIONS}/{name}/PG_VERSION") or ""
                    for name in names
                    if name.startswith(KEPT)
                },
                "journal": read(JOURNAL),
                "is_held": is_held(),
                "running": restored.get("id"),
                "is_used": is_used(PGDATA),
                "was_healthy": os.path.exists(WAS_HEALTHY),
                "tablespaces": files_in(f"{PGDATA}/pg_tblspc"),
                "migrated_from": restored.get("migrated_from"),
                "running_image": restored.get("image_id"),
                "disk": os.stat(MOUNT).st_dev,
                "secrets": files.kept_secrets(),
                "images": {
                    name: of
                    for name in names
                    if name.startswith(KEPT) and (of := image_of(f"{GENERATIONS}/{name}"))
                },
                "kept": {
                    name: note
                    for name in names
                    if name.startswith(KEPT)
                    and (note := read(f"{GENERATIONS}/{name}/{PUT_ASIDE}")) is not None
                    # One of an update that was taken back stays, also in what is made of a backup.
                    and note.get("id") == name.partition("-")[2]
                },
            }
        )
    )


#: What nobody removes unless it is named.
KEPT = ("before-", "failed-")

#: What this makes. Whatever else somebody has put beside it is left alone.
GENERATION = re.compile(f"(before|failed|new)-({files.NAME.pattern})")


def generations() -> list[tuple[str, str, str]]:
    """Those that there are: each one's name, its kind, and by which operation it was made."""
    names = os.listdir(GENERATIONS) if os.path.isdir(GENERATIONS) else []
    known = [found for name in names if (found := GENERATION.fullmatch(name))]
    return [(one[0], one[1], one[2]) for one in known if is_folder(f"{GENERATIONS}/{one[0]}")]


def is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def read(path: str) -> dict | None:
    try:
        with open(path, encoding="utf-8") as file:
            found = json.load(file)
    except (FileNotFoundError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def files_in(folder: str) -> list[str]:
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []


def is_used(cluster: str) -> bool:
    """Whether a server has run on it since it was made; also where nothing says that none has."""
    known = (read(f"{cluster}/{RESTORED}") or {}).get("control")
    return known is None or known != control_of(cluster)


def image_of(cluster: str) -> str | None:
    """The image that ran on it, as far as an update has noted it."""
    _, _, identifier = os.path.basename(cluster).partition("-")
    put_aside, restored = (read(f"{cluster}/{name}") or {} for name in (PUT_ASIDE, RESTORED))
    known = put_aside if put_aside.get("id") == identifier else restored
    return known.get("image_id")


def made(cluster: str, identifier: str) -> dict:
    """What is noted of a cluster on which no server has run since it was made."""
    known = control(cluster)
    # What was written after the last checkpoint of one that has not ended well would count as new.
    is_whole = known["Database cluster state"] == STATE
    following = {"next_transaction": known["Latest checkpoint's NextXID"]} if is_whole else {}
    return {"id": identifier, "control": control_of(cluster)} | following


def write(path: str, value: dict) -> None:
    write_private(path, json.dumps(value), durable=True)


def note(journal: str) -> None:
    """Writes down which step comes next. Whoever is healthy from here on is so on what this
    operation has made; while the service works yet the mark comes again."""
    os.makedirs(GENERATIONS, mode=0o700, exist_ok=True)
    if os.path.exists(WAS_HEALTHY):
        os.unlink(WAS_HEALTHY)
        sync(os.path.dirname(WAS_HEALTHY))
    write(JOURNAL, json.loads(journal))


#: How long it is waited for those that only look whether somebody holds the volume.
LOOKS = 5.0


def hold() -> None:
    """Holds the volume for an operation of several steps. Says whether it does, which it cannot
    where folders are not locked, and what the journal says by then."""
    os.makedirs(GENERATIONS, mode=0o700, exist_ok=True)
    if not HELD:
        descriptor = os.open(GENERATIONS, os.O_RDONLY | os.O_DIRECTORY)
        try:
            if lock(descriptor, LOOKS, "another command carries out an operation on the volume"):
                HELD.append(os.dup(descriptor))
        finally:
            os.close(descriptor)
    print(json.dumps({"is_held": bool(HELD), "journal": read(JOURNAL)}))


def release() -> None:
    """Lets the volume go."""
    while HELD:
        os.close(HELD.pop())


#: By what the volume is held. It is let go where this ends, too.
HELD: list[int] = []

#: What is done by whoever attends to the volume himself: what holds it ends with him.
BY_ITSELF = ("hold", "release")


def attend() -> None:
    """Carries out what it is told, a line for each and one for its answer, until its input ends:
    with whoever asked, wherever he is and however he ends. Says first as whom, and whose the volume
    is, where he may see that."""
    print(json.dumps({"user": f"{os.getuid()}:{os.getgid()}", "owner": owner()}), flush=True)
    try:
        while line := sys.stdin.buffer.readline():
            number, *words = json.loads(line)
            answer = by_itself(words) if words[0] in BY_ITSELF else carried_out(words)
            print(json.dumps({"number": number} | answer), flush=True)
    finally:
        release()


def owner() -> str | None:
    """`UID:GID` of the cluster's user, else of the one that the image has."""
    for name in ("pgdata", "hive"):
        try:
            known = os.stat(f"{MOUNT}/{name}")
        except FileNotFoundError:
            continue
        except PermissionError:
            return None
        return f"{known.st_uid}:{known.st_gid}"
    return f"{os.getuid()}:{os.getgid()}"


def by_itself(words: list[str]) -> dict:
    with (
        contextlib.redirect_stdout(io.StringIO()) as said,
        contextlib.redirect_stderr(io.StringIO()) as told,
    ):
        code = carry_out(words)
    return {"code": code, "said": said.getvalue(), "told": told.getvalue()}


#: In the process that carries something out: where whoever has asked would ask for more, which he
#: does only where he waits for it no longer, or comes to his end.
ASKED: list[int] = []


def is_given_up() -> bool:
    return bool(ASKED and select.select(ASKED, [], [], 0)[0])


#: In seconds; without one for ten times as long the holder is given up.
BEAT = 10.0


def carried_out(words: list[str]) -> dict:
    """Carries out a verb in a process of its own, as a program that is started for it would; that
    takes longer than most of them do."""
    with (
        open(os.memfd_create("said"), "w+", encoding="utf-8") as said,
        open(os.memfd_create("told"), "w+", encoding="utf-8") as told,
        open(os.devnull, encoding="utf-8") as nothing,
    ):
        process = os.fork()
        if process == 0:
            code = 1
            try:
                ASKED.append(os.dup(0))
                for file, number in ((nothing, 0), (said, 1), (told, 2)):
                    os.dup2(file.fileno(), number)
                code = carry_out(words)
            finally:
                # Nothing of the caller's is to be unwound in here.
                if sys.exc_info()[0]:
                    traceback.print_exc()
                sys.stdout.flush()
                os._exit(code)
        # Who waits for the answer sees by these that the way to here is open.
        signal.signal(signal.SIGALRM, lambda *_: print(flush=True))
        signal.setitimer(signal.ITIMER_REAL, BEAT, BEAT)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        signal.setitimer(signal.ITIMER_REAL, 0)
        said.seek(0)
        told.seek(0)
        return {"code": code, "said": said.read(), "told": told.read()}


def lock(folder: int, patience: float, refusal: str) -> bool:
    """Locks a folder, and waits so many seconds for that; False where folders are not locked, as on
    NFS."""
    until = time.monotonic() + patience
    while True:
        try:
            fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                raise Refused(refusal) from None
            time.sleep(0.05)
        except OSError:
            return False


def is_held() -> bool | None:
    """Whether somebody holds the volume; none where that cannot be told."""
    try:
        descriptor = os.open(GENERATIONS, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return False


def is_called(cluster: str, identifier: str) -> bool:
    """Whether it was made by the operation of this name."""
    return (read(f"{cluster}/{RESTORED}") or {}).get("id") == identifier


def settle() -> None:
    """Ends what a killed operation left, by what is there: done, or as before."""
    if not os.path.isdir(GENERATIONS):
        return
    restored = read(f"{PGDATA}/{RESTORED}") or {}
    for name, kind, identifier in generations():
        path = f"{GENERATIONS}/{name}"
        if kind == "before" and is_called(path, identifier):
            # Taken back: what has this name is what did not work.
            os.rename(path, f"{GENERATIONS}/failed-{identifier}")
        if kind == "failed" and restored.get("id") == identifier:
            # Taken back, and then not: what has this name is what ran before.
            os.rename(path, f"{GENERATIONS}/before-{identifier}")
        if kind != "new":
            continue
        is_copy = identifier.endswith((".part", ".try")) or is_called(path, identifier)
        if restored.get("id") == identifier or not is_copy:
            # Exchanged: what has this name is what ran before.
            os.rename(path, f"{GENERATIONS}/before-{identifier}")
        else:
            # Never in use: a copy of a backup.
            remove_files(identifier.removesuffix(".part"))
            files.remove_tree(path)
    sync(GENERATIONS)


def begin(identifier: str) -> None:
    settle()
    inspect_exchange()
    os.mkdir(f"{GENERATIONS}/new-{identifier}.part", mode=0o700)


def recover(identifier: str, of_another: str = "") -> None:
    """Lets PostgreSQL replay the log that belongs to what was unpacked, and compared meanwhile.
    What is of another image becomes this one's. Prints which indexes were made again."""
    part = f"{GENERATIONS}/new-{identifier}.part"
    verify_rest(part)
    with serving(part, NOT_SYNCED):
        collations.tell_made_again(collations.mend_collations())
        if of_another:
            take_over(part)
    ready(identifier, "{}")


#: The archive's volume, where a moment is to be reached.
ARCHIVE = "/var/lib/postgresql/archive"

#: What PostgreSQL ends with where a moment is not in the log that it was given.
TOO_LATE = "recovery ended before configured recovery target was reached"
TOO_EARLY = "requested recovery stop point is before consistent recovery point"


class Unreachable(Refused):
    """It is not the machine's fault: another backup or another moment is to be named."""


def archived() -> None:
    """Says of each stretch of the archive what is in it; changes nothing."""
    from hive_container import archiving

    found = [
        {
            "name": one.name,
            "system_identifier": one.system_identifier,
            "since": one.since,
            "until": one.until,
        }
        for one in archiving.stretches(ARCHIVE)
    ]
    print(json.dumps(found))


#: In seconds: so far may the clock of backups be from that of the archive. Its own margin is twice
#: as much.
SAME_CLOCK = 300.0


def less(needed: str, now: str) -> None:
    """Leaves word in the archive of what backups need; says how much goes then. What they need is
    told by the clock of who has taken them, where it is `now`."""
    from hive_container import archiving

    between = time.time() - float(now)
    if abs(between) > SAME_CLOCK:
        raise Refused(
            f"the engine's clock is {abs(between):.0f} s {'ahead of' if between > 0 else 'behind'}"
            " this machine's: when a backup was taken does not say which log it needs"
        )
    if not hasattr(archiving, "ask_for_less"):
        # It keeps as much as fits into its bound.
        print(0)
        return
    print(archiving.ask_for_less(ARCHIVE, json.loads(needed)))


def recover_at(identifier: str, name: str, moment: str, of_another: str = "") -> None:
    """The same as `recover`, with the archived log up to a moment."""
    part = f"{GENERATIONS}/new-{identifier}.part"
    verify_rest(part)
    if (read(f"{part}/{ARCHIVED}") or {}).get("stretch") != name:
        raise Unreachable(f"the backup does not belong to the log in {name}")
    # Before what is there is looked at: the archive goes on meanwhile.
    end = known_end(name)
    frozen.freeze(f"{ARCHIVE}/{name}", frozen.FROZEN, frozen.segment_size(part))
    try:
        replay(part, moment, 0, of_another)
    except Refused as error:
        if TOO_EARLY in str(error):
            raise Unreachable(
                f"the backup had not ended at {moment}; take an earlier backup"
            ) from error
        if TOO_LATE not in str(error):
            raise
        # Nothing was committed after it, if all of the log is there.
        replay(part, None, end, of_another)
    ready(identifier, "{}")


def known_end(name: str) -> int:
    """Where the log of a stretch ends, or further on."""
    from hive_container import archiving

    return archiving.Stretch(f"{ARCHIVE}/{name}").end


def replay(part: str, moment: str | None, end: int, of_another: str) -> None:
    # Who could connect before its end would see what comes before the moment.
    more = {"restore_command": frozen.fetch(), "recovery_target_action": "promote"}
    more |= {"hot_standby": "off"} | NOT_SYNCED
    if moment:
        # Abbreviations of time zones are not known yet when this is read.
        more["recovery_target_time"] = moment.removesuffix("Z") + "+00:00"
    with open(f"{part}/recovery.signal", "w", encoding="utf-8"):
        pass
    with serving(part, more, leave_room):
        if moment is None:
            frozen.inspect_end(part, end)
        collations.tell_made_again(collations.mend_collations())
        if of_another:
            take_over(part)


def leave_room() -> None:
    """What runs needs some of the disk, and the log since the backup may be of any length."""
    from hive_container import archiving

    if archiving.free(MOUNT) < archiving.FREE_FOR_BOTH:
        raise Refused("the disk of the data has no room for the log since the backup")


def take_over(part: str) -> None:
    """The role and the database of the app get the names that this image has for them."""
    identity = f"{part}/{os.path.basename(volume.IDENTITY)}"
    made_by, ours = read(identity), volume.identity_of(image.load(dict(os.environ)))
    if not isinstance(made_by, dict) or not ours.keys() <= made_by.keys():
        raise Refused("the backup does not say what its role and its database are: hive.json")
    named, taken, renames = image.identifier, [], []
    for kind, question in IS_TAKEN.items():
        old, new = made_by[kind], ours[kind]
        if old == new:
            continue
        if json.loads(ask("postgres", question.format(image.literal(new)))):
            taken.append(f"a {kind} {new!r} beside {old!r}")
        renames.append(f"ALTER {kind.upper()} {named(old)} RENAME TO {named(new)}")
    if taken:
        has = " and ".join(taken)
        raise Refused(f"the names of this image are not free in the backup: it has {has}")
    if renames:
        ask("postgres", *renames)
    write(identity, made_by | ours)


def ready(identifier: str, note: str) -> None:
    """What was filled is whole; the note says where its data come from."""
    part = f"{GENERATIONS}/new-{identifier}.part"
    if is_called(part.removesuffix(".part"), identifier):
        return
    inspect_exchange()
    write(f"{part}/{RESTORED}", made(part, identifier) | json.loads(note))
    leave_archive(part)
    give_files(part, identifier)
    sync_all(part, identifier)
    os.rename(part, part.removesuffix(".part"))
    sync(GENERATIONS)


def sync_all(part: str, identifier: str) -> None:
    """Of a cluster, and of the app's folders beside it."""
    for home in filter(os.path.isdir, (part, f"{files.FILES}/{identifier}")):
        files.sync_all(home)
        sync(os.path.dirname(home))


def begin_copy(identifier: str) -> None:
    """Makes room for a copy of what runs, while it runs, and says how large that is; where the
    stopped cluster is copied as fast, nothing."""
    settle()
    inspect_exchange()
    size, _ = files.size_of(PGDATA)
    if warm.is_worth_it(PGDATA, size, GENERATIONS):
        for kind in ("part", "log.part"):
            os.mkdir(f"{GENERATIONS}/new-{identifier}.{kind}", mode=0o700)
        print(size)


def begin_files(identifier: str) -> None:
    """Makes room for a copy of the app's folders, while it runs, and says how large they are; where
    they are copied as fast once it is stopped, nothing."""
    home = files.of_cluster(PGDATA)
    size, _ = files.size_of(home) if home else (0, 0)
    if ahead.is_worth_it(size, GENERATIONS) and not warm.shares_blocks(PGDATA, GENERATIONS):
        os.mkdir(f"{GENERATIONS}/new-{identifier}.files.part", mode=0o700)
        print(size)


def copy_files(identifier: str) -> None:
    place = f"{GENERATIONS}/new-{identifier}.files.part"
    home = files.of_cluster(PGDATA)
    if not home or not ahead.copy(home, place, is_given_up):
        raise Refused("the copy of the app's folders was given up")


def inspect_copy(identifier: str) -> None:
    """Compares what was copied with PostgreSQL's manifest. Its log is still to come."""
    verify(f"{GENERATIONS}/new-{identifier}.part", "--no-parse-wal")


def keep(identifier: str, note: str, image_id: str) -> None:
    """The copy of what ran becomes the same as that, or is made now; an image is to run on it, and
    the note says what is put aside. Prints why one from before could not be used."""
    locked()
    part = f"{GENERATIONS}/new-{identifier}.part"
    if not is_caught_up(identifier, part):
        for left in (part, f"{GENERATIONS}/new-{identifier}.log.part"):
            if os.path.isdir(left):
                files.remove_tree(left)
        copy_all(PGDATA, part)
    write(f"{PGDATA}/{PUT_ASIDE}", json.loads(note))
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{part}/{PUT_ASIDE}")
    share_files(identifier)
    write(f"{part}/{RESTORED}", made(part, identifier) | {"image_id": image_id})
    sync_all(part, identifier)
    os.rename(part, part.removesuffix(".part"))
    sync(GENERATIONS)


def is_caught_up(identifier: str, part: str) -> bool:
    log = f"{GENERATIONS}/new-{identifier}.log.part"
    if not os.path.isdir(log):
        return False
    try:
        warm.catch_up(PGDATA, part, log)
    except (warm.Unfit, Refused, OSError) as error:
        print(error)
        return False
    files.remove_tree(log)
    return True


def share_files(identifier: str) -> None:
    """The app's folders of what runs are those of what is to take its place, too."""
    remove_files(identifier)
    place, home = f"{GENERATIONS}/new-{identifier}.files.part", files.of_cluster(PGDATA)
    if home and os.path.exists(f"{place}/states"):
        ahead.catch_up(home, place)
        os.rename(f"{place}/copy", f"{files.FILES}/{identifier}")
    elif home:
        copy_all(home, f"{files.FILES}/{identifier}")
    if os.path.isdir(place):
        files.remove_tree(place)


def copy_all(source: str, target: str) -> None:
    # Where the file system can, both have the same blocks until one of them is written to.
    command = ["cp", "--archive", "--reflink=auto", source, target]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Refused(f"copy the data: {said[-2000:]}")


def give_files(part: str, identifier: str) -> None:
    """The app's folders go where the container looks for those of this cluster."""
    home = f"{part}/{files.IN_A_BACKUP}"
    if not os.path.isdir(home):
        return
    os.unlink(f"{home}/{files.SUMS}")
    os.makedirs(files.FILES, mode=0o750, exist_ok=True)
    os.rename(home, f"{files.FILES}/{identifier}")


def remove_files(name: str) -> None:
    if not files.NAME.fullmatch(name):
        raise ValueError(f"no folders of the app's are called {name!r}")
    if os.path.isdir(f"{files.FILES}/{name}"):
        files.remove_tree(f"{files.FILES}/{name}")


def locked() -> int:
    """The volume's lock, as containers take it; held until this ends."""
    os.makedirs(os.path.dirname(LOCK), mode=0o700, exist_ok=True)
    descriptor = os.open(LOCK, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Refused("a container uses the volume: stop it first") from None
    return descriptor


def exchange_names(one: str, other: str) -> None:
    if not os.path.exists(other):
        os.rename(one, other)
        return
    libc = ctypes.CDLL(None, use_errno=True)
    names = (AT_FDCWD, one.encode(), AT_FDCWD, other.encode())
    if libc.renameat2(*names, RENAME_EXCHANGE) != 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code), one)


def inspect_exchange() -> None:
    """Tries on two empty folders what comes once the service is stopped, where there is anything
    to change places with."""
    if not os.path.isdir(PGDATA):
        return
    tried = [f"{GENERATIONS}/new-{name}.try" for name in ("one", "other")]
    try:
        for name in tried:
            os.mkdir(name, mode=0o700)
        exchange_names(*tried)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
            raise
        raise Refused(
            "the volume's file system cannot exchange two names (RENAME_EXCHANGE), by which data"
            " take the place of others: it wants one such as ext4, XFS or Btrfs"
        ) from error
    finally:
        for name in filter(os.path.isdir, tried):
            os.rmdir(name)


def exchange(identifier: str) -> None:
    """What was restored runs from here on, and what ran lies beside it."""
    locked()
    if is_called(PGDATA, identifier):
        # Done, by one whose answer was lost.
        settle()
        return
    # The password that it has is that of the cluster before. Where this file is missing the
    # container gives the cluster the one that is kept, at its next start.
    if os.path.exists(PASSFILE):
        os.unlink(PASSFILE)
    leave_archive(PGDATA)
    exchange_names(f"{GENERATIONS}/new-{identifier}", PGDATA)
    sync(MOUNT)
    sync(GENERATIONS)
    settle()


def leave_archive(cluster: str) -> None:
    """What is put aside has no part in the archive any more: if it came back, that would be another
    life."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(f"{cluster}/{ARCHIVED}")


def back(identifier: str) -> None:
    """What ran before runs again; where that is so already, or nothing ran, all is as it is."""
    locked()
    settle()
    running = (read(f"{PGDATA}/{RESTORED}") or {}).get("id")
    if os.path.isdir(f"{GENERATIONS}/before-{identifier}") and running != identifier:
        raise Refused(f"the data that run are those of {running or 'nothing'}, not of {identifier}")
    change(f"{GENERATIONS}/before-{identifier}", f"{GENERATIONS}/failed-{identifier}")


def forth(identifier: str) -> None:
    """What was taken back runs again."""
    locked()
    settle()
    change(f"{GENERATIONS}/failed-{identifier}", f"{GENERATIONS}/before-{identifier}")


def change(taken: str, left: str) -> None:
    """One generation runs, and what ran gets the other name."""
    if not os.path.isdir(taken):
        return
    if os.path.exists(PASSFILE):
        os.unlink(PASSFILE)
    leave_archive(PGDATA)
    exchange_names(taken, PGDATA)
    os.rename(taken, left)
    sync(MOUNT)
    sync(GENERATIONS)


def finish() -> None:
    if os.path.exists(JOURNAL):
        os.unlink(JOURNAL)
        sync(GENERATIONS)


def forget(name: str) -> None:
    """Deletes a generation that somebody has named, unless an operation works with it."""
    be_unused()
    delete(name)


def end_forgetting() -> None:
    """Deletes what one of the owner's could not, since not all of it is his: by root."""
    be_unused()
    settle()


def be_unused() -> None:
    if is_held() or os.path.exists(JOURNAL):
        raise Refused("an operation works on the volume, so that no generation is deleted")


def delete(name: str) -> None:
    if not name.startswith(KEPT) or name not in [known for known, _, _ in generations()]:
        raise Refused(f"there is no generation {name}")
    own = files_of(f"{GENERATIONS}/{name}")
    others = [files_of(f"{GENERATIONS}/{other}") for other, _, _ in generations() if other != name]
    if os.path.isdir(PGDATA):
        others.append(files_of(PGDATA))
    # Where one of them does not say which are its own, they may be these.
    is_alone = None not in (own, *others) and own not in others
    # What is deleted in part is no way back: `settle` ends that, whose files these are.
    going = f"{GENERATIONS}/new-{own if is_alone else name}.part"
    if os.path.isdir(going):
        files.remove_tree(going)
    os.rename(f"{GENERATIONS}/{name}", going)
    sync(GENERATIONS)
    if is_alone:
        remove_files(own)
    files.remove_tree(going)


def files_of(cluster: str) -> str | None:
    """Which folders of the app belong to a cluster; none where its note is damaged."""
    try:
        return files.name_of(cluster)
    except OSError:
        return None


def forget_unused(identifier: str) -> None:
    """What was taken back goes, unless a server has run on it: then its rows are somebody's, and
    its name is told."""
    name = f"failed-{identifier}"
    if not os.path.isdir(f"{GENERATIONS}/{name}"):
        return
    if is_used(f"{GENERATIONS}/{name}"):
        print(name)
    else:
        delete(name)


VERBS = {
    verb.__name__: verb
    for verb in (
        *(attend, hold, release, look, note),
        *(settle, begin, recover, share_files, ready),
        *(archived, less, recover_at),
        *(begin_copy, inspect_copy, begin_files, copy_files, keep),
        *(exchange, back, forth, finish),
        *(forget, end_forgetting, forget_unused),
    )
}


#: What reads names and acts on them: one at a time, whoever asks. Locks of commands lie where one
#: user keeps his, and an engine may have several.
ALONE = (
    *("settle", "begin", "begin_copy", "begin_files", "ready", "keep"),
    *("exchange", "back", "forth", "forget", "end_forgetting", "forget_unused"),
)

#: How long it is waited for what another command does on the volume, in seconds.
PATIENCE = 600.0


def be_alone() -> int:
    """Locks the volume for what is done on it now; held until this ends."""
    descriptor = os.open(MOUNT, os.O_RDONLY | os.O_DIRECTORY)
    lock(descriptor, PATIENCE, "another command works on the volume")
    return descriptor


def carry_out(words: list[str]) -> int:
    verb, *arguments = words
    try:
        if verb in ALONE:
            be_alone()
        VERBS[verb](*arguments)
    except Refused as error:
        print(error, file=sys.stderr)
        return os.EX_USAGE if isinstance(error, Unreachable) else 1
    except OSError as error:
        print(f"{error.filename or MOUNT}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def main() -> int:
    return carry_out(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
