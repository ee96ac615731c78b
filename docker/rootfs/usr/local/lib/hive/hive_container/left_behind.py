"""Processes in sessions of their own (setsid, a double fork): no signal for a program's group
reaches them, and once their parent has ended nobody stops them."""

import contextlib
import os
import signal
import time
from collections.abc import Set
from dataclasses import dataclass

#: Seconds that they get to end in. The database is there as long.
GRACE = 2.0

#: Between two looks at them.
PAUSE = 0.02

#: What supervisord gives each program, and each program to all that it starts.
MARK = b"SUPERVISOR_PROCESS_NAME="

#: The postmaster's, which leave by themselves when it is gone.
DATABASE = "postgres"


@dataclass(frozen=True)
class Orphan:
    """A process whose parent has ended."""

    pid: int
    name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.pid})"

    def may_be_of(self, program: str) -> bool:
        """Whether a program may have started it, and not `docker exec`: one that writes its title
        into its own memory (redis-server, celery) has overwritten who did."""
        try:
            with open(f"/proc/{self.pid}/environ", "rb") as file:
                variables = [one for one in file.read().split(b"\0") if b"=" in one]
        except OSError:
            return True
        return not variables or MARK + program.encode() in variables


def found(known: Set[int]) -> list[Orphan]:
    """All that live, but for the processes and groups that are `known`."""
    # Under `docker run --init` it is another one who gets the orphans.
    parents = {1, os.getpid()}
    orphans = []
    for entry in os.listdir("/proc"):
        if not entry.isdecimal() or int(entry) in parents | known:
            continue
        try:
            with open(f"/proc/{entry}/stat", encoding="utf-8", errors="replace") as file:
                stat = file.read()
        except OSError:
            continue
        # The name stands in parentheses, and may have some of its own.
        name = stat[stat.index("(") + 1 : stat.rindex(")")]
        state, parent, group = stat[stat.rindex(")") + 2 :].split()[:3]
        if state in "ZX" or int(parent) not in parents or int(group) in known or name == DATABASE:
            continue
        orphans.append(Orphan(int(entry), name))
    return orphans


def end(known: Set[int], grace: float = GRACE) -> tuple[list[Orphan], list[Orphan]]:
    """Asks all of them to end, also those that show up meanwhile, and kills what is left.

    Returns who was asked, and who was killed.
    """
    asked: dict[int, Orphan] = {}
    deadline = time.monotonic() + grace
    while orphans := found(known):
        late = time.monotonic() > deadline
        for orphan in orphans:
            if late or orphan.pid not in asked:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(orphan.pid, signal.SIGKILL if late else signal.SIGTERM)
            asked.setdefault(orphan.pid, orphan)
        if late:
            return list(asked.values()), orphans
        time.sleep(PAUSE)
    return list(asked.values()), []
