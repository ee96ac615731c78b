"""What of a lock of Poetry's or PDM's is installed."""

import importlib.util
import pathlib
import sys
import unittest

PLACE = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile/locked.py"
sys.path.insert(0, str(PLACE.parent))
SPEC = importlib.util.spec_from_file_location("locked", PLACE)
locked = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(locked)

HERE = 'sys_platform != "x"'
ELSEWHERE = 'sys_platform == "x"'


def names(packages):
    return [f"{package['name']} {package['version']}" for package in packages]


def package(name, version="1", **about):
    return {"name": name, "version": version, **about}


class OfPoetry(unittest.TestCase):
    def test_groups_extras_and_markers_decide(self):
        lock = {
            "package": [
                package("a", groups=["main", "dev"]),
                package("b", groups=["dev"]),
                package("c", groups=["main"], markers='extra == "server"'),
                package("d", groups=["Prod_x"]),
                package("e", groups=["main"], markers=ELSEWHERE),
                package("f", groups=["main", "dev"], markers={"main": ELSEWHERE, "dev": HERE}),
            ]
        }
        self.assertEqual(names(locked.poetry(lock, {}, [], [])), ["a 1"])
        chosen = locked.poetry(lock, {}, ["other", "server"], ["prod-x"])
        self.assertEqual(names(chosen), ["a 1", "c 1", "d 1"])
        self.assertEqual(names(locked.poetry(lock, {}, [], ["dev"])), ["a 1", "b 1", "f 1"])

    def test_an_older_lock_is_walked(self):
        server = {"version": "^1", "extras": ["standard"], "optional": True}
        project = {
            "tool": {
                "poetry": {
                    "dependencies": {"python": "^3.8", "a": "^1", "Server": server},
                    "extras": {"web": ["server"]},
                    "group": {"prod": {"dependencies": {"p": "*"}}},
                    "dev-dependencies": {"t": "*"},
                }
            }
        }
        loop = {"version": "*", "optional": True, "markers": 'extra == "standard"'}
        lock = {
            "package": [
                package("a", dependencies={"b": ">=1", "win": {"markers": ELSEWHERE}}),
                package("b", dependencies={"a": "*"}),
                package("server", dependencies={"loop": loop}),
                package("loop"),
                package("p", dependencies={"m": [{"version": "<2", "markers": HERE}]}),
                package("m", "1.5"),
                package("m", "2.5"),
                package("t"),
                package("win"),
            ]
        }
        self.assertEqual(names(locked.poetry(lock, project, [], [])), ["a 1", "b 1"])
        chosen = locked.poetry(lock, project, ["web"], ["prod"])
        self.assertEqual(names(chosen), ["a 1", "b 1", "loop 1", "m 1.5", "p 1", "server 1"])
        self.assertEqual(names(locked.poetry(lock, project, [], ["dev"])), ["a 1", "b 1", "t 1"])

    def test_of_two_versions_the_newest_counts_that_all_take(self):
        def chosen(**more):
            dependencies = {"m": "*", **more}
            extra = {"version": "*", "markers": 'extra == "x"'}
            project = {"tool": {"poetry": {"dependencies": dependencies}}}
            lock = {
                "package": [
                    package("m", "1.9"),
                    package("m", "1.10"),
                    package("m", "2.5", **{"python-versions": "<3"}),
                    package("n", dependencies={"m": "<1.10"}),
                    package("o", dependencies={"m": ">=1.10", "n": extra}),
                ]
            }
            return names(locked.poetry(lock, project, [], []))

        self.assertEqual(chosen(), ["m 1.10"])
        self.assertEqual(chosen(n="*"), ["m 1.9", "n 1"])
        self.assertEqual(chosen(o="*")[:1], ["m 1.10"])
        with self.assertRaisesRegex(SystemExit, "no m in it is one that all who need it take"):
            chosen(n="*", o="*")


class OfPdm(unittest.TestCase):
    def test_extras_are_groups_and_entries_of_one_package_are_one(self):
        lock = {
            "package": [
                package("a", groups=["default"]),
                package("a", groups=["default"], extras=["x"]),
                package("b", groups=["dev"]),
                package("c", groups=["server"]),
                package("d", groups=["default"], marker=ELSEWHERE),
            ]
        }
        self.assertEqual(names(locked.pdm(lock, {}, [], [])), ["a 1"])
        self.assertEqual(names(locked.pdm(lock, {}, ["server"], ["dev"])), ["a 1", "b 1", "c 1"])

    def test_a_lock_that_says_only_who_needs_whom_is_walked(self):
        project = {
            "project": {
                "dependencies": ["a>=1", f"w; {ELSEWHERE}", "Uv_icorn[standard]"],
                "name": "My.App",
                "optional-dependencies": {"server": ["s"], "all": ["my-app[server, other]", "t"]},
            },
            "dependency-groups": {"prod": [{"include-group": "Ba_se"}], "ba-se": ["t"]},
            "tool": {
                "pdm": {
                    "dev-dependencies": {
                        "dev": ["t", "-e file:///${PROJECT_ROOT}/libs/x#egg=x", "-e file:./x#egg=x"]
                    }
                }
            },
        }
        lock = {
            "package": [
                package("a", dependencies=[f"w; {ELSEWHERE}", f"m<2; {HERE}"]),
                package("m", "1.5"),
                package("m", "2.5"),
                package("s"),
                package("t"),
                package("uv-icorn", "3"),
                package("uv-icorn", "3", extras=["standard"], dependencies=["loop", "uv-icorn==3"]),
                package("loop"),
                package("w"),
                package("x", path="./libs/x", editable=True),
            ]
        }
        always = ["a 1", "loop 1", "m 1.5", "uv-icorn 3"]
        self.assertEqual(names(locked.pdm(lock, project, [], [])), always)
        more = names(locked.pdm(lock, project, ["server"], ["dev"]))
        self.assertEqual(more, ["a 1", "loop 1", "m 1.5", "s 1", "t 1", "uv-icorn 3", "x 1"])
        for extras, groups in [(["all"], []), (["server"], ["prod"])]:
            more = names(locked.pdm(lock, project, extras, groups))
            self.assertEqual(more, ["a 1", "loop 1", "m 1.5", "s 1", "t 1", "uv-icorn 3"])
        files = {"a 1": [{"url": "https://x/a.whl", "hash": "sha256:01"}]}
        self.assertEqual(locked.line(package("a"), files)[0], "a==1 --hash=sha256:01")


PUBLIC = "https://pypi.org/simple"
CORP, MORE = "https://corp.example/simple", "https://more.example/simple/"


class Indexes(unittest.TestCase):
    def test_poetrys_are_those_of_the_lock(self):
        def legacy(name, url):
            return package("a", source={"type": "legacy", "url": url, "reference": name})

        sources = [
            {"name": "only", "url": MORE, "priority": "explicit"},
            {"name": "corp", "url": CORP, "priority": "supplemental"},
            {"name": "PyPI"},
        ]
        project = {"tool": {"poetry": {"source": sources}}}
        before = (("UV_INDEX", f"corp={CORP}"),)
        packages = [package("b"), legacy("corp", CORP), legacy("public", PUBLIC)]
        said = ([(), before, ()], before)
        self.assertEqual(locked.places_of_poetry(packages, project), said)
        # The public index is none where all has another one.
        alone = (("UV_DEFAULT_INDEX", f"corp={CORP}"),)
        git = package("c", source={"type": "git", "url": "https://h/c.git"})
        said = ([alone, ()], alone)
        self.assertEqual(locked.places_of_poetry([legacy("corp", CORP), git], project), said)
        self.assertEqual(locked.places_of_poetry([package("b")], {}), ([()], ()))

    def test_pdms_are_those_of_the_project(self):
        def places(*sources):
            project = {"tool": {"pdm": {"source": list(sources)}}}
            return locked.places_of_pdm([package("Corp_lib"), package("other")], project)

        corp, more = {"name": "corp", "url": CORP}, {"name": "more", "url": MORE}
        of_corp, of_more = ("UV_INDEX", f"corp={CORP}"), ("UV_INDEX", f"more={MORE}")
        said = ([(of_corp, of_more)] * 2, (of_corp, of_more))
        self.assertEqual(places(corp, more), said)
        own = corp | {"include_packages": ["corp-*"]}
        self.assertEqual(places(own, more)[0], [(of_corp,), (of_corp, of_more)])
        none = more | {"exclude_packages": ["corp-*"]}
        self.assertEqual(places(corp, none)[0], [(of_corp,), (of_corp, of_more)])
        # One that stands in the place of the public one.
        instead = places({"name": "pypi", "url": CORP})
        self.assertEqual(instead[1], (("UV_DEFAULT_INDEX", f"pypi={CORP}"),))
        self.assertEqual(places({"name": "pypi", "url": PUBLIC}), ([(), ()], ()))
        with self.assertRaisesRegex(SystemExit, "the source w of PDM's is no index"):
            places({"name": "w", "url": CORP, "type": "find_links"})

    def test_a_login_that_has_no_value_is_left_to_the_machine(self):
        own = {"name": "own", "url": "https://me:${HIVE_NOBODY}@o/simple"}
        said = (("UV_INDEX", "own=https://o/simple"),)
        self.assertEqual(locked.of_sources([own]), said)


class Lines(unittest.TestCase):
    def test_all_of_an_index_have_their_hashes(self):
        files = [{"file": "a.whl", "hash": "sha256:02"}, {"file": "a.tar.gz", "hash": "sha256:01"}]
        said = ("a==1 --hash=sha256:01 --hash=sha256:02", False)
        self.assertEqual(locked.line(package("a", files=files), {}), said)
        # As Poetry 1.0 has them.
        self.assertEqual(locked.line(package("a", files=[]), {"a": files}), said)
        with self.assertRaisesRegex(SystemExit, "no hashes for a"):
            locked.line(package("a"), {})

    def test_other_places(self):
        git = {
            "type": "git",
            "url": "https://h/a.git",
            "resolved_reference": "0a",
            "subdirectory": "s",
        }
        said = ("a @ git+https://h/a.git@0a#subdirectory=s", False)
        self.assertEqual(locked.line(package("a", source=git), {}), said)
        of_pdm = package("a", git="https://h/a.git", revision="0a")
        self.assertEqual(locked.line(of_pdm, {})[0], "a @ git+https://h/a.git@0a")
        by_ssh = package("a", git="git@h.example:org/a.git", revision="0a")
        self.assertEqual(locked.line(by_ssh, {})[0], "a @ git+ssh://git@h.example/org/a.git@0a")
        folder = {"type": "directory", "url": "libs/a"}
        self.assertEqual(locked.line(package("a", source=folder), {}), ("/app/libs/a", True))
        develop = package("a", source=folder, develop=True)
        self.assertEqual(locked.line(develop, {}), ("-e /app/libs/a", True))
        self.assertEqual(locked.line(package("a", path="./a"), {}), ("/app/./a", True))
        url = package("a", url="https://h/a.whl", files=[{"hash": "sha256:01"}])
        self.assertEqual(locked.line(url, {})[0], "a @ https://h/a.whl --hash=sha256:01")

    def test_a_project_says_whether_it_is_a_package(self):
        system = {"build-system": {}}
        self.assertTrue(locked.is_package(system))
        self.assertFalse(locked.is_package({}))
        self.assertFalse(locked.is_package({**system, "tool": {"poetry": {"package-mode": False}}}))
        self.assertFalse(locked.is_package({**system, "tool": {"pdm": {"distribution": False}}}))


if __name__ == "__main__":
    unittest.main()
