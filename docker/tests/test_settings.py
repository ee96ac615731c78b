"""Which settings sessions pin, and which the app's database may not keep."""

import unittest

from hive_container import settings


class Options(unittest.TestCase):
    def test_a_value_is_one_word_whatever_is_in_it(self):
        said = settings.as_options({"DateStyle": "ISO, MDY", "a": "b\\c", "none": ""})
        self.assertEqual(said, "-c DateStyle=ISO,\\ MDY -c a=b\\\\c -c none=")

    def test_a_file_takes_any_value_and_comes_after_the_images_own(self):
        said = settings.as_file({"a.b": "it's \\n", "c": ""}, "/etc/x.conf")
        self.assertEqual(said, "include '/etc/x.conf'\na.b = 'it''s \\\\n'\nc = ''\n")

    def test_the_superuser_finds_names_in_pg_catalog_only(self):
        for major in (15, 17):
            for pinned in (settings.of_the_superuser(major), settings.of_the_start(major)):
                self.assertEqual(pinned["search_path"], "pg_catalog,pg_temp")
                self.assertEqual(pinned["role"], "none")
                self.assertEqual(pinned["statement_timeout"], "0")

    def test_no_server_gets_a_setting_that_it_does_not_know(self):
        newer = {"transaction_timeout", "event_triggers"}
        self.assertFalse(newer & settings.of_the_start(16).keys())
        self.assertLessEqual(newer, settings.of_the_start(17).keys())


class OfTheApp(unittest.TestCase):
    def test_time_limits_that_no_session_outlives(self):
        for value in ("1", "99", " 50 ms", "900us", ".05s", "0.001min", "0x10"):
            self.assertTrue(settings.stops_sessions("statement_timeout", value), value)
        for value in ("0", "100", "1s", "30 s", "5min", "1h", "1d"):
            self.assertFalse(settings.stops_sessions("idle_session_timeout", value), value)

    def test_libraries_and_roles(self):
        self.assertTrue(settings.stops_sessions("local_preload_libraries", "nope"))
        self.assertFalse(settings.stops_sessions("local_preload_libraries", ""))
        self.assertTrue(settings.stops_sessions("role", "pg_database_owner"))
        self.assertFalse(settings.stops_sessions("role", "writers"))
        self.assertFalse(settings.stops_sessions("search_path", "mine, public"))
