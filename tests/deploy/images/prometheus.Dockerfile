# Prometheus' official image starts the server as nobody.
FROM portico-test-prometheus
RUN install -d -o nobody -g nogroup /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
