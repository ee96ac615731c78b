"""Serves a copy of a generation that is kept, so that a backup can be taken of it.

    copy NAME UID:GID    as root: the generation, its folders of the app and the names of secrets
                         become those of a volume that is there for this alone
    serve                starts PostgreSQL on that; it runs as long as its container

The service's volume is mounted read-only. What asks the server goes by the socket and the service
file that it has in a service's container, too.
"""

import contextlib
import glob
import os
import shutil
import subprocess
import sys

import files
from copied import MAJOR, RUN, STATE, Refused, control, settings, started

FROM = "/from"
MOUNT = files.MOUNT
PGDATA = f"{MOUNT}/pgdata"

#: What runs needs some of the disk.
MORE_ROOM = 200_000_000

#: Of this cluster's place on its volume, and of a server that is gone.
NOT_COPIED = ("hive-kept.json", "hive-archive.json", "postmaster.pid")

#: The copy holds whatever the app's role has put into it: no session of the superuser's goes by
#: that, as in a service's container (CVE-2018-1058).
SERVICE = (
    f"[superuser]\nhost={RUN}\nport=5432\nuser=postgres\n"
    f"options={settings.as_options(settings.of_the_superuser(MAJOR))}\n"
)


def copy(name: str, owner: str) -> None:
    source = f"{FROM}/generations/{name}"
    inspect(source)
    homes = [(source, PGDATA)]
    home = f"{FROM}/files/{files.name_of(source)}"
    if os.path.isdir(home):
        homes.append((home, f"{files.FILES}/{files.name_of(source)}"))
    free, size = shutil.disk_usage(MOUNT).free, sum(files.size_of(one)[0] for one, _ in homes)
    if free < size + MORE_ROOM:
        raise Refused(
            f"the disk of the engine's volumes has {free // 1_000_000} MB free,"
            f" {(size + MORE_ROOM) // 1_000_000} MB are needed for a copy of {name}"
        )
    for one, target in homes:
        os.makedirs(os.path.dirname(target), mode=0o700, exist_ok=True)
        # Where the file system can, both have the same blocks.
        call(["cp", "--archive", "--reflink=auto", one, target])
    for unwanted in NOT_COPIED:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{PGDATA}/{unwanted}")
    os.makedirs(os.path.dirname(files.SECRETS), mode=0o700, exist_ok=True)
    for secret in glob.glob(f"{FROM}/hive/secret.*"):
        # A backup has their names alone.
        with open(f"{MOUNT}/hive/{os.path.basename(secret)}", "wb"):
            pass
    call(["chown", "--recursive", owner, MOUNT])


def inspect(source: str) -> None:
    with open(f"{source}/PG_VERSION", encoding="utf-8") as file:
        major = int(file.read())
    if major != MAJOR:
        raise Refused(f"it is of PostgreSQL {major}, and the image has {MAJOR}")
    tablespaces = os.listdir(f"{source}/pg_tblspc")
    if tablespaces:
        raise Refused(f"it has tablespaces, whose files lie elsewhere: {', '.join(tablespaces)}")


def call(command: list[str]) -> None:
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Refused(f"{command[0]}: {said[-2000:]}")


def serve() -> None:
    with open(f"{RUN}/pg_service.conf", "w", encoding="utf-8") as file:
        file.write(SERVICE)
    is_whole = control(PGDATA)["Database cluster state"] == STATE
    started(PGDATA)
    if not is_whole:
        print("its server did not end well: it was recovered")


def main() -> int:
    try:
        {"copy": copy, "serve": serve}[sys.argv[1]](*sys.argv[2:])
    except Refused as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename or MOUNT}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
