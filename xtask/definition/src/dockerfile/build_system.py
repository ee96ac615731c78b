"""What an app's own package is built with, and any index of the machine's may have.

Runs in a build, in the folder of pyproject.toml.
"""

import pathlib
import re
import tomllib


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def wanted(project):
    """The requirements but for those that have a source of their own, or say where they are."""
    sources = {normal(name) for name in project.get("tool", {}).get("uv", {}).get("sources", {})}
    for requirement in project.get("build-system", {}).get("requires", []):
        name = re.match(r"\s*([\w.-]*)", requirement)[1]
        if normal(name) not in sources and "@" not in requirement:
            yield requirement


def main():
    for requirement in wanted(tomllib.loads(pathlib.Path("pyproject.toml").read_text("utf-8"))):
        print(requirement)


if __name__ == "__main__":
    main()
