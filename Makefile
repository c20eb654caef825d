# Two commands do all the set-up on a fresh machine: `make demo` and `make test`.
# Each needs only python3 (3.11 or later), make and the package registry.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
RUN := $(VENV)/.run
READY := $(VENV)/.ready
# pip alone installs, everywhere: it is what a machine's registry and certificates are configured for.
INSTALL = -m pip install --quiet --no-compile --disable-pip-version-check
PIP = $(BIN)/python $(INSTALL)
LOWEST := build/lowest/bin/python
LOWEST_READY := build/lowest/.ready
LOCK = $(BIN)/uv pip compile pyproject.toml --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
  --no-emit-index-url --quiet
DEMO := demo
# More than the cores: the tests of real processes wait most of the time.
JOBS ?= 4
# Where the environment says not to write bytecode, each of hundreds of processes would compile all modules again.
export PYTHONDONTWRITEBYTECODE :=
PARALLEL = -n $(JOBS) --dist worksteal
PYTEST = $(BIN)/python -m pytest $(PARALLEL)
# What another Python or other libraries can break. The fault campaigns, most real processes, the embedded endpoint, the
# pacer, which is arithmetic, whole commands and the documentation take most of the time and depend least on versions.
QUICK = --ignore=tests/faults --ignore-glob='tests/e2e/test_[b-z]*.py' --ignore=tests/emulator --ignore=tests/commands --ignore=tests/fleet \
  --ignore=tests/aws/test_session.py --ignore=tests/pacing --ignore=tests/test_documentation.py --ignore=tests/test_architecture.py
# What lower versions of libraries cannot break: pure decisions, and what kills and power cuts do to SQLite. The newest
# Python runs these too, since it brings a language and a SQLite of its own.
OURS = --ignore=tests/core --ignore=tests/ledger/test_kill.py --ignore=tests/ledger/test_io_faults.py --ignore=tests/ledger/test_power_loss.py

.DEFAULT_GOAL := help
.PHONY: help demo test environments test-lowest test-pythons test-newest package check-schedules check-airflow coverage check docs man promtool format torture mutants bench bench-pace pictures moto-pr lock clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

# Two stages of one environment: what a run needs, which is quick to install, and what development needs besides.
$(RUN): requirements.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo 'provisioner needs Python 3.11 or later: make PYTHON=python3.12 ...' >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) --require-hashes -r requirements.txt
	$(PIP) --no-deps --no-build-isolation --editable .
	@touch $@

$(READY): requirements-dev.txt $(RUN)
	$(PIP) --require-hashes -r requirements-dev.txt
	@touch $@

demo: $(RUN)  ## register configs/example.jsonl against the embedded endpoint, whose rate limit the run has to find
	@mkdir -p $(DEMO)
	$(BIN)/provisioner apply configs/example.jsonl --config configs/demo.toml --local

test: $(READY)  ## run the tests; about four minutes on two cores
	$(PYTEST)

$(LOWEST_READY): requirements-lowest.txt pyproject.toml $(READY)
	$(BIN)/python -m venv --clear build/lowest
	$(LOWEST) $(INSTALL) --require-hashes -r requirements-lowest.txt
	$(LOWEST) $(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

environments: $(LOWEST_READY)  ## install what test-lowest and test-newest need, so that they only have to run
	$(BIN)/python -m tests.packaging.pythons --newest --install

test-lowest: $(LOWEST_READY)  ## run the tests of what uses a library, with the lowest version of every dependency
	$(PYTEST:$(BIN)/python%=$(LOWEST)%) $(QUICK) $(OURS)

test-pythons: $(READY)  ## run the quick tests under every other Python from 3.11 on that this machine has
	$(BIN)/python -m tests.packaging.pythons $(PARALLEL) $(QUICK)

test-newest: $(READY)  ## run the quick tests under the newest Python that this machine has
	$(BIN)/python -m tests.packaging.pythons --newest $(PARALLEL) $(QUICK)

package: $(READY)  ## build wheel and sdist, install the wheel in an empty environment, and try both
	$(BIN)/python -m pytest -m package tests/packaging

check-schedules: $(READY)  ## check the examples of configs/schedule/ and the Containerfile with the schedulers' own tools
	$(BIN)/python -m pytest -m schedules tests/e2e/test_schedule.py

check-airflow: $(READY)  ## install Airflow, which is large, in an environment of its own, and let it parse the example
	$(PYTHON) -m venv --clear build/airflow
	build/airflow/bin/python $(INSTALL) apache-airflow
	AIRFLOW=build/airflow/bin/python $(BIN)/python -m pytest -m schedules tests/e2e/test_schedule.py -k airflow

coverage: $(READY)  ## run the tests with branch coverage and list the modules, the least covered first
	$(BIN)/coverage erase
	-$(BIN)/coverage run -m pytest $(PARALLEL)
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report --sort=cover

check: $(READY)  ## lint with ruff (all rules) and type-check with mypy (strict)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(READY)  ## build the documentation in build/docs; a broken link or a warning is an error
	$(BIN)/python -m sphinx --fail-on-warning --keep-going --nitpicky --quiet --jobs auto docs build/docs

promtool: $(BIN)/promtool  ## get promtool, which tests dashboard and alert rules, from Debian's package prometheus

# The tool alone: installing the package would start a server.
$(BIN)/promtool: | $(READY)
	@mkdir -p build/promtool
	@cd build/promtool && { apt-get download -qq prometheus 2>/dev/null || { apt-get update -qq && apt-get download -qq prometheus; }; }
	@dpkg-deb --fsys-tarfile build/promtool/prometheus_*.deb | tar -x -O ./usr/bin/promtool > $@.part
	@chmod +x $@.part && mv $@.part $@ && rm -r build/promtool

man: $(READY)  ## write a man page for each command into build/man
	$(BIN)/python docs/manual.py build/man

format: $(READY)  ## format the code, and let ruff fix what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

torture: $(READY)  ## run the long fault campaigns in full
	$(BIN)/python -m pytest -m torture -s -o faulthandler_timeout=0

mutants: $(READY)  ## break the promises on purpose: each mutant must make a test fail
	$(BIN)/python -m tests.faults.mutants

bench: $(READY)  ## measure throughput, re-runs, inventories, the ledger, start-up and pages, beside comparable clients
	$(BIN)/python -m benchmarks.throughput
	$(BIN)/python -m benchmarks.rerun
	$(BIN)/python -m benchmarks.inventory
	$(BIN)/python -m benchmarks.ledger
	$(BIN)/python -m benchmarks.startup
	$(BIN)/python -m benchmarks.fleet
	$(BIN)/python -m benchmarks.fleet.simulation
	$(BIN)/python -m benchmarks.report

bench-pace: $(READY)  ## measure the pacer beside other rate limiters, in virtual time
	$(BIN)/python -m benchmarks.pace

pictures: $(READY)  ## draw the pictures of the documentation that show a terminal
	$(BIN)/python -m tests.e2e.pictures

moto-pr: $(READY)  ## write Clean Rooms ML into a checkout of moto: make moto-pr MOTO=../moto
	@$(BIN)/python -m tests.emulator.upstream.pull_request "$(MOTO)"

lock: $(READY)  ## resolve pyproject.toml into the requirements files: names, versions and hashes
	$(LOCK) --group dev --extra zstd -o requirements-dev.txt
	$(LOCK) --group install --constraint requirements-dev.txt -o requirements.txt
	$(LOCK) --group install --extra metrics --extra postgres --extra zstd --constraint requirements-dev.txt -o requirements-image.txt
	$(LOCK) --group dev --extra zstd --resolution lowest-direct --upgrade -o requirements-lowest.txt

clean:  ## remove everything that these commands create
	rm -rf $(VENV) $(DEMO) build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
