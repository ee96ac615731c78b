"""Files that were written since the container's start, outside of its volume and of what is for
passing things: a folder a line, with some names, and whether it may lie on the volume."""

import json
import os
import stat
import sys

# Where nothing of an app's is, or all is known to go.
PASSED_OVER = {
    *("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt", "/proc", "/run", "/sbin", "/sys"),
    *("/tmp", "/usr", "/var/cache", "/var/log", "/var/run", "/var/tmp"),
}
# What is made anew, whenever it is gone.
MADE_ANEW = {"__pycache__", ".cache", ".config", "node_modules"}
ENDINGS = (".lock", ".log", ".pid", ".pyc", ".sock")
BESIDE_SQLITE = ("-journal", "-shm", "-wal")


def is_data(name):
    return not name.endswith((*ENDINGS, *BESIDE_SQLITE)) and not name.startswith("celerybeat-")


def written(folder, names, since):
    for name in sorted(filter(is_data, names)):
        about = os.lstat(os.path.join(folder, name))
        if stat.S_ISREG(about.st_mode) and about.st_size and about.st_mtime_ns > since:
            yield name


def holds_code(folder):
    below = (names for _, _, names in os.walk(folder))
    return any(name.endswith(".py") for names in below for name in names)


def main(top="/"):
    since = os.stat(os.path.join(top, "run/hive/image.sh")).st_mtime_ns
    device = os.lstat(top).st_dev
    for folder, below, names in os.walk(top):
        # As the container has it.
        inside = os.path.join("/", os.path.relpath(folder, top)).rstrip(".")
        below[:] = (
            name
            for name in sorted(below)
            if os.path.join(inside, name) not in PASSED_OVER
            and name not in MADE_ANEW
            and os.lstat(os.path.join(folder, name)).st_dev == device
        )
        if found := list(written(folder, names, since)):
            may_be_kept = inside.startswith(("/app/", "/var/lib/")) and not holds_code(folder)
            print(json.dumps({"folder": inside, "names": found[:3], "may_be_kept": may_be_kept}))


if __name__ == "__main__":
    main(*sys.argv[1:])
