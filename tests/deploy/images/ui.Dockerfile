# The UI's official image writes its configuration from variables; here it is read from them, too.
FROM portico-test-ui-server
COPY ui.sh /usr/local/bin/start
RUN install -d -m 0777 /home/ui-server/config
WORKDIR /home/ui-server
CMD ["/bin/sh", "/usr/local/bin/start"]
