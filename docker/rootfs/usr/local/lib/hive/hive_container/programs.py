"""Whether what a spec names can be run, found out without running it; and if not, why."""

import os
import re
from collections.abc import Mapping, Sequence

MARK = b"\xef\xbb\xbf"


def trouble(program: str, environment: Mapping[str, str]) -> str | None:
    """Why a program cannot be run in the present folder with these variables; None where it can.

    A script that came from Windows is there for whoever lists the folder, and "not found" for the
    kernel, which looks for the interpreter `sh\\r`.
    """
    import shutil

    path = shutil.which(program, path=environment.get("PATH"))
    if path is None:
        if "/" in program and os.path.isfile(program):
            return f"{program} may not be executed; hint: git update-index --chmod=+x {program}"
        return f"no such program: {program}"
    with open(path, "rb") as file:
        return trouble_with_line(program, file.read(1024).split(b"\n")[0])


def trouble_with_line(program: str, first: bytes) -> str | None:
    """The same by the first line of the program's file."""
    if first.startswith(MARK + b"#!"):
        return (
            f"{program} begins with a byte order mark, and the kernel does not see its first line;"
            " hint: save it as UTF-8 without one"
        )
    if not first.startswith(b"#!"):
        return None
    if first.endswith(b"\r"):
        return (
            f"the lines of {program} end as on Windows (CR LF), and its interpreter is not found;"
            " hint: save it with LF, and put `*.sh text eol=lf` into .gitattributes"
        )
    words = first[2:].split()
    interpreter = os.fsdecode(words[0]) if words else ""
    if not os.access(interpreter, os.X_OK):
        return f"{program} is to be run by {interpreter or 'nothing'}, which is not in the image"
    return None


def missing_module(name: str, paths: Sequence[str] = ()) -> str | None:
    """The first part of a dotted name that is no module, as far as it can be told without running
    any of them. `paths` come before those of this interpreter."""
    import importlib.util
    import sys
    from importlib.machinery import PathFinder

    parts = name.split(".")
    sys.path[:0] = paths
    try:
        spec = importlib.util.find_spec(parts[0])
        for number in range(1, len(parts) + 1):
            if number > 1:
                places = spec.submodule_search_locations
                # By its last part: a folder without `__init__.py` in another one has its
                # whole name's parent looked up among the modules that run, and none does.
                places = list(places or ())
                spec = PathFinder.find_spec(parts[number - 1], places) if places else None
            if spec is None:
                return ".".join(parts[:number])
    finally:
        del sys.path[: len(paths)]
    return None


def python_files(folder: str) -> list[str]:
    """What could be imported of a folder, for a hint."""
    names = []
    for entry in os.scandir(folder):
        if entry.is_dir() and os.path.isfile(f"{entry.path}/__init__.py"):
            names.append(f"{entry.name}/")
        elif re.fullmatch(r"[A-Za-z_]\w*\.py", entry.name):
            names.append(entry.name)
    return sorted(names)
