"""What a build makes of a pyproject.toml alone."""

import importlib.util
import pathlib
import unittest

PLACE = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile/bare.py"
SPEC = importlib.util.spec_from_file_location("bare", PLACE)
bare = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(bare)

WHOLE = {"name": "x", "version": "1", "dependencies": ["a"]}
OPTIONS = ["--no-dev", "--extra", "e", "--group", "g"]


def with_uv(**settings):
    return {"project": WHOLE, "tool": {"uv": settings}}


class Bare(unittest.TestCase):
    def test_what_is_whole_is_locked(self):
        for project in [
            {"project": WHOLE},
            {"dependency-groups": {"g": ["a"]}},
            with_uv(sources={"a": {"git": "https://h/a"}, "b": [{"index": "i"}]}),
        ]:
            self.assertEqual(bare.compiled(project, OPTIONS), [])

    def test_of_what_is_not_the_chosen_is_listed(self):
        listed = ["pyproject.toml", "--extra", "e", "--group", "g"]
        for project in [
            {"project": {"name": "x", "dynamic": ["version"], "dependencies": ["a"]}},
            {"project": WHOLE | {"dynamic": ["readme"]}},
            with_uv(sources={"b": {"path": "../b"}}),
            with_uv(sources={"b": [{"workspace": True}]}),
        ]:
            self.assertEqual(bare.compiled(project, OPTIONS), listed)

    def test_default_groups_come_unasked(self):
        sources = {"b": {"path": "../b"}}
        project = with_uv(sources=sources, **{"default-groups": ["dev", "web"]})
        self.assertEqual(bare.compiled(project, ["--no-dev"]), ["pyproject.toml", "--group", "web"])
        project = with_uv(sources=sources, **{"default-groups": "all"})
        project["dependency-groups"] = {"dev": [], "web": []}
        self.assertEqual(bare.compiled(project, ["--no-dev"]), ["pyproject.toml", "--group", "web"])

    def test_a_project_with_a_build_system_is_a_package(self):
        built = {"project": WHOLE, "build-system": {}}
        self.assertTrue(bare.is_package(built))
        self.assertFalse(bare.is_package({"project": WHOLE}))
        self.assertFalse(bare.is_package(built | with_uv(package=False)))
        self.assertTrue(bare.is_package(with_uv(package=True)))
        self.assertFalse(bare.is_package({"build-system": {}}))


if __name__ == "__main__":
    unittest.main()
