# `make help` lists the targets. Each needs only Python >= 3.11, pip and make.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
STORE ?= sqlite
CASE ?=
USERS ?= 0
SEED ?=
SEEDS ?= 10000
START ?= 1
BENCH := .venv-bench
BENCH_STAMP := $(BENCH)/.installed

.PHONY: help setup demo test lint types tests coverage simulate docs format bench bench-compare clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' Makefile | expand -t 16

setup: $(STAMP)  ## make the virtual environment .venv

$(STAMP): pyproject.toml
	@echo 'Installing the project and its tools into $(VENV), half a minute or so ...'
	@command -v uv >/dev/null 2>&1 \
	&& { uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) \
	     && uv pip install --quiet --python $(BIN)/python --group dev -e '.[all]'; } \
	|| { $(PYTHON) -m venv $(VENV) \
	     && $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' \
	     && $(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev -e '.[all]'; }
	@touch $(STAMP)

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
tests: $(STAMP)  ## the tests alone
	@$(BIN)/pytest -q --collect-only >/dev/null || true
	$(BIN)/pytest -q -n auto --dist worksteal

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
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(STAMP)  ## format the code, and fix what ruff can fix
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

# The peers have a venv of their own, so that `make test` stays lean.
$(BENCH_STAMP): pyproject.toml
	@command -v uv >/dev/null 2>&1 \
	&& { uv venv --quiet --allow-existing --python $(PYTHON) $(BENCH) \
	     && uv pip install --quiet --python $(BENCH)/bin/python --group bench -e '.[all]'; } \
	|| { $(PYTHON) -m venv $(BENCH) \
	     && $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' \
	     && $(BENCH)/bin/python -m pip install --quiet --disable-pip-version-check --group bench -e '.[all]'; }
	@echo '*' > $(BENCH)/.gitignore
	@touch $(BENCH_STAMP)

bench: $(BENCH_STAMP)  ## measure; CASE= for one case, USERS= for another size
	@$(BENCH)/bin/python -m benchmarks $(CASE) --users $(USERS)

bench-compare: $(BENCH_STAMP)  ## measure, beside the recorded baseline
	@$(BENCH)/bin/python -m benchmarks --compare

clean:  ## remove all that make has made
	rm -rf $(VENV) $(BENCH) build dist site htmlcov .coverage .mypy_cache .ruff_cache .pytest_cache .hypothesis
