"""From a lock of pipenv's to what uv installs, pinned with its hashes.

Runs in a build, in the folder of the lock.
"""

import json
import pathlib

from address import address


def indexes(lock):
    """Where packages come from. The public index is anybody's default, unless the machine has
    another one."""
    urls = [address(source["url"]) for source in lock["_meta"].get("sources", [])]
    first = [] if urls[:1] == ["https://pypi.org/simple"] else urls[:1]
    more = [f"--extra-index-url {url}" for url in urls[1:]]
    return [f"--index-url {url}" for url in first] + more


def line(name, entry):
    """A requirement, and whether it lies in the app's folder."""
    extras = f"[{','.join(entry['extras'])}]" if entry.get("extras") else ""
    marker = f" ; {entry['markers']}" if entry.get("markers") else ""
    if "path" in entry or ("file" in entry and "://" not in entry["file"]):
        place = f"/app/{entry.get('path') or entry['file']}{extras}"
        return f"-e {place}" if entry.get("editable") else place, True
    if "git" in entry:
        folder = f"#subdirectory={entry['subdirectory']}" if "subdirectory" in entry else ""
        url = f"git+{entry['git'].removeprefix('git+')}@{entry['ref']}{folder}"
        return f"{name}{extras} @ {url}{marker}", False
    if "file" in entry:
        return f"{name}{extras} @ {entry['file']}{marker}", False
    hashes = "".join(f" --hash={digest}" for digest in entry.get("hashes", []))
    return f"{name}{extras}{entry['version']}{marker}{hashes}", False


def is_hashed(lock):
    """Whether each package of an index has its hashes: whatever index has it, it is that one."""
    of_index = [entry for entry in lock["default"].values() if "version" in entry]
    return all(entry.get("hashes") for entry in of_index)


def main():
    lock = json.loads(pathlib.Path("Pipfile.lock").read_text())
    lines = [line(name, entry) for name, entry in lock["default"].items()]
    ahead = indexes(lock) + [text for text, is_local in lines if not is_local]
    pathlib.Path("ahead.txt").write_text("\n".join(ahead) + "\n")
    if is_hashed(lock):
        pathlib.Path("/tmp/hashed").touch()
    later = [f"{text}\n" for text, is_local in lines if is_local]
    if later:
        pathlib.Path("/opt/local.txt").write_text("".join(later))
        pathlib.Path("/opt/later").write_text("/opt/local.txt\n")


if __name__ == "__main__":
    main()
