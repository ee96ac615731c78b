"""The archived log as it was at one moment, and where it ends."""

import os
import re
import shutil

import warm
from copied import Refused, control

#: The log that is replayed, as it was at one moment.
FROZEN = "/run/hive/log"

#: What PostgreSQL asks for: a segment of the log, or where a timeline comes from.
OF_THE_LOG = re.compile(r"[0-9A-F]{24}|[0-9A-F]{8}[.]history")

#: A segment that the archive has compressed.
PACKED = ".gz"


def segment_size(part: str) -> int:
    return int(control(part)["Bytes per WAL segment"])


def freeze(folder: str, target: str, segment_bytes: int) -> None:
    """What is archived now, under the names that PostgreSQL asks for: what comes later may have
    been committed after the moment, or be missing in what was known before."""
    os.mkdir(target, mode=0o700)
    names = os.listdir(folder)
    for name in names:
        whole = name.removesuffix(".partial").removesuffix(PACKED)
        is_partial = name.endswith(".partial")
        if not OF_THE_LOG.fullmatch(whole) or os.path.lexists(f"{target}/{whole}"):
            continue
        if is_partial and {whole, whole + PACKED} & set(names):
            continue
        if not is_partial:
            # By the name that it has before it is compressed, which may be at any moment.
            os.symlink(f"{folder}/{whole}", f"{target}/{whole}")
            continue
        try:
            # While it is written to: recovery ends where it does.
            shutil.copyfile(f"{folder}/{name}", f"{target}/{name}")
        except FileNotFoundError:
            # By now it is a whole one.
            os.symlink(f"{folder}/{whole}", f"{target}/{whole}")
            continue
        # PostgreSQL refuses a shorter one. Nothing of the log is in it: a full disk has cut it off,
        # or it is only being made.
        if os.path.getsize(f"{target}/{name}") == segment_bytes:
            os.rename(f"{target}/{name}", f"{target}/{whole}")


def fetch() -> str:
    """How PostgreSQL gets a file of the log, compressed or not. One that is not there is the end of
    it; with any other trouble it gives up, from 126 on."""
    return (
        f"f=$(readlink {FROZEN}/%f || echo {FROZEN}/%f); test -e $f && cp $f %p && exit;"
        f" test -e $f{PACKED} && gzip -dc $f{PACKED} > %p && exit;"
        f" test -e $f || test -e $f{PACKED} || exit 1; exit 126"
    )


def inspect_end(part: str, known: int) -> None:
    """Recovery ends where the log does, also where that is because some of it is missing."""
    ended = end_of_recovery(f"{part}/pg_wal")
    if ended < known:
        raise Refused(
            f"the archive is not whole: its log ends at {position(ended)}, and {position(known)}"
            " was there"
        )


def end_of_recovery(log: str) -> int:
    """Where the newest timeline begins, as its history says: a line for each one before."""
    newest = max(name for name in os.listdir(log) if name.endswith(".history"))
    with open(f"{log}/{newest}", encoding="utf-8") as file:
        lines = [line for line in file if line.strip() and not line.startswith("#")]
    return warm.number_of(lines[-1].split()[1])


def position(number: int) -> str:
    """As PostgreSQL writes it."""
    return f"{number >> 32:X}/{number & 0xFFFFFFFF:X}"
