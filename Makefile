# `make help` lists the targets. Each needs only Python >= 3.11, pip and make.
WINDOWS := $(filter Windows_NT,$(OS))
PYTHON ?= $(if $(WINDOWS),python,python3)
VENV ?= .venv
BIN = $(VENV)/$(if $(WINDOWS),Scripts,bin)
STAMP = $(VENV)/.installed
STORE ?= sqlite
REDIS_SERVER ?=
CASE ?=
USERS ?= 0
SEED ?=
SEEDS ?= 10000
START ?= 1
# Environments of their own, so that `make test` stays lean.
BENCH := .venv-bench
PACKAGE := .venv-package
WHEEL := .venv-wheel
ALL := -e .[all]
INSTALL ?= --group dev $(ALL)

.PHONY: help setup demo test lint types tests test-floors test-latest coverage simulate docs format \
        bench bench-compare build wheel clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 16

# $(call install,VENV,WHAT): makes a virtual environment, unless it is there, and installs WHAT.
define install
	@echo 'Installing into $(1), half a minute or so ...'
	@command -v uv >/dev/null 2>&1 \
	&& { uv venv --quiet --allow-existing --python $(PYTHON) $(1) \
	     && VIRTUAL_ENV=$(1) uv pip install --quiet $(2); } \
	|| { $(PYTHON) -m venv $(1) \
	     && $(1)/$(notdir $(BIN))/python -m pip install $(QUIET) --upgrade 'pip>=25.1' \
	     && $(1)/$(notdir $(BIN))/python -m pip install $(QUIET) $(2); }
	@touch $(1)/.installed
endef
QUIET := --quiet --disable-pip-version-check

setup: $(STAMP)  ## make the virtual environment .venv

$(STAMP): pyproject.toml tests/floors.txt
	$(call install,$(VENV),$(INSTALL))

demo: $(STAMP)  ## four processes share a store while tokens expire; STORE=redis for a server
	@$(BIN)/python -m docs.examples.demo --store $(STORE)

# Side by side: much of the time the tests wait for servers and processes.
test: $(STAMP)  ## all that has to pass: lint and tests
	@$(MAKE) --no-print-directory -j2 lint tests

lint: $(STAMP)  ## format, rules and types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	@$(MAKE) --no-print-directory types

# Each platform has a cache of its own, or one run would throw away what the other has written.
types: $(STAMP)
	$(BIN)/mypy
	$(BIN)/mypy --platform win32 --cache-dir .mypy_cache/win32 src docs
	$(BIN)/mypy --platform darwin --cache-dir .mypy_cache/darwin src docs
	$(BIN)/basedpyright

# Compiled once, by a look at what there is, not by each worker and each of some hundred processes.
tests: export PYTHONDONTWRITEBYTECODE =
tests: export REDIS_SERVER := $(REDIS_SERVER)
tests: $(STAMP)  ## the tests alone; REDIS_SERVER= for another server than Valkey's newest
	@$(BIN)/pytest -q --collect-only >/dev/null || true
	$(BIN)/pytest -q -n auto --dist worksteal

test-floors:  ## the tests with the oldest versions that pyproject.toml admits, tests/floors.txt
	@$(MAKE) --no-print-directory VENV=.venv-floors tests \
	    INSTALL='--constraint tests/floors.txt --group tests $(ALL)'

test-latest:  ## the tests with the newest versions of all that the library needs
	rm -rf .venv-latest
	@$(MAKE) --no-print-directory VENV=.venv-latest tests INSTALL='--group tests $(ALL)'

# The simulation measures some hundred schedules of its own: all of its tests would take an hour.
coverage: $(STAMP)  ## which lines no test runs; htmlcov/index.html shows them
	$(BIN)/pytest -q -n auto --dist worksteal --timeout 300 --ignore=tests/simulation --cov --cov-report=
	PYTHONHASHSEED=0 $(BIN)/coverage run -m tests.simulation --seeds 400 >/dev/null
	$(BIN)/coverage combine --quiet --append
	$(BIN)/coverage html --quiet
	$(BIN)/coverage report --skip-covered

# SEED=123 shows one run; SEEDS=100000 runs many, from START on.
simulate: $(STAMP)  ## the vault's code in a simulated world; SEED=, SEEDS=, START=
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation \
	    $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --start $(START))

docs: $(STAMP)  ## write the tables of docs/ that the code dictates, build the site in site/
	@$(BIN)/python -m docs.generate
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

format: $(STAMP)  ## format the code, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

$(BENCH)/.installed: pyproject.toml
	$(call install,$(BENCH),--group bench $(ALL))

bench: $(BENCH)/.installed  ## measure; CASE= for one case, USERS= for another size
	@$(BENCH)/$(notdir $(BIN))/python -m benchmarks $(CASE) --users $(USERS)

bench-compare: $(BENCH)/.installed  ## measure, beside the recorded baseline
	@$(BENCH)/$(notdir $(BIN))/python -m benchmarks --compare

$(PACKAGE)/.installed: pyproject.toml
	$(call install,$(PACKAGE),--group package)

# The time of the last commit, so that two builds of it are the same bytes.
build: export SOURCE_DATE_EPOCH := $(or $(shell git log -1 --format=%ct 2>/dev/null),1767225600)
build: $(PACKAGE)/.installed  ## sdist and wheel in dist/
	rm -rf dist
	$(PACKAGE)/$(notdir $(BIN))/python -m build --no-isolation
	$(PACKAGE)/$(notdir $(BIN))/python -m twine check --strict dist/*

wheel: build  ## try the wheel in an empty environment, without extras and with all
	rm -rf $(WHEEL)
	$(call install,$(WHEEL),dist/*.whl)
	$(WHEEL)/$(notdir $(BIN))/python -I tests/installed.py bare
	$(call install,$(WHEEL),"$$(echo dist/*.whl)[all]")
	$(WHEEL)/$(notdir $(BIN))/python -I tests/installed.py all

clean:  ## remove all that make has made
	rm -rf $(VENV) $(BENCH) .venv-floors .venv-latest $(PACKAGE) $(WHEEL) build dist site htmlcov .coverage \
	       .mypy_cache .ruff_cache .pytest_cache .hypothesis
