"""Exports in the hands of other people's readers: one test a reader."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from made_set import codes, dialogue, make_set, sound, turn

from pipeline.export.base import Request
from pipeline.export.write import export

DOCUMENTS = [
    *(dialogue(f"t{number}", [turn(speaker=f"s{number % 3}")]) for number in range(5)),
    dialogue("zh", [turn(0, "我的围巾在哪里？", "在椅子上。", event="cough")], language="zh", query_language="zh"),
    dialogue("two", [turn(0, "Is it cold?", "A little."), turn(1, "And now?", "Now too.", emotion="happy")]),
    dialogue("v0", split="validation"),
    dialogue("x0", split="test"),
]
BY_ID = {item["id"]: item for item in DOCUMENTS}
TURNS = [(item["id"], number) for item in DOCUMENTS if item["split"] == "train" for number in range(item["num_turns"])]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_set(tmp_path_factory.mktemp("set") / "shards", DOCUMENTS)


@pytest.fixture(scope="module")
def parquet(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parquet") / "out"
    export(Request(made, out, "parquet", rows=4))
    assert len(list((out / "data").glob("train-*.parquet"))) == 2
    return out


def wave(data: bytes) -> tuple[np.ndarray, int]:
    return soundfile.read(io.BytesIO(data), dtype="float32")


def same_wave(samples: Any, rate: int, name: str, number: int, role: str) -> None:
    own, own_rate = wave(sound(BY_ID[name], number, role))
    assert rate == own_rate
    np.testing.assert_allclose(np.asarray(samples).reshape(-1), own, atol=1 / 32768)


def test_lhotse_loads_cuts_with_both_voices_and_the_tokens(made: Path, tmp_path: Path) -> None:
    lhotse = pytest.importorskip("lhotse")
    export(Request(made, tmp_path / "out", "lhotse", rows=4))
    assert len(list((tmp_path / "out" / "train").glob("cuts.*.jsonl.gz"))) == 2
    cuts = lhotse.CutSet.from_shar(in_dir=str(tmp_path / "out" / "train"))
    found = []
    for cut in cuts:
        lhotse.validate(cut)
        name, number = cut.custom["dialogue"], cut.custom["turn"]
        found.append((name, number))
        document = BY_ID[name]
        item = document["turns"][number]
        (supervision,) = cut.supervisions
        assert cut.id == supervision.id == f"{name}-{number}"
        assert (supervision.text, supervision.speaker) == (item["query"]["text"], item["query"]["speaker"])
        assert (supervision.language, supervision.gender) == (document["query_language"], "female")
        assert supervision.custom["emotion"] == item["query"]["requested"]["emotion"]
        assert supervision.duration == cut.duration == pytest.approx(item["query"]["seconds"])
        same_wave(cut.load_audio(), cut.sampling_rate, name, number, "query")
        same_wave(cut.load_reply_recording(), cut.reply_recording.sampling_rate, name, number, "reply")
        np.testing.assert_array_equal(cut.load_reply_tokens(), codes(document, number))
        for key in ("think_text", "think_tag"):
            assert cut.custom[key] == item[key]
        assert (cut.custom["reply_text"], cut.custom["num_turns"]) == (item["reply"]["text"], document["num_turns"])
    assert found == TURNS
    assert [cut.custom["dialogue"] for cut in lhotse.CutSet.from_shar(in_dir=str(tmp_path / "out" / "test"))] == ["x0"]


def test_hugging_face_datasets_loads_the_parquet_with_audio(parquet: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    loaded = datasets.load_dataset(str(parquet), cache_dir=str(tmp_path))
    assert {split: loaded[split].num_rows for split in loaded} == {"train": len(TURNS), "validation": 1, "test": 1}
    train = loaded["train"]
    for column in ("query_audio", "reply_audio"):
        assert isinstance(train.features[column], datasets.Audio)
        train = train.cast_column(column, datasets.Audio(decode=False))
    for row, (name, number) in zip(train, TURNS, strict=True):
        item = BY_ID[name]["turns"][number]
        assert (row["id"], row["turn"], row["query_text"]) == (name, number, item["query"]["text"])
        assert row["query_audio"]["bytes"] == sound(BY_ID[name], number, "query")
        assert row["query_audio"]["path"] == f"{name}.{number}.query.flac"
        assert row["reply_token_ids"] == codes(BY_ID[name], number).tolist()


def test_hugging_face_datasets_decodes_the_audio(parquet: Path, tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        pytest.skip("torchcodec cannot be loaded: it needs FFmpeg 4 to 8 (apt-get install ffmpeg)")
    loaded = datasets.load_dataset(str(parquet), cache_dir=str(tmp_path), split="train")
    decoded = loaded[0]["query_audio"].get_all_samples()
    same_wave(decoded.data, decoded.sample_rate, *TURNS[0], "query")


def test_duckdb_queries_the_parquet(parquet: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    files = f"'{parquet}/data/train-*.parquet'"
    counts = duckdb.sql(f"SELECT emotion, count(*) FROM {files} GROUP BY emotion ORDER BY emotion").fetchall()
    assert counts == [("happy", 1), ("sad", len(TURNS) - 1)]
    (row,) = duckdb.sql(f"SELECT query_text, reply_audio.bytes FROM {files} WHERE id = 'zh'").fetchall()
    assert row == ("我的围巾在哪里？", sound(BY_ID["zh"], 0, "reply"))


def test_pandas_loads_the_parquet(parquet: Path) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.concat(map(pandas.read_parquet, sorted((parquet / "data").glob("train-*.parquet"))))
    assert list(zip(frame["id"], frame["turn"], strict=True)) == TURNS
    for row in frame.itertuples():
        same_wave(*wave(row.query_audio["bytes"]), row.id, row.turn, "query")
        assert row.reply_tokens == len(row.reply_token_ids) == 20


def test_lhotse_loads_the_kaldi_folders(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kaldi = pytest.importorskip("lhotse.kaldi")
    export(Request(made, tmp_path / "out", "kaldi"))
    monkeypatch.chdir(tmp_path / "out")  # the lists are relative to it
    for role, rate in (("query", 24_000), ("reply", 16_000)):
        recordings, supervisions, _ = kaldi.load_kaldi_data_dir(Path(f"train_{role}"), sampling_rate=16_000)
        texts = {item.id.split("-", 1)[1]: (item.text, item.speaker) for item in supervisions}
        assert texts.keys() == {f"{name}-{number}" for name, number in TURNS}
        for recording in recordings:
            speaker, name, number = recording.id.split("-")
            spoken = BY_ID[name]["turns"][int(number)][role]
            assert texts[f"{name}-{number}"] == (spoken["text"], speaker)
            assert speaker == spoken["speaker" if role == "query" else "voice"]
            own, _ = wave(sound(BY_ID[name], int(number), role))
            loaded = recording.load_audio()
            assert recording.sampling_rate == 16_000
            assert loaded.shape == (1, round(len(own) / rate * 16_000))
    assert (tmp_path / "out" / "test_query" / "text").read_text() == "s1-x0-0 Where is my scarf?\n"
