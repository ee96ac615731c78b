
# Steps of the app's own, as the user that the app runs as and in its environment.
COPY <<'JSON' /etc/hive/image.json
{{runtime_json}}
JSON
RUN --mount=type=bind,from=rootfs,target=/rootfs \
{{packages_for_steps}}    --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=proxies <<'SH'
set -eu
{{network_without_logins}}
{{build_environment}}
{{stand_ins}}
umask 022
mkdir -p /usr/local/lib/hive /tmp/home{{folders_of_data}}
cp -r --no-preserve=all /rootfs/usr/local/lib/hive/. /usr/local/lib/hive/
chown 1000:1000 /tmp/home
# What is mounted there is its own already, and to own it again would copy each file.
find /app -xdev ! '(' -uid 1000 -gid 1000 ')' -exec chown -h 1000:1000 {} +
# Of this stage alone, as the image has no front end's tools.
for tool in /opt/manager/node_modules/.bin/*; do
    if [ -e "$tool" ]; then ln -sf "$tool" /usr/local/bin/; fi
done
export PATH=/opt/venv/bin:/opt/project/bin:/usr/local/bin:/usr/bin:/bin VIRTUAL_ENV=/opt/venv \
    LANG=C.UTF-8 PYTHONSAFEPATH=1 PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/tmp/home
cd /app
step() {
    echo "+ $*"
    setpriv --reuid=1000 --regid=1000 --clear-groups \
        /opt/venv/bin/python -P /usr/local/lib/hive/run-app "$@"
}
{{steps}}
SH
