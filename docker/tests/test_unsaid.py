"""What Django's own client is told by the gate where no log has it."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(__file__).parents[2] / "xtask/smoke/src/checks/unsaid.py"

#: As much of Django as the script knows.
DJANGO = {
    "django/__init__.py": """
import os
def setup():
    assert os.environ["DJANGO_SETTINGS_MODULE"] == "shop.settings"
""",
    "django/test.py": """
class Client:
    def __init__(self, raise_request_exception):
        assert raise_request_exception
    def get(self, path, **headers):
        print("of the app")
        from shop import views
        return views.VIEWS[path]()
""",
    "shop/__init__.py": "",
    "shop/wsgi.py": """
import os
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
""",
    "shop/views.py": """
def bad():
    raise ValueError("no style.css\\nin it")
def worse():
    try:
        bad()
    except ValueError:
        {}["page"]
VIEWS = {"/bad": bad, "/good": dict, "/worse": worse}
""",
}


class Unsaid(unittest.TestCase):
    def told(self, path, *words, without=""):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in DJANGO.items():
                if not without or not name.startswith(without):
                    file = pathlib.Path(folder, name)
                    file.parent.mkdir(parents=True, exist_ok=True)
                    file.write_text(text, encoding="utf-8")
            said = subprocess.check_output(
                [sys.executable, SCRIPT, path, *words],
                cwd=folder,
                env={"PATH": os.environ["PATH"]},
                text=True,
            )
        sign = "unsaid: "
        return [line.removeprefix(sign) for line in said.splitlines() if line.startswith(sign)]

    def test_the_exception_is_told_with_its_place_in_the_app(self):
        words = ["gunicorn", "--bind", "0.0.0.0:8000", "shop.wsgi:application"]
        told = self.told("/bad", *words)
        self.assertEqual(told, ["ValueError: no style.css", "in it", "  at shop/views.py:3"])

    def test_what_was_raised_first_is_told_before_what_came_of_it(self):
        told = self.told("/worse", "shop.wsgi:application")
        first = ["ValueError: no style.css", "in it"]
        self.assertEqual(told, [*first, "KeyError: 'page'", "  at shop/views.py:8"])

    def test_nothing_is_told_of_what_works_or_is_not_django(self):
        self.assertEqual(self.told("/good", "shop.wsgi:application"), [])
        self.assertEqual(self.told("/bad", "shop.wsgi:application", without="django"), [])
        self.assertEqual(self.told("/bad", "shop.nothing:application"), [])


if __name__ == "__main__":
    unittest.main()
