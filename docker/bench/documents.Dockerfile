# Peer of `cargo xtask bench container`: the image as its first documents ask for it.
#
# To the letter: package list, recommends and all, the cluster made while building, users, sudo.
# Repaired only where it cannot be built at all: both stages stand on the base that our images
# stand on (22.04 has none of these packages), the packages have the versions of that base, the
# interpreter's environment is what is copied (`uv sync` fills no site-packages), and
# the configuration files are left out. What is measured of it is its size; nobody starts it.
# apt takes recommended packages, as it does in ubuntu:22.04 and not in our base; that base images
# of Docker Hub throw away what apt downloaded is done by a mount.

ARG BASE
FROM ${BASE} AS builder
RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    --mount=type=secret,id=ca-bundle \
    apt-get -qq update && DEBIAN_FRONTEND=noninteractive \
    apt-get -qq install --yes ca-certificates python3 python3-venv python3-pip
RUN --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/ca-bundle ]; then export PIP_CERT=/run/secrets/ca-bundle; fi; \
    pip install --quiet --break-system-packages --root-user-action=ignore uv
WORKDIR /deps
COPY pyproject.toml uv.lock ./
RUN --mount=type=secret,id=ca-bundle \
    if [ -s /run/secrets/ca-bundle ]; then \
        export SSL_CERT_FILE=/run/secrets/ca-bundle UV_SYSTEM_CERTS=1 UV_NATIVE_TLS=1; fi; \
    UV_PROJECT_ENVIRONMENT=/opt/venv UV_PYTHON=/usr/bin/python3 UV_LINK_MODE=copy \
    uv sync --frozen --no-dev

FROM ${BASE} AS documents
ARG PG_MAJOR

RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --install-recommends \
    python3 \
    python3-venv \
    python3-pip \
    postgresql-${PG_MAJOR} \
    postgresql-contrib \
    postgresql-${PG_MAJOR}-pgvector \
    supervisor \
    curl \
    sudo \
    && rm -rf /var/lib/apt/lists/*

RUN useradd -m -u 1000 -s /bin/bash hive && \
    usermod -aG sudo hive && \
    echo 'hive ALL=(ALL) NOPASSWD:ALL' >> /etc/sudoers

RUN mkdir -p /var/lib/postgresql/data/pgdata && \
    chown -R 1000:1000 /var/lib/postgresql/data && \
    chmod 750 /var/lib/postgresql/data

COPY --from=builder --chown=1000:1000 /opt/venv /opt/venv
COPY --chown=1000:1000 . /app
WORKDIR /app

RUN mkdir -p /var/log/supervisor /var/log/postgresql /var/log/hive && \
    chown -R 1000:1000 /var/log/supervisor /var/log/hive

USER root
RUN service postgresql start && \
    sudo -u postgres createuser --superuser hive && \
    sudo -u postgres createdb -O hive hive_genie && \
    sudo -u postgres psql -d hive_genie -c "CREATE EXTENSION IF NOT EXISTS vector;" && \
    service postgresql stop

USER 1000:1000
EXPOSE 48886
CMD ["/usr/bin/supervisord", "-c", "/etc/supervisor/conf.d/supervisord.conf"]
