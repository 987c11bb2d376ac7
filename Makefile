# make demo   compares a real model in BF16, FP8 and NVFP4 on this machine, no GPU, no account
# make test   runs all tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: setup demo test lint clean

setup: $(VENV)/.demo-ready

$(VENV)/.demo-ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	@echo "installing bitparity and what the demo needs into $(VENV) (a few minutes the first time)"
	$(INSTALL) torch
	$(INSTALL) --editable '.[demo]'
	@touch $@

$(VENV)/.dev-ready: $(VENV)/.demo-ready
	$(INSTALL) --editable '.[demo,hub,lm-eval,inspect,ray,dev]'
	@touch $@

demo: setup
	$(BIN)/bitparity demo

test: $(VENV)/.dev-ready
	$(BIN)/python -m pytest --numprocesses auto --dist loadfile --no-loadscope-reorder

lint: $(VENV)/.dev-ready
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf $(VENV) .venv-vllm .venv-scicode build dist
