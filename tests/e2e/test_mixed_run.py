"""A run with recorded queries: they pass through untouched, with licence and consent, and survive what goes wrong."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml
from conftest import CHAOS, calls, tree
from corpora import kept, people, take_in
from huggingface_hub import DatasetCard

from manifests.errors import UserError
from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.build import BuildResult, build
from pipeline.publish.release import Terms, make_release
from pipeline.replay import replay
from pipeline.verify import verify

QUOTAS = {"emotion": 24, "gender": 6, "neutral": 6, "event": 7}
# The tones' rater calls human sound no speech, and its recognizer reads nothing in it.
SELECT = {"speech_ratio_min": 0, "snr_db_min": -20}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    stated = {"name": "mine", "licence": "CC BY-NC 4.0", "consent": "signed in 2024"}
    take_in("csv", people(tmp_path / "src", 6), tmp_path / "mine", **stated)
    return tmp_path / "mine"


def run(file: Path, out: Path) -> BuildResult:
    return build(load_run(file), file, out, quiet=True)


def mixed(tone_yaml: Callable[..., Path], **changes: Any) -> Path:
    plan = {"quotas": QUOTAS, "part_rows": 8, "real": {"corpora": ["mine"]}}
    return tone_yaml(**{"plan": plan, "select": SELECT, **changes})


def dialogues(shards: Path) -> list[tuple[dict[str, Any], bytes]]:
    found = []
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as archive:
            members = {m.name: stream.read() for m in archive if (stream := archive.extractfile(m))}
        for name, data in members.items():
            if name.endswith(".json"):
                document = json.loads(data)
                found.append((document, members[f"{document['id']}.0.query.flac"]))
    return found


def test_recordings_are_untouched_and_say_where_they_are_from(
    tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path
) -> None:
    result = run(mixed(tone_yaml), tmp_path / "out")
    assert result.findings == []
    assert verify(tmp_path / "out") == []
    assert verify(result.shards) == []
    files = {row["sha256"]: name for name, row in kept(corpus).items()}
    rows = {row["sha256"]: row for row in kept(corpus).values()}
    documents = dialogues(result.shards)
    real = [(document, flac) for document, flac in documents if document["source"] == "real"]
    assert result.statistics["source"]["real"] == {"kept": len(real)}
    assert 6 <= len(real) < len(documents) / 2
    for document, flac in real:
        samples, rate = soundfile.read(io.BytesIO(flac), dtype="int16")
        own, own_rate = soundfile.read(tmp_path / "src" / files[document["recording"]], dtype="int16")
        assert rate == own_rate
        np.testing.assert_array_equal(samples, own)
        row, (turn,) = rows[document["recording"]], document["turns"]
        query = turn["query"]
        assert query["text"] == row["text"]
        assert {key: query["requested"][key] for key in ("gender", "emotion", "age")} == {
            key: row[key] for key in ("gender", "emotion", "age")
        }
        assert document["corpus"] == {"name": "mine", "licence": "CC BY-NC 4.0", "consent": "signed in 2024"}
        assert document["query_language"] == "de"
        assert (query["transcript"], query["wer"], query["cer"]) == ("", -1.0, -1.0), "nobody here knows German"
        assert query["event"]["source"] == ""
        assert turn["reply"]["wer"] == 0.0
        assert query["speaker"].startswith("mine:")
    assert result.statistics["unmeasured"]["query_wer"] == len(real)
    assert all(document["corpus"]["name"] == "" for document, _ in documents if document["source"] == "synthetic")
    dataset = json.loads((result.shards / "dataset.json").read_text())
    assert dataset["licences"]["corpora"] == {"mine": "CC BY-NC 4.0"}
    assert dataset["publishable"] is False
    release = make_release(tmp_path / "out", Terms("CC0-1.0", anyway=True))
    card = DatasetCard.load(release / "README.md")
    assert set(card.data.to_dict()["language"]) == {"de", "en"}
    about = yaml.safe_load((corpus / "corpus.yaml").read_text())
    assert about["recordings"] > len(real)
    assert f"| mine | CC BY-NC 4.0 | signed in 2024 | {len(real)} | {about['recordings']} |" in card.text
    published = json.loads((release / "statistics.json").read_text())["published"]
    assert (published["dialogues"], published["corpus"]) == (len(documents), {"mine": len(real)})


def test_replies_name_the_cue_and_fit_any_words(tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path) -> None:
    from pipeline.dag import build_dag

    file = mixed(tone_yaml)
    bank = build_dag(load_run(file), file).planner.bank
    result = run(file, tmp_path / "out")
    texts = set()
    for document, _ in dialogues(result.shards):
        if document["source"] == "real":
            (turn,) = document["turns"]
            for family in turn["cues"]:
                assert bank.mentions(turn["reply"]["text"], family, turn["query"]["requested"][family])
            assert "{" not in turn["reply"]["text"]
            texts.add(turn["reply"]["text"])
    assert len(texts) >= 5


def test_labels_of_people_are_compared_only_when_asked(
    tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path
) -> None:
    free = run(mixed(tone_yaml), tmp_path / "out")
    strict = run(mixed(tone_yaml, select={**SELECT, "agree_real": True}), tmp_path / "out")
    assert free.statistics["source"]["real"].get("rejected", 0) == 0
    assert strict.statistics["source"]["real"].get("kept", 0) == 0, "the tones' annotators hear nothing in a voice"
    assert strict.statistics["source"]["synthetic"] == free.statistics["source"]["synthetic"]


def test_a_recording_asks_no_voice_and_is_spoken_by_none(
    tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path, chaos: Path
) -> None:
    result = run(mixed(tone_yaml, **CHAOS), tmp_path / "out")
    real = sum(result.statistics["source"]["real"].values())
    assert len(calls(chaos)) == 2 * result.planned - real


def test_a_corpus_that_moved_is_told_and_a_built_run_needs_none(
    tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path
) -> None:
    file, out = mixed(tone_yaml), tmp_path / "out"
    run(file, out)
    before = tree(out / "shards" / "current")
    corpus.rename(tmp_path / "away")
    assert verify(out) == [], "the recordings are in its cells"
    with pytest.raises(UserError, match="is no folder that echat ingest has made"):
        run(file, out)
    for cell in (out / "stages" / "speak_query").iterdir():
        cell.unlink()
    with pytest.raises(UserError, match="the corpus mine is not there: put it back"):
        build(load_run(out / "run.yaml"), out / "run.yaml", out, quiet=True)
    (tmp_path / "away").rename(corpus)
    run(file, out)
    assert tree(out / "shards" / "current") == before


@pytest.mark.parametrize("damage", ["bit", "gone"])
def test_a_damaged_recording_is_quarantined_and_replayed(
    tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path, damage: str
) -> None:
    file = mixed(tone_yaml)
    whole = run(file, tmp_path / "whole")
    victim = next(document for document, _ in dialogues(whole.shards) if document["source"] == "real")
    path = corpus / "audio" / f"{victim['recording']}.flac"
    data = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(data[:-9] + bytes([data[-9] ^ 1]) + data[-8:])
    out = tmp_path / "out"
    result = run(file, out)
    lost = result.statistics["source"]["real"]["quarantined"]
    assert lost >= 1
    assert result.statistics["error"] == {"speak_query:ValueError": lost}
    assert result.findings == []
    path.write_bytes(data)
    replay(out, quiet=True)
    assert tree(out / "shards" / "current") == tree(tmp_path / "whole" / "shards" / "current")


def test_a_top_up_tries_no_recording_again(tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path) -> None:
    plan = {"quotas": {"emotion": {"happy": 9}}, "retries": 2, "part_rows": 8, "real": {"corpora": ["mine"]}}
    select = {**SELECT, "agree_real": True}
    file = mixed(tone_yaml, plan=plan, select=select)
    result = build(load_run(file), file, tmp_path / "out", quiet=True, rounds=3)
    rows = [
        row
        for record in Ledger(tmp_path / "out").history("plan", range(64))
        for row in Ledger(tmp_path / "out").load(record).to_pylist()
    ]
    tried = [row for row in rows if row["source"] == "real"]
    assert tried
    assert all(row["attempt"] == 0 for row in tried)
    assert result.filled == 9, "what was rejected is made up for"


def test_references_are_of_voices_alone(
    tone_yaml: Callable[..., Path], tmp_path: Path, corpus: Path, chaos: Path
) -> None:
    engines = {**CHAOS, "plugins": ["chaos", "referring"], "annotate": {"gender": {"engine": "referring"}}}
    result = run(mixed(tone_yaml, **engines, select={**SELECT, "agree": ["gender"]}), tmp_path / "out")
    assert result.findings == []
    for document, _ in dialogues(result.shards):
        takes = document["turns"][0]["query"]["heard"]["gender"]["evidence"]["takes"]
        assert takes == (0 if document["source"] == "real" else 7)
