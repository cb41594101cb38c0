# Stands in for the official image where no other registry than those of packages can be reached: the same
# program, the same entry point's contract (password file, scripts of /docker-entrypoint-initdb.d).
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update && apt-get install --yes --no-install-recommends postgresql-15 \
    && rm -rf /var/lib/apt/lists/* /usr/share/doc /usr/share/man \
    && install -d -o postgres -g postgres -m 3777 /var/run/postgresql \
    && rm -rf /var/lib/postgresql && install -d -o postgres -g postgres -m 0700 /var/lib/postgresql/data
ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin PGDATA=/var/lib/postgresql/data LANG=C.UTF-8
COPY postgres.sh /usr/local/bin/docker-entrypoint.sh
USER postgres
ENTRYPOINT ["/bin/bash", "/usr/local/bin/docker-entrypoint.sh"]
CMD ["postgres"]
