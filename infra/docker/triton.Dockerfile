# Triton with Portico's models. `--target triton` (the default) is built from the wheel, on any x86-64 machine;
# `--target triton-official` puts the same models onto NVIDIA's image, which has the newest server and knows GPUs.
ARG BASE=debian:bookworm-slim
ARG OFFICIAL=nvcr.io/nvidia/tritonserver:26.08-py3

FROM ${BASE} AS models
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils ca-certificates python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY operations/setup/tools.lock infra/docker/environment.sh triton_models/requirements.lock ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    sh environment.sh /opt/portico/env requirements.lock --no-deps
WORKDIR /opt/portico
COPY triton_models triton_models
RUN ORT_DISABLE_TELEMETRY=1 env/bin/python -m triton_models.build --home /tmp/home --cache /opt/portico/built \
    && rm -rf /tmp/home \
    && env/bin/python -c 'import glob, pathlib; from triton_models import server; \
packages = pathlib.Path(glob.glob("env/lib/python3*/site-packages")[0]); wheel = server.of_the_wheel(packages); \
(wheel / "bin" / "tritonserver").chmod(0o755); \
server.copy_python_backend(wheel, "3.11", pathlib.Path("backends"))'
COPY infra/docker/triton/start.py infra/docker/triton/ready.py LICENSE ./

# --- the wheel's server -------------------------------------------------------------------------------------------
FROM ${BASE} AS system
ARG VERSION=0
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libpython3.11 python3 tini \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/portico
COPY --from=models /opt/portico /opt/portico
RUN --mount=type=bind,source=infra/docker,target=/build \
    --mount=type=bind,source=triton_models/requirements.lock,target=/requirements.lock \
    python3 /build/bare.py --keep bash cat env id ln ls mkdir python3 sh tini \
    && python3 /build/sbom.py --name portico-triton --version "${VERSION}" --lock /requirements.lock \
        --output /opt/portico/sbom.cdx.json

# --- NVIDIA's server: the packages once more, for the Python of that image ------------------------------------------
FROM ${OFFICIAL} AS triton-official
ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="Portico: models on NVIDIA's Triton" \
      org.opencontainers.image.description="Triton with the models of Portico" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      portico.sbom="/opt/portico/sbom.cdx.json"
WORKDIR /build
COPY --from=models /build/tools/bin/uv /build/tools/bin/uv
COPY infra/docker/environment.sh infra/docker/triton/gpu.lock triton_models/requirements.lock ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt --mount=type=cache,target=/root/.cache/uv \
    sh environment.sh /opt/portico/env requirements.lock --no-deps \
    && tools/bin/uv pip uninstall --quiet --python /opt/portico/env/bin/python nvidia-pytriton onnxruntime \
    && sh environment.sh /opt/portico/env gpu.lock --no-deps
WORKDIR /opt/portico
COPY --from=models /opt/portico/built built
COPY triton_models triton_models
COPY infra/docker/triton/start.py infra/docker/triton/ready.py LICENSE ./
RUN --mount=type=bind,source=infra/docker,target=/sbom \
    useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/portico \
    && python3 /sbom/sbom.py --name portico-triton-official --version "${VERSION}" \
        --lock /build/requirements.lock /build/gpu.lock --output /opt/portico/sbom.cdx.json
ENV HOME=/var/lib/portico \
    PATH=/opt/portico/env/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PORTICO_TRITON_SERVER=official
USER 10001:10001
EXPOSE 8001
HEALTHCHECK --interval=3s --timeout=3s --start-period=60s --retries=20 CMD ["python3", "/opt/portico/ready.py"]
ENTRYPOINT []
CMD ["python3", "/opt/portico/start.py"]

# The default is the last one.
FROM scratch AS triton
ARG VERSION=0
ARG REVISION=unknown
ARG SOURCE=
LABEL org.opencontainers.image.title="Portico: models on Triton" \
      org.opencontainers.image.description="Triton with the models of Portico" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}" \
      portico.sbom="/opt/portico/sbom.cdx.json"
# hadolint ignore=DL3067
COPY --from=system / /
WORKDIR /opt/portico
ENV HOME=/var/lib/portico \
    PATH=/opt/portico/env/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PORTICO_TRITON_SERVER=wheel
USER 10001:10001
EXPOSE 8001
HEALTHCHECK --interval=3s --timeout=3s --start-period=60s --retries=20 CMD ["python3", "/opt/portico/ready.py"]
ENTRYPOINT ["/usr/bin/tini", "-s", "--"]
CMD ["python3", "/opt/portico/start.py"]
