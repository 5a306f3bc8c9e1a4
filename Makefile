# make report       profile the real server and write a report         (PARAMS, RUN_DIR)
# make compare      compare existing runs                              (CONTROL, TEST, PARAMS, COMPARE_DIR)
# make ab           demo of a comparison: overlap scheduling on or off (PARAMS, COMPARE_DIR)
# make noise        compare the demo server with itself: noise between launches, bias, pairs needed (PARAMS, COMPARE_DIR)
# make power        simulate comparisons with known changes and print how often each verdict is right
# make load         demo of an open loop: latency over the rate         (PARAMS, RUN_DIR)
# make what-if      put known delays into one component after another of the demo, to see what they cost (PARAMS, RUN_DIR)
# make explore      what a py-spy recording of your own shows         (RECORDING, PARAMS, EXPLORE_DIR)
# make lab          open the notebooks in JupyterLab
# make image        build the profiling image of a branch, tag or commit
#                   (IMAGE, BRANCH, REPO, BASELINE, SGLANG_EXTRA, SERVER_CONSTRAINTS, BASE_IMAGE; for a private
#                   repository SSH=default or NETRC=~/.netrc)
# make job          print the Kubernetes manifests of a run, for kubectl apply -f -  (VARIANT, SETTINGS)
# make start        check image, buckets and model without a TPU, then start that run (VARIANT, SETTINGS)
# make table        one table of the runs in a folder, such as a matrix (RUNS, COMPARE_DIR)
# make test         what must pass before a commit: linters, types, unit tests, one run of the real server
# make test-all     the tests that take longer: property tests with more examples, faults, comparisons, the
#                   Kubernetes Job, known costs; prints the coverage of the last make test
# make coverage     run the unit tests and print the coverage of each module
# make truth        add known costs to the real server and print what the report attributes to them (10 minutes)
# make bench        measure what the kit itself costs, and write docs/performance.md (ONLY=name,name; 25 minutes;
#                   LONG_MINUTES, OBSERVER_MINUTES: of sections long and observer)
# make interval-coverage  how often the intervals of simulated phases hold the truth, and how wide they are (10 minutes)
# make faults       break real runs at random moments (signals, disks, ports, answers, memory), and check what is
#                   left of each  (N, SEED, FROM to go on with, AT_ONCE; a minute each)
# make reliability  write docs/reliability.md from what make faults recorded     (RECORD)
# make fuzz         read generated damage with every importer and reader         (CASES)
# make image-check  build the image without Docker and run a profile in it (as root)
# make audit        ask PyPI for known vulnerabilities of all pinned packages
# make setup        only create the two virtual environments
# make clean        remove them
# Every target first installs what it needs: the packages pinned in constraints/, for Python 3.12.

PYTHON ?= $(shell command -v python3.12 || command -v python3)
RUN_DIR ?= runs/demo
PARAMS ?=
KIT := .venv
SERVER := .venv-server
UV_ENV := build/uv
CREATE = $(UV_ENV)/bin/python constraints/create_environment.py
PARALLEL := --numprocesses=2 --dist=worksteal
COVERAGE := build/coverage
AUDITED := kit uv server-main server
PIP_AUDIT := pip-audit==2.10.1
NOTEBOOK := notebooks/profile_score_api.ipynb
COMPARE := notebooks/compare_runs.ipynb
EXPLORE := notebooks/explore_recording.ipynb
EXPLORE_DIR ?= explorations/latest
compare: COMPARE_DIR ?= comparisons/latest
table: COMPARE_DIR ?= comparisons/table
ab: COMPARE_DIR ?= comparisons/demo
noise: COMPARE_DIR ?= comparisons/noise

export SCOREPROF_SERVER_PYTHON ?= $(CURDIR)/$(SERVER)/bin/python
export PIP_DISABLE_PIP_VERSION_CHECK := 1
export PIP_QUIET := 1
# Each test starts processes that import JAX or pandas: their byte code must be kept.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: audit report load what-if compare ab noise power explore lab image image-check job start table test test-all lint unit coverage truth bench faults reliability fuzz interval-coverage setup clean help

help:
	@sed -n 's/^# //p' $(firstword $(MAKEFILE_LIST))

report: setup
	@$(KIT)/bin/python -m scoreprof_nb $(NOTEBOOK) $(RUN_DIR)/out.ipynb -p run_dir $(RUN_DIR) $(PARAMS)

load: RUN_DIR = runs/load
load: setup
	@$(KIT)/bin/python -m scoreprof_nb $(NOTEBOOK) $(RUN_DIR)/out.ipynb -p run_dir $(RUN_DIR) \
	  -p phases single -p phase_s 20 -p concurrency 1,4 -p rates auto -p slo_ms 100 $(PARAMS)

what-if: RUN_DIR = runs/what-if
what-if: setup
	@$(KIT)/bin/python -m scoreprof_nb $(NOTEBOOK) $(RUN_DIR)/out.ipynb -p run_dir $(RUN_DIR) \
	  -p phases single -p phase_s 12 -p device_trace_s 0 -p what_if_ms 4 -p what_if_s 180 $(PARAMS)

compare: setup
	@test -n "$(CONTROL)" -a -n "$(TEST)" || { echo "usage: make compare CONTROL=runs/a TEST=runs/b"; exit 42; }
	@$(KIT)/bin/python -m scoreprof_nb $(COMPARE) $(COMPARE_DIR)/out.ipynb -p compare_dir $(COMPARE_DIR) \
	  -p control '$(CONTROL)' -p test '$(TEST)' $(PARAMS)

table: setup
	@test -n "$(RUNS)" || { echo "usage: make table RUNS=runs/a-matrix"; exit 42; }
	@$(KIT)/bin/python -m scoreprof_nb $(COMPARE) $(COMPARE_DIR)/out.ipynb -p compare_dir $(COMPARE_DIR) \
	  -p history '$(RUNS)' $(PARAMS)

ab: setup
	@$(KIT)/bin/python -m scoreprof_nb $(COMPARE) $(COMPARE_DIR)/out.ipynb -p compare_dir $(COMPARE_DIR) \
	  -p pairs_at_most 6 -p phases single,small -p phase_s 8 -p warmup_s 30 \
	  -p control_label overlap -p test_label 'no overlap' -p test_server_flags ' --disable-overlap-schedule' $(PARAMS)

explore: setup
	@test -n "$(RECORDING)" || { echo "usage: make explore RECORDING=recording.speedscope.json"; exit 42; }
	@$(KIT)/bin/python -m scoreprof_nb $(EXPLORE) $(EXPLORE_DIR)/out.ipynb -p output_dir $(EXPLORE_DIR) \
	  -p recording '$(RECORDING)' $(PARAMS)

noise: setup
	@$(KIT)/bin/python -m scoreprof_nb $(COMPARE) $(COMPARE_DIR)/out.ipynb -p compare_dir $(COMPARE_DIR) \
	  -p pairs_at_most 6 -p control_label same -p test_label 'same again' $(PARAMS)

power: setup
	@$(KIT)/bin/python -m tests.truth.power

test: lint unit
	@$(KIT)/bin/python -m pytest tests/integration -m 'not slow' $(PYTEST_ARGS)

test-all: setup
	@$(KIT)/bin/python -m pytest tests/unit -m hypothesis --hypothesis-profile=full $(PARALLEL) $(PYTEST_ARGS)
	@FUZZ_CASES=10000 $(KIT)/bin/python -m pytest tests/fuzz $(PARALLEL) $(PYTEST_ARGS)
	@$(KIT)/bin/python -m pytest tests/integration -m slow $(PYTEST_ARGS)
	@test ! -e $(COVERAGE) || { printf 'coverage of the unit tests in per cent: '; $(KIT)/bin/coverage report --format=total; }

lint: setup
	@$(KIT)/bin/python -m ruff check .
	@$(KIT)/bin/python -m ruff format --check .
	@$(KIT)/bin/python -m mypy
	@$(KIT)/bin/python -m bandit --quiet --configfile pyproject.toml --recursive scoreprof_nb k8s docker constraints

# Fails also for a package that cannot be looked up: a check that could not run has not passed.
audit: setup
	@for pins in $(AUDITED); do echo "constraints/$$pins.txt" && $(UV_ENV)/bin/uv tool run $(PIP_AUDIT) \
	  --requirement constraints/$$pins.txt --no-deps --disable-pip --strict --progress-spinner off || exit 1; done

unit: setup
	@$(KIT)/bin/python -m pytest tests/unit $(PARALLEL) --cov --cov-report= $(PYTEST_ARGS)

coverage: unit
	@$(KIT)/bin/coverage report --skip-covered --show-missing

lab: setup
	@$(KIT)/bin/jupyter lab --notebook-dir=.

# Both environments are created at the same time.
setup:
	@$(MAKE) --no-print-directory --jobs=2 $(KIT)/ready $(SERVER)/ready

$(KIT)/ready: constraints/kit.txt pyproject.toml | $(UV_ENV)/ready
	@echo "creating $(KIT): the kit and its tools"
	@$(CREATE) $(KIT) --constraint constraints/kit.txt --editable '.[test]'
	@touch $@

$(SERVER)/ready: constraints/server.txt | $(UV_ENV)/ready
	@echo "creating $(SERVER): sglang-jax for the CPU"
	@$(CREATE) $(SERVER) --requirement constraints/server.txt
	@touch $@

# uv installs in seconds what takes pip minutes. Where it cannot be had, pip is used.
$(UV_ENV)/ready: constraints/uv.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] < (3, 12))' \
	  || { echo "Python 3.12 or newer is needed: make PYTHON=/path/to/python3.12"; exit 1; }
	@$(PYTHON) -m venv --clear $(UV_ENV)
	@$(UV_ENV)/bin/python -m pip install --no-compile --requirement constraints/uv.txt \
	  || echo "no uv: installing with pip, which takes minutes"
	@touch $@

clean:
	rm -rf $(KIT) $(SERVER) $(UV_ENV)

truth: setup
	@$(KIT)/bin/python -m tests.truth.truth

N ?= 10
SEED ?= 0
FROM ?= 0
AT_ONCE ?= 1
RECORD ?= build/faults.jsonl
faults: setup
	@$(KIT)/bin/python -m tests.faults.faults --number $(N) --seed $(SEED) --from $(FROM) --at-once $(AT_ONCE) --record $(RECORD)

reliability: setup
	@$(KIT)/bin/python -m tests.faults.page $(RECORD)

CASES ?= 1000000
fuzz: setup
	@FUZZ_CASES=$(CASES) $(KIT)/bin/python -m pytest tests/fuzz --timeout=0 $(PARALLEL) $(PYTEST_ARGS)

bench: setup
	@$(KIT)/bin/python -m tests.bench.bench $(if $(ONLY),--only $(ONLY))

interval-coverage: setup
	@$(KIT)/bin/python -m tests.truth.interval_coverage

REPO ?= https://github.com/sgl-project/sglang-jax.git
BRANCH ?= main
BASELINE ?=
IMAGE ?= score-profiler:$(subst /,-,$(BRANCH))
# The commit of a branch, else of a tag. git lists an annotated tag's commit last. A full commit id is itself.
commit_of = $(or \
  $(shell echo '$(1)' | grep -Ex '[0-9a-f]{40}'), \
  $(shell git ls-remote $(REPO) 'refs/heads/$(1)' | cut -f1), \
  $(shell git ls-remote $(REPO) 'refs/tags/$(1)' 'refs/tags/$(1)^{}' | tail -1 | cut -f1), \
  $(error $(REPO) has no branch or tag $(1); a commit is given by all of its 40 digits))
comma := ,
# Build arguments that are passed on if they are set, even to an empty value.
PASSED_ON := BASE_IMAGE SGLANG_EXTRA SERVER_CONSTRAINTS
given = $(filter-out undefined,$(origin $(1)))

# The commit is a build argument, so that a branch that has moved on makes a new layer.
image:
	DOCKER_BUILDKIT=1 docker build --platform linux/amd64 --file docker/Dockerfile.profiling --tag $(IMAGE) \
	  --build-arg REPO_URL=$(REPO) --build-arg BRANCH_NAME=$(BRANCH) --build-arg GIT_COMMIT=$(call commit_of,$(BRANCH)) \
	  $(if $(BASELINE),--build-arg BASELINE_BRANCH=$(BASELINE) --build-arg BASELINE_COMMIT=$(call commit_of,$(BASELINE))) \
	  $(if $(SSH),--ssh $(SSH)) $(if $(NETRC),--secret id=netrc$(comma)src=$(NETRC)) \
	  $(foreach name,$(PASSED_ON),$(if $(call given,$(name)),--build-arg $(name)=$($(name)))) \
	  --build-arg KIT_COMMIT=$(shell git rev-parse HEAD) .

image-check: setup
	@PYTHON=$(PYTHON) bash tests/image/check.sh

job:
	@bash k8s/render.sh $(VARIANT) $(SETTINGS)

start:
	@bash k8s/start.sh $(VARIANT) $(SETTINGS)
