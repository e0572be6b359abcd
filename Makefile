# make setup · make run · make check · make test · make lint · make bench · make lock · make sbom · make ends · make clean
#
# Settings can be given to `make run` on its command line or in the environment:
#   make run VIDEO_ROOT=/my/videos DATASET_ROOT=data/mine      make run ARGS=--fresh

PYTHON ?= python3
ARGS ?=
BIN := .venv/bin
READY := .venv/.ready

# Variables from the command line, apart from our own two, become settings; a name that is none is an error that names
# the right one. Values travel through the environment, so that spaces and quotes in them survive.
GIVEN := $(foreach name,$(.VARIABLES),$(if $(findstring command line,$(origin $(name))),$(name)))
SETTINGS := $(foreach name,$(filter-out PYTHON ARGS,$(GIVEN)),--set "$(name)=$$$(name)")

.PHONY: setup run check test lint bench lock sbom ends clean

setup: $(READY)

$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Error: Python 3.11 or newer is needed: make setup PYTHON=python3.11")'
	@echo "setup 1/3  an environment in .venv with $$($(PYTHON) --version): some seconds"
	@$(PYTHON) -m venv .venv
	@echo "setup 2/3  $$(grep -c == requirements.lock) pinned packages: 480 MB to download (several GB where PyTorch comes with CUDA), 2 GB on disk, one to two minutes"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@echo "setup 3/3  leitstand itself, in .venv/bin: some seconds"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

# `exec` leaves no shell in between: Ctrl-C and SIGTERM reach the program, and make waits for it.
run: setup
	@exec $(BIN)/leitstand up --demo $(SETTINGS) $(ARGS)

# For every commit, within two minutes: linters, types, and the tests that start no process of their own.
check: lint
	$(BIN)/pytest -n 2 -m "not slow" -q $(ARGS)

# Everything, with the thirty slowest tests at the end. Three workers on two cores: tests often wait for processes.
# What failed beside the others runs once more, alone: a test that fails twice is broken; one that passes alone has
# lost a race for the machine, and the first report has its name and its output.
test: lint
	$(BIN)/pytest -n 3 --durations=30 $(ARGS) || { [ $$? -eq 1 ] && \
	  echo "Once more, alone: what failed beside the others." && \
	  $(BIN)/pytest --last-failed --last-failed-no-failures=none --maxfail=5 $(ARGS); }

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: setup
	OMP_NUM_THREADS=1 $(BIN)/torchrun --standalone --nproc-per-node=2 -m bench.steps.overhead $(ARGS)

# Pins what is installed now; see the head of requirements.lock. The second file has the same pins, with the hashes of all
# files that the package index has of each version, for every system.
lock: setup
	@$(BIN)/python deploy/lock.py > requirements.lock.new && mv requirements.lock.new requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@$(BIN)/uv pip compile requirements.lock --generate-hashes --no-deps --no-header --no-annotate --universal \
	  --python-version 3.11 --quiet --output-file requirements.hashed.lock > /dev/null
	@touch $(READY)

# Which packages of others a release needs: dist/leitstand-<version>.cdx.json, and docs/third-party.md.
sbom: setup
	@$(BIN)/python deploy/bill_of_materials.py

# A release at one end of the supported versions, in an environment of its own; see the head of the script.
ends:
	@python3 deploy/ends.py --python $(PYTHON) $(ARGS)

# Only what can be made again in seconds: no environment, no data, no run.
clean:
	rm -rf build *.egg-info .mypy_cache .ruff_cache .pytest_cache .coverage
	find api bench ddp deploy examples service tests -name __pycache__ -type d -prune -exec rm -rf {} +
