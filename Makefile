# Everything that can be done with a checkout; `make` alone lists it. Nothing but python3 (3.11 or newer, with venv), make
# and git is needed; each target installs what else it needs into .venv.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
WHEELS := $(VENV)/demo-upstream
# A wait that ran out says first of all that the machine was busy: such a test, and no other, is tried once more.
PATIENT := --reruns 1 --only-rerun 'in vain' --only-rerun TimeoutExpired --only-rerun TimeoutError
# Programs are started hundreds of times: they keep what they have compiled, whatever the environment says.
export PYTHONDONTWRITEBYTECODE :=
# Tests wait for other programs a third of the time.
PROCESSES := $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n < 3 ? n + 1 : 4 )))
SHELL := /bin/bash
.DEFAULT_GOAL := help

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 16

.PHONY: demo
demo: $(VENV)/installed $(WHEELS)/done ## Show the main job: a sync fires four events and three subscribers print theirs
	@$(BIN)/pulpit demo --files $(WHEELS) --listen-program ./playpen/listen.py

.PHONY: demo-pulp3
demo-pulp3: $(VENV)/installed-test ## Show the syncs and publishes of a Pulp 3 told as events; installs one into .venv
	@tests/install-packages postgresql
	@PYTHONPATH=tests $(BIN)/python playpen/demo_pulp3.py

.PHONY: test
test: packages $(VENV)/installed-test ## Install what the tests need and run them all (ARGS=... goes to pytest)
	@$(BIN)/python -m pytest --numprocesses $(PROCESSES) --dist loadfile --no-loadscope-reorder $(PATIENT) $(ARGS) || { \
	  [ $$? = 1 ] && echo "make: what failed is run once more, alone; what fails again is a fault" && \
	  timeout 600 $(BIN)/python -m pytest --last-failed --last-failed-no-failures none --verbose $(ARGS); }

.PHONY: serve
serve: $(VENV)/installed ## Run the server (ARGS=... goes to `pulpit serve`)
	@$(BIN)/pulpit serve $(ARGS)

.PHONY: bench
bench: packages $(VENV)/installed-test ## Measure everything that is claimed, against named peers in the same run
	@$(BIN)/python bench/run.py $(ARGS)

.PHONY: dist
dist: $(VENV)/installed-test ## Build the wheel and the sdist into dist/
	@$(BIN)/python -m hatchling build

.PHONY: packages
packages:
	@tests/install-packages

.PHONY: lint
lint: $(VENV)/installed-test ## Check style, types and the import contract, and count what tells how easy the source is to read
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	@$(BIN)/python tests/architecture/measure.py

.PHONY: docs
docs: $(VENV)/installed-test ## Write the parts of docs/ that are made from the code
	$(BIN)/python docs/generate.py

.PHONY: clean
clean: ## Remove the virtual environment and caches
	rm -rf $(VENV) .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(VENV)/installed: pyproject.toml
	@test -d $(VENV) || $(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "make: $(PYTHON) needs its venv module (Debian: apt install python3-venv)" >&2; exit 1; }
	@$(BIN)/python -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { rm -rf $(VENV); echo "make: Python 3.11 or newer is needed; name one by PYTHON=..." >&2; exit 1; }
	@echo "installing Pulpit into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e .
	@touch $@

$(VENV)/installed-test: $(VENV)/installed
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[postgresql,test,lint]'
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[amqp10]' 2>$(VENV)/amqp10.log || echo "AMQP 1.0 cannot be built here (gcc and Python's headers are needed, see $(VENV)/amqp10.log); its tests will be skipped"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps ansible-rulebook || echo "Event-Driven Ansible cannot be had here; the test of its recipe will be skipped"
	@touch $@

$(WHEELS)/done: $(VENV)/installed
	@echo "fetching wheels for the demo's upstream"
	@$(BIN)/python -m pip download --quiet --disable-pip-version-check --no-deps --dest $(WHEELS) click pamqp pika rich platformdirs
	@touch $@
