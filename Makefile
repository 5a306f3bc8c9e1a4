# make report   the main job: real server, executed report         (PARAMS, RUN_DIR)
# make test     every test
# make lab      JupyterLab on the notebooks
# Each sets itself up: Python 3.12 and the packages pinned in constraints/.

PYTHON ?= $(shell command -v python3.12 || command -v python3)
RUN_DIR ?= runs/demo
PARAMS ?=
KIT := .venv
SERVER := .venv-server
NOTEBOOK := notebooks/profile_score_api.ipynb

export SCOREPROF_SERVER_PYTHON ?= $(CURDIR)/$(SERVER)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1

.PHONY: report test truth lab setup clean help

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

report: setup
	@$(KIT)/bin/python -m scoreprof_nb $(NOTEBOOK) $(RUN_DIR)/out.ipynb -p run_dir $(RUN_DIR) $(PARAMS)

test: setup
	@$(KIT)/bin/python -m ruff check .
	@$(KIT)/bin/python -m ruff format --check .
	@$(KIT)/bin/python -m mypy
	@$(KIT)/bin/python -m pytest $(PYTEST_ARGS)

lab: setup
	@$(KIT)/bin/jupyter lab --notebook-dir=.

setup: $(KIT)/ready $(SERVER)/ready

$(KIT)/ready: constraints/kit.txt pyproject.toml
	@echo "setting up $(KIT): the kit (once, one to two minutes)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 12))' \
	  || { echo "Python 3.12 or newer is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv $(KIT)
	@$(KIT)/bin/python -m pip install --constraint constraints/kit.txt --editable '.[test]'
	@touch $@

$(SERVER)/ready: constraints/server.txt
	@echo "setting up $(SERVER): sglang-jax for the CPU (once, about a minute)"
	@$(PYTHON) -m venv $(SERVER)
	@$(SERVER)/bin/python -m pip install --requirement constraints/server.txt
	@touch $@

clean:
	rm -rf $(KIT) $(SERVER)

# make truth    puts known costs into the real server and prints what is reported of them (ten minutes)
truth: setup
	@$(KIT)/bin/python tests/truth/truth.py
