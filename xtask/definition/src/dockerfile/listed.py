"""From requirements.txt to what can be installed before the app's folder is there.

Runs in a build, in the folder of the list.
"""

import codecs
import pathlib
import re

PUBLIC = ("https://pypi.org/simple", "https://pypi.python.org/simple")
ARCHIVES = (".whl", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".tar", ".zip")


def text_of(path):
    """As uv decodes it: PowerShell writes UTF-16."""
    data = path.read_bytes()
    is_wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return data.decode("utf-16" if is_wide else "utf-8-sig")


def is_local(requirement):
    """Whether it lies in the app's folder: `libs/foo`, `./foo-1.0.whl`, `foo @ file:libs/foo`."""
    named = re.match(r"[\w.-]+\s*(\[[^\]]*\])?\s*@\s*", requirement)
    place = requirement[named.end() :] if named else requirement
    place = re.split(r"[\s;\[#]", place)[0]
    if place.startswith((".", "file:")):
        return True
    return "://" not in place and (bool(named) or "/" in place or place.endswith(ARCHIVES))


class Listed:
    """What a list and those that it takes in say."""

    def __init__(self, path):
        # What is installed ahead, and what comes with the app.
        self.ahead = []
        self.later = []
        # Its indexes: the first one, where it names it, and those beside it.
        self.first = None
        self.beside = []
        # Where else packages lie, as lines of a list.
        self.places = []
        self.takes_early_ones = False
        # Whether all comes with the app: something that decides on all of it is there alone.
        self.is_later_as_a_whole = False
        self.read(path)

    def read(self, path):
        if not path.is_file():
            self.is_later_as_a_whole = True
            return
        # A line that is a comment never goes on in the next one.
        text = re.sub(r"(?m)^[^\S\n]*#.*$", "#", text_of(path))
        for line in re.sub(r"\\\r?\n", " ", text).splitlines():
            said = re.sub(r"(^|\s)#.*", "", line).strip()
            if said:
                self.take(path, said)

    def take(self, path, line):
        option = re.match(r"(-r|-c|--requirement|--constraint)[=\s]*(\S+)$", line)
        editable = re.match(r"(?:-e|--editable)[=\s]*(?=[^=\s])", line)
        if option and "://" not in option[2]:
            other = path.parent / option[2]
            if "r" in option[1][:3]:
                self.read(other)
            elif other.is_file():
                self.ahead.append(f"-c {other}")
            else:
                self.is_later_as_a_whole = True
        elif re.match(r"(-[fi]|--(find-links|(extra-)?index-url|no-index|trusted-host)\b)", line):
            for one in re.split(r"\s+(?=-)", line):
                self.take_place(one)
        elif line == "--pre":
            self.takes_early_ones = True
        elif editable:
            # Of a repository: an image's is not edited, and uv takes none that could be.
            rest = line[editable.end() :]
            is_url = "://" in rest.split()[0] and not rest.startswith("file:")
            (self.ahead if is_url else self.later).append(rest if is_url else line)
        elif line.startswith("-") or not is_local(line):
            self.ahead.append(line)
        else:
            self.later.append(line)

    def take_place(self, line):
        """What says where packages lie. A path goes from where uv is called."""
        option, named = re.fullmatch(r"(-[a-z]|--[a-z-]+)[=\s]*(.*)", line).groups()
        is_of_paths = option not in ("--no-index", "--trusted-host")
        is_here = is_of_paths and not re.match(r"\$\{|[^/]*://", named)
        self.is_later_as_a_whole |= is_here or option == "--no-index"
        place = str(pathlib.PurePosixPath("/app", named)) if is_here else named
        if option == "--extra-index-url":
            self.beside.append(place)
        elif option in ("-i", "--index-url"):
            # As pip has it, the last one counts.
            self.first = place
        else:
            self.ahead.append(line)
            self.places.append(f"{option} {place}".rstrip())

    def variables(self):
        """What uv's variables say of it: pairs of a variable and its value. Its own indexes are
        asked in the order of pip's settings, and the public one, for which that of the machine
        stands, after all others: in a list uv would ask those beside the first one before it."""
        named = [self.first, *self.beside] if self.first else self.beside
        own = [url for url in dict.fromkeys(named) if url.rstrip("/") not in PUBLIC]
        has_public = len(own) < len(dict.fromkeys(named))
        is_alone = self.first and not has_public
        last = [("UV_DEFAULT_INDEX", own.pop())] if is_alone else []
        early = [("UV_PRERELEASE", "allow")] if self.takes_early_ones else []
        return [("UV_INDEX", url) for url in own] + last + early

    def with_the_app(self):
        """All of it, for a step that runs in the app's folder: paths go from there, and those of
        constraints from the list."""
        return [re.sub(r"^-c (?!\S*://)", "-c /app/", line) for line in self.ahead] + self.later


def main():
    listed = Listed(pathlib.Path("requirements.txt"))
    said = "".join(f"{name} {value}\n" for name, value in listed.variables())
    pathlib.Path("/opt/indexes").write_text(said)
    pathlib.Path("/opt/places").write_text("".join(f"{line}\n" for line in listed.places))
    if listed.is_later_as_a_whole:
        pathlib.Path("/opt/later").write_text("requirements.txt\n")
        return
    pathlib.Path("ahead.txt").write_text("\n".join(listed.ahead) + "\n")
    if listed.later:
        pathlib.Path("/opt/local.txt").write_text("\n".join(listed.with_the_app()) + "\n")
        pathlib.Path("/opt/later").write_text("/opt/local.txt\n")


if __name__ == "__main__":
    main()
