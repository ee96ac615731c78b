"""From a lock of pipenv's to what uv installs, pinned with its hashes.

Runs in a build, in the folder of the lock.
"""

import json
import pathlib
import sys

from address import index, is_public, write


def places(entry, sources):
    """The indexes of a package besides the machine's, as pipenv asks them: the one that its entry
    names, else the first. Whether any may have it, by its hash."""
    by_name = {source.get("name"): source for source in sources}
    is_hashed = bool(entry.get("hashes"))
    own = sources[:1]
    if "index" in entry:
        if entry["index"] not in by_name:
            sys.exit(
                f"Pipfile.lock: there is no source {entry['index']}, which a package names\n"
                "hint: name it in Pipfile, and run `pipenv lock`"
            )
        own = [by_name[entry["index"]]]
    elif is_hashed:
        own = sources
    return asked(own, sources, is_hashed), is_hashed and len(own) > 1


def asked(own, sources, is_hashed):
    """What uv's variables say of the indexes. Beside one of its own a package that has no hash may
    come from no other, nor any where the public index is none of the sources."""
    own = [source for source in own if not is_public(source["url"])]
    if not own:
        return ()
    has_public = any(is_public(source["url"]) for source in sources)
    urls = [index(source.get("name"), source["url"]) for source in own]
    before = [] if is_hashed and has_public else [("UV_DEFAULT_INDEX", urls.pop(0))]
    return tuple(before + [("UV_INDEX", url) for url in urls])


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


def main():
    lock = json.loads(pathlib.Path("Pipfile.lock").read_text())
    sources = lock["_meta"].get("sources", [])
    lists, later = {}, ""
    for name, entry in lock["default"].items():
        text, is_local = line(name, entry)
        if is_local:
            later += f"{text}\n"
        else:
            lists.setdefault(places(entry, sources), []).append(text)
    write(lists, asked(sources[:1], sources, True))
    if later:
        pathlib.Path("/opt/local.txt").write_text(later)
        pathlib.Path("/opt/later").write_text("/opt/local.txt\n")


if __name__ == "__main__":
    main()
