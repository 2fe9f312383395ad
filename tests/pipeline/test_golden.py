"""A stage's output for fixed inputs is pinned: whoever changes it must raise the stage's version.

The pins are of values, not of files: audio is hashed as decoded samples, so that a new Parquet or FLAC library
changes nothing here. After raising a version, write the new pins with `python tests/pipeline/test_golden.py`.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from pathlib import Path

import numpy as np

from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.audio import decode_flac
from pipeline.build import build
from pipeline.dag import build_dag
from pipeline.grid import Grid
from pipeline.stages.plan import run_plan

FILE = Path(__file__).parents[2] / "manifests" / "runs" / "tone.yaml"
DATA = Path(__file__).parents[1] / "data"
PINS = DATA / "golden.json"


def outputs(out: Path) -> dict[str, dict[str, object]]:
    """Version and hash of the values of every stage of the tone run."""
    manifest = load_run(FILE)
    frozen = {"scenarios": DATA / "golden_bank.yaml", "openers": DATA / "golden_openers.yaml"}
    manifest = manifest.model_copy(update={"plan": manifest.plan.model_copy(update=frozen)})
    build(manifest, FILE, out, quiet=True)
    dag, ledger = build_dag(manifest, FILE), Ledger(out)
    grid = Grid(dag, ledger, run_plan(dag.plan, ledger))
    found = {}
    for name, stage in dag.by_name.items():
        digest = hashlib.sha256()
        for part in sorted(grid.records):
            for row in ledger.load(grid.records[part][name]).to_pylist():
                del row["row_key"]
                if "audio" in row:
                    samples, _ = decode_flac(row["audio"])
                    row["audio"] = hashlib.sha256(np.round(samples * 4096).astype(np.int16).tobytes()).hexdigest()
                rounded = {key: round(value, 6) if isinstance(value, float) else value for key, value in row.items()}
                digest.update(json.dumps(rounded, sort_keys=True).encode())
        found[name] = {"version": stage.version, "sha256": digest.hexdigest()}
    return found


def test_no_stage_changes_its_output_without_a_new_version(tmp_path):
    pinned, now = json.loads(PINS.read_text()), outputs(tmp_path / "out")
    assert pinned.keys() == now.keys()
    for name in now:
        if now[name] != pinned[name]:
            same = now[name]["version"] == pinned[name]["version"]
            advice = "raise its version, then" if same else "its version was raised:"
            raise AssertionError(f"the output of {name} changed; {advice} run `python {Path(__file__).name}` to pin it")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        PINS.write_text(json.dumps(outputs(Path(folder) / "out"), indent=2) + "\n")
    sys.stdout.write(f"pinned in {PINS}\n")
