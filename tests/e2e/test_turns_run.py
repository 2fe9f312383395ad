"""Dialogues of several turns through the whole pipeline, on tones."""

from __future__ import annotations

import io
import json
import tarfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import CHAOS
from osum_reader import read_shards

from manifests.run import load_run
from model.datasets import ShardDataset
from pipeline.audio import decode_flac
from pipeline.build import build
from pipeline.export.base import Request
from pipeline.export.write import export
from pipeline.verify import verify

RUN = {
    "seed": 6,  # of those that give both splits dialogues of every length
    "plan": {
        "quotas": {"emotion": 6, "event": 4, "multi": 2},
        "multi": ["event", "emotion"],
        "turns": {1: 0.4, 2: 0.3, 3: 0.3},
        "splits": {"train": 0.7, "validation": 0.3},
    },
}


def run(file: Path, out: Path) -> Any:
    return build(load_run(file), file, out, quiet=True)


def samples(shards: Path) -> list[tuple[str, dict[str, Any], dict[str, bytes]]]:
    """Shard, JSON and other members of every dialogue."""
    found = []
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as archive:
            members = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
        for name, data in members.items():
            if name.endswith(".json"):
                key = name.removesuffix(".json")
                own = {n.removeprefix(f"{key}."): d for n, d in members.items() if n.startswith(f"{key}.")}
                found.append((shard.name, json.loads(data), own))
    return found


@pytest.fixture
def made(tone_yaml: Callable[..., Path], tmp_path: Path, build_once: Callable[..., Any]) -> Any:
    return build_once(tone_yaml(**RUN), tmp_path / "out")


def test_dialogues_of_several_turns_are_kept_whole(made: Any, tmp_path: Path) -> None:
    assert made.planned == 12, "dialogues count, not turns"
    assert made.statistics["verdict"] == {"kept": 12}
    assert made.findings == verify(tmp_path / "out") == verify(tmp_path / "out" / "shards" / "current") == []
    found = samples(made.shards)
    assert len(found) == 12
    lengths = Counter(document["num_turns"] for _, document, _ in found)
    assert set(lengths) == {1, 2, 3}
    for shard, document, members in found:
        turns = document["turns"]
        assert shard.startswith(f"{document['split']}-{len(turns)}turn-"), "a shard has one turn count"
        assert [turn["turn"] for turn in turns] == list(range(document["num_turns"]))
        assert [bool(turn["followup"]) for turn in turns] == [False, *[True] * (len(turns) - 1)]
        assert len({turn["query"]["text"] for turn in turns}) == len(turns)
        assert len({turn["query"]["speaker"] for turn in turns}) == 1
        parts = {f"{n}.{part}" for n in range(len(turns)) for part in ("query.flac", "reply.flac", "reply_tokens.npy")}
        assert set(members) == {"json", *parts}
        for turn in turns:
            number, query = turn["turn"], turn["query"]
            asked = {family: query["requested"][family] for family in ("age", "gender", "emotion", "event")}
            assert {family: heard["label"] for family, heard in query["heard"].items()} == asked
            assert query["wer"] == turn["reply"]["wer"] == 0.0
            for role in ("query", "reply"):
                wave, rate = decode_flac(members[f"{number}.{role}.flac"])
                assert len(wave) / rate == pytest.approx(turn[role]["seconds"], abs=1e-4)
            tokens = np.load(io.BytesIO(members[f"{number}.reply_tokens.npy"]))
            assert len(tokens) == turn["reply"]["num_tokens"]
    changed = [d for _, d, _ in found if len({str(turn["query"]["requested"]) for turn in d["turns"]}) > 1]
    assert changed, "the cues of some voice change from turn to turn"


def test_exports_have_the_turns_before_as_history(made: Any, tmp_path: Path) -> None:
    export(Request(tmp_path / "out", tmp_path / "osum", "osum-shard"))
    documents = {document["id"]: document for _, document, _ in samples(made.shards)}
    found = {
        sample.key: sample
        for split in ("train", "validation")
        for sample in read_shards(tmp_path / "osum" / split / "shards_list.txt", tmp_path / "osum")
    }
    assert found.keys() == documents.keys()
    assert {len(sample.history) for sample in found.values()} == {0, 1, 2}
    for name, sample in found.items():
        sample.check()
        *before, last = documents[name]["turns"]
        assert sample.txt == last["reply"]["text"]
        assert [text for _, text in sample.history] == [turn["reply"]["text"] for turn in before]
        assert len(sample.extra["speech_token"]) == last["reply"]["num_tokens"]
        for number, turn in enumerate(before, 1):
            assert len(sample.extra[f"speech_token_{number}"]) == turn["reply"]["num_tokens"]


def test_the_training_reader_sees_every_turn_with_those_before(made: Any) -> None:
    documents = {document["id"]: document for _, document, _ in samples(made.shards)}
    for split in ("train", "validation"):
        data = ShardDataset(made.shards, split)
        items = set()
        for item in range(len(data)):
            sample = data.load(item)
            name, _, turn = sample.id.partition(".")
            told = documents[name]["turns"][: int(turn) + 1]
            assert [heard.query_text for heard in sample.turns] == [one["query"]["text"] for one in told]
            assert [len(heard.reply_tokens) for heard in sample.turns] == [one["reply"]["num_tokens"] for one in told]
            items.add((name, int(turn)))
        own = [document for document in documents.values() if document["split"] == split]
        assert len(data) == len(items)
        assert items == {(document["id"], turn) for document in own for turn in range(document["num_turns"])}


def test_a_turn_that_fails_the_gate_rejects_its_dialogue_and_is_named(
    made: Any, tone_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    long = [document for _, document, _ in samples(made.shards) if document["num_turns"] > 1]
    lengths = {d["id"]: [turn["query"]["seconds"] for turn in d["turns"]] for d in long}
    name, own = next(item for item in lengths.items() if item[1][1] < min(item[1][:1] + item[1][2:]) - 0.05)
    least = own[1] + 0.03
    strict = run(tone_yaml("strict.yaml", **RUN, select={"query_seconds": [least, 30]}), tmp_path / "out")
    verdicts = [
        row
        for file in (tmp_path / "out" / "select" / "current").glob("part-*.parquet")
        for row in pq.read_table(file).to_pylist()
    ]
    judged = next(row for row in verdicts if row["id"] == name)
    assert judged["verdict"] == "rejected"
    assert judged["reasons"] == [f"query_seconds {own[1]:.2f} not in {least:g}..30 (turn 1)"]
    assert strict.findings == []
    assert name not in {document["id"] for _, document, _ in samples(strict.shards)}


def test_a_turn_that_fails_quarantines_its_dialogue_alone(
    made: Any, tone_yaml: Callable[..., Path], tmp_path: Path, chaos: Path
) -> None:
    document = next(document for _, document, _ in samples(made.shards) if document["num_turns"] == 3)
    text = document["turns"][1]["query"]["text"]
    hit = {d["id"] for _, d, _ in samples(made.shards) if any(turn["query"]["text"] == text for turn in d["turns"])}
    (chaos / "fault").write_text(json.dumps({"kind": "raise", "text": text}))
    result = run(tone_yaml("chaos.yaml", **CHAOS, **RUN), tmp_path / "chaotic")
    assert result.statistics["verdict"] == {"kept": 12 - len(hit), "quarantined": len(hit)}
    assert result.findings == []
    kept = {d["id"] for _, d, _ in samples(result.shards)}
    assert kept == {d["id"] for _, d, _ in samples(made.shards)} - hit
