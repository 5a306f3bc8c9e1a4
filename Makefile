# make report   the main job: real server, executed report         (PARAMS, RUN_DIR)
# make compare  two sides of runs that are there                     (CONTROL, TEST, PARAMS, COMPARE_DIR)
# make ab       demo: overlap scheduling on against off, short        (PARAMS, COMPARE_DIR)
# make image    the profiling image of a branch, tag or commit      (IMAGE, BRANCH, REPO, BASELINE, SGLANG_EXTRA...)
# make job      the manifests of a run, for kubectl apply -f -        (VARIANT, SETTINGS, also parameter=value)
# make image-check  builds the image without Docker and runs the main job in it (root, 13 minutes)
# make test     every test
# make lab      JupyterLab on the notebooks
# Each sets itself up: Python 3.12 and the packages pinned in constraints/.

PYTHON ?= $(shell command -v python3.12 || command -v python3)
RUN_DIR ?= runs/demo
PARAMS ?=
KIT := .venv
SERVER := .venv-server
NOTEBOOK := notebooks/profile_score_api.ipynb
COMPARE := notebooks/compare_runs.ipynb
compare: COMPARE_DIR ?= comparisons/latest
ab: COMPARE_DIR ?= comparisons/demo

export SCOREPROF_SERVER_PYTHON ?= $(CURDIR)/$(SERVER)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1

.PHONY: report compare ab image image-check job test truth lab setup clean help

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

report: setup
	@$(KIT)/bin/python -m scoreprof_nb $(NOTEBOOK) $(RUN_DIR)/out.ipynb -p run_dir $(RUN_DIR) $(PARAMS)

compare: setup
	@test -n "$(CONTROL)" -a -n "$(TEST)" || { echo "make compare CONTROL=runs/a TEST=runs/b"; exit 42; }
	@$(KIT)/bin/python -m scoreprof_nb $(COMPARE) $(COMPARE_DIR)/out.ipynb -p compare_dir $(COMPARE_DIR) \
	  -p control '$(CONTROL)' -p test '$(TEST)' $(PARAMS)

ab: setup
	@$(KIT)/bin/python -m scoreprof_nb $(COMPARE) $(COMPARE_DIR)/out.ipynb -p compare_dir $(COMPARE_DIR) \
	  -p pairs 5 -p phases single,small -p phase_s 8 -p warmup_s 30 \
	  -p control_label overlap -p test_label 'no overlap' -p test_server_flags ' --disable-overlap-schedule' $(PARAMS)

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

# make truth    puts known costs into the real server and prints what is reported of them (a quarter of an hour)
truth: setup
	@$(KIT)/bin/python tests/truth/truth.py

REPO ?= https://github.com/sgl-project/sglang-jax.git
BRANCH ?= main
BASELINE ?=
IMAGE ?= score-profiler:$(subst /,-,$(BRANCH))
# Of a branch, else of a tag; of an annotated tag what it stands on, its last line. A whole commit is itself.
commit_of = $(or \
  $(shell echo '$(1)' | grep -Ex '[0-9a-f]{40}'), \
  $(shell git ls-remote $(REPO) 'refs/heads/$(1)' | cut -f1), \
  $(shell git ls-remote $(REPO) 'refs/tags/$(1)' 'refs/tags/$(1)^{}' | tail -1 | cut -f1), \
  $(error $(REPO) has no branch or tag $(1); a commit is given by all of its 40 digits))
# Arguments of the Dockerfile that are passed on when they are given, empty ones too.
PASSED_ON := BASE_IMAGE SGLANG_EXTRA SERVER_CONSTRAINTS
given = $(filter-out undefined,$(origin $(1)))

# A branch that moved is a new commit, and so a new layer.
image:
	docker build --file docker/Dockerfile.profiling --tag $(IMAGE) \
	  --build-arg REPO_URL=$(REPO) --build-arg BRANCH_NAME=$(BRANCH) --build-arg GIT_COMMIT=$(call commit_of,$(BRANCH)) \
	  $(if $(BASELINE),--build-arg BASELINE_BRANCH=$(BASELINE) --build-arg BASELINE_COMMIT=$(call commit_of,$(BASELINE))) \
	  $(foreach name,$(PASSED_ON),$(if $(call given,$(name)),--build-arg $(name)=$($(name)))) \
	  --build-arg KIT_COMMIT=$(shell git rev-parse HEAD) .

image-check:
	@PYTHON=$(PYTHON) bash tests/image/check.sh

job:
	@bash k8s/render.sh $(VARIANT) $(SETTINGS)
