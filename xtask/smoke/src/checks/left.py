"""Files that were written since the container's start, outside of its volume and of what is for
passing things: a folder a line, with some names, and whether it may be one of data."""

import json
import os
import re
import stat
import sys

# Where nothing of an app's is, all is known to go, or all is kept. The last one by name, too: an
# image says that it is a volume's, whatever is mounted there.
PASSED_OVER = {
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/run", "/sbin", "/sys"),
    *("/tmp", "/usr", "/var/cache", "/var/log", "/var/run", "/var/tmp", "/var/lib/postgresql"),
}
# What is made anew, whenever it is gone.
MADE_ANEW = {"__pycache__", ".cache", ".config", "node_modules"}
ENDINGS = (".lock", ".log", ".pid", ".pyc", ".sock")
BESIDE_SQLITE = ("-journal", "-shm", "-wal")


def mount_points(top):
    """Folders and files of other file systems than the container's own; by their place, as a
    volume may lie on the same device."""
    # proc(5): id, parent, device, root, mount point, …; a blank is `\040`.
    with open(os.path.join(top, "proc/self/mountinfo"), "rb") as file:
        points = [os.fsdecode(line.split(b" ")[4]) for line in file]
    return {re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), point) for point in points}


def is_data(name):
    return not name.endswith((*ENDINGS, *BESIDE_SQLITE)) and not name.startswith("celerybeat-")


def is_written(path, since):
    try:
        about = os.lstat(path)
    except OSError:
        # It was there a moment ago: nothing that stays.
        return False
    # What is unpacked or copied may bring an older time of its content along. A file of the image's
    # that is only opened for writing is told, too: it is meant to be written.
    return stat.S_ISREG(about.st_mode) and about.st_size > 0 and about.st_ctime_ns > since


def holds_code(folder):
    below = (names for _, _, names in os.walk(folder))
    return any(name.endswith(".py") for names in below for name in names)


def shown(path):
    return os.fsencode(path).decode(errors="replace")


def main(top="/"):
    since = os.stat(os.path.join(top, "run/hive/image.sh")).st_mtime_ns
    elsewhere = PASSED_OVER | mount_points(top)
    for folder, below, names in os.walk(top):
        # As the container has it.
        inside = os.path.normpath(os.path.join("/", os.path.relpath(folder, top)))
        below[:] = (
            name
            for name in sorted(below)
            if os.path.join(inside, name) not in elsewhere and name not in MADE_ANEW
        )
        found = [
            name
            for name in sorted(filter(is_data, names))
            if os.path.join(inside, name) not in elsewhere
            and is_written(os.path.join(folder, name), since)
        ]
        if found:
            is_place = inside.startswith(("/app/", "/var/lib/")) and not holds_code(folder)
            left = {"folder": shown(inside), "names": [shown(name) for name in found[:3]]}
            print(json.dumps({**left, "may_be_kept": is_place}))


if __name__ == "__main__":
    main(*sys.argv[1:])
