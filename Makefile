# Needs make and one Python from 3.10 to 3.12; everything else goes into .venv.
#   make demo   upscale three bad photos with the shipped weights (seconds)
#   make demo-train   train both stages on a few real photos and compare (about 7 minutes on 2 cores)
#   make test   quick tests        make test-slow   the slow ones
#   make lint   style, types, import direction
#   make schema options/schema, docs/options.md and the first lines of the option files, from the typed options
#   make bench  measurements
#   make models PHOTOS=... SETS=...   trains, measures and packs the shipped weights (hours, resumable)

VENV := .venv
PY := $(VENV)/bin/python
STAMP := $(VENV)/.installed
# the first Python that really starts: a name on the PATH may be a mere placeholder
FIND_PYTHON := for p in python3.11 python3.12 python3.10 python3 python; do \
	$$p -c 'import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null \
	&& echo $$p && exit; done

.PHONY: install demo demo-train test test-slow lint schema bench models clean
.DELETE_ON_ERROR:

install: $(STAMP)

# BasicSR's source distribution names torch as a build requirement: an isolated build would fetch torch a second time,
# so torch comes first and the build uses it.
$(STAMP): setup.py pyproject.toml
	@python="$(PYTHON)"; [ -n "$$python" ] || python=$$($(FIND_PYTHON)); \
	[ -n "$$python" ] || { echo "error: no Python 3.10, 3.11 or 3.12 with the venv module found (BasicSR does not build on 3.13); install one, or name it: make PYTHON=/path/to/python" >&2; exit 1; }; \
	echo "== environment: $$($$python --version)"; \
	[ -x $(PY) ] || $$python -m venv $(VENV)
	@echo "== build tools"
	@$(PY) -m pip install --quiet --upgrade pip "setuptools>=68,<82" wheel cython numpy
	@echo "== torch and torchvision (up to 5 GB the first time)"
	@$(PY) -m pip install --quiet --progress-bar on torch torchvision
	@echo "== BasicSR and the rest"
	@$(PY) -m pip install --quiet --no-build-isolation "basicsr==1.4.2"
	@$(PY) -m pip install --quiet --no-build-isolation -e ".[dev]"
	@touch $@

demo: install
	@$(PY) demo.py

demo-train: install
	@$(PY) demo_train.py

test: install
	@$(PY) -m pytest -n 2

test-slow: install
	@$(PY) -m pytest -n 2 -m slow

lint: install
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy
	@$(VENV)/bin/lint-imports

schema: install
	@$(VENV)/bin/basicsr schema -o options/schema --markdown docs/options.md --mark options

bench: install
	@$(PY) -m benchmarks.degradation.speed
	@$(PY) -m benchmarks.speed --quick

PHOTOS ?= data/photos
SETS ?= data/sets
models: install
	@$(PY) -m benchmarks.models --photos $(PHOTOS) --sets $(SETS)

clean:
	rm -rf $(VENV) experiments results tb_logger demo_data
