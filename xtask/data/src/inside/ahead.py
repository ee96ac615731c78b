"""The app's folders, copied while the app works, and what brings that copy to where they were when
it had ended.

A file counts as copied where nothing has changed it since before the copy began. The kernel notes
each change in a time that nobody can set, with two exceptions, which decide how it is asked. A
clock has ticks: what was changed shortly before counts as changed. And a page of a file that is
mapped into memory is noted when it is first written to, and then no more until it is on the disk:
so that each file is brought there before it is looked at.
"""

import contextlib
import json
import os
import shutil
import stat
import subprocess
import time
from collections.abc import Callable, Iterator

import files
from copied import Refused

#: Below this they are copied sooner than all of them are looked at twice.
WORTH_IT = 64 << 20

#: What the service goes on to need meanwhile.
ROOM = 512 << 20

#: In nanoseconds; more than a tick of any file system's clock (FAT has two seconds).
SHORTLY = 3_000_000_000

#: So many names go to one program.
BATCH = 200

#: By inode, size, and the times of content and of change.
State = list[int]


def is_worth_it(size: int, beside: str) -> bool:
    return size >= WORTH_IT and shutil.disk_usage(beside).free >= size + ROOM


def copy(home: str, place: str, is_over: Callable[[], bool]) -> bool:
    """Copies all of it to `place/copy`, and notes in `place/states` what it was. False where it was
    given up."""
    os.mkdir(f"{place}/copy", mode=0o700)
    began = now_at(place)
    states = {}
    for path in files.all_below(home):
        if is_over():
            return False
        with contextlib.suppress(FileNotFoundError, PermissionError):
            if files.has_content(path) and not os.path.isdir(path):
                files.sync(path)
            if not os.path.isdir(path) or os.path.islink(path):
                states[os.path.relpath(path, home)] = state_of(path)
    # What goes or changes meanwhile, or cannot be read, is copied again, or told then.
    command = ["cp", "--archive", f"{home}/.", f"{place}/copy"]
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as program:
        while program.poll() is None:
            if is_over():
                program.kill()
                return False
            time.sleep(0.1)
    old = {name: state for name, state in states.items() if state[3] < began - SHORTLY}
    with open(f"{place}/states", "w", encoding="utf-8", errors="surrogateescape") as file:
        json.dump(old, file, ensure_ascii=False)
    return True


def now_at(place: str) -> int:
    """By the clock that notes changes there."""
    with open(f"{place}/began", "w", encoding="utf-8"):
        pass
    return os.stat(f"{place}/began").st_ctime_ns


def state_of(path: str) -> State:
    return list(files.state_of(os.lstat(path)))


def catch_up(home: str, place: str) -> None:
    """Makes the copy what the folders are, with nobody there any more who writes to them."""
    with open(f"{place}/states", encoding="utf-8", errors="surrogateescape") as file:
        states = json.load(file)
    target = f"{place}/copy"
    here, folders = set(), []
    changed: dict[str, list[str]] = {}
    for path in files.all_below(home):
        name = os.path.relpath(path, home)
        here.add(name)
        if os.path.isdir(path) and not os.path.islink(path):
            folders.append(name)
            make_folder(f"{target}/{name}")
        elif states.get(name) != state_of(path) or not is_same(path, f"{target}/{name}"):
            changed.setdefault(os.path.dirname(name), []).append(path)
    for path in list(files.all_below(target)):
        if os.path.relpath(path, target) not in here and os.path.lexists(path):
            remove(path)
    for folder, paths in changed.items():
        for path in paths:
            remove(f"{target}/{folder}/{os.path.basename(path)}")
        for batch in batches(paths):
            bring(batch, f"{target}/{folder}")
    # The inner ones first: what is made in a folder changes its times.
    for name in reversed(folders):
        take_over(f"{home}/{name}", f"{target}/{name}")


def is_same(path: str, copied: str) -> bool:
    """Whether a copy is as long and as old as what it is of; one that was cut off has another
    time."""
    try:
        one, other = os.lstat(path), os.lstat(copied)
    except FileNotFoundError:
        return False
    is_like = (one.st_size, one.st_mtime_ns) == (other.st_size, other.st_mtime_ns)
    return is_like and stat.S_IFMT(one.st_mode) == stat.S_IFMT(other.st_mode)


def make_folder(path: str) -> None:
    """It is to be written into, whatever the app's own is."""
    if os.path.islink(path) or not os.path.isdir(path):
        remove(path)
        os.mkdir(path, mode=0o700)
    os.chmod(path, 0o700)


def remove(path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        files.remove_tree(path)
    elif os.path.lexists(path):
        os.unlink(path)


def batches(paths: list[str]) -> Iterator[list[str]]:
    yield from (paths[start : start + BATCH] for start in range(0, len(paths), BATCH))


def bring(paths: list[str], folder: str) -> None:
    command = ["cp", "--archive", "--reflink=auto", f"--target-directory={folder}", "--", *paths]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise Refused(f"copy the app's folders: {said[-2000:]}")


def take_over(folder: str, copied: str) -> None:
    """Its owner, mode, times and attributes."""
    known = os.stat(folder)
    # As cp does where that is not for everybody to do.
    with contextlib.suppress(PermissionError):
        os.chown(copied, known.st_uid, known.st_gid)
    shutil.copystat(folder, copied)
