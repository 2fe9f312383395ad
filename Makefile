PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check install --quiet
# CPU by default; for a GPU see docs/install.md.
TORCH  ?= torch==2.13.0
OUT    ?= runs/demo

.PHONY: setup demo test lint bench screenshots clean

setup: $(VENV)/.installed

$(VENV)/.installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) "$(TORCH)"
	$(PIP) -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	$(PIP) -e ".[dev]"
	@touch $@

demo: setup
	$(BIN)/echat build demo --out $(OUT)
	$(BIN)/echat verify $(OUT)
	$(BIN)/echat report $(OUT)

test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadscope

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/grid_efficiency.py

screenshots: $(VENV)/.installed-dev
	$(BIN)/echat report $(OUT)
	$(BIN)/python docs/screenshots.py $(OUT)/report/index.html

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
