# Needs Python 3.11 or newer with pip and venv, and nothing else. `make` alone says what there is.

VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST_ARGS ?=
BENCH_ARGS ?=
MUTANTS_ARGS ?=
TORTURE_ARGS ?=
FUZZ_ARGS ?=
FUZZ_TIMES ?= 40

# Where it is set, every start of the program compiles all of it anew: half of the time of a short run.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help setup demo test mutants torture fuzz lint docs package bench clean

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
	PYTHONPATH=tests $(BIN)/python -m pytest -p support.noskips -n auto --maxprocesses 4 --dist worksteal $(PYTEST_ARGS)

mutants: $(READY) ## take each protection out of a copy and see its tests fail; MUTANTS_ARGS choose some
	$(BIN)/python tests/mutants/run.py $(MUTANTS_ARGS)

torture: $(READY) ## kill and break runs at every call of the system, for hours; TORTURE_ARGS choose some
	PYTHONPATH=tests $(BIN)/python -m torture $(TORTURE_ARGS)

fuzz: $(READY) ## look for bytes that break a reader, a minute each; FUZZ_ARGS are passed on
	$(BIN)/python -c 'import atheris' 2>/dev/null || $(BIN)/python -m pip install --quiet -r tests/fuzz/requirements.txt
	$(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)
	FETCHER_FUZZ=$(FUZZ_TIMES) PYTHONPATH=tests $(BIN)/python -m pytest --timeout=0 -n 2 \
		tests/fuzz tests/contract/test_any_answer.py tests/engine/test_settler_states.py tests/contract/test_frontier_states.py

lint: $(READY) ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy examples
	$(BIN)/basedpyright

docs: $(READY) ## make the documents' tables and the manual page anew, and the documents as a site in site/
	$(BIN)/python docs/make_reference.py
	$(BIN)/python docs/make_man_page.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

package: $(READY) ## build sdist and wheel into dist/, check them, and use them in environments of their own
	BIN=$(BIN) .ci/package

bench: $(READY) ## measure; BENCH_ARGS are passed on
	$(BIN)/python benchmarks/run.py $(BENCH_ARGS)

clean: ## remove .venv, the demo and all caches
	rm -rf $(VENV) demo build dist site *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .fuzz .coverage
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
