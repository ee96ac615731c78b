"""A cluster's system identifier, by the layouts of PostgreSQL's own headers."""

import os
import struct
import tempfile
import unittest
from unittest import mock

from hive_container import lineage
from hive_container.image import Fatal


def control(size=296, identifier=7):
    fields = struct.pack("=Q", identifier) + bytes(range(1, 248)) + b"\0" * (size - 255)
    return fields + struct.pack("=I", lineage.crc32c(fields)) + b"\0" * (8192 - size - 4)


def segment(identifier=7, info=lineage.XLP_LONG_HEADER):
    header = lineage.LOG_HEADER.pack(0xD116, info, 1, 0x1000000, 0, identifier)
    return header + struct.pack("=II", 16 << 20, 8192) + b"record"


class Lineage(unittest.TestCase):
    def test_the_check_sum_is_that_of_the_standard(self):
        self.assertEqual(lineage.crc32c(b"123456789"), 0xE3069283)
        self.assertEqual(lineage.crc32c(b"\0" * 32), 0x8A9136AA)
        self.assertEqual(lineage.crc32c(b"6789", lineage.crc32c(b"12345")), 0xE3069283)

    def test_pg_control_of_any_version_keeps_all_else(self):
        for size in (288, 296, 304):
            before = control(size)
            after = lineage.with_identifier(before, 0x1122334455667788)
            self.assertEqual(after, control(size, 0x1122334455667788))
            self.assertEqual(after[8:size], before[8:size])
            self.assertEqual(len(after), 8192)

    def test_what_is_not_known_is_left_alone(self):
        damaged = bytearray(control())
        damaged[100] ^= 1
        with self.assertRaisesRegex(Fatal, "no check sum"):
            lineage.with_identifier(bytes(damaged), 1)
        with self.assertRaisesRegex(Fatal, "long header"):
            lineage.log_header(segment(info=0)[: lineage.LOG_HEADER.size], 1)

    def test_every_segment_and_nothing_beside_it(self):
        with tempfile.TemporaryDirectory() as cluster:
            for folder in ("global", "pg_wal/archive_status"):
                os.makedirs(f"{cluster}/{folder}")
            files = {
                "global/pg_control": (control(), control(identifier=9)),
                "pg_wal/000000010000000000000001": (segment(), segment(9)),
                "pg_wal/000000010000000000000002": (segment(), segment(9)),
                "pg_wal/notes": (b"mine", b"mine"),
            }
            for name, (before, _) in files.items():
                with open(f"{cluster}/{name}", "wb") as file:
                    file.write(before)
            lineage.give(cluster, 9)
            for name, (_, after) in files.items():
                with open(f"{cluster}/{name}", "rb") as file:
                    self.assertEqual(file.read(), after, name)

    def test_two_of_one_moment_differ(self):
        with mock.patch.object(lineage.time, "time_ns", return_value=1_700_000_000_123_456_789):
            made = {lineage.new_identifier() for _ in range(50)}
        self.assertGreater(len(made), 40)
        self.assertEqual({one >> 32 for one in made}, {1_700_000_000})
        self.assertLess(max(made), 1 << 63)


if __name__ == "__main__":
    unittest.main()
