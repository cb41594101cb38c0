# One program of another maker, built from its pinned module, under the name of its official image.
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends ca-certificates netcat-openbsd wget \
    && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man
COPY programs/ /usr/local/bin/
