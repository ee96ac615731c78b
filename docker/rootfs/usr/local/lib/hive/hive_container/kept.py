"""Secrets of the app's own that its spec asks for by `{secret:NAME}`.

Whoever runs the container gives one by a file: NAME_FILE names it, or it lies in /run/secrets, as
engines and Kubernetes put it there. One that nobody gives is made at the first start, and kept on
the volume beside the passwords: another start, and another container, has the same.
"""

import os
import re
import secrets
from collections.abc import Mapping

from hive_container.image import Image, one_line_in
from hive_container.volume import OURS, keep_password, read_first_line

#: Where an engine puts what it was given as a secret.
GIVEN = "/run/secrets"

#: 256 bits.
BYTES = 32


def names(image: Image) -> list[str]:
    """The secrets that the spec names anywhere."""
    texts = [*image.environment.values(), *(image.command or []), *(image.before_start or [])]
    texts += [word for program in image.programs for word in program.command]
    # A doubled brace is no placeholder.
    texts = (text.replace("{{", "").replace("}}", "") for text in texts)
    return sorted({name for text in texts for name in re.findall(r"\{secret:(\w+)\}", text)})


def file_of(name: str) -> str:
    return f"{OURS}/secret.{name}"


def values(image: Image, environ: Mapping[str, str], *, started: bool = True) -> dict[str, str]:
    """The values of the spec's placeholders for secrets. Where nothing was started none is made:
    a command gets one that nobody keeps."""
    return {f"secret:{name}": value(name, environ, started=started) for name in names(image)}


def value(name: str, environ: Mapping[str, str], *, started: bool) -> str:
    places = [f"{GIVEN}/{name}", f"{GIVEN}/{name.lower()}"]
    path = environ.get(f"{name}_FILE") or next(filter(os.path.exists, places), None)
    if path:
        return one_line_in(path, f"file of the secret {name},")
    if started:
        return keep_password(file_of(name), BYTES)
    return read_first_line(file_of(name)) or secrets.token_urlsafe(BYTES)
