"""The run of a cluster, eight dialogues of it, on a CPU: every engine through its real library, under Ray.

Weights are tiny and random but for Whisper's voice activity model, so what is made is noise, and no threshold can be
asked of it. That rows pass through all engines, are accounted for, and verify, is what is tested.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT, echat, echat_process, merged
from engines_gate import heavy
from tiny_cosyvoice import make_bank, make_cosyvoice2, make_s3

pytestmark = [heavy, pytest.mark.slow]

ENGINES = {
    "speak_query": "cosyvoice", "speak_reply": "cosyvoice", "transcribe": "whisperx", "annotate": "emotion2vec",
    "tokenize": "s3",
}  # fmt: skip


def cluster_run(folder: Path) -> Path:
    """echat200k on what a CPU has: tiny weights, one small pool, thresholds that noise passes."""
    import tiny_engines

    run: dict[str, Any] = yaml.safe_load((ROOT / "manifests" / "runs" / "echat200k.yaml").read_text())
    model = str(make_cosyvoice2(folder / "cosyvoice"))
    for stage, voices in (("speak_query", ()), ("speak_reply", ("en-assistant",))):
        bank = make_bank(folder / stage, voices)
        run[stage] |= {"model": model, "bank": str(bank), "vllm": False, "fp16": False}
    run["transcribe"] |= {**tiny_engines.whisper(folder / "whisper"), "compute_type": "float32", "device": "auto"}
    wav2vec2 = tiny_engines.age_gender(folder / "age_gender")
    # `cues` would have every voice speak seven takes first; it is exercised elsewhere, and this costs minutes.
    run["annotate"]["emotion"] = [run["annotate"]["emotion"][0] | tiny_engines.emotion2vec(folder / "emotion2vec")]
    for family in ("age", "gender"):
        run["annotate"][family] = [run["annotate"][family][0] | wav2vec2, *run["annotate"][family][1:]]
    run["annotate"]["speakers"] |= tiny_engines.diarization(folder / "diarization")
    run["tokenize"] |= {"weights": str(make_s3(folder / "s3.pt", 1))}
    anything = {
        "query_wer_max": float("inf"), "reply_wer_max": float("inf"), "query_seconds": [0.0, 1000.0],
        "reply_seconds": [0.0, 1000.0], "speech_ratio_min": 0.0, "clipped_ratio_max": 1.0,
        "snr_db_min": float("-inf"), "agree": [],
    }  # fmt: skip
    run["select"] = merged(run["select"], anything)
    run["mos"]["share"] = 0.2
    run["workers"] = [{"name": "main", "count": 1, "cpus": 1}]
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run))
    return path


def test_eight_dialogues_pass_through_every_engine(tmp_path: Path) -> None:
    run, out = cluster_run(tmp_path), tmp_path / "out"
    doctor = echat("doctor", run, "--json")
    assert doctor.returncode == 0, doctor.stdout + doctor.stderr
    done = echat_process("build", run, "--out", out, "--limit", 8, "--quiet", timeout=1500)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 planned = " in done.stdout
    assert "quarantined by" not in done.stdout, done.stdout
    dataset = json.loads((out / "shards" / "current" / "dataset.json").read_text())
    for stage, engine in ENGINES.items():
        assert any(name.startswith(engine) for name in dataset["engines"][stage]), dataset["engines"][stage]
    assert any("pyannote" in name for name in dataset["engines"]["annotate"])
    assert echat("verify", out).returncode == 0
