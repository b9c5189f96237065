# make setup | make demo | make test: each needs only Python >= 3.11, pip and make.
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

.PHONY: setup demo test lint tests simulate format bench bench-compare clean

setup: $(STAMP)

$(STAMP): pyproject.toml
	@command -v uv >/dev/null 2>&1 \
	&& { uv venv --quiet --allow-existing --python $(PYTHON) $(VENV) \
	     && uv pip install --quiet --python $(BIN)/python --group dev -e '.[all]'; } \
	|| { $(PYTHON) -m venv $(VENV) \
	     && $(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1' \
	     && $(BIN)/python -m pip install --quiet --disable-pip-version-check --group dev -e '.[all]'; }
	@touch $(STAMP)

demo: $(STAMP)
	@$(BIN)/python -m docs.examples.demo --store $(STORE)

# Side by side: much of the time the tests wait for servers and processes.
test: $(STAMP)
	@$(MAKE) --no-print-directory -j2 lint tests

lint: $(STAMP)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

# Compiled once, by a look at what there is, not by each worker and each of some hundred processes.
tests: export PYTHONDONTWRITEBYTECODE =
tests: $(STAMP)
	@$(BIN)/pytest -q --collect-only >/dev/null || true
	$(BIN)/pytest -q -n auto --dist worksteal

# SEED=123 shows one run; SEEDS=100000 runs many, from START on.
simulate: $(STAMP)
	@PYTHONHASHSEED=0 $(BIN)/python -m tests.simulation \
	    $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --start $(START))

format: $(STAMP)
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

bench: $(BENCH_STAMP)
	@$(BENCH)/bin/python -m benchmarks $(CASE) --users $(USERS)

bench-compare: $(BENCH_STAMP)
	@$(BENCH)/bin/python -m benchmarks --compare

clean:
	rm -rf $(VENV) $(BENCH) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
