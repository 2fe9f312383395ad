"""Whether a model was trained on what it is to be evaluated on: its own data, and that of the models before it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from tones import tones

from model.contents import sources
from model.datasets import CorpusDataset
from model.evaluate.overlap import overlap_of


def about(corpus: Path, *held_out: str, before: Path | None = None) -> dict[str, Any]:
    """A checkpoint that was trained on a corpus, and started from another one or from nothing."""
    data = {"corpus": str(corpus), "shards": None, "split": "train", "hold_out": list(held_out)}
    return {"format": 1, "recipe": {"data": data, "model": {"checkpoint": str(before) if before else None}}}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tones(tmp_path_factory.mktemp("tones") / "people", "abc", each=2)


def test_held_out_speakers_are_not_counted(corpus: Path) -> None:
    found = overlap_of(about(corpus, "c"), CorpusDataset(corpus, ["c"]))
    assert found.checked and not found.found
    assert overlap_of(about(corpus, "b"), CorpusDataset(corpus, ["c"])).speakers == ("people:c",)


def test_what_the_model_before_was_trained_on_counts(corpus: Path, tmp_path: Path) -> None:
    older = tmp_path / "older"
    older.mkdir()
    (older / "model.json").write_text(json.dumps(about(corpus, "b")))
    found = overlap_of(about(corpus, "c", before=older), CorpusDataset(corpus, ["c"]))
    assert found.checked and found.speakers == ("people:c",)


def test_a_model_before_that_is_gone_hides_nothing_of_the_last_one(corpus: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert overlap_of(about(corpus, before=gone), CorpusDataset(corpus, ["a"])).speakers == ("people:a",)
    found = overlap_of(about(corpus, "a", before=gone), CorpusDataset(corpus, ["a"]))
    assert not found.checked and "started from another model" in found.why


def test_a_copy_of_a_corpus_is_known_by_its_recordings(corpus: Path, tmp_path: Path) -> None:
    copy = tones(tmp_path / "others", "abc", each=2)
    found = overlap_of(about(corpus), CorpusDataset(copy, ["b"]))
    assert not found.speakers and len(found.scenarios) == 4


def test_keywords_of_replies_are_of_the_code_that_judges() -> None:
    assert {"openers.en.yaml", "openers.zh.yaml", "replies.py"} <= {path.name for path in sources()}
