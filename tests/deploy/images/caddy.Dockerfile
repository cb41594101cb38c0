# Caddy's official image starts with its file, and its program carries a capability.
FROM portico-test-caddy
USER root
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends libcap2-bin \
    && setcap cap_net_bind_service=+ep "$(command -v caddy)" && rm -rf /var/lib/apt/lists/*
ENV XDG_DATA_HOME=/data XDG_CONFIG_HOME=/config
CMD ["caddy", "run", "--config", "/etc/caddy/Caddyfile", "--adapter", "caddyfile"]
