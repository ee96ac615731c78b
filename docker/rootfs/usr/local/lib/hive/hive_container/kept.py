"""Secrets of the app's own that its spec asks for by `{secret:NAME}`.

Whoever runs the container gives one by a file: NAME_FILE names it, or it lies in /run/secrets, as
engines and Kubernetes put it there. One that nobody gives is made at the first start, and kept on
the volume beside the passwords: another start, and another container, has the same. An app alone
has no volume: there each has to be given, by a file or as the variable NAME.
"""

import base64
import os
import re
import secrets
from collections.abc import Mapping

from hive_container.image import Fatal, Image, one_line_in
from hive_container.volume import OURS, keep_password, read_first_line

#: Where an engine puts what it was given as a secret.
GIVEN = "/run/secrets"

#: 256 bits.
BYTES = 32

#: What a name ends with that is somebody's to log in with.
OF_PERSONS = ("PASS", "PASSWD", "PASSWORD", "PWD")


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
    if started and not image.has_database:
        refuse_missing(image, environ)

    def one(name: str) -> str:
        is_variable = not image.has_database and not file_given(name, environ)
        given = environ.get(name) if is_variable else None
        return given or value(name, environ, started=started)

    return {f"secret:{name}": one(name) for name in names(image)}


def refuse_missing(image: Image, environ: Mapping[str, str]) -> None:
    """Without a volume nothing is kept, and another start would have another secret."""
    missing = [
        name for name in names(image) if not file_given(name, environ) and not environ.get(name)
    ]
    if missing:
        raise Fatal(
            f"nobody gives the secret {', '.join(missing)}, and this image has no volume to keep"
            " one of its own making",
            f"mount its file as {GIVEN}/{missing[0]}, or name the file by {missing[0]}_FILE",
        )


def file_given(name: str, environ: Mapping[str, str]) -> str | None:
    """The file that whoever runs the container gives."""
    places = [f"{GIVEN}/{name}", f"{GIVEN}/{name.lower()}"]
    return environ.get(f"{name}_FILE") or next(filter(os.path.exists, places), None)


def value(name: str, environ: Mapping[str, str], *, started: bool) -> str:
    path = file_given(name, environ)
    if path:
        return one_line_in(path, f"file of the secret {name},")
    if started:
        return keep_password(file_of(name), new(name))
    return read_first_line(file_of(name)) or new(name)


def new(name: str) -> str:
    """In base64 with its `=` at the end: keys of Fernet, of the package cryptography, want just
    that, and what takes any text takes this one, too."""
    if name.upper().rpartition("_")[2] in OF_PERSONS:
        return new_password()
    return base64.urlsafe_b64encode(secrets.token_bytes(BYTES)).decode()


def new_password() -> str:
    """190 bits as forms take them: 32 characters, where some have 40 at the most (the full-stack
    template of FastAPI), with one of each kind that they ask for, and none in front that makes a
    command take it for an option."""
    while True:
        made = secrets.token_urlsafe(24)
        kinds = (str.isdigit, str.isupper, str.islower)
        if made[0].isalnum() and "-" in made and all(any(map(kind, made)) for kind in kinds):
            return made
