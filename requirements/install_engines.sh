#!/usr/bin/env bash
# Install the engines of a cluster into a virtual environment, in three steps that pip cannot do in one.
#   VENV    where (.venv-engines)
#   PYTHON  what makes it (python3)
#   TORCH   which torch (torch==2.13.0; for a GPU see docs/cluster.md)
#   EXTRAS  extras of this package ([dev], for the tests)
#   LOCK    versions to keep to (requirements/engines-cpu.txt); empty: the newest that the ranges allow
set -euo pipefail
cd "$(dirname "$0")/.."
VENV="${VENV:-.venv-engines}"
LOCK="${LOCK-requirements/engines-cpu.txt}"
"${PYTHON:-python3}" -m venv "$VENV"
pip=("$VENV/bin/python" -m pip --disable-pip-version-check install --quiet ${LOCK:+--constraint "$LOCK"})

# 1. torch first, so that nothing below chooses another; then this package with what the engines need.
"${pip[@]}" "${TORCH:-torch==2.13.0}"
"${pip[@]}" -e ".${EXTRAS-[dev]}" -r requirements/engines.in

# 2. The packages whose stated dependencies contradict each other.
"${pip[@]}" --no-deps -r requirements/engines-nodeps.in

# 3. torchaudio's wheel holds an extension linked to CUDA; without it its own Python code runs everywhere.
"$VENV/bin/python" - <<'PY'
import importlib.util
from pathlib import Path

import torch

if torch.version.cuda is None:
    spec = importlib.util.find_spec("torchaudio")
    for library in (Path(spec.origin).parent / "lib").glob("*.so"):
        library.unlink()
PY
