"""Engines that fail in every way at once: each bad row is told, alone, and a replay makes the set whole."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from conftest import CHAOS, ECHAT
from killing import events, start

from manifests.run import load_run
from pipeline.build import build
from pipeline.tar import open_tar, tar_samples
from pipeline.verify import verify

pytestmark = pytest.mark.slow

WORKER_DIED, VALUE = "WorkerDied", "ValueError"
FAULTS = {
    "segfault": WORKER_DIED, "hang": WORKER_DIED, "leak": WORKER_DIED,
    "raise": "RuntimeError", "nan": VALUE, "loud": VALUE, "rate": VALUE, "empty": VALUE,
    "half": "", "other": "",
}  # fmt: skip
"""What becomes of a row by the fault of its engine: quarantined with that type, or, made well-formed, rejected."""


def queries(shards: Path) -> dict[str, str]:
    """Ids by the text of the query, of the texts that no other dialogue has."""
    found: list[tuple[str, str]] = []
    for name, members in dialogues(shards).items():
        found.append((json.loads(members["json"])["turns"][0]["query"]["text"], name))
    counts = Counter(text for text, _ in found)
    return {text: name for text, name in found if counts[text] == 1}


def dialogues(shards: Path) -> dict[str, dict[str, bytes]]:
    found = {}
    for shard in sorted(shards.glob("*.tar")):
        with open_tar(shard) as archive:
            found |= dict(tar_samples(archive))
    return found


def test_every_fault_of_an_engine_is_told_of_its_row_alone(tone_yaml, tmp_path, chaos):
    plan = {"quotas": {"emotion": 14, "neutral": 4}, "part_rows": 8}
    changes = {**CHAOS, "plan": plan, "select": {"query_wer_max": 0.3}}
    file, calm_file = (
        tone_yaml(f"{kind}.yaml", **changes, executor={"kind": kind, "deadline_s": 12}) for kind in ("ray", "inline")
    )
    calm = build(load_run(calm_file), calm_file, tmp_path / "calm", quiet=True).shards
    out, good = tmp_path / "out", dialogues(calm)
    hit = dict(zip(FAULTS, sorted(queries(calm).items()), strict=False))
    assert len(hit) == len(FAULTS)
    (chaos / "fault").write_text(json.dumps([{"kind": kind, "text": text} for kind, (text, _) in hit.items()]))
    assert start(file, out).wait(timeout=280) == 0, (tmp_path / "log").read_text()
    told = {event["id"]: event["type"] for event in events(out, "row_quarantined")}
    assert told == {hit[kind][1]: kind_told for kind, kind_told in FAULTS.items() if kind_told}
    assert any("speak" in path.read_text() for path in (out / "logs").glob("stacks-*.txt")), "the hang left stacks"
    losses = Counter(row for event in events(out, "worker_lost") for row, _ in event["rows"] if len(event["rows"]) == 1)
    assert {losses[hit[kind][1]] for kind in ("segfault", "hang", "leak")} == {2}
    assert verify(out) == []
    kept = dialogues(out / "shards" / "current")
    assert kept.keys() == good.keys() - {name for _, name in hit.values()}
    assert all(kept[name] == good[name] for name in kept)
    (chaos / "fault").unlink()
    replayed = subprocess.run([ECHAT, "replay", out], capture_output=True, text=True, timeout=200, check=False)
    assert replayed.returncode == 0, replayed.stderr
    assert verify(out) == []
    kept = dialogues(out / "shards" / "current")
    assert kept.keys() == good.keys() - {hit[kind][1] for kind in ("half", "other")}
    assert all(kept[name] == good[name] for name in kept)
