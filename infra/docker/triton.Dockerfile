# Triton with Portico's models. `--target triton` (the default) is built from the wheel, on any x86-64 machine;
# `--target triton-official` puts the same models onto NVIDIA's image, which has the newest server and knows GPUs.
ARG BASE=debian:bookworm-slim
ARG OFFICIAL=nvcr.io/nvidia/tritonserver:26.08-py3

FROM ${BASE} AS models
RUN apt-get update \
    && apt-get install --yes --no-install-recommends binutils ca-certificates python3 python3-pip python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY infra/setup/tools.lock triton_models/requirements.lock ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export PIP_CERT=/run/ca.crt SSL_CERT_FILE=/run/ca.crt; fi \
    && python3 -m venv /build/tools \
    && /build/tools/bin/pip install --quiet --no-deps --require-hashes -r tools.lock \
    && /build/tools/bin/uv venv --quiet --python /usr/bin/python3 /opt/portico/env \
    && /build/tools/bin/uv pip install --quiet --no-deps --require-hashes --python /opt/portico/env/bin/python \
        -r requirements.lock
WORKDIR /opt/portico
COPY triton_models triton_models
RUN ORT_DISABLE_TELEMETRY=1 env/bin/python -m triton_models.build --home /tmp/home --cache /opt/portico/built \
    && rm -rf /tmp/home

FROM ${BASE} AS triton
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libpython3.11 python3 \
    && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/portico
WORKDIR /opt/portico
COPY --from=models /opt/portico /opt/portico
COPY infra/docker/triton/start.py infra/docker/triton/ready.py ./
RUN packages=$(echo env/lib/python3*/site-packages) \
    && chmod 0755 "$packages/pytriton/tritonserver/bin/tritonserver" \
    && mkdir -p backends/python \
    && cp "$packages"/pytriton/tritonserver/backends/python/* backends/python/ 2>/dev/null || true \
    && cp "$packages"/pytriton/tritonserver/python_backend_stubs/3.11/triton_python_backend_stub backends/python/ \
    && chmod 0755 backends/python/*
ENV HOME=/var/lib/portico \
    PATH=/opt/portico/env/bin:/usr/bin:/bin \
    PYTHONDONTWRITEBYTECODE=1 \
    ORT_DISABLE_TELEMETRY=1 \
    PORTICO_TRITON_SERVER=wheel
USER 10001:10001
EXPOSE 8001
HEALTHCHECK --interval=3s --timeout=3s --start-period=60s --retries=20 CMD ["python3", "/opt/portico/ready.py"]
CMD ["python3", "/opt/portico/start.py"]

FROM ${OFFICIAL} AS triton-official
WORKDIR /opt/portico
COPY --from=models /opt/portico /opt/portico
COPY infra/docker/triton/start.py infra/docker/triton/ready.py ./
RUN useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin portico \
    && install -d -m 0700 -o portico -g portico /var/lib/portico
ENV HOME=/var/lib/portico PYTHONDONTWRITEBYTECODE=1 ORT_DISABLE_TELEMETRY=1 PORTICO_TRITON_SERVER=official
USER 10001:10001
EXPOSE 8001
HEALTHCHECK --interval=3s --timeout=3s --start-period=60s --retries=20 CMD ["python3", "/opt/portico/ready.py"]
CMD ["python3", "/opt/portico/start.py"]

# The default is the last one.
FROM triton
