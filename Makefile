# Everything needs only make and Python 3.11 or newer: whatever a target uses is installed first, into .venv.

# Tried in this order; the first that works is used. `make install PYTHON=/path/to/python` decides otherwise.
PYTHON := python3.11 python3.12 python3.13 python3
# Where quickstart writes; by default a new folder in runs/.
OUT :=
# Passed on to pytest, as in `make test ARGS="-k pareto"`.
ARGS :=

TORCH = $(shell grep '^torch==' requirements.lock)
BIN := .venv/bin
PIP := python -m pip --disable-pip-version-check --quiet
INSTALLED := .venv/.installed
CREATE_VENV = for python in $(PYTHON); do \
	    $$python -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || continue; \
	    exec $$python -m venv $(1); \
	done; \
	echo "nas needs Python 3.11 or newer with its venv module: install it, or name it with PYTHON=/path/to/python." >&2; \
	exit 1

.PHONY: help install quickstart test lint check bench lock image clean
.NOTPARALLEL:

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-11s %s\n", $$1, $$2 }' Makefile

install: $(INSTALLED) ## Set up .venv: locked dependencies and nas itself
	@echo "Ready: $(BIN)/nas (nas doctor looks at this machine)"

# torch goes first and alone: exact, so that an index with a CPU build gives that one; what follows keeps it.
$(INSTALLED): pyproject.toml requirements.lock
	@echo "Setting up .venv (takes a few minutes the first time)"
	@$(call CREATE_VENV,.venv)
	@$(BIN)/$(PIP) install $(TORCH)
	@$(BIN)/$(PIP) install --requirement requirements.lock
	@$(BIN)/$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

quickstart: $(INSTALLED) ## Run a small search on the CPU (OUT=folder)
	$(BIN)/nas search configs/quickstart.yaml $(if $(OUT),--out "$(OUT)")

# One thread unless you say otherwise: the tests' models are tiny, and on a busy machine threads wait for each other.
# So up to four tests run at once instead, in processes of 2 GB at most. One after the other: `make test ARGS="-n 0"`.
test: export OMP_NUM_THREADS ?= 1
test: $(INSTALLED) ## Run the tests (ARGS="-k pareto")
	$(BIN)/python -m pytest -n logical --maxprocesses 4 --dist worksteal $(ARGS)

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy --strict

check: lint test ## Everything that must pass: lint, format, types, tests

bench: $(INSTALLED) ## Measure a candidate's cost, the agreement of latencies and the memory of a search
	$(BIN)/python benchmarks/candidate_cost.py
	$(BIN)/python benchmarks/latency_agreement.py
	$(BIN)/python benchmarks/search_memory.py

# Resolved in an environment of its own, with torch as pinned so far (edit that line to move it). The pins hold on any
# platform: local version suffixes are cut, torch's CUDA libraries left to torch, and xgboost's marked as for Linux.
lock: ## Write requirements.lock afresh from pyproject.toml
	@rm -rf build/lock
	@$(call CREATE_VENV,build/lock)
	@build/lock/bin/$(PIP) install $(TORCH)
	@build/lock/bin/$(PIP) install --editable '.[dev]'
	@{ grep '^#' requirements.lock; \
	   build/lock/bin/$(PIP) freeze --all --exclude pip --exclude-editable \
	   | sed -e 's/+.*//' -e '/^nvidia-nccl-cu12==/s/$$/; sys_platform == "linux"/' \
	   | grep -Ev '^(cuda-|triton|nvidia-)[^ ]*$$'; } > build/lock/requirements.lock
	@mv build/lock/requirements.lock requirements.lock
	@rm -rf build/lock

image: ## Build the container image and try it (ARGS="--short")
	scripts/check_image.sh $(ARGS)

clean: ## Remove .venv, builds and caches; runs and exports stay
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
