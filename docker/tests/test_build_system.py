"""What an app's own package is built with, and any index may have."""

import importlib.util
import pathlib
import unittest

PLACE = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile/build_system.py"
SPEC = importlib.util.spec_from_file_location("build_system", PLACE)
build_system = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(build_system)


class Requirements(unittest.TestCase):
    def test_what_has_a_source_of_its_own_is_left_to_it(self):
        requires = ["hatchling >=1", "Corp.Plugin[x]>=1", "own @ https://h/o.whl", "corp-plugin-2"]
        project = {
            "build-system": {"requires": requires},
            "tool": {"uv": {"sources": {"corp_plugin": {"index": "corp"}}}},
        }
        self.assertEqual(list(build_system.wanted(project)), ["hatchling >=1", "corp-plugin-2"])
        self.assertEqual(list(build_system.wanted({})), [])


if __name__ == "__main__":
    unittest.main()
