"""The whole pipeline on tones: real files, real Beam, no model."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import CHAOS, calls, tree

from manifests.run import load_run
from pipeline.audio import decode_flac
from pipeline.build import build
from pipeline.replay import replay
from pipeline.select import load_statistics
from pipeline.verify import verify


def run(file: Path, out: Path):
    return build(load_run(file), file, out, quiet=True)


def test_a_build_keeps_every_faultless_dialogue_and_verifies(tone_yaml, tmp_path):
    result = run(tone_yaml(), tmp_path / "out")
    assert result.planned == 40
    assert result.statistics["verdict"] == {"kept": 40}
    assert result.findings == []
    assert verify(tmp_path / "out") == []
    assert verify(tmp_path / "out" / "shards" / "current") == []


def test_a_second_build_changes_no_file(tone_yaml, tmp_path, build_once):
    file = tone_yaml()
    build_once(file, tmp_path / "out")
    before = tree(tmp_path / "out")
    run(file, tmp_path / "out")
    after = tree(tmp_path / "out")
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    assert changed == {"events.jsonl"}


def test_shards_are_the_same_bytes_in_another_folder_and_part_order(tone_yaml, tmp_path, build_once):
    build_once(tone_yaml(), tmp_path / "a")
    run(tone_yaml(), tmp_path / "b")
    assert tree(tmp_path / "a" / "shards" / "current") == tree(tmp_path / "b" / "shards" / "current")


def test_one_dialogue_more_speaks_one_dialogue_more(tone_yaml, tmp_path, chaos):
    quotas = {"emotion": 12, "neutral": 4}
    base = tone_yaml(**CHAOS, plan={"quotas": quotas, "contrastive": 0.0})
    out = tmp_path / "out"
    first = run(base, out)
    spoken = len(calls(chaos))
    assert spoken == 2 * first.planned
    more = tone_yaml("more.yaml", **CHAOS, plan={"quotas": quotas | {"neutral": 5}, "contrastive": 0.0})
    second = run(more, out)
    assert second.planned == first.planned + 1
    assert len(calls(chaos)) == spoken + 2, "one query and one reply more, nothing again"
    assert second.findings == []


def test_doubling_the_parts_copies_every_row(tone_yaml, tmp_path, chaos):
    out = tmp_path / "out"
    run(tone_yaml(**CHAOS, plan={"part_rows": 32}), out)
    spoken = len(calls(chaos))
    for part_rows in (4, 16):
        result = run(tone_yaml(**CHAOS, plan={"part_rows": part_rows}), out)
        assert result.findings == []
    assert len(calls(chaos)) == spoken


def documents(shards: Path) -> list[dict]:
    """The JSON of every dialogue of a folder of shards."""
    found = []
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as archive:
            found += [json.load(archive.extractfile(member)) for member in archive if member.name.endswith(".json")]
    return found


def test_editing_a_threshold_speaks_nothing_and_rewrites_one_shard(tone_yaml, tmp_path, chaos, build_once):
    out = tmp_path / "out"
    first = build_once(tone_yaml(**CHAOS), out)
    spoken = len(calls(chaos))
    inodes = {path.name: path.stat().st_ino for path in first.shards.glob("*.tar")}
    lengths = sorted(document["turns"][0]["query"]["seconds"] for document in documents(first.shards))
    limit = (lengths[-1] + max(seconds for seconds in lengths if seconds < lengths[-1])) / 2
    strict = run(tone_yaml("strict.yaml", **CHAOS, select={"query_seconds": [0.2, limit]}), out)
    assert len(calls(chaos)) == spoken
    rejected = lengths.count(lengths[-1])
    assert strict.statistics["verdict"] == {"kept": 40 - rejected, "rejected": rejected}
    assert strict.statistics["reason"] == {"query_seconds": rejected}
    assert strict.findings == []
    rewritten = [path.name for path in strict.shards.glob("*.tar") if path.stat().st_ino != inodes[path.name]]
    assert 1 <= len(rewritten) <= rejected
    assert len(inodes) > len(rewritten), "shards without the flipped verdict are hard-linked"
    again = run(tone_yaml(**CHAOS), out)
    assert {path.name: path.stat().st_ino for path in again.shards.glob("*.tar")} == inodes


@pytest.mark.parametrize("kind", ["raise", "nan", "loud"])
def test_failing_rows_are_quarantined_and_replay_recovers_them(tone_yaml, tmp_path, chaos, kind, build_once):
    file = tone_yaml(**CHAOS)
    faultless = build_once(file, tmp_path / "faultless")
    (chaos / "fault").write_text(json.dumps({"kind": kind, "one_in": 10}))
    out = tmp_path / "out"
    result = run(file, out)
    lost = result.statistics["verdict"]["quarantined"]
    assert 0 < lost < 20
    assert sum(result.statistics["verdict"].values()) == result.planned == 40
    assert result.findings == []
    assert all(name.startswith("speak_") for name in result.statistics["error"])
    before = len(calls(chaos))
    tried, again = replay(out, quiet=True)
    assert again.statistics["verdict"]["quarantined"] == lost, "the fault is still there"
    assert tried == lost
    assert lost <= len(calls(chaos)) - before <= 2 * lost, "a dialogue fails in its query, its reply or both"
    (chaos / "fault").unlink()
    tried, again = replay(out, quiet=True)
    assert again.statistics == faultless.statistics
    assert tree(out / "shards" / "current") == tree(tmp_path / "faultless" / "shards" / "current")


def test_samples_hold_what_was_asked_heard_and_made(tone_yaml, tmp_path, build_once):
    result = build_once(tone_yaml(), tmp_path / "out")
    seen = 0
    for shard in sorted(result.shards.glob("*.tar")):
        with tarfile.open(shard) as archive:
            members = {member.name: archive.extractfile(member).read() for member in archive}
        for name, data in members.items():
            if not name.endswith(".json"):
                continue
            seen += 1
            document = json.loads(data)
            assert b"null" not in data
            (turn,) = document["turns"]
            query, reply = turn["query"], turn["reply"]
            asked = {family: query["requested"][family] for family in ("age", "gender", "emotion", "event")}
            assert {family: heard["label"] for family, heard in query["heard"].items()} == asked
            assert query["wer"] == reply["wer"] == 0.0
            for role, utterance in (("query", query), ("reply", reply)):
                samples, rate = decode_flac(members[f"{document['id']}.0.{role}.flac"])
                assert (
                    rate
                    == utterance["sample_rate"]
                    == soundfile.info(io.BytesIO(members[f"{document['id']}.0.{role}.flac"])).samplerate
                )
                assert len(samples) / rate == pytest.approx(utterance["seconds"], abs=1e-4)
            tokens = np.load(io.BytesIO(members[f"{document['id']}.0.reply_tokens.npy"]))
            assert len(tokens) == reply["num_tokens"] == -(-int(reply["seconds"] * 1000) * 25 // 1000)
            assert set(document["engines"]) == {
                "script", "speak_query", "speak_reply", "transcribe", "annotate", "rate", "tokenize"
            }  # fmt: skip
    assert seen == 40


def test_contrastive_pairs_say_one_thing_and_are_answered_differently(tone_yaml, tmp_path):
    result = run(tone_yaml(plan={"contrastive": 1.0}), tmp_path / "out")
    pairs: dict[str, list[dict]] = {}
    for document in documents(result.shards):
        pairs.setdefault(document["pair"], []).append(document)
    pairs.pop("", None)
    assert len(pairs) >= 10
    for members in pairs.values():
        assert len(members) == 2
        one, other = (member["turns"][0] for member in members)
        assert one["query"]["text"] == other["query"]["text"]
        assert one["query"]["requested"] != other["query"]["requested"]
        assert one["reply"]["text"] != other["reply"]["text"]
        assert members[0]["split"] == members[1]["split"]


def test_a_damaged_dataset_is_found_out(tone_yaml, tmp_path, build_once):
    file, out = tone_yaml(), tmp_path / "out"
    result = build_once(file, out)
    shard = sorted(result.shards.glob("*.tar"))[0]
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 0x10
    shard.write_bytes(data)
    assert any("sha256" in finding.problem for finding in verify(out))
    shard.unlink()
    assert any("missing" in finding.problem for finding in verify(out))
    cell = sorted((out / "stages" / "rate").glob("*.parquet"))[0]
    data = bytearray(cell.read_bytes())
    data[40] ^= 1
    cell.write_bytes(data)
    assert any(str(cell) == finding.file for finding in verify(out))


def test_statistics_count_what_was_heard(tone_yaml, tmp_path, build_once):
    build_once(tone_yaml(), tmp_path / "out")
    heard = load_statistics(tmp_path / "out" / "select" / "current")["heard"]
    assert sum(sum(row.values()) for row in heard["emotion"].values()) == 40
    assert all(set(row) == {asked} for asked, row in heard["emotion"].items())


def test_a_row_that_fails_twice_is_told_by_the_first_stage(tone_yaml, tmp_path, chaos):
    """Which cell is committed first depends on the workers; which error is named must not."""
    (chaos / "fault").write_text(json.dumps({"kind": "raise", "one_in": 1}))
    result = run(tone_yaml(**CHAOS, plan={"quotas": {"neutral": 3}}), tmp_path / "out")
    assert result.statistics["error"] == {"speak_query:RuntimeError": 3}
    assert result.statistics["verdict"] == {"quarantined": 3}
    assert ["no dialogue was kept" in finding.problem for finding in result.findings] == [True]
