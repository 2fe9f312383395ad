"""Shards and labelled recordings as training reads them."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from tiny import tiny_model, tone_flac

from manifests.errors import UserError
from manifests.run import load_run
from model.audio import mel_of
from model.datasets import CorpusDataset, ShardDataset
from model.recipe import DataRecipe
from model.setup import check_codebook
from pipeline.build import build


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of the tone engines."""
    from conftest import ROOT

    file = ROOT / "manifests" / "runs" / "tone.yaml"
    return build(load_run(file), file, tmp_path_factory.mktemp("run") / "out", quiet=True).shards


def test_items_are_what_the_shards_hold(shards: Path) -> None:
    import webdataset

    data = ShardDataset(shards, "train")
    names = json.loads((shards / "dataset.json").read_text())["splits"]["train"]["shards"]
    urls = [str(shards / name) for name in names]
    samples = list(webdataset.WebDataset(urls, shardshuffle=False, empty_check=False))
    assert len(data) == len(samples) > 5
    for item, sample in enumerate(samples):
        document = json.loads(sample["json"])
        (turn,) = document["turns"]
        loaded = data.load(item)
        assert loaded.id == f"{document['id']}.0"
        current = loaded.current
        assert (current.query_text, current.reply_text) == (turn["query"]["text"], turn["reply"]["text"])
        assert (current.think_tag, current.think_text) == (turn["think_tag"], turn["think_text"])
        assert current.label("emotion") == turn["query"]["requested"]["emotion"]
        assert np.array_equal(current.mel, mel_of(sample["0.query.flac"]))
        assert data.recording(item) == sample["0.query.flac"]
        assert len(current.reply_tokens) == turn["reply"]["num_tokens"] == data.lengths.tokens[item]
        assert abs(current.frames - data.lengths.frames[item]) <= 1
        bare = data.load(item, audio=False)
        assert bare.current.mel is None
        assert abs(bare.current.frames - current.frames) <= 1


def test_a_dataset_travels_to_other_processes(shards: Path) -> None:
    data = ShardDataset(shards, "train")
    first = data.load(0)
    again = pickle.loads(pickle.dumps(data)).load(0)
    assert again.current.query_text == first.current.query_text


def test_wrong_folders_splits_and_indexes_are_refused(shards: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="is no folder of shards"):
        ShardDataset(tmp_path, "train")
    with pytest.raises(UserError, match="has no split 'middle'"):
        ShardDataset(shards, "middle")
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in shards.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    index = next(copy.glob("train*.idx"))
    lines = index.read_text()
    index.write_text("v1.1 3\n")
    with pytest.raises(UserError, match=r"no index of version v1\.2"):
        ShardDataset(copy, "train")
    index.write_text(lines)
    data = ShardDataset(copy, "train")
    for tar in copy.glob("*.tar"):
        tar.write_bytes(tar.read_bytes()[:3000])
    with pytest.raises(ValueError, match="ends before byte"):
        data.load(len(data) - 1)


def test_shards_of_another_codebook_are_refused(shards: Path) -> None:
    with pytest.raises(UserError, match=r"codebook of \d+, the model's of 32: set model\.codebook_size"):
        check_codebook(DataRecipe(shards=shards), tiny_model())


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Tones by three speakers."""
    rows = ["file,speaker,gender,emotion,text"]
    for n, (speaker, gender, emotion) in enumerate(
        [("a", "female", "anger"), ("a", "female", "boredom"), ("b", "male", "<SAD>"), ("c", "male", "")]
    ):
        (tmp_path / f"{n}.flac").write_bytes(tone_flac(200 + 100 * n, 0.5 + n / 10, 8000))
        rows.append(f"{n}.flac,{speaker},{gender},{emotion},tone {n}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    return tmp_path


def test_recordings_with_labels_of_any_spelling(corpus: Path) -> None:
    data = CorpusDataset(corpus)
    assert [data.load(n).current.label("emotion") for n in range(4)] == ["angry", "none", "sad", "none"]
    assert data.load(2).current.query_text == "tone 2"
    turn = data.load(0).current
    assert turn.frames == 50
    assert turn.mel is not None
    assert turn.mel.shape == (50, 80)
    only = CorpusDataset(corpus, ["a", "b"], ["emotion"], texts=False)
    assert (len(only), only.left_out) == (2, 1)
    assert only.load(0).current.query_text == ""
    with pytest.raises(UserError, match="no recording with these speakers"):
        CorpusDataset(corpus, ["z"])
    with pytest.raises(UserError, match=r"labels\.csv: cannot be read"):
        CorpusDataset(corpus / "elsewhere")


def test_audio_of_any_kind_becomes_features(tmp_path: Path) -> None:
    assert mel_of(tone_flac(300, 1.0, 24_000)).shape == (100, 80)
    peak = mel_of(tone_flac(1000, 1.0)).mean(0).argmax()
    assert 20 < peak < 32, "1 kHz lies at the end of the linear mels"
    with pytest.raises(ValueError, match="cannot be read as audio"):
        mel_of(b"no audio")
    with pytest.raises(ValueError, match="400 are the least"):
        mel_of(tone_flac(300, 0.01))
