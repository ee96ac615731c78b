ARG BASE={{base}}
ARG PYTHON_PACKAGES="{{python_packages}}"
ARG POSTGRES_PACKAGES="{{postgres_packages}}"
ARG SUPERVISOR_PACKAGES="{{supervisor_packages}}"
ARG PG_MAJOR={{pg_major}}
ARG UV_VERSION={{uv_version}}
ARG UV_HASHES="{{uv_hashes}}"
ARG PYTHON_VERSION="{{python_version}}"

{{if app}}
{{front_end}}# ---------------------------------------------------------------------------------------------
# Stage 1 · python-deps, and the app on top of it: python-app
# The first leaves /opt/venv (dependencies) and /opt/python (a Python of uv's, if the app wants one),
# the second /opt/with-app/project (the app's package, if it is one) and /app.
# Nothing else of them reaches the image: no uv, no pip, no compiler.
#
# A cache mount outlives a build and serves other apps and projects. None is mounted where code of
# the app or of a package runs, and each has an id of its own: no other Dockerfile comes upon it. apt's
# is another one in each stage, since one that is locked is waited for: stages run side by side.
# ---------------------------------------------------------------------------------------------
FROM {{python_from}} AS python-deps
ARG PYTHON_PACKAGES
ARG UV_VERSION
ARG UV_HASHES

RUN --mount=type=cache,id=hive-apt-app,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=hive-apt-app-lists,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment <<'SH'
set -eu
{{network}}
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq ${CA:+-o "Acquire::https::CAInfo=$CA"} "$@"; }
apt update
apt install --yes --no-install-recommends ca-certificates $PYTHON_PACKAGES {{build_packages}}
SH

# uv itself, checked against its hashes, in a place of its own; and the app's Python, where the base
# has another one: which build of it is meant, and its hash, this version of uv knows.
ARG PYTHON_VERSION
ARG PYTHON_SOURCE
# Nothing is kept of what pip asks: it would have the login of an index in it that says that its answers
# vary with that, and a cache that is mounted is everybody's.
RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment \
    --mount=type=secret,id=netrc,target=/root/.netrc <<'SH'
set -eu
{{network}}
# The distribution's pip runs from its wheel: to install it takes longer than to install uv.
python3 -m venv --without-pip /opt/uv
ln -s /usr/share/python-wheels/pip-*.whl /opt/uv/pip.whl
echo "uv==$UV_VERSION $UV_HASHES" > /opt/uv/requirements.txt
/opt/uv/bin/python /opt/uv/pip.whl/pip install --quiet --disable-pip-version-check --no-compile --no-cache-dir \
    --root-user-action=ignore ${UV_HASHES:+--require-hashes} --requirement /opt/uv/requirements.txt
ln -s /opt/uv/bin/uv /usr/local/bin/uv
mkdir /opt/python
if [ -z "$PYTHON_VERSION" ]; then
    echo /usr/bin/python3 > /opt/uv/interpreter
    exit 0
fi
export UV_PYTHON_INSTALL_DIR=/opt/python UV_PYTHON_INSTALL_BIN=0 UV_NO_PROGRESS=1
if ! uv python install --managed-python "$PYTHON_VERSION" 2> /tmp/uv; then
    cat /tmp/uv >&2
    from=$(sed -n 's/.*\(https\{0,1\}:\/\/[^/ `]*\).*/\1/p' /tmp/uv | sed 's/.*[/@]//' | head -n 1)
    echo "uv cannot have Python $PYTHON_VERSION${from:+ from $from}" >&2
    exit 1
fi
cat /tmp/uv >&2
uv python find --managed-python --no-project "$PYTHON_VERSION" > /opt/uv/interpreter
# Not needed to run anything, and what uv notes about its own run.
rm -rf /opt/python/.lock /opt/python/.temp /opt/python/.gitignore /opt/python/*/share
find /opt/python -depth -type d \( -path '*/lib/python3.*/test' -o -path '*/lib/python3.*/idlelib' \
    -o -path '*/lib/python3.*/turtledemo' -o -name __pycache__ \) -exec rm -rf {} +
"$(cat /opt/uv/interpreter)" -I -S -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/python
SH

# The interpreter in the venv is the one that runs in the image: /opt/uv/interpreter names it. Steps
# that see logins call it by that name, with -I -S: a package's *.pth is code, and runs whenever the
# venv's Python starts.
ENV UV_PROJECT_ENVIRONMENT=/opt/venv \
    UV_PYTHON_DOWNLOADS=never \
    UV_LINK_MODE=copy \
    UV_NO_PROGRESS=1

# Of where packages come from on this machine, without logins: what is installed may hang on it.
ARG INDEX_SETTINGS

# Dependencies: from the lock file alone, so that a change of the app does not come here.
# The brackets make each file optional: a pattern may match nothing, a name may not.
WORKDIR /deps
COPY [p]yproject.toml [u]v.lock [u]v.toml [p]ylock.toml [p]oetry.lock [p]dm.lock [P]ipfile.lock \
    requirements*.tx[t] constraints*.tx[t] ./
COPY [r]equirements ./requirements/
# Wheels are unpacked only, so their cache is everybody's. What has none is left for the next step.
RUN --mount=type=cache,id=hive-uv,target=/root/.cache/uv \
    --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    --mount=type=secret,id=uv-config,target=/root/.config/uv/uv.toml \
    --mount=type=ssh --mount=type=secret,id=known-hosts <<'SH'
set -eu
# These say nothing without their project.
[ -f pyproject.toml ] || rm -f uv.lock poetry.lock pdm.lock
[ -f uv.lock ] || exit 0
{{network}}
UV_PYTHON=$(cat /opt/uv/interpreter) && export UV_PYTHON
left=
until uv sync --frozen --no-build {{install_options}} \
    --no-install-project --no-install-workspace --no-install-local $left 2> /tmp/uv; do
    name=$(sed -n 's/.*`\([A-Za-z0-9._-]*\)==.* is marked as `--no-build` .*/\1/p' /tmp/uv)
    if [ -z "$name" ]; then cat /tmp/uv >&2; exit 1; fi
    echo "$name has no wheel for this Python"
    left="$left --no-install-package $name"
done
cat /tmp/uv >&2
{{forget_what_was_asked}}
SH
# To build a package is to run its code: no cache here.
RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    --mount=type=secret,id=uv-config,target=/root/.config/uv/uv.toml \
    --mount=type=secret,id=python-logins \
    --mount=type=ssh --mount=type=secret,id=known-hosts <<'SH'
set -eu
{{network}}
{{build_environment}}
UV_PYTHON=$(cat /opt/uv/interpreter) && export UV_PYTHON
# Whether the project takes this Python, by what it requires.
takes() {
    if [ ! -f pyproject.toml ]; then return; fi
    PYTHONPATH=/opt/uv/pip.whl /opt/uv/bin/python - "$1" <<'PY'
import sys
import tomllib

from pip._vendor.packaging.specifiers import InvalidSpecifier, SpecifierSet

with open("pyproject.toml", "rb") as file:
    requires = tomllib.load(file).get("project", {}).get("requires-python", "")
try:
    wanted = SpecifierSet(requires)
    # The first, the last, and those that stand there: `==3.11.4` takes no other 3.11.
    named = [one.version.removesuffix(".*") for one in wanted]
    ours = [one for one in named if one.startswith(f"{sys.argv[1]}.")]
    ends = [f"{sys.argv[1]}.0", f"{sys.argv[1]}.99"]
    taken = any(wanted.contains(one) for one in ends + ours)
except InvalidSpecifier:
    taken = True
sys.exit(not taken)
PY
}
# Runs uv. Where a package is built and that fails, it says which Python has a wheel of it, and if
# there is one, of all that is pinned: a pin of some years ago is seldom built on a newer Python.
install() {
    uv "$@" 2> /tmp/uv && status=0 || status=$?
    cat /tmp/uv >&2
    if [ "$status" = 0 ]; then return; fi
    failed='s/.*Failed to build `\([A-Za-z0-9._-]*==[A-Za-z0-9.+!-]*\)`.*/\1/p'
    sed -n "$failed" /tmp/uv | head -n 1 > /tmp/failed
    cat ahead*.txt 2> /dev/null | sed -n '/^[A-Za-z0-9].*==/p' | cat - /tmp/failed > /tmp/pinned
    if [ -s /tmp/failed ]; then
        for pins in /tmp/pinned /tmp/failed; do
            for version in {{pythons}} 3.10 3.9 3.8; do
                if takes "$version" && uv pip compile --quiet --no-deps --only-binary :all: \
                    --python-version "$version" "$pins" > /dev/null 2>&1; then
                    echo "hive: $(cat /tmp/failed) has a wheel for Python $version" >&2
                    exit "$status"
                fi
            done
        done
    fi
    exit "$status"
}
{{asks}}
{{with_packages}}locks=$(find . -maxdepth 1 -name '*.lock' -o -name pylock.toml -o -name requirements.txt)
if [ -z "$locks" ] && [ -f pyproject.toml ]; then
    # Also what is listed may be built, to ask it what it needs.
    options=$(
        python3 - {{install_options}} <<'PY'
{{bare}}
PY
    )
    if [ -z "$options" ]; then
        uv lock
        echo uv.lock > /opt/made
    else
        # All of it cannot be locked without the rest of the app: what is chosen can be listed. With
        # the place and the hash of each file: uv follows the index that `[tool.uv.sources]` names
        # here, and would not where it installs names and versions.
        uv pip compile --quiet --no-header $options{{with_compiled}} --output-file pylock.toml
        echo pylock.toml > /opt/made
        touch /opt/locked
    fi
fi
if [ -f uv.lock ]; then
    install sync --frozen {{install_options}} \
        --no-install-project --no-install-workspace --no-install-local
    touch /opt/own
elif [ -f pylock.toml ]; then
    uv venv /opt/venv
    # What lies in the app's folder comes with the app, and everything with it.
    if grep -qE '^directory = |^archive = .*path = |packages\.(directory|archive)\]' pylock.toml; then
        echo pylock.toml > /opt/later
    else
        install pip install --python /opt/venv/bin/python --requirement pylock.toml
    fi
elif [ -f poetry.lock ] || [ -f pdm.lock ]; then
    # Markers are asked of the app's Python, by the library that pip has.
    PYTHONPATH=/opt/uv/pip.whl "$UV_PYTHON" - {{install_options}} <<'PY'
{{locked}}
PY
    uv venv /opt/venv
elif [ -f requirements.txt ]; then
    # What lies in the app's folder comes with the app. So does everything, where a place is referred
    # to that is not here.
    python3 - <<'PY'
{{listed}}
PY
    uv venv /opt/venv
elif [ -f Pipfile.lock ]; then
    python3 - <<'PY'
{{pipfile}}
PY
    uv venv /opt/venv
else
    echo "the app has neither pyproject.toml nor any list of what is installed" >&2
    exit 1
fi
{{lists}}
asks /opt/indexes
if [ -s ahead.txt ]; then
    install pip install --python /opt/venv/bin/python --requirement ahead.txt{{with_list}}
fi
# What the app's own package is built with, so that a change of the app fetches nothing. Not every
# project with a build system is built: what cannot be had may not be needed. A package that has a
# source of its own uv takes from there when it builds the project, and one without a wheel would be
# built here.
if [ -f /opt/own ]; then
    python3 - > /tmp/build-system <<'PY'
{{build_system}}
PY
    if [ -s /tmp/build-system ]; then
        uv pip install --quiet --target /tmp/built-with --no-build --requirement /tmp/build-system ||
            echo "the build system is not fetched ahead"
        rm -rf /tmp/built-with
    fi
fi
{{with_ahead}}cat > /opt/uv/tidy <<'TIDY'
# What uv notes about its own run (times, cache keys) would make each build another one
# (astral-sh/uv#8877).
rm -f /opt/venv/.lock /opt/venv/.gitignore /opt/venv/bin/*activate* /opt/venv/bin/*.bat
find /opt/venv/ -name uv_cache.json -path '*.dist-info/*' -delete
find /opt/venv/ -name RECORD -path '*.dist-info/*' -exec sed -i '/\/uv_cache\.json,/d' {} +
# Never compared with its source again: quick to load, and the same bytes in each build. Packages
# may have files that no Python compiles, templates among them: pip installs those, too. Whatever
# else is missing then was not written, and that is an error.
"$UV_PYTHON" -I -S -m compileall -qq -j 0 --invalidation-mode unchecked-hash /opt/venv/lib ||
    "$UV_PYTHON" -I -S - <<'COMPILE'
import importlib.util
import pathlib
import py_compile

for path in map(str, pathlib.Path("/opt/venv/lib").rglob("*.py")):
    if not pathlib.Path(importlib.util.cache_from_source(path)).exists():
        try:
            mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
            py_compile.compile(path, doraise=True, invalidation_mode=mode)
        except py_compile.PyCompileError:
            pass
COMPILE
TIDY
# In every Python of this venv: /app, which `app_path` of the image puts before the packages here, and
# the app's own package.
site=$(echo /opt/venv/lib/python3.*/site-packages)
project=/opt/project${site#/opt/venv}
own=/usr/local/lib/hive/app_path.py
printf '%s\n' /app "import site; site.addsitedir('$project')" \
    "import os; os.path.exists('$own') and exec(open('$own').read(), {'__name__': 'hive-app.pth'})" \
    > "$site/hive-app.pth"
sh -eu /opt/uv/tidy
# One that the app finishes is the app's own: none comes from here then.
mkdir /opt/with-app
if [ -f /opt/later ]; then
    mv /opt/venv /opt/with-app/venv
    mkdir /opt/venv
fi
{{forget_what_was_asked}}
{{no_login_in}}
no_login_in python-logins "of the image" /opt/venv /opt/with-app /deps /tmp
SH

# The app, and its package when it is one: installed beside the venv, so that the venv's layer
# stays as it is when the app changes, and is copied while the app is installed. Editable, as uv does
# it: /app is what runs.
# APP_CONTENTS is what `build-images` has hashed; plain `docker build` gives none.
FROM python-deps AS python-app
WORKDIR /app
COPY . /app
ARG APP_CONTENTS
RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment \
    --mount=type=secret,id=netrc,target=/root/.netrc \
    --mount=type=secret,id=uv-config,target=/root/.config/uv/uv.toml \
    --mount=type=secret,id=python-logins \
    --mount=type=ssh --mount=type=secret,id=known-hosts <<'SH'
set -eu
{{network}}
{{build_environment}}
UV_PYTHON=$(cat /opt/uv/interpreter) && export UV_PYTHON
{{contents}}
if [ -n "${APP_CONTENTS:-}" ] && [ "$(contents /app)" != "$APP_CONTENTS" ]; then
    echo "BuildKit has not read what was hashed of the app's folder" >&2
    exit 1
fi
{{asks}}
asks /opt/indexes
mkdir /opt/project
if [ -f /opt/later ]; then
    rmdir /opt/venv
    ln -s with-app/venv /opt/venv
fi
install_local() {
    set -- --python /opt/venv/bin/python --prefix /opt/project --no-deps "$@"
    uv pip install --offline "$@" 2> /dev/null || uv pip install "$@"
}
if [ -f /opt/made ]; then cp "/deps/$(cat /opt/made)" .; fi
if [ -f uv.lock ] && [ -f pyproject.toml ]; then
    # Was it made from the projects that lie here? All of them have to be here to tell. What uv
    # knows without a network is enough, unless a project's own code has to be asked.
    all=yes
{{is_current}}
    # git of Windows ends lines in another way.
    tr -d '\r' < uv.lock > /tmp/lock
    sed -n 's/^source = { \(virtual\|editable\|directory\) = "\(.*\)" }$/\2/p' /tmp/lock > /tmp/projects
    while read -r at; do [ -f "$at/pyproject.toml" ] || all=no; done < /tmp/projects
    if [ $all = yes ] && [ ! -f /opt/made ]; then
        is_current
    fi
    uv export --quiet --frozen {{install_options}} --no-hashes --no-header --no-annotate \
        --output-file /tmp/exported
    # What lies in the app itself: the project, members of its workspace, local packages.
    grep -E '^(-e )?(\.|file:)' /tmp/exported > /tmp/local || true
    if [ -s /tmp/local ]; then install_local --requirement /tmp/local; fi
    # A member of a workspace that is no package runs from its own folder.
    member={{app_package}}
    at=$(sed -n "/^name = \"$member\"\$/,/^source/s/^source = { virtual = \"\(.*\)\" }\$/\1/p" /tmp/lock)
    if [ -n "$member" ] && [ -n "$at" ]; then
        site=$(echo /opt/venv/lib/python3.*/site-packages)
        mkdir -p "/opt/project${site#/opt/venv}"
        echo "/app/$at" > "/opt/project${site#/opt/venv}/hive-member.pth"
    fi
elif [ -f /opt/locked ]; then
    if [ -s /opt/locked ]; then install_local --requirement /opt/locked; fi
    if [ -f /opt/own ]; then
        # Poetry's backend has had another name, by which nothing editable is built; and Poetry takes
        # its own table's version for a project that does not say that it has one, which uv does not.
        cp -p /app/pyproject.toml /tmp/project
        sed -i 's/"poetry\.masonry\.api"/"poetry.core.masonry.api"/' /app/pyproject.toml
        sed '/^\[project\]/,/^\[/!d' /tmp/project > /tmp/table
        if grep -q '^name *=' /tmp/table && ! grep -Eq '^(version|dynamic) *=' /tmp/table; then
            sed -i 's/^\[project\].*/&\ndynamic = ["version"]/' /app/pyproject.toml
        fi
        # Many a project of Poetry's is installed without its root, and does not say so; and some look
        # for it by their folder's name.
        if ! install_local --editable /app 2> /tmp/said; then
            cat /tmp/said >&2
            grep -Eq 'No file/folder found for package|does not contain any element' /tmp/said || exit 1
            echo "the project is not installed as a package, since it has none"
        fi
        cmp -s /tmp/project /app/pyproject.toml || cp -p /tmp/project /app/pyproject.toml
    fi
fi
if [ -f /opt/later ]; then
    uv pip install --python /opt/venv/bin/python --requirement "$(cat /opt/later)"{{with_later_list}}
{{with_later}}    sh -eu /opt/uv/tidy
fi
# Compared with its source when loaded, unlike the venv: whoever changes a file of the app in a
# container or in an image of their own expects to see the change.
# A file that this Python cannot compile (a template, an old fixture) is not the image's business.
"$UV_PYTHON" -I -S -m compileall -q -j 0 --invalidation-mode checked-hash /app /opt/project ||
    echo "some files were not compiled"
# What the image takes of here, in one layer.
mv /opt/project /opt/with-app/project
ln -s with-app/project /opt/project
{{forget_what_was_asked}}
{{no_login_in}}
no_login_in python-logins "of the image" /opt/with-app /app /tmp
SH
{{own_steps}}
# Of the app's folder itself, or written by code that a package was built with. Where the look fails
# there is no image. A step that installs looks for those that it sees, too: were it kept with one of
# them, a build with another login, or none, would not know what to look for. No code but the
# distribution's sees all of them; and BuildKit from 0.13 to 0.15 reads all files of a stage before a
# step of it that has a secret (moby/buildkit#5251), of which the base has few.
FROM ${BASE} AS no-logins
RUN --mount=type=secret,id=logins \
    --mount=type=bind,from=python-deps,source=/opt/python,target=/look/opt/python \
    --mount=type=bind,from=python-deps,source=/opt/venv,target=/look/opt/venv \
    --mount=type=bind,from=python-app,source=/opt/with-app,target=/look/with-app \
    --mount=type=bind,from=python-app,source=/app,target=/look/app{{folders_looked_at}} <<'SH'
set -eu
{{no_login_in}}
mkdir /no-logins
no_login_in logins "of the image" /look
SH
{{end}}
