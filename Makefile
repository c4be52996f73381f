# Two commands for newcomers: `make demo` and `make test`. Both make .venv first; nothing else on the machine changes.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
# Workers of the test suite, of one thread each: more threads than cores only wait for each other.
THREADS ?= 2

.PHONY: help install demo test test-slow lint format bench docs dist matrix clean

help:  ## List the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 14

$(STAMP): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $(STAMP)

install: $(STAMP)  ## Make .venv and install the package into it

demo: $(STAMP)  ## Train, test, calibrate, screen, evaluate on the sample set; everything goes to demo_output
	$(BIN)/python -m anomalib_zsad.demo --output demo_output

test: $(STAMP)  ## The test suite (offline, two cores)
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(THREADS)

test-slow: $(STAMP)  ## The slower tests alone: what `make test` leaves out
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(THREADS) -m slow

lint: $(STAMP)  ## Ruff (lint and format), mypy, the floor plan (import-linter), and biome for JavaScript
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	tools/lint_javascript.sh

format: $(STAMP)  ## Apply the fixes and formatting of ruff and biome
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	tools/lint_javascript.sh --fix

bench: $(STAMP)  ## Benchmarks (ratios within one run)
	$(BIN)/python tests/benchmarks/run.py

docs: $(STAMP)  ## The documentation site, in site/; a warning or a dead link is an error
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict

dist: $(STAMP)  ## Sdist and wheel in dist/, and a smoke test of the wheel alone in a new environment
	rm -rf dist build/wheel
	$(BIN)/python -m build --outdir dist .
	$(PYTHON) -m venv build/wheel
	build/wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	mkdir -p build/wheel/smoke
	tools/smoke_test.sh $(CURDIR)/build/wheel/bin/python $(CURDIR)/build/wheel/smoke

matrix: dist  ## The wheel's smoke test on every Python from 3.10 to 3.13 that this machine has
	tools/python_matrix.sh dist/*.whl build/matrix

clean:  ## Remove the virtual environment, caches and the demo's output
	rm -rf $(VENV) demo_output dist build site .pytest_cache .ruff_cache .mypy_cache
