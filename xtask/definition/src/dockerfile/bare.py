"""Whether uv can lock a pyproject.toml that is alone, or makes a list of what is chosen of it.

Runs in a build, in the folder of the file; prints the options of `uv pip compile`, and nothing
where `uv lock` is to be run. `app/bare.rs` has the same rule.
"""

import pathlib
import sys
import tomllib


def locals_of(project):
    """Whether some package is taken from a folder."""
    for source in project.get("tool", {}).get("uv", {}).get("sources", {}).values():
        for one in source if isinstance(source, list) else [source]:
            if "path" in one or "workspace" in one:
                return True
    return False


def compiled(project, options):
    """The options of `uv pip compile`; none where all of it can be locked."""
    about = project.get("project", {"version": ""})
    if "version" in about and not about.get("dynamic") and not locals_of(project):
        return []
    # uv installs these unasked, and this command does not.
    groups = project.get("tool", {}).get("uv", {}).get("default-groups", [])
    if groups == "all":
        groups = list(project.get("dependency-groups", {}))
    options = [one for one in options if one != "--no-dev"]
    wanted = [one for group in groups if group != "dev" for one in ("--group", group)]
    return ["pyproject.toml", *options, *wanted]


def is_package(project):
    """Whether uv installs the project itself."""
    own = project.get("tool", {}).get("uv", {}).get("package", "build-system" in project)
    return "project" in project and own


def main():
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text(encoding="utf-8"))
    options = compiled(project, sys.argv[1:])
    if options and is_package(project):
        pathlib.Path("/opt/own").touch()
    print(*options)


if __name__ == "__main__":
    main()
