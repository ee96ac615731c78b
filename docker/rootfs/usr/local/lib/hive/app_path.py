"""Puts the app's folder before its dependencies, in every Python of the venv.

Run by hive-app.pth, before a program is. So it is for whoever starts the app in its own folder: a
top-level `src`, `tests` or `utils` that comes with a dependency does not hide the app's. Two
things stay before it: the standard library, and the package that a distribution is named after.
The app's folder `docker/` is not PyPI's `docker`, which other packages want.
"""

import os
import sys

APP = "/app"


def put_the_app_first(app: str, path: list[str], finders: list) -> None:
    """Changes `path` and `finders`, which are sys.path and sys.meta_path."""
    sites = [place for place in path if place.endswith("-packages")]
    if not sites or not os.path.isdir(app):
        return
    if app in path:
        path.remove(app)
    path.insert(path.index(sites[0]), app)
    # Of the venv alone: the app's own distribution is what lies in /app.
    distributions = {
        name.split("-")[0].lower() for name in os.listdir(sites[0]) if name.endswith(".dist-info")
    }
    names = {name for name in modules_in(app) if name.lower() in distributions}
    if names:
        finders.insert(0, Namesakes(names, sites))


def modules_in(folder: str) -> list[str]:
    """Its modules and packages. A folder without `__init__.py` hides nothing by itself."""
    names = []
    for entry in os.scandir(folder):
        if entry.name.endswith(".py"):
            names.append(entry.name.removesuffix(".py"))
        elif os.path.exists(f"{entry.path}/__init__.py"):
            names.append(entry.name)
    return names


class Namesakes:
    """Finds some modules in the installed packages alone."""

    def __init__(self, names: set[str], sites: list[str]):
        self.names, self.sites = names, sites

    def find_spec(self, name: str, *_: object) -> object:
        """As any finder of sys.meta_path; None where it is another one's."""
        if name not in self.names:
            return None
        from importlib.machinery import PathFinder

        return PathFinder.find_spec(name, self.sites)


# A test imports it.
if __name__ == "hive-app.pth":
    put_the_app_first(APP, sys.path, sys.meta_path)
