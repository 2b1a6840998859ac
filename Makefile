# `make demo` shows the emitted project at work, `make test` proves it; CPython 3.11+ is enough.

PYTHON ?= python3
PROJECT := {{cookiecutter.project_slug}}
BIN := $(CURDIR)/.venv/bin
LOCK := $(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes $(UPGRADE)

IN_PROJECT = cd "$(PROJECT)" && env -u DATABASE_URL $(BIN)/python -m pytest -o cache_dir=$(CURDIR)/.cache/pytest-project
# Layers that need Docker, a browser or minutes.
LONG := project or containers or supervisor or demo or browser or benchmark

# Tests wait for databases, processes and clocks: hence more workers than cores.
#
# Caches stay out of the template's folder: everything that lies there is baked into projects. Bytecode
# is written whatever the shell says: elsewhere there is none, and each process would compile what it uses.
unexport PYTHONDONTWRITEBYTECODE
check quick slow template faults chaos: export PYTHONPYCACHEPREFIX := $(CURDIR)/.cache/pycache
check quick slow template: export RUFF_CACHE_DIR := $(CURDIR)/.cache/ruff
check quick slow template: export MYPY_CACHE_DIR := $(CURDIR)/.cache/mypy
check quick slow template: export HYPOTHESIS_STORAGE_DIRECTORY := $(CURDIR)/.cache/hypothesis

.PHONY: help demo stop test test-all rest check quick slow template faults chaos bench picture lock clean
.NOTPARALLEL:

help:  ## list these commands
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/make \1|\2/p' Makefile | while IFS='|' read -r c t; do printf '%-15s %s\n' "$$c" "$$t"; done

demo:  ## bake a project, start it under supervisor, and wait until a job has run
	@$(PYTHON) tools/demo.py

stop:  ## stop what `make demo` started
	@$(PYTHON) tools/demo.py stop

test: check quick  ## lint, types and quick tests: a few minutes, no Docker
	@echo "== Not run: slow tests, PostgreSQL, MariaDB, containers, browser, faults. \`make test-all\` runs them (half an hour)."

test-all: test rest  ## run every test there is; needs Docker, and skips what else is missing

rest: slow template faults

check: .venv/installed  ## lint and type-check the template's own code and the emitted project
	@echo "== Lint and types: template"
	@$(BIN)/ruff check --quiet benchmarks hooks tests tools
	@$(BIN)/ruff format --quiet --check benchmarks hooks tests tools
	@$(BIN)/mypy && MYPYPATH=benchmarks/programs $(BIN)/mypy benchmarks/programs/*.py
	@echo "== Lint and types: emitted project"
	@cd "$(PROJECT)" && $(BIN)/ruff check --quiet . && $(BIN)/ruff format --quiet --check . && $(BIN)/mypy . && $(BIN)/lint-imports --no-cache

quick: .venv/installed  ## the quick tests: the emitted project in place, on SQLite, and how it is baked
	@echo "== Quick tests of the emitted project"
	@$(IN_PROJECT) -n 4 -m "not slow"
	@echo "== Quick tests of the template"
	@$(BIN)/python -m pytest -n 3 --ignore=tests/faults -m "not ($(LONG))"

# In another zone than the quick ones, as in the containers' tests.
slow: .venv/installed  ## the slow tests of the emitted project, on SQLite
	@echo "== Slow tests of the emitted project"
	@TIME_ZONE=Pacific/Auckland && export TIME_ZONE && $(IN_PROJECT) -n 4 -m slow

template: .venv/installed  ## the long tests of the template: baked projects, servers, containers, browser
	@echo "== Long tests of the template"
	@$(BIN)/python -m pytest -n 3 --dist loadfile --ignore=tests/faults -m "$(LONG)"

faults: .venv/installed  ## kill, freeze and cut off schedulers in every way, several at a time
	@echo "== Tests of the schedulers under faults"
	@$(BIN)/python -m pytest -n 6 tests/faults

chaos: .venv/installed  ## a random mix of faults and a report; DATABASE=mariadb MINUTES=5 RUNS=30000 SEED=1
	@$(BIN)/python tools/chaos.py --database "$(DATABASE)" --minutes "$(MINUTES)" --runs "$(RUNS)" --seed "$(SEED)"

bench: .venv/installed  ## measure beside peers; DATABASE=sqlite SIZE=full ONLY=burst,idle CONTENDERS=ours REPEATS=3
	@$(BIN)/python benchmarks/bench.py --database "$(DATABASE)" --size "$(SIZE)" --only "$(ONLY)" \
		--contenders "$(CONTENDERS)" --repeats "$(REPEATS)" $(if $(PUBLISH),--publish)

picture: .venv/installed  ## take the picture at the top of the README again; needs Chromium
	@$(BIN)/python tools/picture.py

lock: .venv/installed  ## pin all requirements again; UPGRADE=--upgrade takes the newest versions
	cd "$(PROJECT)" && for name in base dev postgresql mariadb; do \
		$(LOCK) requirements/$$name.in -o requirements/$$name.txt || exit 1; done
	$(LOCK) tools/cookiecutter.in -o tools/cookiecutter.txt
	$(LOCK) requirements.in -o requirements.txt
	for name in 0.6 0.7; do \
		$(LOCK) tests/peers/requirements-$$name.in -o tests/peers/requirements-$$name.txt || exit 1; done
	for file in benchmarks/requirements/*.in; do $(LOCK) $$file -o $${file%.in}.txt || exit 1; done

clean: stop  ## stop the demo and remove all that these commands made
	rm -rf .cache .venv build

# The marker is written last, so that an interrupted installation starts afresh.
.venv/installed: requirements.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("Python 3.11 or newer is needed: make PYTHON=python3.13 ...")'
	@echo "== Installing the toolbox into .venv (a minute or so)"
	@$(PYTHON) -m venv --clear .venv
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements.txt
	@touch $@
