# Peer of `cargo xtask bench container`: what one puts together from the official PostgreSQL image
# and a Python image.
#
# `initdb` at first boot with a temporary server, as docker-entrypoint.sh of the official image
# does it, then a stock supervisord with PostgreSQL, and the app once PostgreSQL answers.
# Everything that makes it slower without need is left out, so that it is a fair peer: same base,
# same app, bytecode compiled, one worker, PostgreSQL stopped by INT, and the health check is
# looked at as often as ours.

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
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/ca-bundle ]; then \
        export SSL_CERT_FILE=/run/secrets/ca-bundle UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1; fi; \
    UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON=/usr/bin/python3 UV_LINK_MODE=copy \
    UV_COMPILE_BYTECODE=1 uv sync --frozen --no-dev

FROM ${BASE} AS official
ARG PG_MAJOR
ARG PORT
ARG DATABASE
ARG ROLE
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=cache,target=/var/lib/apt/lists,sharing=locked <<'SH'
set -eu
mkdir -p /etc/postgresql-common
echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends \
    postgresql-$PG_MAJOR postgresql-$PG_MAJOR-pgvector python3 supervisor curl
useradd --create-home --uid 1000 hive
install -d -o 1000 -g 1000 /var/lib/postgresql/data /var/run/postgresql /var/log/hive
SH

# Where the client that measures looks for the password in our images.
COPY --chmod=600 --chown=1000:1000 <<PASSWORD /run/hive/pgpass
*:*:*:${ROLE}:bench
PASSWORD

COPY <<'SH' /usr/local/bin/docker-entrypoint.sh
#!/bin/bash
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    initdb --username=postgres --auth=trust --auth-host=scram-sha-256 --encoding=UTF8 --locale=C.UTF-8
    pg_ctl --wait -o "-c listen_addresses=''" start
    psql --username=postgres --set=ON_ERROR_STOP=1 --no-psqlrc <<SQL
CREATE ROLE $APP_ROLE LOGIN PASSWORD 'bench';
CREATE DATABASE $APP_DATABASE OWNER $APP_ROLE;
\connect $APP_DATABASE
CREATE EXTENSION vector;
SQL
    pg_ctl --mode=fast --wait stop
fi
exec supervisord --nodaemon --configuration=/etc/supervisor/supervisord.conf
SH

COPY <<'SH' /usr/local/bin/run-app
#!/bin/bash
set -e
until pg_isready --quiet --host=127.0.0.1; do sleep 0.1; done
python -m api.migrate
exec uvicorn api.serve:app --host=0.0.0.0 --port="$APP_PORT"
SH

COPY <<'INI' /etc/supervisor/supervisord.conf
[supervisord]
logfile=/dev/null
logfile_maxbytes=0
pidfile=/tmp/supervisord.pid

[unix_http_server]
file=/tmp/supervisor.sock

[supervisorctl]
serverurl=unix:///tmp/supervisor.sock

[rpcinterface:supervisor]
supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface

[program:postgresql]
priority=100
command=postgres
autorestart=true
stopsignal=INT
stdout_logfile=/dev/fd/1
stdout_logfile_maxbytes=0
redirect_stderr=true

[program:app]
priority=200
command=/usr/local/bin/run-app
directory=/app
autorestart=true
stdout_logfile=/dev/fd/1
stdout_logfile_maxbytes=0
redirect_stderr=true
INI

RUN chmod 755 /usr/local/bin/docker-entrypoint.sh /usr/local/bin/run-app
COPY --from=venv /opt/venv /opt/venv
COPY . /app
RUN /opt/venv/bin/python -m compileall -q /app

ENV PATH=/opt/venv/bin:/usr/lib/postgresql/${PG_MAJOR}/bin:/usr/local/bin:/usr/bin:/bin \
    PGDATA=/var/lib/postgresql/data/pgdata \
    APP_PORT=${PORT} \
    APP_DATABASE=${DATABASE} \
    APP_ROLE=${ROLE} \
    DATABASE_URL=postgresql://${ROLE}:bench@127.0.0.1:5432/${DATABASE} \
    LANG=C.UTF-8 \
    PYTHONUNBUFFERED=1
WORKDIR /app
USER 1000:1000
EXPOSE ${PORT}
VOLUME /var/lib/postgresql/data
HEALTHCHECK --start-period=60s --start-interval=250ms --interval=5s --timeout=5s --retries=2 \
    CMD curl --fail --silent --output /dev/null http://127.0.0.1:$APP_PORT/api/v1/health && \
        pg_isready --quiet --host=127.0.0.1
ENTRYPOINT ["docker-entrypoint.sh"]
