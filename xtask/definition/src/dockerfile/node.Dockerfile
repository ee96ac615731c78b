# ---------------------------------------------------------------------------------------------
# The front end. Only its output is in the image: no node, no npm, none of their packages.
# ---------------------------------------------------------------------------------------------
FROM ${BASE} AS front-end
RUN --mount=type=cache,id=hive-apt,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=hive-apt-lists,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=ca-bundle --mount=type=secret,id=build-environment <<'SH'
set -eu
{{network}}
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq ${CA:+-o "Acquire::https::CAInfo=$CA"} "$@"; }
apt update
apt install --yes --no-install-recommends ca-certificates nodejs npm
install -d -o 1000 -g 1000 /app /tmp/home
SH

# From the lock alone, so that a change of the sources does not come here. Packages may run code as
# they are installed: no root user, and no cache.
ARG INDEX_SETTINGS
WORKDIR /app/{{node_folder}}
COPY --chown=1000:1000 {{node_folder}}/package.json {{node_folder}}/package-lock.json {{node_folder}}/[.]npmrc ./
RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment \
    --mount=type=secret,id=npmrc,target=/tmp/home/.npmrc,uid=1000 <<'SH'
set -eu
{{network_without_logins}}
# Nothing but packages is made here, and the proxy that they come through may want a login.
if [ -s /run/secrets/build-environment ]; then
    eval "$(grep -i '^export [a-z]*_proxy=' /run/secrets/build-environment)"
fi
if [ -n "$CA" ]; then export npm_config_cafile=$CA; fi
chown -R 1000:1000 /app
HOME=/tmp/home setpriv --reuid=1000 --regid=1000 --clear-groups npm ci --no-audit --no-fund
SH
COPY --chown=1000:1000 . /app
RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=proxies <<'SH'
set -eu
{{network_without_logins}}
if [ -n "$CA" ]; then export npm_config_cafile=$CA; fi
export HOME=/tmp/home
# What an older build has left in the app's folder is not this build's.
rm -rf /app/{{node_output}}
setpriv --reuid=1000 --regid=1000 --clear-groups {{node_command}}
if [ ! -d /app/{{node_output}} ]; then
    echo "the front end's build has made no folder {{node_output}} (build.node.output)" >&2
    exit 1
fi
SH

