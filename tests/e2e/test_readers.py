"""The shards in the hands of other people's readers."""

from __future__ import annotations

import io
import json
import subprocess

import numpy as np
import pytest
import soundfile

from manifests.run import load_run
from pipeline.build import build


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    from conftest import ROOT

    file = ROOT / "manifests" / "runs" / "tone.yaml"
    return build(load_run(file), file, tmp_path_factory.mktemp("run") / "out", quiet=True).shards


def test_webdataset_reads_every_sample(shards):
    import webdataset

    urls = sorted(str(path) for path in shards.glob("*.tar"))
    samples = list(webdataset.WebDataset(urls, shardshuffle=False).decode())
    assert len(samples) == 40
    for sample in samples:
        turn = sample["json"]["turns"][0]
        assert sample["__key__"] == sample["json"]["id"]
        samples_, rate = soundfile.read(io.BytesIO(sample["0.query.flac"]))
        assert rate == turn["query"]["sample_rate"]
        assert len(samples_) / rate == pytest.approx(turn["query"]["seconds"], abs=1e-3)
        tokens = sample["0.reply_tokens.npy"]
        tokens = np.load(io.BytesIO(tokens)) if isinstance(tokens, bytes) else tokens
        assert len(tokens) == turn["reply"]["num_tokens"]


def test_hugging_face_datasets_reads_splits_with_audio(shards, tmp_path):
    datasets = pytest.importorskip("datasets")
    try:
        import torchcodec  # noqa: F401
    except (ImportError, RuntimeError, OSError):
        pytest.skip("torchcodec cannot be loaded: it needs FFmpeg 4 to 8 (apt-get install ffmpeg)")
    files = {
        split: [str(path) for path in sorted(shards.glob(f"{split}-*.tar"))]
        for split in ("train", "validation", "test")
    }
    loaded = datasets.load_dataset("webdataset", data_files=files, cache_dir=str(tmp_path))
    assert sum(loaded[split].num_rows for split in loaded) == 40
    row = loaded["train"][0]
    turn = row["json"]["turns"][0]
    audio = row["0.query.flac"]
    decoded = audio.get_all_samples()
    assert decoded.sample_rate == turn["query"]["sample_rate"]
    assert decoded.data.shape[-1] / decoded.sample_rate == pytest.approx(turn["query"]["seconds"], abs=1e-3)
    assert row["json"]["id"] == row["__key__"]


def test_tar_and_sha256sum_read_the_set(shards):
    listing = subprocess.run(
        ["tar", "tf", next(shards.glob("train-*.tar"))], capture_output=True, text=True, check=True
    )
    names = listing.stdout.split()
    assert names[0].endswith(".0.query.flac")
    assert names[3].endswith(".json")
    check = subprocess.run(["sha256sum", "-c", "--quiet", "checksums.sha256"], cwd=shards, check=False)
    assert check.returncode == 0


def test_the_index_points_at_the_members(shards):
    tar = next(shards.glob("train-*.tar"))
    header, *lines = tar.with_name(tar.name + ".idx").read_text().splitlines()
    assert header == f"v1.2 {len(lines)}"
    data = tar.read_bytes()
    for line in lines:
        fields = line.split()
        for extension, offset, size, name in zip(*[iter(fields)] * 4, strict=True):
            content = data[int(offset) : int(offset) + int(size)]
            assert name.endswith(extension)
            if extension == "json":
                assert json.loads(content)["id"] == name.split(".")[0]
            elif extension.endswith("flac"):
                assert content[:4] == b"fLaC"
