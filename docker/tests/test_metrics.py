"""What a scrape is answered, as far as it can be told without a container."""

import re
import unittest

from hive_container import exposition, image, statistics_sql
from hive_container.exposition import COUNTER, GAUGE, UNTYPED, Family


class Exposition(unittest.TestCase):
    def test_a_family_has_its_kind_and_labels_in_which_nothing_means_anything(self):
        family = Family("hive_x", GAUGE, "Says it.").add(1, name='a"b\\c\nd').add(0.5)
        self.assertEqual(
            exposition.text([family]),
            "# HELP hive_x Says it.\n# TYPE hive_x gauge\n"
            'hive_x{name="a\\"b\\\\c\\nd"} 1.0\nhive_x 0.5\n',
        )

    def test_what_nobody_knows_is_not_mentioned(self):
        self.assertEqual(exposition.text([Family("hive_x", COUNTER, "Says it.").add(None)]), "")


class Statistics(unittest.TestCase):
    def test_rows_are_gathered_by_metric(self):
        rows = [
            ["pg_stat_database_xact_commit", {"datname": "a"}, 1],
            ["pg_wal_segments", {}, 2],
            ["pg_stat_database_xact_commit", {"datname": "b"}, 3],
        ]
        commits, segments = statistics_sql.families(rows)
        self.assertEqual((commits.name, commits.kind), ("pg_stat_database_xact_commit", UNTYPED))
        self.assertEqual(commits.values, [({"datname": "a"}, 1.0), ({"datname": "b"}, 3.0)])
        self.assertEqual(segments.values, [({}, 2.0)])

    def test_the_checkpointer_is_asked_where_it_is(self):
        self.assertIn("('num_timed', num_timed)", statistics_sql.of(17))
        self.assertIn("FROM pg_stat_checkpointer", statistics_sql.of(17))
        self.assertIn("('num_timed', checkpoints_timed)", statistics_sql.of(16))
        self.assertNotIn("pg_stat_checkpointer,", statistics_sql.of(16))

    def test_all_that_is_asked_for_has_a_name(self):
        asked = re.findall(r"SELECT '((?:pg|hive)_\w+)'", statistics_sql.of(17))
        self.assertGreater(len(asked), 8)
        for name in asked:
            if not name.endswith("_"):
                self.assertIn(name, statistics_sql.OTHERS)


class Port(unittest.TestCase):
    def test_it_is_a_number_that_nobody_else_has(self):
        self.assertIsNone(image._metrics_port(None, 8000))
        self.assertIsNone(image._metrics_port("", 8000))
        self.assertEqual(image._metrics_port("9187", 8000), 9187)
        for wrong in ("x", "0", "65536", "5432", "8000", "+9187", "٣"):
            with self.assertRaisesRegex(image.Fatal, "HIVE_METRICS_PORT is"):
                image._metrics_port(wrong, 8000)


if __name__ == "__main__":
    unittest.main()
