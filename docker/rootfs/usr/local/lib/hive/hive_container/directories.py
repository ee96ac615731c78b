"""The app's folders that lie on the volume, and outlive the container.

    /app/media       -> /run/hive/files/app/media      a link of the image
    /run/hive/files  -> VOLUME/files/NAME              a link of this start
    VOLUME/files/NAME/app/media                        the folder itself

NAME is `first`, or that of the restore which the cluster comes from: so the exchange of a cluster
exchanges them with it, in one step.
"""

import json
import os
import re
import shutil
import subprocess

from hive_container import mounts
from hive_container.adoption import sync_tree
from hive_container.image import RUN, Fatal, Image, sync
from hive_container.volume import FILES, MOUNT, PGDATA, wrong_owner

#: What the image has in them; see the production stage.
SHIPPED = "/usr/share/hive/files"
LINK = f"{RUN}/files"

#: Of a cluster that was restored: by which restore.
RESTORED = "hive-restored.json"

#: A copy that was interrupted, in the folder above. The spec allows no such name twice.
COPYING = ".hive-copy"


def provide(image: Image) -> None:
    """Makes the folders that the volume does not have yet, and leads the image's links to them."""
    if not image.directories:
        return
    inspect_mounts(image.directories)
    home = f"{FILES}/{of_cluster(PGDATA)}"
    for path in image.directories:
        place = f"{home}{path}"
        if not os.path.lexists(place):
            make(place, f"{SHIPPED}{path}")
        elif not os.path.isdir(place):
            raise Fatal(f"the volume's {place} is no folder", "put it right on the volume")
        elif not os.access(place, os.W_OK | os.X_OK):
            raise wrong_owner(place)
    os.symlink(home, LINK)


def of_cluster(cluster: str) -> str:
    """Which folders belong to a cluster, by the name that they have in `files`."""
    try:
        with open(f"{cluster}/{RESTORED}", encoding="utf-8") as file:
            name = json.load(file)["id"]
    except FileNotFoundError:
        return "first"
    except (KeyError, TypeError, ValueError):
        name = ""
    if not re.fullmatch(r"\w[\w.-]*", str(name)):
        raise Fatal(f"{cluster}/{RESTORED} is damaged", "restore the data from a backup")
    return name


def inspect_mounts(directories: list[str]) -> None:
    """The engine follows the image's link: what is mounted there would take the link's place."""
    points = {mount.point for mount in mounts.read()}
    found = [path for path in directories if f"{LINK}{path}" in points or path in points]
    if found:
        raise Fatal(
            f"something is mounted at {', '.join(found)}, which this image keeps on its volume",
            f"leave that out: it lies on the volume at {MOUNT}",
        )


def make(place: str, shipped: str) -> None:
    """Makes a folder with what the image has in it: whole and durable, or not at all."""
    parent = os.path.dirname(place)
    os.makedirs(parent, mode=0o750, exist_ok=True)
    copy = f"{parent}/{COPYING}"
    if os.path.isdir(copy):
        # A folder of the app's may let nobody write into it, its owner neither.
        subprocess.run(["/bin/chmod", "-R", "u+rwx", copy], check=True)
        shutil.rmtree(copy)
    command = ["/bin/cp", "-r", shipped, copy]
    done = subprocess.run(command, stderr=subprocess.PIPE, umask=0o027, check=False)
    if done.returncode != 0:
        raise Fatal(done.stderr.decode(errors="replace").split("\n")[0], "make room on the volume")
    os.chmod(copy, 0o750)
    sync_tree(copy)
    os.rename(copy, place)
    sync(parent)
