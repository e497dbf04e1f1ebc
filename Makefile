# `make demo` and `make test` set up what they need in .venv, each no more than that; see `make help`.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
READY := $(VENV)/.ready
# Each test process may need several gigabytes. In the order of the folders, so that no long file is left to the end.
PYTEST := $(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder

export TF_CPP_MIN_LOG_LEVEL ?= 2

.PHONY: help demo test test-slow docs lint format wheels clean

help:
	@echo "make demo      fine-tune on synthetic pictures in minutes; results in runs/demo"
	@echo "make test      all tests but the slow ones"
	@echo "make test-slow the slow ones"
	@echo "make docs      build the documentation into build/site"
	@echo "make wheels    build the sdist and a wheel, and try them with every TensorFlow: an hour"
	@echo "make lint      check style and formatting; make format mends them"
	@echo "make clean     remove what these commands made, except runs/"
	@echo "PYTHON=python3.12 make ... builds $(VENV) with another Python (3.11 or newer)"

demo: $(INSTALLED)
	$(BIN)/python examples/demo.py

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) -m slow

# The variable keeps its theme from announcing a successor at each build.
docs: $(READY)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

wheels:
	$(PYTHON) custom_ops/wheels/build_wheels.py
	$(PYTHON) custom_ops/wheels/check_wheels.py

# The package and what it cannot do without.
$(INSTALLED): pyproject.toml setup.py $(wildcard custom_ops/roi_align/*)
	@command -v $(PYTHON) > /dev/null || \
	  { echo "$(PYTHON) not found: install Python 3.11 or newer, or set PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "$$($(PYTHON) --version) is too old: set PYTHON to Python 3.11 or newer" >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	  { echo "$(PYTHON) lacks venv: install it (Debian, Ubuntu: apt-get install python3-venv)" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)
	@echo "installing the package and its requirements into $(VENV): a minute or two of downloads"
	$(BIN)/python -m pip install --quiet --no-compile --editable .
	@touch $@

# The name, not the folder: the package is installed, and not built once more.
$(READY): $(INSTALLED)
	$(BIN)/python -m pip install --quiet --no-compile "maskrcnn-keras[dev]"
	@touch $@

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
