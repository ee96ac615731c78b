"""The archive: PostgreSQL's log on a volume of its own, as far as a point in time can be reached.

    /var/lib/postgresql/archive/
      IDENTIFIER-20261126T150000Z/    a stretch of the log without a gap, of one cluster's life
        0000000100000000000000A2.gz   its segments, as pg_receivewal has them, and compressed where
      0000000100000000000000A3      newer ones are there
        stretch.json                  since when it has all of the log, and until when
    /var/lib/postgresql/archive/needed.json   what may go, until it is gone

Where the log cannot go on without a gap a new stretch begins, in a folder of its own: the slot was
lost, the volume is another one, or the cluster was restored, taken back or made anew. The cluster
says which stretch is its own (`hive-archive.json` in it), and nothing that is put in the place of a
cluster takes that along. So two lives of a cluster never mix.

The slot keeps what is not yet here, within a bound (`max_slot_wal_keep_size`): no trouble of this
volume ever stops PostgreSQL.
"""

import contextlib
import json
import os
import re
import subprocess
from dataclasses import dataclass

from hive_container import mounts, volume
from hive_container.image import sync, write_private

ARCHIVE = "/var/lib/postgresql/archive"

#: Keeps PostgreSQL's log until it is here.
SLOT = "hive_archive"

#: In the cluster: which stretch is its own.
OWN = f"{volume.PGDATA}/hive-archive.json"
#: In the cluster, and in each copy of it: the bound of the slot that was left in its settings.
BOUND = f"{volume.PGDATA}/hive-archive-bound.json"
#: How it is, for whoever looks from outside and for metrics. On the data volume, as the archive's
#: own may be full or gone.
STATE = f"{volume.OURS}/archive.json"
#: In each stretch.
STRETCH = "stretch.json"

#: What a stretch is called.
NAME = re.compile(r"[0-9]+-[0-9]{8}T[0-9]{6}Z")
SEGMENT = re.compile(r"([0-9A-F]{24})(?:[.]gz)?")
PARTIAL = ".partial"
#: As pg_receivewal would compress them, had it not to be whole before it can be read.
PACKED = ".gz"
#: A segment that is being compressed.
HALF_PACKED = ".packing"

#: Beside the stretches: since when each is needed, as somebody says who knows of the backups.
NEEDED = "needed.json"
#: So much more stays, since times of backups and of files may be those of two clocks.
MARGIN = 600.0

#: As large as they are: the one that was received last, and the one before.
NOT_PACKED = 2

#: How much the archive may take, in megabytes, unless HIVE_ARCHIVE_MB says otherwise.
MEGABYTES = 10240
VARIABLE = "HIVE_ARCHIVE_MB"

#: PostgreSQL's log that the slot keeps at most, and at least, in megabytes.
MOST_KEPT = 1024
LEAST_KEPT = 64

#: Where the data volume has less free, the slot goes rather than the room.
FREE_FOR_DATA = 128 * volume.MIB
#: Where the archive lies on the same disk as the data, so much is left to them.
FREE_FOR_BOTH = 256 * volume.MIB

#: Who receives nothing for so long, while there is something, hangs.
STILL_SECONDS = 60

#: Two lives of a cluster in one stretch, if it went on.
AHEAD = "the archive is ahead of this cluster, which was put back"

#: A clock that is put right bit by bit never goes back so many seconds between two looks.
SET_BACK = 1.0


def is_mounted() -> bool:
    """Whether somebody wants an archive: a volume is mounted for it."""
    return any(mount.point == ARCHIVE for mount in mounts.read())


def kept_megabytes(free: int) -> int:
    """How much of PostgreSQL's log the slot may keep on a data volume with so many bytes free."""
    return max(LEAST_KEPT, min(MOST_KEPT, free // volume.MIB // 4))


def most_bytes(environ: dict[str, str]) -> int:
    """How much the archive may take. What is no number is the default."""
    given = environ.get(VARIABLE, "")
    megabytes = int(given) if re.fullmatch("[0-9]{2,9}", given) else MEGABYTES
    return megabytes * volume.MIB


@dataclass(frozen=True)
class Look:
    """What PostgreSQL says at one moment."""

    #: When it was asked, in seconds since 1970.
    at: float
    system_identifier: str
    segment_bytes: int
    #: The end of the log that is on the data volume's disk.
    flushed: int
    #: How far the archive has it; None while nobody receives it.
    received: int | None
    #: PostgreSQL's word for what is left of the log behind the slot; None where there is no slot.
    slot: str | None


#: As one row of `Look`.
ASKED = f"""
    SELECT json_build_array(extract(epoch FROM clock_timestamp())::float8,
        (SELECT system_identifier::text FROM pg_control_system()),
        pg_size_bytes(current_setting('wal_segment_size')),
        (pg_current_wal_flush_lsn() - '0/0')::float8,
        (SELECT (write_lsn - '0/0')::float8 FROM pg_stat_replication
            WHERE application_name = '{SLOT}' LIMIT 1),
        (SELECT wal_status FROM pg_replication_slots WHERE slot_name = '{SLOT}'));
"""

#: Where an admin lets nobody use `ALTER SYSTEM` (PostgreSQL 17), it is done without.
MAY_ALTER = "coalesce(current_setting('allow_alter_system', true), 'on') = 'on'"

#: The bound that this server was started with.
ITS_BOUND = "SELECT current_setting('max_slot_wal_keep_size');"

#: An older image does not know of archives, and would keep the log for the slot without end: the
#: bound is left in the cluster. Prints nothing.
BOUNDED = f"""
    SELECT format('ALTER SYSTEM SET max_slot_wal_keep_size = %L',
        current_setting('max_slot_wal_keep_size')) WHERE {MAY_ALTER} \\gexec
"""


def unbounded(bound: str | None) -> str:
    """Takes that back: where it is as it was left, and, in clusters of older images, which say
    nothing of it, as long as the slot is there. Prints nothing."""
    ours = f"setting = '{bound}'" if bound else "false"
    return f"""
        SELECT 'ALTER SYSTEM RESET max_slot_wal_keep_size' FROM pg_file_settings
            WHERE sourcefile LIKE '%/postgresql.auto.conf' AND name = 'max_slot_wal_keep_size'
                AND ({ours}
                    OR EXISTS (SELECT FROM pg_replication_slots WHERE slot_name = '{SLOT}'))
                AND {MAY_ALTER} \\gexec
    """


#: Takes the slot away, where there is one that nobody uses. Prints nothing.
WITHOUT_SLOT = f"""
    DO $$BEGIN PERFORM pg_drop_replication_slot(slot_name) FROM pg_replication_slots
        WHERE slot_name = '{SLOT}' AND NOT active; END$$;
"""

#: The log is kept from here on; a moment at which that was so.
WITH_SLOT = f"""
    SELECT extract(epoch FROM clock_timestamp())::float8
        FROM pg_create_physical_replication_slot('{SLOT}', true);
"""


def read(line: str) -> Look:
    """What was answered to `ASKED`."""
    at, identifier, segment, flushed, received, slot = json.loads(line)
    received = None if received is None else int(received)
    return Look(at, identifier, int(segment), int(flushed), received, slot)


class Progress:
    """Whether what is not yet archived comes on."""

    def __init__(self, now: float):
        self.received: int | None = None
        self.since = now

    def stands_still(self, look: Look, now: float) -> bool:
        is_all_there = look.received is not None and look.received >= look.flushed
        if is_all_there or look.received != self.received:
            self.received, self.since = look.received, now
        return now - self.since > STILL_SECONDS


class Stretch:
    """A folder of the archive with log that has no gap."""

    def __init__(self, folder: str):
        self.folder = folder
        with open(f"{folder}/{STRETCH}", encoding="utf-8") as file:
            known = json.load(file)
        self.system_identifier: str = known["system_identifier"]
        self.since: float = known["since"]
        self.until: float = known["until"]
        #: Where the log ended then.
        self.end: int = known["end"]

    @classmethod
    def begin(cls, root: str, system_identifier: str, since: float) -> "Stretch":
        """A new one, without anything in it."""
        import time

        moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(since))
        folder = f"{root}/{system_identifier}-{moment}"
        os.mkdir(folder, mode=0o700)
        known = {"system_identifier": system_identifier, "since": since, "until": since, "end": 0}
        try:
            write_private(f"{folder}/{STRETCH}", json.dumps(known), durable=True)
            return cls(folder)
        except OSError:
            remove(folder)
            raise

    @property
    def name(self) -> str:
        return os.path.basename(self.folder)

    def reaches(
        self, *, since: float | None = None, until: float | None = None, end: int | None = None
    ) -> None:
        """Writes down from when until when all of the log is here, and where it ended then."""
        self.since = self.since if since is None else since
        self.until = max(self.since, self.until if until is None else until)
        self.end = self.end if end is None else end
        known = {
            "system_identifier": self.system_identifier,
            "since": self.since,
            "until": self.until,
            "end": self.end,
        }
        # What it says is believed when the log is removed.
        write_private(f"{self.folder}/{STRETCH}", json.dumps(known), durable=True)

    def segments(self) -> list[str]:
        """Its whole segments, compressed or not, the oldest first."""
        found = filter(None, map(SEGMENT.fullmatch, os.listdir(self.folder)))
        return sorted({name[1] for name in found})

    def forms_of(self, segment: str) -> tuple[str, str]:
        """Where it lies; both are there for a moment."""
        return f"{self.folder}/{segment}", f"{self.folder}/{segment}{PACKED}"

    def found(self, segment: str) -> list[os.stat_result]:
        """What there is of it, of either form: who only looks may come to one that goes."""
        there = []
        for path in self.forms_of(segment):
            with contextlib.suppress(FileNotFoundError):
                there.append(os.stat(path))
        return there

    def ended(self, segment: str) -> float:
        """Until when something was written into it."""
        return max((form.st_mtime for form in self.found(segment)), default=0.0)

    def drop(self, oldest: list[str]) -> None:
        """Removes its oldest segments, after what it says of itself: that is never more than what
        is there."""
        self.reaches(since=max(self.since, self.ended(oldest[-1])))
        for segment in oldest:
            for path in self.forms_of(segment):
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def not_packed(self) -> list[str]:
        """Those that are to be compressed, the oldest first."""
        older = self.segments()[:-NOT_PACKED]
        return [name for name in older if os.path.exists(f"{self.folder}/{name}")]

    def clear(self, segment_bytes: int) -> None:
        """Removes what a full disk has left of a segment that was to begin: pg_receivewal would
        refuse to go on with it, and nothing of the log is in it."""
        for name in os.listdir(self.folder):
            path = f"{self.folder}/{name}"
            is_cut = name.endswith(PARTIAL) and os.path.getsize(path) not in (0, segment_bytes)
            if is_cut or name.endswith(HALF_PACKED):
                os.unlink(path)


class Packer:
    """A segment that is being compressed, by a program beside this one."""

    def __init__(self, path: str):
        self.path = path
        self.half = f"{path}{HALF_PACKED}"
        descriptor = os.open(self.half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as target:
            # The app's requests come first.
            self.program = subprocess.Popen(
                ["nice", "-n", "19", "gzip", "-1", "--stdout", "--no-name", path],
                stdin=subprocess.DEVNULL,
                stdout=target,
                stderr=subprocess.DEVNULL,
            )

    @classmethod
    def of(cls, stretch: Stretch) -> "Packer | None":
        """The oldest that is to be; None where all are."""
        waiting = stretch.not_packed()
        return cls(f"{stretch.folder}/{waiting[0]}") if waiting else None

    def has_ended(self) -> bool:
        return self.program.poll() is not None

    def keep(self) -> bool:
        """Puts it in the place of the segment; whether that was possible."""
        try:
            if self.program.wait() != 0:
                raise OSError(f"gzip ended with {self.program.returncode}")
            # Its time says what is in it, as that of any segment.
            status = os.stat(self.path)
            with open(self.half, "rb") as packed:
                os.fsync(packed.fileno())
            os.utime(self.half, ns=(status.st_atime_ns, status.st_mtime_ns))
            os.rename(self.half, self.path + PACKED)
            sync(os.path.dirname(self.path))
            os.unlink(self.path)
        except OSError:
            self.give_up()
            return False
        return True

    def give_up(self) -> None:
        """What there is of it goes."""
        self.program.kill()
        self.program.wait()
        with contextlib.suppress(OSError):
            os.unlink(self.half)


def stretches(root: str) -> list[Stretch]:
    """All that are whole, the oldest first. What else lies there is not looked at."""
    found = []
    for name in filter(NAME.fullmatch, os.listdir(root)):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            found.append(Stretch(f"{root}/{name}"))
    return sorted(found, key=lambda one: one.since)


def own(root: str, look: Look, seen: float = 0.0, path: str = OWN) -> Stretch | str:
    """The stretch that this cluster goes on with; or why there is none. `seen` is the latest time
    that was seen on its clock."""
    if not os.path.exists(path):
        return "nothing is archived of this cluster yet"
    if look.slot is None:
        return "the slot is gone"
    if look.slot == "lost":
        return "PostgreSQL has removed log that was not archived yet"
    try:
        with open(path, encoding="utf-8") as file:
            name = os.path.basename(json.load(file)["stretch"])
        stretch = Stretch(f"{root}/{name}")
    except (OSError, ValueError, KeyError, TypeError):
        return "its folder is not on this volume, or cannot be read"
    return other_life(stretch, look, seen) or stretch


def other_life(stretch: Stretch, look: Look, seen: float) -> str | None:
    """Why what comes is not what a stretch goes on with."""
    if stretch.system_identifier != look.system_identifier:
        return "its folder is of another cluster"
    if stretch.end > look.flushed:
        return AHEAD
    if look.at < max(stretch.until, seen) - SET_BACK:
        # What was committed on the clock of before is later than what comes now: a moment that is
        # on both is looked for in what comes.
        stretch.reaches(until=min(stretch.until, look.at))
        return "the clock was set back"
    return None


def prune(root: str, most: int, keeps: Stretch, wanted: int = 0) -> None:
    """Removes the oldest log until the archive takes no more than `most` bytes, and as many are
    given back as are wanted. Of the stretch that is being written to, the last segments stay."""
    for name in filter(NAME.fullmatch, os.listdir(root)):
        folder = f"{root}/{name}"
        is_other = folder != keeps.folder and os.path.isdir(folder)
        if is_other and STRETCH not in os.listdir(folder):
            # Killed while it was begun or removed.
            remove(folder)
    sizes = {}
    for stretch in stretches(root):
        for name in os.listdir(stretch.folder):
            with contextlib.suppress(FileNotFoundError):
                path = f"{stretch.folder}/{name}"
                sizes[path] = os.stat(path).st_size
    too_much = max(sum(sizes.values()) - most, wanted)
    for stretch in stretches(root):
        if too_much <= 0:
            return
        if stretch.folder != keeps.folder:
            # A part of one that has ended may be all that a backup needs, or be nothing.
            too_much -= sum(size for path, size in sizes.items() if path.startswith(stretch.folder))
            remove(stretch.folder)
            continue
        # Nothing of the log in a segment is younger than the file.
        oldest = keeps.segments()[:-2]
        goes = []
        while oldest and too_much > 0:
            goes.append(oldest.pop(0))
            too_much -= sum(sizes.get(path, 0) for path in keeps.forms_of(goes[-1]))
        if goes:
            keeps.drop(goes)


def unneeded(
    root: str, needed: dict[str, float], asked: float, keeps: str | None = None
) -> list[tuple[Stretch, list[str] | None]]:
    """What no backup needs, by stretch: its oldest segments, or all of it. `needed` says since when
    each is needed, as it was known at the time `asked`. The one that is written to stays, and the
    newest: the next backup may be one of it."""
    found: list[tuple[Stretch, list[str] | None]] = []
    there = [one for one in stretches(root) if one.since < asked]
    for stretch in there:
        since = needed.get(stretch.name)
        if since is not None:
            older = stretch.segments()[:-NOT_PACKED]
            found.append((stretch, [one for one in older if stretch.ended(one) < since - MARGIN]))
        elif stretch.name != keeps and stretch is not there[-1]:
            found.append((stretch, None))
    return [(stretch, goes) for stretch, goes in found if goes is None or goes]


def ask_for_less(root: str, needed: dict[str, float]) -> int:
    """Leaves word of what is needed; how many bytes go then. Only who writes to the archive removes
    something of it."""
    import time

    asked = time.time()
    goes = unneeded(root, needed, asked)
    if not goes:
        return 0
    path = f"{root}/{NEEDED}"
    write_private(path, json.dumps({"asked": asked, "needed": needed}), durable=True)
    # Whoever writes to the archive is to remove it.
    owner = os.stat(goes[-1][0].folder)
    os.chown(path, owner.st_uid, owner.st_gid)
    size = 0
    for stretch, segments in goes:
        names = stretch.segments() if segments is None else segments
        size += sum(form.st_size for name in names for form in stretch.found(name))
    return size


def do_with_less(root: str, keeps: Stretch) -> None:
    """Does what was asked for, once."""
    path = f"{root}/{NEEDED}"
    try:
        with open(path, encoding="utf-8") as file:
            known = json.load(file)
        goes = unneeded(root, known["needed"], known["asked"], keeps.name)
    except FileNotFoundError:
        return
    except (ValueError, KeyError, TypeError, AttributeError):
        goes = []
    for stretch, segments in goes:
        if segments is None:
            remove(stretch.folder)
        else:
            (keeps if stretch.name == keeps.name else stretch).drop(segments)
    os.unlink(path)


def cause(said: str) -> str:
    """Why pg_receivewal has ended: its first error is the reason for the others. What the system
    says comes first, as a line of `status` is short."""
    mark = "pg_receivewal: error: "
    lines = said.splitlines()
    errors = [line.removeprefix(mark) for line in lines if line.startswith(mark)]
    first = (errors or lines or [""])[0]
    where, colon, why = first.rpartition(": ")
    return f"{why} ({where})" if colon else first


def remove(folder: str) -> None:
    import shutil

    # First: half a stretch is none.
    with contextlib.suppress(OSError):
        os.unlink(f"{folder}/{STRETCH}")
    shutil.rmtree(folder, ignore_errors=True)


def free(path: str) -> int:
    """Bytes that can still be written there."""
    status = os.statvfs(path)
    return status.f_bavail * status.f_frsize


def want_of_room(archive: str = ARCHIVE, data: str = volume.MOUNT) -> str | None:
    """Why nothing more may be written, for the sake of the data."""
    least = FREE_FOR_BOTH if shares_disk(archive, data) else FREE_FOR_DATA
    if free(data) >= least:
        return None
    # Without what there is: that would be something new at each look.
    return f"the disk that the data are on has less than {least // volume.MIB} MB free"


def wanted_back(archive: str = ARCHIVE, data: str = volume.MOUNT) -> int:
    """How many bytes of the archive's the data are to have back, before it may not write at all."""
    return 2 * FREE_FOR_BOTH - free(data) if shares_disk(archive, data) else 0


def shares_disk(archive: str, data: str) -> bool:
    return os.stat(archive).st_dev == os.stat(data).st_dev


def write_state(stretch: Stretch | None, trouble: str | None) -> None:
    """For `status` and metrics; what cannot be written is not known there."""
    state = {"trouble": trouble}
    if stretch:
        state |= {"stretch": stretch.name, "since": stretch.since, "until": stretch.until}
    with contextlib.suppress(OSError):
        write_private(STATE, json.dumps(state))


def note_bound(bound: str) -> None:
    """Before it is set: whoever takes it back has to know it for ours."""
    write_private(BOUND, json.dumps({"max_slot_wal_keep_size": bound}), durable=True)


def bound() -> str | None:
    """What was left in the settings of this cluster, or of the one that it is a copy of."""
    try:
        with open(BOUND, encoding="utf-8") as file:
            known = json.load(file)["max_slot_wal_keep_size"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    # As PostgreSQL shows it; nothing else gets into SQL.
    return known if isinstance(known, str) and re.fullmatch("[0-9]+[kMGT]?B", known) else None


def forget_bound() -> None:
    """It was taken back."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(BOUND)


def forget() -> None:
    """Nobody wants an archive any more: what the cluster says of one would be a gap later."""
    for path in (OWN, STATE):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
