# `make up` and `make test` set the checkout up first; what is already there is not made again.
.PHONY: up setup test test-long test-deploy check bench
SETUP := operations/setup/run.sh
ARGS ?=

up:
	@$(SETUP) up $(ARGS)

setup:
	@$(SETUP) setup

test: check
	@$(SETUP) browser
	@$(SETUP) sandbox
ifeq ($(ARGS),)
	.venv/bin/python -m operations.setup.tests
else
	.venv/bin/python -m pytest $(ARGS)
endif

test-long: check
	@$(SETUP) browser
	@$(SETUP) sandbox
	.venv/bin/python -m pytest -m "not deploy" $(ARGS)

test-deploy:
	@$(SETUP) check
	@$(SETUP) browser
	.venv/bin/python -m pytest tests/deploy -m deploy -s $(ARGS)

check:
	@$(SETUP) check
	@.venv/bin/python -m operations.setup.check

bench:
	@$(SETUP) bench
	.venv/bin/python -m benchmarks.run $(ARGS)
