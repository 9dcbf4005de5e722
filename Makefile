# Two commands set everything up: `make search` and `make test`. Both reinstall only when pyproject.toml changes.
# PYTHON=python3.12 makes the environment of that Python; TORCH=cpu takes PyTorch without CUDA; INSTALLER=pip does
# without uv.
VENV := .venv
BIN := $(VENV)/bin
PYTHONS := $(or $(PYTHON),python3.11 python3.12 python3.13 python3.14)
INSTALLER := uv
SMOKE := tests/models/test_network.py tests/models/test_convolution.py tests/evaluators/test_artifact.py \
  tests/evaluators/test_checkpoint.py tests/evaluators/test_onnx_export.py tests/evaluators/test_pruning_filters.py \
  tests/evaluators/test_score.py tests/studies/test_dashboard.py tests/studies/test_plots.py tests/studies/test_storage.py \
  tests/search/test_postgresql.py tests/search/test_ray.py tests/test_cli.py
INSTALL = $(BIN)/python tools/install.py $(VENV) --installer $(INSTALLER) $(if $(TORCH),--torch $(TORCH))

.PHONY: search install dev test lint types fast smoke slow docs oldest clean help FORCE

search: install  ## install what a search needs, run the quick study (digits, one to three minutes), print its front
	$(BIN)/python run_search.py search studies/quick.toml

test: dev lint types fast  ## install, lint, types, the fast test suite

install: $(VENV)/.main  ## the set-up alone

dev: $(VENV)/.dev  ## ... with what tests, lint and types need

$(BIN)/python:
	@for python in $(PYTHONS); do \
	  if $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    $$python -m venv $(VENV) && exit 0; rm -f $(BIN)/python; exit 2; \
	  fi; \
	done; echo "make: none of these is a Python of 3.11 or newer: $(PYTHONS); set PYTHON to one" >&2; exit 2

$(VENV)/.main: pyproject.toml $(if $(TORCH),FORCE) | $(BIN)/python
	@$(INSTALL)
	@touch $@

$(VENV)/.dev: pyproject.toml $(if $(TORCH),FORCE) | $(BIN)/python
	@$(INSTALL) --extra dev
	@touch $(VENV)/.main $@

FORCE:

lint:
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types:
	$(BIN)/mypy

fast:
	$(BIN)/python -m pytest -n 2 -m "not slow"

smoke:  # where libraries are met: torch, its pruning and counting, ONNX, pictures, pages, storages, command line
	$(BIN)/python -m pytest -n 2 -m "not slow" $(SMOKE)

slow: dev  ## the tests that take longer
	$(BIN)/python -m pytest -m slow

docs: dev  ## run the commands of README and docs, as they stand there
	$(BIN)/python -m pytest tests/test_docs_run.py

oldest: $(BIN)/python  ## the oldest versions that pyproject.toml allows: install them, search, retrain, export, some of the tests
	$(BIN)/python tools/oldest.py

clean:  ## remove the set-up; data, studies and results stay
	rm -rf $(VENV) .venv-* build *.egg-info .mypy_cache .ruff_cache .pytest_cache

help:  ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/'
