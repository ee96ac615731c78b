"""What of a requirements.txt is installed ahead of the app."""

import importlib.util
import pathlib
import tempfile
import unittest

PLACE = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile/listed.py"
SPEC = importlib.util.spec_from_file_location("listed", PLACE)
listed = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(listed)


PRE = {"UV_PRERELEASE": "allow"}


class Lists(unittest.TestCase):
    def read(self, files):
        """A list and those beside it; paths in it as they stand below its folder."""
        with tempfile.TemporaryDirectory() as folder:
            top = pathlib.Path(folder)
            for name, text in files.items():
                (top / name).parent.mkdir(exist_ok=True)
                (top / name).write_bytes(text if isinstance(text, bytes) else text.encode())
            found = listed.Listed(top / "requirements.txt")
            found.ahead = [line.replace(f"{folder}/", "") for line in found.ahead]
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
            "--extra-index-url https://h/simple",
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

    def test_what_uv_would_not_take_of_a_list_goes_in_variables(self):
        for text, said in [
            ("a\n", {}),
            ("-i https://h/simple\na\n", {"UV_DEFAULT_INDEX": "https://h/simple"}),
            ("-ihttps://h/simple\n--pre\n", {"UV_DEFAULT_INDEX": "https://h/simple"} | PRE),
            ("--index-url=https://${A}@h/simple\n", {"UV_DEFAULT_INDEX": "https://${A}@h/simple"}),
            (
                "-i https://h/simple\n-i https://o/simple\n",
                {"UV_DEFAULT_INDEX": "https://o/simple"},
            ),
            # That is the machine's default one.
            ("-i https://pypi.org/simple/\n", {}),
            ("-i https://h/simple\n-i https://pypi.org/simple\n", {}),
        ]:
            found = self.read({"requirements.txt": "-r more.txt\n", "more.txt": text})
            self.assertEqual(found.variables, said, text)
            self.assertEqual(found.ahead, ["a"] if text.endswith("a\n") else [])

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
