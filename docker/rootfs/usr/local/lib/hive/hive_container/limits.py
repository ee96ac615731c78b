"""What the container may use, as its control group says, and what the kernel did about it."""

import re

from hive_container.image import Fatal

#: Of version 2 of control groups, and of version 1, as a container sees them.
PROCESSES = ("/sys/fs/cgroup/pids.max", "/sys/fs/cgroup/pids/pids.max")
MEMORY = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
MEMORY_USED = ("/sys/fs/cgroup/memory.current", "/sys/fs/cgroup/memory/memory.usage_in_bytes")
KILLS = ("/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control")

#: Processes and threads of a first boot, which syncs many files at a time.
FEWEST_PROCESSES = 25

MB = 1024 * 1024
#: Version 1 has a number this large where there is no limit.
NO_LIMIT = 1 << 60


def inspect() -> None:
    """Raises Fatal where the container may not have the processes that it consists of."""
    allowed = number_in(PROCESSES, r"\A(\d+)$")
    if allowed is not None and allowed < FEWEST_PROCESSES:
        raise Fatal(
            f"the container may have only {allowed} processes and threads,"
            f" and needs {FEWEST_PROCESSES} to start",
            "run it with --pids-limit 100 or more",
        )


def kills() -> int:
    """How many processes of the container the kernel has killed for memory."""
    return number_in(KILLS, r"^oom_kill (\d+)$") or 0


def memory_limit() -> int | None:
    """Bytes that the container may use; None for no limit."""
    limit = number_in(MEMORY, r"\A(\d+)$")
    return limit if limit is not None and limit < NO_LIMIT else None


def memory_used() -> int | None:
    """Bytes that the container uses, as the kernel counts them; None where it does not say."""
    return number_in(MEMORY_USED, r"\A(\d+)$")


def out_of_memory(killed: int) -> str:
    """What is to be said of so many kills."""
    limit = memory_limit()
    whose = "the machine has none left"
    if limit is not None:
        whose = f"the container may use {limit // MB} MB"
    return f"the kernel killed {killed} of its processes for memory ({whose}); hint: give it more"


def number_in(paths: tuple[str, ...], pattern: str) -> int | None:
    """The number that the first of the files that is there has; None without one (`max`)."""
    for path in paths:
        try:
            with open(path, encoding="ascii") as file:
                found = re.search(pattern, file.read(), re.MULTILINE)
        except OSError:
            continue
        return int(found[1]) if found else None
    return None
