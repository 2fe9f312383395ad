"""A Mandarin run through the whole pipeline, on tones."""

from __future__ import annotations

import json
import re
import tarfile
from collections.abc import Callable
from pathlib import Path

from manifests.run import load_run
from pipeline.build import build
from pipeline.verify import verify

MANDARIN = re.compile(r"[\u4e00-\u9fff，。？！、]+")


def test_a_mandarin_run_is_kept_whole_and_verifies(tone_yaml: Callable[..., Path], tmp_path: Path) -> None:
    plan = {"quotas": {"emotion": 4, "age": 2, "event": 2}, "turns": {1: 0.4, 2: 0.3, 3: 0.3}}
    file, out = tone_yaml(language="zh", plan=plan), tmp_path / "out"
    result = build(load_run(file), file, out, quiet=True)
    assert result.statistics["verdict"] == {"kept": 8}
    assert result.findings == verify(out) == verify(out / "shards" / "current") == []
    documents = []
    for shard in sorted(result.shards.glob("*.tar")):
        with tarfile.open(shard) as archive:
            documents += [json.load(archive.extractfile(m)) for m in archive if m.name.endswith(".json")]  # type: ignore[arg-type]
    assert len(documents) == 8
    assert max(document["num_turns"] for document in documents) > 1
    for document in documents:
        assert document["language"] == document["query_language"] == "zh"
        for turn in document["turns"]:
            for role in ("query", "reply"):
                assert MANDARIN.fullmatch(turn[role]["text"])
                assert turn[role]["wer"] == 0.0, "every character is a word, and every one was heard"
                assert len(turn[role]["transcript"].split()) > 5
            assert turn["think_text"].count("。") >= 2
