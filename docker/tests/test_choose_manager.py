"""Which package manager a front end's lock is of, and when the sources have to be there first."""

import json
import pathlib
import shutil
import subprocess
import tempfile
import unittest

DOCKERFILES = pathlib.Path(__file__).parents[2] / "xtask/definition/src/dockerfile"
NODE = shutil.which("node")
BERRY = "__metadata:\n  version: 8\n"
PNPM = "lockfileVersion: '9.0'\n"


@unittest.skipUnless(NODE, "no node to run it with")
class ChooseManager(unittest.TestCase):
    def chosen(self, manifest, **files):
        """The kind, what is installed of it, and whether it waits for the sources."""
        with tempfile.TemporaryDirectory() as folder:
            place = pathlib.Path(folder)
            (place / "at").mkdir()
            text = (DOCKERFILES / "choose_manager.js").read_text()
            self.assertIn('"/opt/manager"', text)
            (place / "choose.js").write_text(text.replace("/opt/manager", f"{folder}/at"))
            (place / "package.json").write_text(json.dumps(manifest))
            for name, content in files.items():
                (place / name).write_text(content)
            subprocess.run([NODE, "choose.js"], cwd=folder, check=True, capture_output=True)
            wanted = place / "at/package.json"
            of_it = json.loads(wanted.read_text())["dependencies"] if wanted.exists() else {}
            return (place / "at/kind").read_text(), of_it, (place / "at/later").exists()

    def test_the_manager_that_is_named_counts(self):
        both = {"package-lock.json": "{}", "pnpm-lock.yaml": PNPM}
        self.assertEqual(self.chosen({}, **both)[0], "npm")
        kind, of_it, _ = self.chosen({"packageManager": "pnpm@9.1.0+sha512.abc"}, **both)
        self.assertEqual((kind, of_it), ("pnpm", {"pnpm": "9.1.0"}))
        # Also where no whole version stands behind it.
        for named in ("pnpm", "pnpm@9"):
            self.assertEqual(self.chosen({"packageManager": named}, **both)[0], "pnpm")

    def test_what_changes_an_installation_has_to_be_there(self):
        def waits(**files):
            return self.chosen({}, **files)[2]

        self.assertFalse(waits(**{"pnpm-lock.yaml": PNPM}))
        self.assertTrue(waits(**{"pnpm-lock.yaml": PNPM, ".pnpmfile.cjs": "module.exports = {}"}))
        self.assertFalse(waits(**{"package-lock.json": "{}", ".pnpmfile.cjs": ""}))
        plain = "nodeLinker: node-modules\nyarnPath: .yarn/releases/yarn-4.1.0.cjs\n"
        self.assertFalse(waits(**{"yarn.lock": BERRY, ".yarnrc.yml": plain}))
        plugins = f"{plain}plugins:\n  - path: .yarn/plugins/own.cjs\n"
        self.assertTrue(waits(**{"yarn.lock": BERRY, ".yarnrc.yml": plugins}))


if __name__ == "__main__":
    unittest.main()
