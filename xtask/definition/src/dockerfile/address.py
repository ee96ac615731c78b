"""Addresses of indexes, as locks have them.

This text takes the place of the line that imports it.
"""

import os
import re


def address(url):
    """Of an index, as pipenv and PDM take it: with variables filled in. Those of a login are filled
    in by uv, so that it is in no file; one that has no value here is left out: any goes before the
    machine's own."""
    whole = re.fullmatch(r"([^/]*//)([^/@]*@)?(.*)", url, re.DOTALL)
    if not whole:
        return os.path.expandvars(url)
    scheme, login, rest = whole[1], whole[2] or "", os.path.expandvars(whole[3])
    names = re.findall(r"\$\{?(\w+)", login)
    # uv knows no others by their names.
    if any(name not in os.environ or not re.fullmatch("[A-Z0-9_]+", name) for name in names):
        login = ""
    return scheme + re.sub(r"\$(\w+)", r"${\1}", login) + rest
