# OPA's official image starts the program itself.
FROM portico-test-opa
ENTRYPOINT ["/usr/local/bin/opa"]
