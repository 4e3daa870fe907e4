# Needs Python 3.11 or newer with pip and venv, and nothing else. `make` alone says what there is.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=
BENCH_ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup demo test lint bench clean

help: ## say what there is
	@awk -F':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(READY) ## make .venv with the program (.venv/bin/fetcher) and all that it needs
	@echo '$(BIN)/fetcher is ready'

# PYTHON, if given, is tried first.
$(READY): requirements-dev.txt pyproject.toml
	@for python in $(PYTHON) python3 python3.14 python3.13 python3.12 python3.11 python; do \
		if $$python -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			echo "$$python -m venv $(VENV)"; exec $$python -m venv $(VENV); \
		fi; \
	done; \
	echo 'setup: needs Python 3.11 or newer with pip and venv, and found none; name one with PYTHON=…' >&2; exit 1
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	@touch $(READY)

demo: $(READY) ## download a small site from the loopback into demo/: a first look with no network
	$(BIN)/fetcher demo demo

test: $(READY) ## run all tests; PYTEST_ARGS='tests/unit -x' narrows them
	PYTHONPATH=tests $(BIN)/python -m pytest -p support.noskips -n auto --maxprocesses 4 $(PYTEST_ARGS)

lint: $(READY) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples

bench: $(READY) ## measure; BENCH_ARGS are passed on
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

clean: ## remove .venv, the demo and all caches
	rm -rf $(VENV) demo build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
