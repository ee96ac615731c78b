# ---------------------------------------------------------------------------------------------
# The front end. Only what is made of it is in the image: no node, no npm, none of their packages.
# ---------------------------------------------------------------------------------------------
FROM ${BASE} AS node-tools
RUN --mount=type=cache,id=hive-apt-node,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,id=hive-apt-node-lists,target=/var/lib/apt/lists,sharing=locked \
    --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment <<'SH'
set -eu
{{network}}
export DEBIAN_FRONTEND=noninteractive
apt() { apt-get -qq ${CA:+-o "Acquire::https::CAInfo=$CA"} "$@"; }
apt update
apt install --yes --no-install-recommends ca-certificates nodejs npm
install -d -o 1000 -g 1000 /app /opt/manager /tmp/home
SH
COPY <<'JS' /opt/manager/choose.js
{{choose_manager}}
JS
COPY <<'JS' /opt/manager/relay.js
{{relay}}
JS
COPY <<'SH' /opt/manager/environment
# For npm, and for pnpm, Yarn and Bun, which go by its settings.
export HOME=/tmp/home CI=1 PATH=/opt/manager/node_modules/.bin:$PATH
# What a package says of Node's version is advice: there is the distribution's alone.
export npm_config_engine_strict=false
export YARN_IGNORE_PATH=1 SKIP_YARN_COREPACK_CHECK=1 npm_config_package_manager_strict=false
if [ -n "$CA" ]; then export npm_config_cafile=$CA YARN_HTTPS_CA_FILE_PATH=$CA; fi
# A proxy that wants a login is asked by a program of root's, which alone knows that.
relayed() {
    rm -f /tmp/relayed
    RELAYED=$1 node /opt/manager/relay.js > /tmp/relayed &
    until [ -s /tmp/relayed ]; do
        kill -0 $! || return 1
        sleep 0.05
    done
    echo "http://127.0.0.1:$(cat /tmp/relayed)"
}
for name in http https all; do
    proxy=$(printenv "${name}_proxy" || true)
    case $proxy in
    http://*@* | https://*@*)
        proxy=$(relayed "$proxy")
        export "${name}_proxy=$proxy" "$(echo $name | tr a-z A-Z)_PROXY=$proxy"
        ;;
    esac
    [ $name != all ] || continue
    if [ -n "$proxy" ]; then export "YARN_$(echo $name | tr a-z A-Z)_PROXY=$proxy"; fi
done
as_user() { setpriv --reuid=1000 --regid=1000 --clear-groups "$@"; }
install_packages() {
    case $(cat /opt/manager/kind) in
        npm) as_user npm ci --no-audit --no-fund ;;
        pnpm) as_user pnpm install --frozen-lockfile ;;
        yarn) as_user yarn install --frozen-lockfile --non-interactive --ignore-engines ;;
        berry)
            # It reads no settings of npm's. What the project itself names goes before those, and what
            # nobody has named is Yarn's to choose.
            registry=$(npm config get registry)
            if grep -qs '^npmRegistryServer:' .yarnrc.yml; then registry=; fi
            if [ -n "$registry" ] && [ "$registry" != https://registry.npmjs.org/ ]; then
                export YARN_NPM_REGISTRY_SERVER=$registry
            fi
            as_user yarn install --immutable
            ;;
        bun) as_user bun install --frozen-lockfile ;;
    esac
    as_user mkdir -p node_modules
}
# What they keep for the next time has the login in it where a registry says that its answers vary with
# that, and where an address has it. The app's own commands come next.
forget_what_was_asked() {
    rm -rf /tmp/home/.npm /tmp/home/.cache/yarn /tmp/home/.cache/pnpm /tmp/home/.bun/install/cache
}
# What else is left of them there; the settings are mounted.
home() { find /tmp/home -mindepth 1 -maxdepth 1 ! -name .npmrc; }
SH

FROM node-tools AS front-end
# From the lock alone, so that a change of the sources does not come here. Packages may run code as
# they are installed: no root user, and no cache.
ARG INDEX_SETTINGS
WORKDIR /app/{{node_folder}}
COPY --chown=1000:1000 {{node_folder}}/package.json {{node_folder}}/package-loc[k].json \
    {{node_folder}}/npm-shrinkwra[p].json {{node_folder}}/pnpm-loc[k].yaml {{node_folder}}/pnpm-workspac[e].yaml \
    {{node_folder}}/yarn.loc[k] {{node_folder}}/bun.loc[k] {{node_folder}}/bun.lock[b] \
    {{node_folder}}/[.]npmrc {{node_folder}}/[.]yarnrc.yml {{node_folder}}/[.]yarnrc {{node_folder}}/bunfi[g].toml \
    {{node_folder}}/[.]pnpmfile.cjs {{node_folder}}/[.]pnpmfile.mjs ./
RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment \
    --mount=type=secret,id=npmrc,target=/tmp/home/.npmrc,uid=1000 \
    --mount=type=secret,id=npm-logins <<'SH'
set -eu
{{network_without_logins}}
# Nothing but packages is made here, and the proxy that they come through may want a login.
if [ -s /run/secrets/build-environment ]; then
    eval "$(grep -i '^export [a-z]*_proxy=' /run/secrets/build-environment)"
fi
. /opt/manager/environment
chown -R 1000:1000 /app
# The manager that the lock is of comes from the registry, too.
node /opt/manager/choose.js
if [ -f /opt/manager/package-lock.json ] || [ -f /opt/manager/package.json ]; then
    (
        cd /opt/manager
        if [ -f package-lock.json ]; then as_user npm ci --no-audit --no-fund
        else as_user npm install --no-audit --no-fund; fi
        if [ -d node_modules/@oven ]; then
            as_user mkdir -p node_modules/.bin
            as_user ln -sf ../@oven/"$(ls node_modules/@oven)"/bin/bun node_modules/.bin/bun
        fi
    )
fi
# Members of a workspace, patches and scripts of the project's own come with the sources.
if [ ! -f /opt/manager/later ]; then install_packages; fi
{{no_login_in}}
forget_what_was_asked
no_login_in npm-logins "that was installed" /app /opt/manager $(home)
SH
COPY --chown=1000:1000 . /app
RUN --mount=type=secret,id=ca-bundle,mode=0444 --mount=type=secret,id=build-environment \
    --mount=type=secret,id=npmrc,target=/tmp/home/.npmrc,uid=1000 \
    --mount=type=secret,id=npm-logins <<'SH'
set -eu
[ -f /opt/manager/later ] || exit 0
{{network_without_logins}}
if [ -s /run/secrets/build-environment ]; then
    eval "$(grep -i '^export [a-z]*_proxy=' /run/secrets/build-environment)"
fi
. /opt/manager/environment
install_packages
{{no_login_in}}
forget_what_was_asked
no_login_in npm-logins "that was installed" /app $(home)
SH
{{node_build}}
