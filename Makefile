# Everything runs from .venv, made from the locked requirements; no target needs anything installed by hand but Python.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= $(shell command -v python3.11 || command -v python3)
# A target that needs more than the others makes a venv of its own: VENV=.venv-mutants MORE=requirements/mutants.txt.
VENV := .venv
MORE :=
BIN := $(VENV)/bin
LOCKED := requirements/build.txt requirements/dev.txt $(MORE) pyproject.toml
# Named after the content it was made from: a checkout that moves to another lock installs again, one that does not, not.
STAMP := $(VENV)/.installed-$(firstword $(shell cat $(LOCKED) 2>/dev/null | cksum))
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check
COMPILE := $(BIN)/uv pip compile --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header
# Three processes on two cores: the tests wait for nodes more than they compute.
TEST_PROCESSES ?= 3

.PHONY: help venv install demo replay test fuzz bench model mutants simulate soak lint lock

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/\t/' | sort

venv: $(STAMP)  ## make .venv from the locked requirements

# Two makes in one checkout must not install over each other, so the work is done under a lock that dies with its owner.
$(STAMP):
	@$(PYTHON) -c 'import fcntl, subprocess, sys; lock = open("$(VENV).lock", "w"); fcntl.flock(lock, fcntl.LOCK_EX); sys.exit(subprocess.call(sys.argv[1:], close_fds=False))' \
		$(MAKE) --no-print-directory install

install:
	@if [ ! -e $(STAMP) ]; then \
		$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version)'; \
		echo "installing the locked requirements into $(VENV)" >&2; \
		[ -x $(BIN)/python ] || $(PYTHON) -m venv --clear $(VENV); \
		rm -f $(VENV)/.installed-*; \
		$(PIP) --only-binary :all: --require-hashes -r requirements/build.txt; \
		$(PIP) --require-hashes --no-build-isolation -r requirements/dev.txt $(MORE:%=-r %); \
		$(PIP) --no-deps --no-build-isolation -e .; \
		touch $(STAMP); \
	fi

demo: venv  ## replay the attack on a private regtest network
	@$(BIN)/withdrawals-regtest demo

replay: venv  ## the whole attack kit: every class in every ending, every scenario, every control: PROCESSOR=module:factory, ARGS="--class T02b"
	@$(BIN)/withdrawals-regtest replay $(if $(PROCESSOR),--processor $(PROCESSOR),--complete) $(ARGS)

test: venv  ## run the unit, integration and functional tests
	@$(BIN)/python -m pytest -n $(TEST_PROCESSES) --dist loadfile

fuzz: venv  ## random bytes through every parser: N=1000000, SEED=1; one case again by SEED=1 INDEX=17
	@$(BIN)/python -m tests.fuzz --cases $(or $(N),200000) $(if $(SEED),--seed $(SEED)) $(if $(INDEX),--index $(INDEX))

bench: venv  ## measure the real code against something known in the same run: SECONDS=60
	@$(BIN)/python -m tests.bench --seconds $(or $(SECONDS),60)

model: venv  ## every story of small worlds, the real core deciding (minutes): RUN=B3, SECONDS=60 for each
	@$(BIN)/python -m tests.model $(if $(RUN),--run $(RUN)) $(if $(SECONDS),--seconds $(SECONDS))

mutants:  ## change the rules of the core bit by bit: a unit test must notice (minutes): FILE=lint.py, PROCESSES=2
	@$(MAKE) --no-print-directory --silent venv VENV=.venv-mutants MORE=requirements/mutants.txt
	@PYTHONHASHSEED=0 .venv-mutants/bin/python -m tests.mutants $(if $(FILE),--file $(FILE)) $(if $(PROCESSES),--processes $(PROCESSES))

simulate: venv  ## histories of the real code in a simulated world of faults, deaths at every boundary, broken variants: SECONDS=60, or N=1000; SEED=1; REPLAY=17
	@$(BIN)/python -m tests.simulation $(if $(REPLAY),--replay $(REPLAY),--teeth) $(if $(SEED),--seed $(SEED)) \
		$(if $(N),--histories $(N)) $(if $(SECONDS),--seconds $(SECONDS)) $(if $(PROCESSES),--processes $(PROCESSES))

soak: venv  ## load for minutes while processes, servers and chain fail at random, then a verdict: MINUTES=5, SEED=1, KILLS=200 a minute
	@$(BIN)/python -m tests.soak --minutes $(or $(MINUTES),5) $(if $(SEED),--seed $(SEED)) $(if $(KILLS),--kills $(KILLS)) $(if $(VERBOSE),--verbose)

lint: venv  ## check style, types and the import contracts
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check
	@$(BIN)/mypy
	@$(BIN)/lint-imports --no-logo

lock: venv  ## resolve the requirements again, with hashes
	@$(COMPILE) --quiet --output-file requirements/build.txt requirements/build.in
	@$(COMPILE) --quiet --all-extras --output-file requirements/dev.txt pyproject.toml
	@$(COMPILE) --quiet --output-file requirements/mutants.txt requirements/mutants.in
	@$(COMPILE) --quiet --no-deps --output-file requirements/vectors.txt requirements/vectors.in
