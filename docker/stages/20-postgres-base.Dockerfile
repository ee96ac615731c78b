# ---------------------------------------------------------------------------------------------
{{if database}}
# Stage 2 · postgres-base
# Python, supervisord, PostgreSQL with pgvector, and a prepared cluster. The same for each image.
# ---------------------------------------------------------------------------------------------
FROM ${BASE} AS postgres-base
ARG POSTGRES_PACKAGES
{{else}}
# Stage 2 · app-base
# Python, supervisord and psql. The same for each app alone.
# ---------------------------------------------------------------------------------------------
FROM ${BASE} AS app-base
{{end}}
ARG SUPERVISOR_PACKAGES
ARG PG_MAJOR

# One step: what a later step deletes is still in the image. docker/README.md lists each removal,
# what it saves and why nothing misses it.
RUN --mount=type=cache,id=hive-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=hive-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment <<'SH'
set -eu
{{network}}
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq ${CA:+-o "Acquire::https::CAInfo=$CA"} "$@"; }

# Left out while unpacking: documentation, translations.
printf 'path-exclude=%s\n' '/usr/share/man/*' '/usr/share/info/*' '/usr/share/locale/*' \
    '/usr/share/doc/*' > /etc/dpkg/dpkg.cfg.d/hive
echo 'path-include=/usr/share/doc/*/copyright' >> /etc/dpkg/dpkg.cfg.d/hive

# Tells apt that a package is here: the largest of what is removed below are not fetched for that.
pretend() {
    for package in "$@"; do
        if dpkg-query --show "$package" > /dev/null 2>&1; then continue; fi
        printf '%s\n' "Package: $package" 'Status: install ok installed' 'Version: 99:0' \
            "Architecture: $(dpkg --print-architecture)" 'Maintainer: nobody' 'Description: removed' '' \
            >> /var/lib/dpkg/status
        : > "/var/lib/dpkg/info/$package.list"
    done
}
pretend python3-pkg-resources

{{if database}}
# The package would make a cluster of its own, 40 MB that no volume ever sees.
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf

apt update
compiler=$(apt-cache depends "postgresql-$PG_MAJOR" | sed -n 's/.* \(libllvm[a-z0-9.-]*\)$/\1/p')
pretend locales $compiler
apt install --yes --no-install-recommends \
    ca-certificates python3 libnss-extrausers $SUPERVISOR_PACKAGES $POSTGRES_PACKAGES
{{else}}
apt update
apt install --yes --no-install-recommends \
    ca-certificates python3 libnss-extrausers $SUPERVISOR_PACKAGES postgresql-client-$PG_MAJOR
{{end}}

# Needed to install, or by what is never used here: Perl tools for many clusters on one machine
# (PostgreSQL's own programs are called directly), the JIT compiler, data to make locales,
# setuptools for supervisord (see shims/pkg_resources.py).
dpkg-query --show --showformat '${Package}\n' | grep -x -E > /tmp/unused \
    -e 'perl|perl-modules-.*|libperl5.*|lib[a-z0-9-]+-perl|libgdbm.*' \
    -e 'postgresql(-client)?-common(-dev)?|ssl-cert|ucf|sensible-utils|adduser|procps|libproc2-.*' \
    -e 'locales|libc-l10n|libllvm.*|libz3-.*' \
    -e 'python3-(pkg-resources|autocommand|more-itertools|typing-extensions|typeguard|inflect)' \
    -e 'python3-jaraco.*'
xargs dpkg --purge --force-depends < /tmp/unused > /dev/null
# They are no longer needed, and apt should know: `apt-get install` works on from here, and
# fetches Perl again for what does need it.
python3 - <<'PY'
import pathlib

unused = set(pathlib.Path("/tmp/unused").read_text().split())
status = pathlib.Path("/var/lib/dpkg/status")


def still_needed(line: str) -> str:
    field, _, relations = line.partition(": ")
    if field not in ("Depends", "Pre-Depends"):
        return line
    kept = [
        relation
        for relation in relations.split(", ")
        if not {name.split()[0].split(":")[0] for name in relation.split("|")} & unused
    ]
    return f"{field}: {', '.join(kept)}" if kept else ""


lines = []
for line in status.read_text().split("\n"):
    kept = still_needed(line)
    if kept or not line:
        lines.append(kept)
status.write_text("\n".join(lines))
PY
apt install --yes --no-install-recommends ca-certificates {{packages}}
rm -rf /usr/lib/postgresql/$PG_MAJOR/lib/bitcode /usr/lib/postgresql/$PG_MAJOR/lib/llvmjit* \
    /usr/lib/postgresql/$PG_MAJOR/lib/pgxs /usr/lib/python3/dist-packages/supervisor/tests \
    /var/lib/dpkg/*-old /tmp/unused

# A private key made at installation, the same in each container.
rm -f /etc/ssl/private/ssl-cert-snakeoil.key /etc/ssl/certs/ssl-cert-snakeoil.pem
find /etc/ssl/certs -xtype l -delete
rm -rf /etc/supervisor /etc/postgresql /var/log/supervisor /var/log/postgresql
find /var/log -type f -delete
rm -rf /var/cache/ldconfig /var/cache/debconf/* /usr/bin/supervisord /usr/bin/supervisorctl \
    /usr/bin/echo_supervisord_conf /var/lib/postgresql

{{if database}}
{{else}}
# What asks the database at each start and for health; the others are in its own container.
find /usr/lib/postgresql/$PG_MAJOR/bin -type f ! -name psql -delete
rm -rf /usr/share/postgresql
{{end}}
# PostgreSQL's programs by name, without Debian's wrappers.
ln -sfn $PG_MAJOR /usr/lib/postgresql/current
ln -sf /usr/lib/postgresql/current/bin/* /usr/bin/

# Nothing here becomes another user.
find / -xdev -type f -perm /6000 -exec chmod a-s {} +

# uid 1000, which some bases give to a user of their own.
if user=$(id --user --name 1000 2> /dev/null); then userdel --force "$user"; fi
if group=$(getent group 1000); then groupdel "${group%%:*}"; fi
groupadd --gid 1000 hive
useradd --uid 1000 --gid 1000 --home-dir /home/hive --create-home --shell /bin/bash hive
rm -f /etc/*-

{{if database}}
# Directories that programs write to. 1777: any uid may run the container, and a new volume
# takes over owner and mode of the directory it is mounted on.
for directory in /run/hive /var/log/hive /var/lib/postgresql/data; do
{{else}}
# Directories that programs write to. 1777: any uid may run the container.
for directory in /run/hive /var/log/hive; do
{{end}}
    install -d -m 1777 -o 1000 -g 1000 "$directory"
done
rm -rf /run/postgresql
ln -s hive /run/postgresql
# The name of a uid that /etc/passwd does not know: written at start (libnss-extrausers).
mkdir -p /var/lib/extrausers
ln -s /run/hive/passwd /var/lib/extrausers/passwd
sed -i 's/^passwd:.*/passwd: files extrausers/' /etc/nsswitch.conf

# Never compared with its source again: quick to load, and the same bytes in each build.
python3 -m compileall -q -f -j 0 --invalidation-mode unchecked-hash /usr/lib/python3* \
    /usr/share/python3
SH

{{if database}}
# The cluster that an empty volume gets: 1000 small files, made once instead of at each first boot.
RUN <<'SH'
set -eu
cluster=/usr/share/hive/cluster
bin=/usr/lib/postgresql/current/bin
install -d -m 700 -o 1000 -g 1000 "$cluster"
as_hive() { setpriv --reuid=1000 --regid=1000 --clear-groups "$@"; }

# Text sorts by code point. A collation of the C library would change with the base image, and
# indexes with it; `builtin` is PostgreSQL's own. Before 17 only C.UTF-8 of libc does the same.
if [ "$PG_MAJOR" -ge 17 ]; then provider=--locale-provider=builtin; else provider=; fi
as_hive $bin/initdb --pgdata="$cluster" --username=postgres --auth=trust --no-sync \
    --data-checksums --encoding=UTF8 $provider --locale=C.UTF-8 > /dev/null
echo '# Not read: see /etc/hive/pg_hba.conf' > "$cluster/pg_hba.conf"
echo '# Not read: see /etc/hive/postgresql.conf' > "$cluster/postgresql.conf"

# pg_dump leaves out what has a number below 16384, as part of every cluster; without a server
# PostgreSQL would go on with such numbers.
as_hive $bin/pg_resetwal -o 16384 "$cluster" > /dev/null

# Every database made in this cluster has vectors. `hive_app` is renamed at first boot; made by
# file_copy, it equals template1 to the byte. Without its comment, which would be in every dump and
# which only the superuser can restore.
printf '%s\n' 'CREATE EXTENSION vector' 'COMMENT ON EXTENSION vector IS NULL' 'VACUUM FREEZE' \
    'CREATE DATABASE hive_app STRATEGY file_copy' |
    as_hive $bin/postgres --single -F -D "$cluster" template1 2>&1 | tee /tmp/single
if grep -E 'ERROR|FATAL|PANIC' /tmp/single; then exit 1; fi
rm /tmp/single

# Start a fresh WAL segment and leave out the zeros it ends in; keep equal files once. The copy
# on the volume has both back.
as_hive $bin/pg_resetwal "$cluster" > /dev/null
python3 - "$cluster" <<'PY'
import hashlib, os, pathlib, sys

cluster = pathlib.Path(sys.argv[1])
for segment in (cluster / "pg_wal").iterdir():
    if segment.is_file():
        used = len(segment.read_bytes().rstrip(b"\0"))
        os.truncate(segment, -(-used // 8192) * 8192)
seen = {}
for path in sorted(path for path in cluster.rglob("*") if path.is_file()):
    first = seen.setdefault(hashlib.sha256(path.read_bytes()).digest(), path)
    if first is not path:
        path.unlink()
        os.link(first, path)
PY
# Any uid may copy it.
chmod -R a+rX "$cluster"
SH
{{end}}
