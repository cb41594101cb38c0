# As the official image: the settings and the start script that its module ships, and an ordinary user.
FROM portico-test-ui-server
WORKDIR /home/ui-server/config
WORKDIR /home/ui-server
RUN mv /usr/local/bin/docker.yaml config/ && mv /usr/local/bin/start-ui-server.sh /usr/local/bin/ui-server .
USER 1000
ENTRYPOINT ["./start-ui-server.sh"]
