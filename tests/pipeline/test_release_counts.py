"""What a release counts of itself, and which recorded sound events it may hold."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
from made_set import dialogue, make_set, turn

from manifests.errors import UserError
from manifests.licences import may_publish
from manifests.run import load_run
from pipeline.dag import build_dag
from pipeline.ingest.events import ingest_events
from pipeline.publish.counts import count_turns
from pipeline.publish.index import write_index
from pipeline.publish.release import _warning
from synthesis.event_bank import INDEX, EventBank


def test_every_dialogue_is_counted_not_the_first_of_a_shard(tmp_path: Path) -> None:
    real = {"source": "real", "query_language": "de", "corpus": {"name": "mine", "licence": "CC0", "consent": "yes"}}
    documents = [
        dialogue("a"),
        dialogue("b", language="zh", query_language="zh"),
        dialogue("c", **real),
        dialogue("d", **real),
        dialogue("e", [turn(0), turn(1, event="cough", reply_emotion="sorry")]),
        dialogue("f", split="test"),
    ]
    shards = make_set(tmp_path / "set", documents)
    indices = []
    for split, names in (
        ("train", ["train-1turn-00000.tar", "train-2turn-00000.tar"]),
        ("test", ["test-1turn-00000.tar"]),
    ):
        indices.append(tmp_path / f"{split}.parquet")
        write_index(shards, split, names, indices[-1])
    counts = count_turns(indices)
    assert (counts["dialogues"], counts["turns"], counts["reply_tokens"]) == (6, 7, 140)
    assert counts["query_language"] == {"de": 2, "en": 3, "zh": 1}
    assert counts["reply_language"] == {"en": 5, "zh": 1}
    assert counts["corpus"] == {"mine": 2}
    assert counts["split"] == {"test": 1, "train": 5}
    assert counts["num_turns"] == {"1": 5, "2": 1}
    assert counts["event"] == {"cough": 1, "none": 6}
    assert counts["reply_emotion"] == {"comforting": 6, "sorry": 1}
    assert counts["query_seconds"] == {"sum": 3.6, "shortest": 0.5, "longest": 0.6}


def bank(tmp_path: Path, licence: str, collection: str = "mine", publish: bool | None = None) -> Path:
    source = tmp_path / "src" / "cough"
    source.mkdir(parents=True, exist_ok=True)
    noise = 0.2 * np.random.default_rng(1).standard_normal(24000)
    soundfile.write(source / "a.wav", noise, 24000)
    out = tmp_path / f"bank{len(list(tmp_path.iterdir()))}"
    report = ingest_events(tmp_path / "src", out, licence, collection, "asked by the test", publish)
    assert report["publish"] == (not EventBank.load(out).closed)
    return out


@pytest.mark.parametrize(
    ("licence", "collection", "stated", "open_"),
    [
        ("CC0-1.0", "mine", None, True),
        ("CC BY-SA 4.0", "VocalSound", None, True),
        ("CC BY-NC 3.0", "ESC-50", None, False),
        ("CC BY-NC 3.0", "ESC-50", True, False),
        ("ours", "mine", None, False),
        ("ours", "mine", True, True),
        ("CC0-1.0", "mine", False, False),
        ("CC-BY-4.0", "RAVDESS sounds", None, False),
    ],
)
def test_recorded_events_may_be_published_as_their_licence_says(
    tmp_path: Path, licence: str, collection: str, stated: bool | None, open_: bool
) -> None:
    assert may_publish(licence, collection, stated) == open_
    found = EventBank.load(bank(tmp_path, licence, collection, stated))
    assert found.closed == (() if open_ else (f"{collection} ({licence})",))


def test_a_run_with_closed_sound_events_is_not_publishable(tone_yaml: Callable[..., Path], tmp_path: Path) -> None:
    def dag(events: Path | None) -> tuple[bool, str]:
        speaker = {"engine": "kokoro", **({"events": str(events)} if events else {})}
        file = tone_yaml(speak_query=speaker, speak_reply={"engine": "kokoro"})
        found = build_dag(load_run(file), file)
        return found.publishable, _warning(found)

    assert dag(None) == (True, "")
    assert dag(bank(tmp_path, "CC0-1.0")) == (True, "")
    says = "recorded sound events of ESC-50 (CC BY-NC 3.0) may not be passed on"
    assert dag(bank(tmp_path, "CC BY-NC 3.0", "ESC-50")) == (False, says)


def test_tables_of_before_are_judged_by_their_licence(tmp_path: Path) -> None:
    for licence, closed in (("CC0-1.0", ()), ("CC BY-NC 3.0", ("mine (CC BY-NC 3.0)",))):
        folder = bank(tmp_path, licence)
        with (folder / INDEX).open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        with (folder / INDEX).open("w", newline="") as lines:
            writer = csv.DictWriter(lines, [name for name in rows[0] if name != "publish"], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
        assert EventBank.load(folder).closed == closed
    (folder / INDEX).write_text("file,label\n")
    with pytest.raises(UserError, match="lacks the column"):
        EventBank.load(folder)
