"""What is mounted where: a volume at another path than ours would be filled by nobody.

The engine makes a volume without a name where the user gave none (`VOLUME` in the image), so a
volume at a wrong path shows no error: the data goes to the nameless one, and the next container
starts with an empty database (docker-library/postgres#1400).
"""

import os
import re
from dataclasses import dataclass

from hive_container.image import Fatal

MOUNTINFO = "/proc/self/mountinfo"

#: The folder of a volume that the engine named by itself.
NAMELESS = re.compile(r"/volumes/[0-9a-f]{64}/_data$")

#: Below a volume's top: what only a volume of ours has.
OUR_MARKS = ("pgdata/hive.json", "hive/adopted", "hive.json")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo: what part of its file system is mounted where."""

    root: str
    point: str


def read(path: str = MOUNTINFO) -> list[Mount]:
    """All mounts that this container sees; see proc_pid_mountinfo(5)."""
    mounts = []
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        for line in file:
            fields = line.split(" ")
            mounts.append(Mount(root=plain(fields[3]), point=plain(fields[4])))
    return mounts


def plain(text: str) -> str:
    """Without the octal escapes that stand for blanks and backslashes."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)


def inspect(data: str, cluster: str, environ: dict[str, str]) -> str | None:
    """Raises Fatal when the user's volume is at another path than `data`, where it belongs.

    Returns a note for the user when the data lies on a nameless volume.
    """
    told = environ.get("PGDATA", cluster)
    if os.path.normpath(told) != cluster:
        raise Fatal(
            f"PGDATA is {told!r}, and this image keeps its data in {data}",
            f"leave PGDATA out, and mount the volume at {data}",
        )
    mounts = read()
    points = {mount.point for mount in mounts}
    if cluster in points:
        raise Fatal(
            f"a volume is mounted at {cluster}, inside of the volume's own place",
            f"mount it at {data}",
        )
    ours = [mount for mount in mounts if mount.point == data]
    if ours and not NAMELESS.search(ours[-1].root):
        return None
    for point in sorted(points - {"/", data}):
        if data.startswith(f"{point}/"):
            raise Fatal(
                f"a volume is mounted at {point}, and the data would not be on it",
                f"mount it at {data}",
            )
        if any(os.path.exists(f"{point}/{mark}") for mark in OUR_MARKS):
            raise Fatal(
                f"the volume with this image's data is mounted at {point}",
                f"mount it at {data}",
            )
    return (
        f"the data lies on a volume without a name; -v NAME:{data} gives it one that is found again"
    )
