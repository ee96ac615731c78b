# Peer of `cargo xtask bench fingerprint`: a cold build of the same app and packages, as one writes
# a multi-stage Dockerfile with uv: the environment in one stage, the distribution's PostgreSQL,
# pgvector and supervisor in the other. It is built and never started.
#
# It compiles bytecode, as uv's guide for containers asks for, and has apt's downloads in a cache
# mount; those of packages of Python are in none, as ours are not where there is no lock of uv's.

ARG BASE
FROM ${BASE} AS venv
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked \
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install --yes --no-install-recommends ca-certificates python3 python3-venv python3-pip
RUN --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi; \
    pip install --quiet --break-system-packages --root-user-action=ignore uv
WORKDIR /app
COPY requirements.txt ./
RUN --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/ca-bundle ]; then \
        export SSL_CERT_FILE=/run/secrets/ca-bundle UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1; fi; \
    export UV_LINK_MODE=copy UV_COMPILE_BYTECODE=1 && \
    uv venv --quiet --python /usr/bin/python3 /opt/venv && \
    uv pip install --quiet --python /opt/venv/bin/python --requirement requirements.txt

FROM ${BASE} AS plain
ARG PG_MAJOR
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked <<'SH'
set -eu
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
    postgresql-$PG_MAJOR postgresql-$PG_MAJOR-pgvector python3 supervisor curl
useradd --create-home --uid 1000 hive
SH
COPY --from=venv --chown=1000:1000 /opt/venv /opt/venv
COPY --chown=1000:1000 . /app
WORKDIR /app
USER 1000:1000
CMD ["/usr/bin/supervisord", "-n"]
