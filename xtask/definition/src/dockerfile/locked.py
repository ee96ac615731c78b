"""From a lock of Poetry's or PDM's to what uv installs for this Python, pinned with its hashes.

Runs in a build, with the options of `uv sync` that say which extras and groups are wanted.
"""

import argparse
import pathlib
import re
import sys
import tomllib

from address import address
from pip._vendor.packaging.markers import Marker
from pip._vendor.packaging.specifiers import InvalidSpecifier, SpecifierSet
from pip._vendor.packaging.version import InvalidVersion, Version


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def holds(marker, extras):
    """Whether a marker holds here, with any of the extras."""
    if not marker:
        return True
    return any(Marker(marker).evaluate({"extra": extra}) for extra in extras or [""])


def poetry(lock, project, extras, groups):
    """The packages that Poetry would install."""
    packages = lock.get("package", [])
    if not all("groups" in package for package in packages):
        return walk(lock, project, extras, groups)
    chosen = []
    for package in packages:
        markers = package.get("markers", "")
        for group in {"main", *groups} & {normal(group) for group in package["groups"]}:
            marker = markers.get(group, "") if isinstance(markers, dict) else markers
            if holds(marker, extras):
                chosen.append(package)
                break
    return chosen


def walk(lock, project, extras, groups):
    """As `poetry`, from a lock of before version 2.1, which says only who needs whom."""
    by_name = {}
    for package in lock.get("package", []):
        by_name.setdefault(normal(package["name"]), []).append(package)
    tool = project.get("tool", {}).get("poetry", {})
    optional = {normal(name) for extra in extras for name in wanted(tool, extra)}
    needs = {"main": tool.get("dependencies", {}), "dev": tool.get("dev-dependencies", {})}
    for name, group in tool.get("group", {}).items():
        needs.setdefault(normal(name), {}).update(group.get("dependencies", {}))
    open_needs = [
        (name, need, extras)
        for group in ["main", *groups]
        for name, need in each(needs.get(group, {}))
        if name != "python" and (not is_optional(need) or normal(name) in optional)
    ]
    seen = set()
    chosen = {}
    while open_needs:
        name, need, around = open_needs.pop()
        table = need if isinstance(need, dict) else {}
        if not holds(table.get("markers", ""), around) or not is_for_python(table):
            continue
        inner = tuple(sorted(normal(extra) for extra in table.get("extras", [])))
        if (normal(name), inner) in seen:
            continue
        seen.add((normal(name), inner))
        known = by_name.get(normal(name), [])
        if len(known) > 1:
            known = [one for one in known if is_for(one, need)]
        if len(known) != 1:
            sys.exit(
                f"poetry.lock: which {name} is meant hangs on more than this lock says\n"
                "hint: `poetry lock` of Poetry 2 keeps the versions and says it"
            )
        chosen[normal(name)] = known[0]
        open_needs += [(name, need, inner) for name, need in each(known[0].get("dependencies", {}))]
    return [chosen[name] for name in sorted(chosen)]


def wanted(tool, extra):
    for name, packages in tool.get("extras", {}).items():
        if normal(name) == extra:
            yield from packages


def each(needs):
    """Each need alone: a name may have several, for different Pythons."""
    for name, need in needs.items():
        for one in need if isinstance(need, list) else [need]:
            yield name, one


def is_optional(need):
    return isinstance(need, dict) and need.get("optional", False)


def specifier(constraint):
    """A range as Poetry writes it, as far as Python writes such a one: `^1.2` as from 1.2 on."""
    text = re.sub(r"~\s*(\d+(\.\d+)?)(?=$|,|\s)", r"==\1.*", constraint.replace("^", ">="))
    text = re.sub(r"(^|,)\s*(?=\d)", r"\1==", text)
    return SpecifierSet("" if text.strip() == "*" else text)


def is_for_python(table):
    try:
        return specifier(table.get("python", "*")).contains("{}.{}.{}".format(*sys.version_info))
    except InvalidSpecifier:
        return True


def is_for(package, need):
    constraint = need.get("version", "*") if isinstance(need, dict) else need
    try:
        own = specifier(package.get("python-versions", "*"))
        here = own.contains("{}.{}.{}".format(*sys.version_info))
        return here and specifier(constraint).contains(
            Version(package["version"]), prereleases=True
        )
    except (InvalidSpecifier, InvalidVersion):
        return True


def pdm(lock, extras, groups):
    """The packages that PDM would install; to it, an extra is a group."""
    chosen = {}
    for package in lock.get("package", []):
        is_chosen = {"default", *extras, *groups} & {normal(group) for group in package["groups"]}
        # `name[extra]` has an entry of its own, with the same files.
        if is_chosen and holds(package.get("marker", ""), []):
            chosen.setdefault((normal(package["name"]), package.get("version")), package)
    return list(chosen.values())


def line(package, more_files):
    """A requirement, and whether it lies in the app's folder."""
    name = package["name"]
    source = package.get("source", {})
    kind = source.get("type", "legacy")
    files = package.get("files") or more_files.get(name, [])
    hashes = sorted({f"--hash={file['hash']}" for file in files if "hash" in file})
    path = package.get("path") or (source["url"] if kind in ("directory", "file") else None)
    git = package.get("git") or (source["url"] if kind == "git" else None)
    url = package.get("url") or (source["url"] if kind == "url" else None)
    if path:
        editable = package.get("editable") or package.get("develop")
        return f"{'-e ' if editable else ''}/app/{path}", True
    if git:
        # As git has it, and no URL: git@host:path.
        git = re.sub(r"^([\w.-]+@[\w.-]+):(?!//)", r"ssh://\1/", git)
        revision = package.get("revision") or source["resolved_reference"]
        folder = package.get("subdirectory") or source.get("subdirectory")
        return f"{name} @ git+{git}@{revision}" + (
            f"#subdirectory={folder}" if folder else ""
        ), False
    if not hashes:
        sys.exit(f"the lock has no hashes for {name}: lock the project again")
    place = f" @ {url}" if url else f"=={package['version']}"
    return " ".join([name + place, *hashes]), False


def indexes(packages, project):
    """Where packages come from besides the machine's own index."""
    of_pdm = project.get("tool", {}).get("pdm", {}).get("source", [])
    urls = [address(source["url"]) for source in of_pdm if "url" in source]
    sources = [package.get("source", {}) for package in packages]
    urls += [source["url"] for source in sources if source.get("type") == "legacy"]
    return sorted({url.rstrip("/") for url in urls} - {"https://pypi.org/simple"})


def is_package(project):
    """Whether the project itself is installed, as its tool would do it."""
    tool = project.get("tool", {})
    is_wanted = tool.get("poetry", {}).get("package-mode", True)
    return "build-system" in project and is_wanted and tool.get("pdm", {}).get("distribution", True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--no-dev", action="store_true")
    parser.add_argument("--extra", action="append", default=[])
    parser.add_argument("--group", action="append", default=[])
    asked = parser.parse_args()
    extras, groups = map(normal, asked.extra), map(normal, asked.group)
    extras, groups = list(extras), list(groups)
    project = tomllib.loads(pathlib.Path("pyproject.toml").read_text())
    file = pathlib.Path("poetry.lock")
    if file.is_file():
        lock = tomllib.loads(file.read_text())
        packages = poetry(lock, project, extras, groups)
    else:
        lock = tomllib.loads(pathlib.Path("pdm.lock").read_text())
        packages = pdm(lock, extras, groups)
    more_files = lock.get("metadata", {}).get("files", {})
    lines = [line(package, more_files) for package in packages]
    ahead = [f"--extra-index-url {url}" for url in indexes(packages, project)]
    ahead += [text for text, is_local in lines if not is_local]
    pathlib.Path("ahead.txt").write_text("\n".join(ahead) + "\n")
    later = [f"{text}\n" for text, is_local in lines if is_local]
    pathlib.Path("/opt/locked").write_text("".join(later))
    if is_package(project):
        pathlib.Path("/opt/own").touch()


if __name__ == "__main__":
    main()
