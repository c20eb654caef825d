# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Each needs only python3 (3.11 or later), make and the package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEMO := demo
JOBS ?= 2

.DEFAULT_GOAL := help
.PHONY: help demo test check format torture mutants bench bench-pace lock clean

help:  ## this list
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

$(READY): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'provisioner needs Python 3.11 or later: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

demo: $(READY)  ## register configs/example.jsonl against the embedded endpoint, at a rate that it does not tell
	@mkdir -p $(DEMO)
	$(BIN)/provisioner apply configs/example.jsonl --config configs/demo.toml --local

test: $(READY)  ## the tests, under two minutes
	$(BIN)/python -m pytest -n $(JOBS) --dist worksteal

check: $(READY)  ## ruff (ALL), mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: $(READY)  ## the long fault campaigns, in full
	$(BIN)/python -m pytest -m torture -s -o faulthandler_timeout=0

mutants: $(READY)  ## break the promise on purpose: each mutant must turn the suite red
	$(BIN)/python -m tests.faults.mutants

bench: $(READY)  ## throughput beside its peers
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.rerun
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.startup

bench-pace: $(READY)  ## the pacer beside its peers, in virtual time
	$(BIN)/python -m benchmarks.pace

lock: $(READY)  ## resolve pyproject.toml into requirements.txt again: names, versions and hashes, no addresses
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --group dev --extra zstd --universal --python-version 3.11 \
	  --generate-hashes --no-annotate --no-header --no-emit-index-url --quiet -o requirements.txt

clean:  ## remove what these commands made
	rm -rf $(VENV) $(DEMO) build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
