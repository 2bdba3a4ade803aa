# Everything a developer types. `make` alone lists it. Needs git, make and Python 3.11 or newer.

VENV ?= .venv
DEMO_ARGS ?=
BENCH_ARGS ?=
TEST_ARGS ?=
TORTURE_ARGS ?= --jobs 4
# How many tests run side by side; 0: one after the other, in the process itself.
WORKERS ?= auto

# The first Python that is new enough, unless one is named: make PYTHON=/usr/bin/python3.12 test
ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for each in python3 python3.13 python3.12 python3.11; do \
	"$$each" -c '$(ENOUGH)' >/dev/null 2>&1 && { echo "$$each"; break; }; done)

BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet --quiet
LOCKED := $(PIP) install --require-hashes
UV_COMPILE := $(VENV)/lock/bin/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url \
	--no-header --python-version 3.11 $(if $(UPGRADE),--upgrade)

PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup

# What needs a server, Node.js or a browser is left to test-all.
SERVERLESS := not (postgres or amqp or node or browser or day)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help demo venv test test-all day lint format types layers docs man completions check bench torture binary deb dist lock clean distclean python

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*##  *\(.*\)/  \1|\2/p' $(firstword $(MAKEFILE_LIST)) | \
		while IFS='|' read -r name what; do printf '%-16s %s\n' "$$name" "$$what"; done

demo: $(VENV)/.runtime  ## the whole thing with no account and no network (DEMO_ARGS="--port 7500")
	@KILLSYNCD_DEMO_FROM_MAKE=1 $(BIN)/killsyncd demo $(DEMO_ARGS)

test: $(VENV)/.dev  ## the whole test suite that needs no server (TEST_ARGS="-k config")
	@echo "some minutes on two cores; left out here: the suites for PostgreSQL, RabbitMQ, Node.js and the" \
		"browser (make test-all runs them)"
	@$(PYTEST) -m "$(SERVERLESS)" $(TEST_ARGS)

test-all: $(VENV)/.dev  ## every test; what needs PostgreSQL, RabbitMQ, Node.js or Chromium says how to give it
	@$(PYTEST) $(TEST_ARGS)

day: binary deb  ## a day as a self-hoster in a bare Debian, with the documents alone: dist/day.txt (root, systemd-nspawn)
	@rm -f dist/day.txt
	@KILLSYNCD_TEST_BINARY=dist/killsyncd KILLSYNCD_TEST_DAY=dist/day.txt $(BIN)/python -m pytest -m day $(TEST_ARGS) \
		tests/acceptance/test_day.py

lint: $(VENV)/.dev  ## ruff: mistakes and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(VENV)/.dev  ## let ruff put the format right
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

types: $(VENV)/.dev  ## mypy, strictly
	$(BIN)/mypy

layers: $(VENV)/.dev  ## import-linter: who may know whom
	$(BIN)/lint-imports

docs: $(VENV)/.dev  ## write again what is generated from the code
	$(BIN)/python -m killsyncd.config.reference docs/configuration.md killsyncd.toml.example

man: $(VENV)/.dev  ## write the man page again (share/man)
	$(BIN)/python -m killsyncd.cli.manual . --only man

completions: $(VENV)/.dev  ## write the completions of bash, zsh and fish again (share/)
	$(BIN)/python -m killsyncd.cli.manual . --only completions

check: lint types layers test  ## lint, types, layers and test: what must be green

torture: $(VENV)/.dev  ## faults of every kind, and what is lost by them: a table (TORTURE_ARGS="--long kill-sync")
	@KILLSYNCD_TEST_PATIENCE=3 $(BIN)/python -m bench.torture $(TORTURE_ARGS)

bench: $(VENV)/.dev  ## the table of measurements (minutes; nothing in it is a test)
	@$(BIN)/python -m bench $(BENCH_ARGS)

dist: $(VENV)/.dev  ## sdist and wheel, the same bytes every time
	$(BIN)/python -m build --no-isolation --outdir dist

# killsyncd alone, as its wheel installs it.
APP := rm -rf build/wheel build/app && mkdir -p dist && \
	$(BIN)/python -m build --no-isolation --wheel --outdir build/wheel && \
	$(PIP) install --no-index --no-deps --no-compile --target build/app build/wheel/*.whl

binary: $(VENV)/.dev  ## one executable file: dist/killsyncd
	@$(APP)
	$(BIN)/pex --requirement requirements/runtime.txt --no-build --sources-directory build/app \
		--entry-point killsyncd.cli.main:main --venv prepend --sh-boot --python-shebang '/usr/bin/env python3' \
		--runtime-pex-root '~/.cache/killsyncd' --output-file dist/killsyncd

deb: $(VENV)/.dev  ## a package for Debian, for the Python of this environment: dist/killsyncd_*.deb
	@$(APP)
	@$(LOCKED) --no-deps --only-binary :all: --no-compile --target build/app -r requirements/runtime.txt
	@packaging/deb/build $(BIN)/python build/app dist

venv: $(VENV)/.dev  ## the environment in .venv, from the lock files

lock: $(VENV)/.lock  ## make the lock files again; UPGRADE=1 takes newer versions too
	$(UV_COMPILE) pyproject.toml --output-file requirements/runtime.txt
	$(UV_COMPILE) --group build --constraints requirements/runtime.txt --output-file requirements/build.txt
	$(UV_COMPILE) pyproject.toml --group dev --constraints requirements/runtime.txt \
		--constraints requirements/build.txt --output-file requirements/dev.txt
	$(UV_COMPILE) --group lock --output-file requirements/lock.txt

clean:  ## remove what was built and cached
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +

distclean: clean  ## and the environment
	rm -rf $(VENV)

# --- the environment ----------------------------------------------------------------------------

python:
	@test -n "$(PYTHON)" || { echo "killsyncd needs Python 3.11 or newer, and none was found." \
		"Install one, or name it: make PYTHON=/path/to/python3" >&2; exit 1; }
	@"$(PYTHON)" -c '$(ENOUGH)' 2>/dev/null || { echo "killsyncd needs Python 3.11 or newer;" \
		"$(PYTHON) is: $$("$(PYTHON)" --version 2>&1 | head -n 1)" >&2; exit 1; }
	@"$(PYTHON)" -c 'import ensurepip, venv' 2>/dev/null || { echo "$(PYTHON) has no venv;" \
		"on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }

$(BIN)/python: | python
	@echo "Making the environment in $(VENV) (once; about a minute) ..."
	@"$(PYTHON)" -m venv $(VENV)

# Stamps: made again whenever a lock file or the project's metadata changes.
$(VENV)/.runtime: requirements/runtime.txt requirements/build.txt pyproject.toml | $(BIN)/python
	@$(LOCKED) -r requirements/runtime.txt -r requirements/build.txt
	@$(PIP) install --no-index --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.runtime
	@$(LOCKED) -r requirements/dev.txt
	@touch $@

# Apart from the rest: uv is large, and only who makes lock files needs it.
$(VENV)/.lock: | $(BIN)/python
	@$(BIN)/python -m venv $(VENV)/lock
	@$(VENV)/lock/bin/python -m pip --disable-pip-version-check --quiet --quiet install \
		$(if $(wildcard requirements/lock.txt),--require-hashes -r requirements/lock.txt,uv)
	@touch $@
