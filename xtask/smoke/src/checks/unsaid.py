"""The exception behind an answer of Django's that says nothing: where debugging is off, a log has
it only where the project says so. Django's own client asks for the path once more.

    unsaid.py PATH WORD …    of the app's command, with a `package.module:attribute` to import
"""

import contextlib
import importlib
import os
import re
import sys
import traceback

#: Before each line of the answer, as the app may print others.
SIGN = "unsaid: "
#: Longer texts are pages.
MOST = 300


def client(words):
    """Django's, of the project that a server is given; an error where that is no project of it."""
    sys.path.insert(0, os.getcwd())
    for word in words:
        if re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", word):
            # Names the settings, as the server has it.
            importlib.import_module(word.split(":")[0])
    django = importlib.import_module("django")
    django.setup()
    return importlib.import_module("django.test").Client(raise_request_exception=True)


def chain(error):
    """What was raised first, and what came of it: a page for an error may fail, too."""
    first = error
    while first.__context__ is not None:
        first = first.__context__
    return [error] if first is error else [first, error]


def told(error):
    """What it is, and the innermost line of the app's own on the way there."""
    for one in chain(error):
        lines = "".join(traceback.format_exception_only(one)).strip().splitlines()
        yield from (line[:MOST] for line in lines[:4])
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if frame.filename.startswith(os.getcwd() + os.sep)]
    if own:
        yield f"  at {os.path.relpath(own[-1].filename)}:{own[-1].lineno}"


def main(path, *words):
    with contextlib.suppress(Exception):
        asking = client(words)
        try:
            asking.get(path, HTTP_HOST="127.0.0.1", HTTP_X_FORWARDED_PROTO="https")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is what was asked for
            for line in told(error):
                print(f"{SIGN}{line}")


if __name__ == "__main__":
    main(*sys.argv[1:])
