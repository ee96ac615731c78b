"""Which Python a project takes, as a build step asks before it names another one."""

import pathlib
import subprocess
import sys
import tempfile
import unittest

STAGE = pathlib.Path(__file__).parents[1] / "stages/10-python-deps.Dockerfile"


def takes(project, version):
    """What the step's function says of a `pyproject.toml`."""
    text = STAGE.read_text()
    function = text[text.index("takes() {\n") : text.index("# Runs uv. Where")]
    script = function.replace("/opt/uv/bin/python", sys.executable) + 'takes "$1"\n'
    with tempfile.TemporaryDirectory() as folder:
        if project is not None:
            pathlib.Path(folder, "pyproject.toml").write_text(project)
        done = subprocess.run(["sh", "-eu", "-c", script, "sh", version], cwd=folder, check=False)
    return done.returncode == 0


class Takes(unittest.TestCase):
    def test_what_the_project_requires_decides(self):
        for requires, version, expected in [
            (">=3.13,<3.14", "3.11", False),
            (">=3.13,<3.14", "3.13", True),
            (">=3.11.5", "3.11", True),
            ("<3.12", "3.12", False),
            ("==3.11.4", "3.11", True),
            ("==3.11.4", "3.12", False),
            ("==3.11.*", "3.11", True),
            (">=3.11,<3.11.9", "3.11", True),
            (">=3.11.2,<3.11.9", "3.11", True),
            ("~=3.11.5", "3.11", True),
            ("no version", "3.11", True),
        ]:
            with self.subTest(requires=requires, version=version):
                project = f'[project]\nname = "a"\nrequires-python = "{requires}"\n'
                self.assertEqual(takes(project, version), expected)

    def test_nothing_is_refused_where_nothing_is_required(self):
        self.assertTrue(takes(None, "3.8"))
        self.assertTrue(takes('[project]\nname = "a"\n', "3.8"))
        self.assertTrue(takes("[tool.black]\n", "3.8"))


if __name__ == "__main__":
    unittest.main()
