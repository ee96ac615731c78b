"""From a lock of Poetry's or PDM's to what uv installs for this Python, pinned with its hashes.

Runs in a build, with the options of `uv sync` that say which extras and groups are wanted.
"""

import argparse
import fnmatch
import functools
import pathlib
import re
import sys
import tomllib

from address import index, is_public, write
from pip._vendor.packaging.markers import Marker
from pip._vendor.packaging.requirements import Requirement
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
    tool = project.get("tool", {}).get("poetry", {})
    optional = {normal(name) for extra in extras for name in wanted(tool, extra)}
    asked = {"main": tool.get("dependencies", {}), "dev": tool.get("dev-dependencies", {})}
    for name, group in tool.get("group", {}).items():
        asked.setdefault(normal(name), {}).update(group.get("dependencies", {}))

    def needs(table, around):
        for name, need in each(table):
            about = need if isinstance(need, dict) else {}
            if holds(about.get("markers", ""), around) and is_for_python(about):
                inner = tuple(sorted(normal(extra) for extra in about.get("extras", [])))
                yield normal(name), inner, functools.partial(is_for, need=need)

    roots = [
        need
        for group in ["main", *groups]
        for name, one in each(asked.get(group, {}))
        if name != "python" and (not is_optional(one) or normal(name) in optional)
        for need in needs({name: one}, extras)
    ]
    by_name = {}
    for package in lock.get("package", []):
        by_name.setdefault(normal(package["name"]), []).append(package)

    def of_package(package, inner):
        return needs(package.get("dependencies", {}), inner)

    return settle(roots, by_name, of_package, "poetry.lock")


def settle(roots, by_name, needs, file):
    """The packages that are reached, each in the newest version that all who need it take: so does
    the tool that made the lock."""
    choice = {}
    for _ in range(len(by_name) + 1):
        fits = {}
        seen = set()
        left = list(roots)
        chosen = {}
        while left:
            name, extras, is_taken = left.pop()
            fits.setdefault(name, []).append(is_taken)
            if (name, extras) not in seen:
                seen.add((name, extras))
                known = choice.get(name) or newest(by_name.get(name, []), [is_taken])
                chosen.setdefault(name, known)
                left += needs(chosen[name], extras) if chosen[name] else []
        best = {name: newest(by_name.get(name, []), fits[name]) for name in chosen}
        for name in sorted(best):
            if best[name] is None:
                tool = file.removesuffix(".lock")
                sys.exit(
                    f"{file}: no {name} in it is one that all who need it take\n"
                    f"hint: `{tool} lock` makes it anew"
                )
        if all(best[name] is chosen[name] for name in chosen):
            return [chosen[name] for name in sorted(chosen)]
        choice = best
    sys.exit(f"{file}: which versions are meant cannot be told\nhint: lock the project again")


def newest(packages, fits):
    """Of several versions the newest that all take; one alone is what the lock has."""
    if len(packages) > 1:
        packages = [one for one in packages if all(is_taken(one) for is_taken in fits)]
        packages.sort(key=version_of, reverse=True)
    return packages[0] if packages else None


def version_of(package):
    try:
        return Version(package["version"])
    except InvalidVersion:
        return Version("0")


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


def pdm(lock, project, extras, groups):
    """The packages that PDM would install; to it, an extra is a group."""
    packages = lock.get("package", [])
    if not all("groups" in package for package in packages):
        return walk_pdm(lock, project, extras, groups)
    chosen = {}
    for package in packages:
        is_chosen = {"default", *extras, *groups} & {normal(group) for group in package["groups"]}
        # `name[extra]` has an entry of its own, with the same files.
        if is_chosen and holds(package.get("marker", ""), []):
            chosen.setdefault((normal(package["name"]), package.get("version")), package)
    return list(chosen.values())


def walk_pdm(lock, project, extras, groups):
    """As `pdm`, from a lock that says only who needs whom: one of before version 4.4.1, or without
    the strategy `inherit_metadata`."""
    table = project.get("project", {})
    own = normal(table.get("name", ""))
    of_developers = project.get("tool", {}).get("pdm", {}).get("dev-dependencies", {})
    groups_of = project.get("dependency-groups", {})
    asked = {}
    for part in (table.get("optional-dependencies", {}), of_developers, groups_of):
        for name, needed in part.items():
            asked.setdefault(normal(name), []).extend(needed)

    def texts_of(name, seen):
        """What an extra or a group asks for, with those that it takes in."""
        for one in asked.get(name, []) if name not in seen else []:
            if isinstance(one, dict):
                yield from texts_of(normal(one["include-group"]), {*seen, name})
                continue
            itself = re.match(r"([\w.-]+)\s*\[([^]]*)\]\s*$", one)
            if itself and normal(itself[1]) == own:
                for extra in itself[2].split(","):
                    yield from texts_of(normal(extra.strip()), {*seen, name})
            else:
                yield one

    by_name = {}
    with_extras = {}
    for package in lock.get("package", []):
        name = normal(package["name"])
        inner = tuple(sorted(normal(extra) for extra in package.get("extras", [])))
        if inner:
            with_extras[name, inner, package.get("version")] = package
        else:
            by_name.setdefault(name, []).append(package)

    def needs(texts):
        for text in texts:
            # One that lies in a folder, as PDM has it: `-e file:///${PROJECT_ROOT}/libs/x#egg=x`.
            egg = re.match(r"-e\s.*[#&]egg=([\w.-]+)", text)
            need = Requirement(egg[1] if egg else text.removeprefix("-e ").strip())
            if need.marker is None or need.marker.evaluate({"extra": ""}):
                inner = tuple(sorted(normal(extra) for extra in need.extras))
                yield normal(need.name), inner, functools.partial(is_of, specifier=need.specifier)

    def of_package(package, inner):
        name = normal(package["name"])
        more = with_extras.get((name, inner, package.get("version")), {})
        texts = [*package.get("dependencies", []), *more.get("dependencies", [])]
        return [need for need in needs(texts) if need[0] != name]

    texts = list(table.get("dependencies", []))
    for name in [*extras, *groups]:
        texts += texts_of(name, set())
    return settle(list(needs(texts)), by_name, of_package, "pdm.lock")


def is_of(package, specifier):
    try:
        here = SpecifierSet(package.get("requires_python", ""))
        return here.contains("{}.{}.{}".format(*sys.version_info)) and specifier.contains(
            Version(package["version"]), prereleases=True
        )
    except (InvalidSpecifier, InvalidVersion):
        return True


def line(package, more_files):
    """A requirement, and whether it lies in the app's folder."""
    name = package["name"]
    source = package.get("source", {})
    kind = source.get("type", "legacy")
    # PDM's older locks have them by name and version.
    more = more_files.get(name) or more_files.get(f"{name} {package.get('version')}", [])
    files = package.get("files") or more
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


def places_of_poetry(packages, project):
    """By package the index besides the machine's that it is locked from, and what the project is
    built from. Poetry asks the public one beside its sources unless all is locked from those."""
    sources = [package.get("source", {}) for package in packages]
    own = [source for source in sources if source.get("type") == "legacy"]
    is_alone = all(source for source in sources) and not any(is_public(one["url"]) for one in own)
    by_package = []
    for source in sources:
        is_own = source.get("type") == "legacy" and not is_public(source["url"])
        variable = "UV_DEFAULT_INDEX" if is_alone else "UV_INDEX"
        name = source.get("reference")
        by_package.append(((variable, index(name, source["url"])),) if is_own else ())
    for_all = [
        index(source.get("name"), source["url"])
        for source in project.get("tool", {}).get("poetry", {}).get("source", [])
        if "url" in source and not is_public(source["url"]) and source.get("priority") != "explicit"
    ]
    before = [("UV_DEFAULT_INDEX", for_all.pop(0))] if is_alone and own and for_all else []
    return by_package, tuple(before + [("UV_INDEX", url) for url in for_all])


def places_of_pdm(packages, project):
    """The same of PDM, which takes a package from those of its sources that have its name in
    `include_packages`, else from any that has not left it out, by the hashes of its files."""
    sources = project.get("tool", {}).get("pdm", {}).get("source", [])
    for source in sources:
        if source.get("type", "index") != "index":
            sys.exit(
                f"pyproject.toml: the source {source.get('name')} of PDM's is no index, and uv, "
                "which installs, asks no other: name an index that has its packages"
            )
    by_package = []
    for package in packages:
        own = [one for one in sources if matches(package, one.get("include_packages", []))]
        if not own:
            left = [one for one in sources if matches(package, one.get("exclude_packages", []))]
            own = [one for one in sources if one not in left]
        by_package.append(of_sources(own))
    return by_package, of_sources(sources)


def matches(package, patterns):
    return any(fnmatch.fnmatch(normal(package["name"]), pattern.lower()) for pattern in patterns)


def of_sources(sources):
    """One that is called as the public index stands in its place."""
    own = [source for source in sources if "url" in source and not is_public(source["url"])]
    return tuple(
        (
            "UV_DEFAULT_INDEX" if source.get("name") == "pypi" else "UV_INDEX",
            index(source.get("name"), source["url"]),
        )
        for source in own
    )


def is_package(project):
    """Whether the project itself is installed, as its tool would do it."""
    tool = project.get("tool", {})
    # PDM once wrote an empty name for what is none.
    has_name = project.get("project", {}).get("name") != ""
    is_wanted = has_name and tool.get("poetry", {}).get("package-mode", True)
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
        packages = pdm(lock, project, extras, groups)
    more_files = lock.get("metadata", {}).get("files", {})
    lines = [line(package, more_files) for package in packages]
    of_tool = places_of_poetry if file.is_file() else places_of_pdm
    by_package, for_all = of_tool(packages, project)
    lists = {}
    for places, (text, is_local) in zip(by_package, lines, strict=True):
        if not is_local:
            is_any = not file.is_file() and bool(places)
            lists.setdefault((places, is_any), []).append(text)
    write(lists, for_all)
    later = [f"{text}\n" for text, is_local in lines if is_local]
    pathlib.Path("/opt/locked").write_text("".join(later))
    if is_package(project):
        pathlib.Path("/opt/own").touch()


if __name__ == "__main__":
    main()
