# ---------------------------------------------------------------------------------------------
# Stage 3 · production: {{title}}
# Layers in the order of how rarely they change: system, our files, dependencies, app, settings.
# ---------------------------------------------------------------------------------------------
{{if database}}
FROM postgres-base AS production
{{else}}
FROM app-base AS production
{{end}}

# Entry point, health check, configuration. Not COPY: a checkout's umask must not decide the modes.
# ROOTFS_CONTENTS is what `build-images` has hashed; plain `docker build` gives none.
ARG ROOTFS_CONTENTS
RUN --mount=type=bind,from=rootfs,target=/rootfs <<'SH'
set -eu
{{contents}}
if [ -n "${ROOTFS_CONTENTS:-}" ] && [ "$(contents /rootfs)" != "$ROOTFS_CONTENTS" ]; then
    echo "BuildKit has not read what was hashed of docker/rootfs" >&2
    exit 1
fi
umask 022
cp -r --no-preserve=all /rootfs/. /
cd /usr/local/lib/hive
chmod 755 entrypoint run-postgresql run-app make-ready healthcheck health-monitor metrics archive \
    supervisorctl
{{if app}}
ln -s /usr/local/lib/hive/supervisorctl /usr/local/lib/hive/run-app /usr/local/bin/
{{else}}
ln -s /usr/local/lib/hive/supervisorctl /usr/local/bin/
sed -i '/^\[program:app\]/,/^$/d' /etc/hive/supervisord.conf
{{end}}
{{if database}}
# A new volume there belongs to whoever runs the container.
install -d -m 1777 -o 1000 -g 1000 /var/lib/postgresql/archive
{{else}}
sed -i '/^\[program:postgresql\]/,/^$/d' /etc/hive/supervisord.conf
rm /etc/hive/pg_*.conf /etc/hive/postgresql.conf run-postgresql make-ready metrics archive
{{end}}
python3 -m compileall -q --invalidation-mode unchecked-hash .
SH

{{if app}}
COPY --link --from=python-deps /opt/python /opt/python
COPY --link --from=python-deps /opt/venv /opt/venv
COPY --link --from=python-app /opt/with-app /opt
COPY --link --from=python-app --chown=1000:1000 /app /app
{{folders_copied}}
{{end}}
COPY <<'JSON' /etc/hive/image.json
{{runtime_json}}
JSON

{{if app}}
{{own_directories}}# What starts the app must be there now, and not be missed at the first start. As the user that the
# app runs as: a package's *.pth is code, and runs whenever the venv's Python starts.
# It waits for the look for logins.
RUN --mount=type=bind,from=no-logins,source=/no-logins,target=/run/no-logins <<'SH'
set -eu
umask 022
as_hive() { setpriv --reuid=1000 --regid=1000 --clear-groups --no-new-privs "$@"; }
# Nothing of a package or of the app becomes another user, either.
python3 -I -S - <<'PY'
import os
import stat

for top in ("/opt", "/app"{{folders_walked}}):
    for folder, _, names in os.walk(top):
        for path in (f"{folder}/{name}" for name in names):
            mode = os.lstat(path).st_mode
            if not stat.S_ISREG(mode):
                continue
            if mode & 0o6000:
                os.chmod(path, stat.S_IMODE(mode) & 0o1777)
            if "security.capability" in os.listxattr(path):
                os.removexattr(path, "security.capability")
PY
# Its Python may be another one than the distribution's, which has compiled our files for itself.
if [ -n "$(ls /opt/python)" ]; then
    cd /usr/local/lib/hive
    as_hive cp -r . /tmp/hive
    as_hive /opt/venv/bin/python -I -S -m compileall -q --invalidation-mode unchecked-hash \
        -s /tmp/hive -p "$PWD" /tmp/hive
    # By the names of ours alone: what else lies there now is that Python's.
    find . -name '*.py' | while read -r source; do
        name=${source##*/}
        for made in "/tmp/hive/${source%/*}/__pycache__/${name%.py}".cpython-*.pyc; do
            to=${source%/*}/__pycache__/${made##*/}
            [ -e "$to" ] || cp --no-dereference --no-preserve=all "$made" "$to"
        done
    done
    rm -rf /tmp/hive
fi
as_hive /opt/venv/bin/python -P /usr/local/lib/hive/run-app --check
SH

# PYTHONSAFEPATH: no program finds modules in its working directory by chance; where /app stands is
# for `app_path` to say. What is set here the spec may set otherwise: see `OF_THE_IMAGE`.
ENV PATH=/opt/venv/bin:/opt/project/bin:/usr/local/bin:/usr/bin:/bin \
    VIRTUAL_ENV=/opt/venv \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1 \
    PYTHONSAFEPATH=1 \
    PYTHONDONTWRITEBYTECODE=1 \
{{else}}
ENV PATH=/usr/local/bin:/usr/bin:/bin \
    LANG=C.UTF-8 \
{{end}}
{{if database}}
    PGDATA=/var/lib/postgresql/data/pgdata \
{{end}}
    PGSERVICEFILE=/run/hive/pg_service.conf \
    PGSERVICE=app \
{{if app}}
    HIVE_SERVICE_MODE={{image}} \
    HIVE_API_PORT={{port}}
{{else}}
    HIVE_SERVICE_MODE={{image}}
{{end}}
{{labels}}
{{if app}}
WORKDIR /app
{{else}}
WORKDIR /
{{end}}
USER 1000:1000
EXPOSE {{port}}

{{if database}}
# Without a volume of the user's own the engine makes one: data never lies in the container's
# layer, where it would go with the container and slow every write.
VOLUME /var/lib/postgresql/data

{{end}}
# Often while starting; then every 5 s. After two failures the engine says so: within 10 s where
# nothing answers, within 16 s where the app hangs, which each time takes the check 3 s to tell. The
# check limits itself to 5 s; it waits for a migration, which no engine may take for a failure.
HEALTHCHECK --start-period={{start_period}}s --start-interval=250ms --interval=5s --timeout=24h --retries=2 \
    CMD ["/usr/local/lib/hive/healthcheck"]

STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/lib/hive/entrypoint"]
