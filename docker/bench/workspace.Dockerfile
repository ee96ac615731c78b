# Peer of `cargo xtask bench container`: the documents' image without PostgreSQL, for a service
# whose database is another container. What documents.Dockerfile says of repairs holds here, too.

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

FROM ${BASE} AS workspace

RUN --mount=type=cache,target=/var/cache/apt,sharing=locked \
    apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --install-recommends \
    python3 \
    python3-venv \
    python3-pip \
    supervisor \
    curl \
    sudo \
    && rm -rf /var/lib/apt/lists/*

RUN useradd -m -u 1000 -s /bin/bash hive && \
    usermod -aG sudo hive && \
    echo 'hive ALL=(ALL) NOPASSWD:ALL' >> /etc/sudoers

COPY --from=builder --chown=1000:1000 /opt/venv /opt/venv
COPY --chown=1000:1000 . /app
WORKDIR /app

RUN mkdir -p /var/log/supervisor /var/log/hive && \
    chown -R 1000:1000 /var/log/supervisor /var/log/hive

USER 1000:1000
EXPOSE 8886
CMD ["/usr/bin/supervisord", "-c", "/etc/supervisor/conf.d/supervisord.conf"]
