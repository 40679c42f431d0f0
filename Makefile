# `make demo` is all one needs; `make help` lists the rest.
#
#   PYTHON    interpreter the virtual environment is made with (default python3)
#   PIP_ARGS  given to `pip install`; pip's own PIP_* variables and pip.conf count as always
#   ARGS      given to the program that is run: make test ARGS="-k ledger -x"

PYTHON ?= python3
PIP_ARGS ?=
ARGS ?=

VENV := .venv
PY := $(VENV)/bin/python

# A stamp is touched last, so that an install that was interrupted is taken up again.  They lie
# inside .venv: remove it and everything is done afresh.
RUN_STAMP := $(VENV)/.installed-run
DEV_STAMP := $(VENV)/.installed-dev

# An interrupted `python3 -m venv` leaves an interpreter without pip; the same call completes it.
define venv
	@$(PY) -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv $(VENV)
	@echo "installing into $(VENV): a few minutes the first time"
endef

.DEFAULT_GOAL := help
.PHONY: help setup setup-dev demo test test-slow lint bench wheelhouse protos clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(RUN_STAMP) ## install into .venv, to run only

setup-dev: $(DEV_STAMP) ## install into .venv, with what tests and checks need

$(RUN_STAMP): pyproject.toml
	$(venv)
	$(PY) -m pip install --quiet $(PIP_ARGS) --editable .
	@touch $@

# What is enough to develop is enough to run.
$(DEV_STAMP): pyproject.toml
	$(venv)
	$(PY) -m pip install --quiet $(PIP_ARGS) --editable ".[dev]"
	@touch $(RUN_STAMP) $@

demo: $(RUN_STAMP) ## run the embedded federation and show what it learned
	$(VENV)/bin/fedinterest simulate demo $(ARGS)

test: $(DEV_STAMP) ## the test suite
	$(PY) -m pytest $(ARGS)

test-slow: $(DEV_STAMP) ## the tests that take minutes
	$(PY) -m pytest -m slow $(ARGS)

lint: $(DEV_STAMP) ## style, types and the import contract
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/lint-imports

bench: $(RUN_STAMP) ## how fast a private step and the ingest are
	$(VENV)/bin/fedinterest bench dp-step
	$(VENV)/bin/fedinterest bench ingest

# For machines without a network: pip install --no-index --find-links wheelhouse --require-hashes
# -r wheelhouse/requirements.txt
WHEELHOUSE := wheelhouse
wheelhouse: $(RUN_STAMP) ## every wheel that is needed to run, with hashes, for a machine without a network
	rm -rf $(WHEELHOUSE)
	$(PY) -m pip wheel --quiet $(PIP_ARGS) --wheel-dir $(WHEELHOUSE) .
	cd $(WHEELHOUSE) && sha256sum *.whl \
		| sed -E 's/^([0-9a-f]+) +([^-]+)-([^-]+)-.*$$/\2==\3 --hash=sha256:\1/' > requirements.txt

protos: $(DEV_STAMP) ## the service's protocol, generated again
	$(PY) -m grpc_tools.protoc -I. --python_out=. --pyi_out=. --grpc_python_out=. clients/serving/wire/serving.proto

clean: ## remove caches and build products; .venv and runs stay
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find shared clients server simulations tests -name __pycache__ -type d -prune -exec rm -rf {} +
