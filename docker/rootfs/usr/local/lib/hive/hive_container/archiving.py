"""The archive: PostgreSQL's log on a volume of its own, as far as a point in time can be reached.

    /var/lib/postgresql/archive/
      IDENTIFIER-20261126T150000Z/    a stretch of the log without a gap, of one cluster's life
        0000000100000000000000A3      its segments, as pg_receivewal has them
        stretch.json                  since when it has all of the log, and until when

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
from dataclasses import dataclass

from hive_container import mounts, volume
from hive_container.image import write_private

ARCHIVE = "/var/lib/postgresql/archive"

#: Keeps PostgreSQL's log until it is here.
SLOT = "hive_archive"

#: In the cluster: which stretch is its own.
OWN = f"{volume.PGDATA}/hive-archive.json"
#: How it is, for whoever looks from outside and for metrics. On the data volume, as the archive's
#: own may be full or gone.
STATE = f"{volume.OURS}/archive.json"
#: In each stretch.
STRETCH = "stretch.json"

#: What a stretch is called.
NAME = re.compile(r"[0-9]+-[0-9]{8}T[0-9]{6}Z")
SEGMENT = re.compile(r"[0-9A-F]{24}")
PARTIAL = ".partial"

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

#: An older image does not know of archives, and would keep the log for the slot without end: the
#: bound that this server was started with is left in the cluster. Prints nothing.
BOUNDED = f"""
    SELECT format('ALTER SYSTEM SET max_slot_wal_keep_size = %L',
        current_setting('max_slot_wal_keep_size')) WHERE {MAY_ALTER} \\gexec
"""

#: Takes that back, as long as the slot is there. Prints nothing.
UNBOUNDED = f"""
    SELECT 'ALTER SYSTEM RESET max_slot_wal_keep_size' FROM pg_replication_slots
        WHERE slot_name = '{SLOT}' AND {MAY_ALTER} \\gexec
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
        """Its whole segments, the oldest first."""
        return sorted(name for name in os.listdir(self.folder) if SEGMENT.fullmatch(name))

    def clear(self, segment_bytes: int) -> None:
        """Removes what a full disk has left of a segment that was to begin: pg_receivewal would
        refuse to go on with it, and nothing of the log is in it."""
        for name in os.listdir(self.folder):
            path = f"{self.folder}/{name}"
            if name.endswith(PARTIAL) and os.path.getsize(path) not in (0, segment_bytes):
                os.unlink(path)


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
            too_much -= sizes.get(f"{keeps.folder}/{goes[-1]}", 0)
        if goes:
            last = os.stat(f"{keeps.folder}/{goes[-1]}").st_mtime
            # Before they go: what is said is never more than what is there.
            keeps.reaches(since=max(keeps.since, last))
            for name in goes:
                os.unlink(f"{keeps.folder}/{name}")


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


def forget() -> None:
    """Nobody wants an archive any more: what the cluster says of one would be a gap later."""
    for path in (OWN, STATE):
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)
