"""Addresses of indexes, as locks have them, and what is installed from each.

This text takes the place of the line that imports it.
"""

import os
import pathlib
import re

PUBLIC = ("https://pypi.org/simple", "https://pypi.python.org/simple")


def is_public(url):
    """Whether it is the index that stands for the machine's default one."""
    return url.rstrip("/") in PUBLIC


def address(url):
    """Of an index, as pipenv and PDM take it: with variables filled in. Those of a login are filled
    in when uv is called, so that it is in no file; one that has no value here is left out: any goes
    before the machine's own."""
    whole = re.fullmatch(r"([^/]*//)([^/@]*@)?(.*)", url, re.DOTALL)
    if not whole:
        return os.path.expandvars(url)
    scheme, login, rest = whole[1], whole[2] or "", os.path.expandvars(whole[3])
    names = re.findall(r"\$\{?(\w+)", login)
    # No others are filled in.
    if any(name not in os.environ or not re.fullmatch("[A-Z0-9_]+", name) for name in names):
        login = ""
    return scheme + re.sub(r"\$(\w+)", r"${\1}", login) + rest


def index(name, url):
    """As uv's variables have it: by the name by which the machine may have a login for it."""
    is_name = re.fullmatch("[A-Za-z0-9._-]+", name or "")
    return f"{name}={address(url)}" if is_name else address(url)


def write(lists, for_all):
    """Writes what is installed from the same indexes as a list of its own, beside it what uv's
    variables say of them: pairs of a variable and its value, none for the machine's own indexes.
    `lists` has the lines by these and by whether any of the indexes may have a file, which is told
    by its hash; `for_all` are those for what the app's own package is built with."""
    for number, ((places, is_any), lines) in enumerate(sorted(lists.items())):
        name = f"ahead-{number}"
        pathlib.Path(f"{name}.txt").write_text("".join(f"{line}\n" for line in lines))
        pathlib.Path(f"{name}.indexes").write_text(said(places))
        if is_any:
            pathlib.Path(f"{name}.any").touch()
    pathlib.Path("/opt/indexes").write_text(said(for_all))


def said(places):
    return "".join(f"{variable} {value}\n" for variable, value in places)
