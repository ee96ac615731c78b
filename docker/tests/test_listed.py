"""What of a requirements.txt is installed ahead of the app."""

import importlib.util
import pathlib
import tempfile
import unittest

PLACE = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile/listed.py"
SPEC = importlib.util.spec_from_file_location("listed", PLACE)
listed = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(listed)


class Lists(unittest.TestCase):
    def folder(self, files):
        top = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))
        for name, text in files.items():
            (top / name).parent.mkdir(exist_ok=True)
            (top / name).write_bytes(text if isinstance(text, bytes) else text.encode())
        return top

    def read(self, files):
        """A list and those beside it; paths in it as they stand below its folder."""
        top = self.folder(files)
        found = listed.Listed(top / "requirements.txt")
        found.ahead = [line.replace(f"{top}/", "") for line in found.ahead]
        return found

    def test_what_lies_in_the_apps_folder_comes_with_the_app(self):
        own = [
            ".",
            ".[server] ; python_version > '3'",
            "./libs/foo",
            "libs/foo[a]",
            "vendor/foo-1.0-py3-none-any.whl --hash=sha256:0",
            "foo-1.0.tar.gz",
            "file:libs/foo",
            "foo @ file:./libs/foo",
            "foo[a]@file:libs/foo",
            "foo @ libs/foo",
            "-e .",
            "-e libs/foo",
            "--editable=foo",
            "-e file:libs/foo",
        ]
        others = [
            "flask==3 --hash=sha256:0",
            "foo[a]>=1 ; platform_machine == 'a/b'",
            "foo @ https://h/foo-1.0-py3-none-any.whl",
            "foo@git+https://h/o/foo@v1",
            "https://h/foo.tar.gz",
            "git+ssh://git@h/o/foo.git",
            "-f https://h/links",
            "--no-binary foo",
        ]
        found = self.read({"requirements.txt": "\n".join(["# all", *own, *others, ""])})
        self.assertEqual((found.ahead, found.later), (others, own))
        self.assertFalse(found.is_later_as_a_whole)

    def test_a_comment_goes_on_in_no_other_line(self):
        text = "a\n# old, see below \\\nb==1 \\\n    --hash=sha256:0\n  # \\\r\n-r more.txt\n"
        found = self.read({"requirements.txt": text, "more.txt": "c \\\n# d \\\ne\n"})
        self.assertEqual(found.ahead, ["a", "b==1      --hash=sha256:0", "c", "e"])

    def test_indexes_go_in_variables_in_the_order_of_pips_settings(self):
        h, o, public = "https://h/simple", "https://o/simple", "https://pypi.org/simple"
        only_h, also_h = [("UV_DEFAULT_INDEX", h)], [("UV_INDEX", h)]
        for text, said in [
            ("a\n", []),
            (f"-i {h}\na\n", only_h),
            (f"-i{h}\n--pre\n", [*only_h, ("UV_PRERELEASE", "allow")]),
            ("-i=https://${A}@h/\n", [("UV_DEFAULT_INDEX", "https://${A}@h/")]),
            (f"-i {o}\n-i {h}\n", only_h),
            # The machine's default one stands for it.
            (f"-i {public}/\n", []),
            (f"-i {h}\n-i {public}\n", []),
            (f"-i {public}\n--extra-index-url {h}\n", also_h),
            # What is named beside the first one is asked behind it, and the public one last.
            (f"--extra-index-url={h}\na\n", also_h),
            (f"-i {h}\n--extra-index-url {public}\na\n", also_h),
            (f"--extra-index-url {public}\n--index-url {h}\n", also_h),
            (f"--extra-index-url {o}\n-i {h}\n", [*also_h, ("UV_DEFAULT_INDEX", o)]),
            (
                f"-i {h}\n--extra-index-url {public}\n--extra-index-url {o}\n",
                [*also_h, ("UV_INDEX", o)],
            ),
            (f"-i {h}\n--extra-index-url {h}\n", only_h),
            (f"-i {h} --extra-index-url {public}\n", also_h),
            (f"-i ${{H}}\n--extra-index-url {public}\n", [("UV_INDEX", "${H}")]),
        ]:
            found = self.read({"requirements.txt": "-r more.txt\n", "more.txt": text})
            self.assertEqual(found.variables(), said, text)
            self.assertEqual(found.ahead, ["a"] if text.endswith("a\n") else [])
            self.assertFalse(found.is_later_as_a_whole)

    def test_places_are_those_of_what_comes_beside_the_list_too(self):
        with_links = "-f https://h/links\n--trusted-host h\na\n"
        found = self.read({"requirements.txt": with_links})
        self.assertEqual(found.places, ["-f https://h/links", "--trusted-host h"])
        self.assertEqual(found.ahead, [*found.places, "a"])
        links = ["--no-index", "--find-links /app/vendor"]
        for text, places, variables in [
            ("--no-index\n--find-links=vendor\na\n", links, []),
            (
                "-i ./simple\n--extra-index-url https://pypi.org/simple\n",
                [],
                [("UV_INDEX", "/app/simple")],
            ),
        ]:
            found = self.read({"reqs/a.txt": text, "requirements.txt": "-r reqs/a.txt"})
            self.assertEqual(found.variables(), variables)
            self.assertEqual(found.places, places)
            self.assertTrue(found.is_later_as_a_whole)

    def test_what_is_not_here_lets_all_come_with_the_app(self):
        for line in [
            "-r gone.txt",
            "-c gone.txt",
            "--find-links vendor",
            "--find-links=./vendor",
            "-f vendor",
            "--extra-index-url ./simple",
            "--no-index",
        ]:
            found = self.read({"requirements.txt": f"flask\n{line}\n"})
            self.assertTrue(found.is_later_as_a_whole, line)

    def test_a_repository_is_installed_and_not_edited(self):
        found = self.read(
            {
                "requirements.txt": "-e git+https://h/o/x.git@0a#egg=x\n"
                "--editable=git+ssh://git@h/o/y#egg=y\n-e .\n-c limits.txt\n",
                "limits.txt": "",
            }
        )
        urls = ["git+https://h/o/x.git@0a#egg=x", "git+ssh://git@h/o/y#egg=y"]
        self.assertEqual(found.ahead, [*urls, "-c limits.txt"])
        self.assertEqual(found.later, ["-e ."])
        self.assertEqual(found.with_the_app(), [*urls, "-c /app/limits.txt", "-e ."])

    def test_constraints_of_a_url_stay_there(self):
        found = self.read({"requirements.txt": "-c https://h/c.txt\napache-airflow\n-e .\n"})
        self.assertEqual(found.with_the_app(), ["-c https://h/c.txt", "apache-airflow", "-e ."])

    def test_lists_within_lists_and_of_powershell(self):
        found = self.read(
            {
                "requirements.txt": "\ufeff-r reqs/base.txt\r\nidna # why\r\n".encode("utf-16-le"),
                "reqs/base.txt": "-c limits.txt\nflask==3 \\\r\n    --hash=sha256:0\n",
                "reqs/limits.txt": "",
            }
        )
        joined = "flask==3      --hash=sha256:0"
        self.assertEqual(found.ahead, ["-c reqs/limits.txt", joined, "idna"])
