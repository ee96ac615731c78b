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
        # What uv's variables say of it: its own first index, before the machine's, and what else uv
        # passes over in a list.
        self.variables = {}
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
        places = r"(?:-[fi][=\s]*|--(?:find-links|index-url|extra-index-url)[=\s]\s*)(\S+)$"
        place = re.match(places, line)
        editable = re.match(r"(?:-e|--editable)[=\s]*(?=[^=\s])", line)
        if option and "://" not in option[2]:
            other = path.parent / option[2]
            if "r" in option[1][:3]:
                self.read(other)
            elif other.is_file():
                self.ahead.append(f"-c {other}")
            else:
                self.is_later_as_a_whole = True
        elif place and line.startswith(("-i", "--index-url")) and "://" in place[1]:
            # As pip has it, the last one counts, and not that of the machine, which stands for the
            # public one alone.
            self.variables.pop("UV_DEFAULT_INDEX", None)
            if place[1].rstrip("/") not in PUBLIC:
                self.variables["UV_DEFAULT_INDEX"] = place[1]
        elif line == "--pre":
            self.variables["UV_PRERELEASE"] = "allow"
        elif line == "--no-index" or (place and "://" not in place[1]):
            self.is_later_as_a_whole = True
        elif editable:
            # Of a repository: an image's is not edited, and uv takes none that could be.
            rest = line[editable.end() :]
            is_url = "://" in rest.split()[0] and not rest.startswith("file:")
            (self.ahead if is_url else self.later).append(rest if is_url else line)
        elif line.startswith("-") or not is_local(line):
            self.ahead.append(line)
        else:
            self.later.append(line)

    def with_the_app(self):
        """All of it, for a step that runs in the app's folder: paths go from there, and those of
        constraints from the list."""
        return [re.sub(r"^-c (?!\S*://)", "-c /app/", line) for line in self.ahead] + self.later


def main():
    listed = Listed(pathlib.Path("requirements.txt"))
    said = "".join(f"{name} {value}\n" for name, value in listed.variables.items())
    pathlib.Path("/opt/indexes").write_text(said)
    if listed.is_later_as_a_whole:
        pathlib.Path("/opt/later").write_text("requirements.txt\n")
        return
    pathlib.Path("ahead.txt").write_text("\n".join(listed.ahead) + "\n")
    if listed.later:
        pathlib.Path("/opt/local.txt").write_text("\n".join(listed.with_the_app()) + "\n")
        pathlib.Path("/opt/later").write_text("/opt/local.txt\n")


if __name__ == "__main__":
    main()
