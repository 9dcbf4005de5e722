# Two commands set everything up: `make search` and `make test`. Both reinstall only when pyproject.toml changes.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.PHONY: search install test lint types fast slow docs clean help

search: install  ## install, run the quick study (digits, one to three minutes), print its front
	$(BIN)/python run_search.py search studies/quick.toml

test: install lint types fast  ## install, lint, types, the fast test suite

install: $(STAMP)  ## the set-up alone

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "make: $(PYTHON) not found; set PYTHON to a Python of 3.11 or newer"; exit 2; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check -e '.[dev]'
	touch $(STAMP)

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

fast:
	$(BIN)/python -m pytest -n 2 -m "not slow"

slow: install  ## the tests that take longer
	$(BIN)/python -m pytest -m slow

docs: install  ## run the commands of README and docs, as they stand there
	$(BIN)/python -m pytest tests/test_docs_run.py

clean:  ## remove the set-up; data, studies and results stay
	rm -rf $(VENV) build *.egg-info .mypy_cache .ruff_cache .pytest_cache

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'
