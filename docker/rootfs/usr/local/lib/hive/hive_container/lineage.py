"""Gives a copied cluster a system identifier of its own.

PostgreSQL keeps clusters apart by it: a backup, a log or a standby of one is refused by another.
All volumes are copies of one prepared cluster, so without this they would take each other's. As
`pg_createsubscriber` does it for a copy, without the server: the identifier stands at the start of
pg_control (pg_control.h) and in the first page of each segment of the log (xlog_internal.h).
"""

import os
import struct
import time

from hive_container.image import Fatal

#: CRC-32C, which PostgreSQL uses (pg_crc32c.h), with its bits the other way round.
POLYNOMIAL = 0x82F63B78

#: Where the check sum of pg_control may stand: after its fields, whose size the version decides.
#: All of them fit one sector of 512 bytes (PG_CONTROL_MAX_SAFE_SIZE).
CONTROL_CHECKED = range(128, 512, 4)

#: XLogLongPageHeaderData: a page header of 24 bytes, and then the identifier. XLP_LONG_HEADER in
#: the second word says that it is there.
LOG_HEADER = struct.Struct("=HHIQI4xQ")
XLP_LONG_HEADER = 2


def new_identifier() -> int:
    """As initdb makes one: seconds, microseconds and the process, which is PID 1 here, so that
    chance takes its place."""
    now = time.time_ns() // 1000
    seconds, microseconds = divmod(now, 1_000_000)
    chance = int.from_bytes(os.urandom(2)) & 0xFFF
    return seconds << 32 | microseconds << 12 | chance


def give(cluster: str, identifier: int) -> None:
    """Writes the identifier into a cluster that no server runs.

    Raises Fatal where pg_control or a segment is not what this knows.
    """
    with open(f"{cluster}/global/pg_control", "r+b") as file:
        content = with_identifier(file.read(), identifier)
        file.seek(0)
        file.write(content)
    for name in os.listdir(f"{cluster}/pg_wal"):
        if len(name) == 24:
            with open(f"{cluster}/pg_wal/{name}", "r+b") as file:
                header = log_header(file.read(LOG_HEADER.size), identifier)
                file.seek(0)
                file.write(header)


def with_identifier(control: bytes, identifier: int) -> bytes:
    """The content of pg_control with another identifier and its check sum."""
    size = checked_size(control)
    fields = struct.pack("=Q", identifier) + control[8:size]
    return fields + struct.pack("=I", crc32c(fields)) + control[size + 4 :]


def checked_size(control: bytes) -> int:
    """How many bytes of pg_control stand before their check sum."""
    value = crc32c(control[: CONTROL_CHECKED.start])
    for size in CONTROL_CHECKED:
        if control[size : size + 4] == struct.pack("=I", value):
            return size
        value = crc32c(control[size : size + CONTROL_CHECKED.step], value)
    raise Fatal("global/pg_control has no check sum where one is known to be")


def log_header(header: bytes, identifier: int) -> bytes:
    """The first header of a segment with another identifier."""
    magic, info, timeline, address, remaining, _ = LOG_HEADER.unpack(header)
    if not info & XLP_LONG_HEADER:
        raise Fatal("a segment of the log does not begin with a long header")
    return LOG_HEADER.pack(magic, info, timeline, address, remaining, identifier)


def crc32c(content: bytes, value: int = 0) -> int:
    """The check sum of RFC 3720, B.4; with `value`, of what that is the sum of and this."""
    value ^= 0xFFFFFFFF
    for byte in content:
        value ^= byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
    return value ^ 0xFFFFFFFF
