# Every target works from a bare checkout: Python 3.11 and make are all it takes.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
PYTHON3 ?= python3
PYTHON := .venv/bin/python
SETUP := .venv/.set-up
export AIRFLOW_PORT MLFLOW_PORT SERVE_PORT

# SOURCE=<folder> PROFILE=<name> DAYS=FIRST..LAST ROOT=<folder of state> SET="section.field=value …"
shop = $(if $(SOURCE),--source "$(SOURCE)") $(if $(PROFILE),--profile "$(PROFILE)") $(if $(ROOT),--root "$(ROOT)")
night = $(shop) $(if $(DAYS),--days "$(DAYS)") $(foreach word,$(SET),--set "$(word)")

.PHONY: help setup nightly up down status test test-services lint benchmark soak docs faults requirements clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(firstword $(MAKEFILE_LIST)) | expand -t 16

setup: $(SETUP) ## builds .venv; done again only when the requirements change

$(SETUP): requirements.txt
	@$(PYTHON3) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null \
	  || { echo "Python 3.11 is needed; '$(PYTHON3)' is $$($(PYTHON3) --version 2>&1 || echo missing). Say which to take: make PYTHON3=/path/to/python3.11 $(MAKECMDGOALS)" >&2; exit 1; }
	$(PYTHON3) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check uv
	.venv/bin/uv pip install --quiet --python $(PYTHON) -r requirements.txt --compile-bytecode
	@touch $(SETUP)

nightly: $(SETUP) ## one whole night; SOURCE= PROFILE= DAYS= SET= ROOT= for logs of one's own
	@$(PYTHON) -m stack nightly $(night)

up: $(SETUP) ## starts Airflow, MLflow and the server, and leaves them running
	@$(PYTHON) -m stack up $(shop)

down: $(SETUP) ## stops what `make up` started
	@$(PYTHON) -m stack down $(if $(ROOT),--root "$(ROOT)")

status: $(SETUP) ## what runs, and where
	@$(PYTHON) -m stack status $(if $(ROOT),--root "$(ROOT)")

test: $(SETUP) lint ## style, floors, and every test that needs no outside service
	$(PYTHON) -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder

test-services: $(SETUP) ## tests against real Swift, Postgres, Redis, HAProxy, Ray, Spark, Prometheus, Chromium; installs them on Debian 12, as root
	@bash tests/services/install.sh
	.venv/bin/uv pip install --quiet --python $(PYTHON) -r tests/services/requirements.txt
	$(PYTHON) -m pytest tests/services

lint: $(SETUP) ## style and floors
	$(PYTHON) -m ruff check .
	.venv/bin/lint-imports

benchmark: $(SETUP) ## measures a claim against its peer; NAME=ingest WITH="--rows 1000000"
	$(PYTHON) -m benchmarks.$(NAME) $(WITH)

soak: $(SETUP) ## an hour of the server under half its load, bundles swapped twice a minute; WITH="--items 10000"
	$(PYTHON) -m benchmarks.serve --part soak --items 100000 --soak-minutes 60 $(WITH)

docs: $(SETUP) ## writes the reference pages that are made from code
	@$(PYTHON) docs/reference/generate.py

faults: $(SETUP) ## lets everything befall a promotion and writes the table of what was seen
	$(PYTHON) -m tests.unit.promote.fault_page

requirements: $(SETUP) ## compiles requirements.txt from setup.cfg
	UV_CUSTOM_COMPILE_COMMAND='make requirements' .venv/bin/uv pip compile setup.cfg --extra test --extra export --python-version 3.11 --output-file requirements.txt --quiet
	UV_CUSTOM_COMPILE_COMMAND='make requirements' .venv/bin/uv pip compile tests/services/requirements.in -c requirements.txt --python-version 3.11 --output-file tests/services/requirements.txt --quiet

clean: ## removes caches and the environment; the state in var/ stays
	rm -rf .venv .pytest_cache .ruff_cache .import_linter_cache *.egg-info
	find . -name __pycache__ -type d -not -path './var/*' -prune -exec rm -rf {} +
