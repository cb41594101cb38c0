# OPA's official image starts the program itself.
FROM portico-test-program
ENTRYPOINT ["/usr/local/bin/opa"]
