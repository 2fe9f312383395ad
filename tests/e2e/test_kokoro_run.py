"""One run of the embedded engines, end to end, as the command line runs it."""

from __future__ import annotations

import io
import json
import tarfile

import numpy as np
import pytest
import soundfile
import yaml
from conftest import ROOT, echat, echat_process

pytestmark = pytest.mark.slow


def test_kokoro_speaks_and_the_annotators_hear_it(tmp_path):
    document = yaml.safe_load((ROOT / "manifests" / "runs" / "demo.yaml").read_text())
    document["plan"] |= {"quotas": {"emotion": {"angry": 1, "sad": 1}, "gender": 4}, "part_rows": 2}
    document["workers"][0]["count"] = 1  # each loads every model; that two speak the same is proved by tones
    file, out = tmp_path / "run.yaml", tmp_path / "out"
    file.write_text(yaml.safe_dump(document))
    built = echat_process("build", file, "--out", out)
    assert built.returncode == 0, built.stderr
    assert "6 planned = " in built.stdout
    checked = echat("verify", out)
    assert checked.returncode == 0, checked.stdout
    kept = 0
    for shard in (out / "shards" / "current").glob("*.tar"):
        with tarfile.open(shard) as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive}
        for name, data in members.items():
            if not name.endswith(".json"):
                continue
            kept += 1
            row = json.loads(data)
            (turn,) = row["turns"]
            query = turn["query"]
            assert query["heard"]["gender"]["label"] == query["requested"]["gender"]
            assert query["wer"] <= 0.6
            samples, rate = soundfile.read(io.BytesIO(members[f"{row['id']}.0.query.flac"]))
            assert rate == 24_000
            assert 1 < len(samples) / rate < 10
            assert -40 < 20 * np.log10(np.sqrt(np.mean(samples**2))) < -10
            assert turn["reply"]["num_tokens"] == pytest.approx(turn["reply"]["seconds"] * 25, abs=1)
    assert kept >= 4, built.stdout
