"""DNSMOS: scores as published, one window for short clips, odd input."""

from __future__ import annotations

import csv
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from annotators import mos
from annotators.audio import prepare
from annotators.mos import SAMPLE_RATE, WINDOW, Dnsmos, DnsmosConfig, Mos, MosRater
from manifests.errors import UserError
from manifests.ids import content_hash

DATA = Path(__file__).parents[1] / "data" / "fsdd"
CLIPS = [row["file"] for row in csv.DictReader((DATA / "labels.csv").open())]

# Overall, signal, background by the package speechmos 0.0.1.1, each clip repeated to fill one window before.
PUBLISHED = {
    "0_jackson_2.flac": (2.5222, 3.3036, 3.0966),
    "2_theo_2.flac": (2.6756, 3.0627, 4.0479),
    "3_lucas_1.flac": (2.7886, 3.3639, 3.4805),
}


@pytest.fixture(scope="module")
def rater() -> MosRater:
    return DnsmosConfig().open()


class Counting:
    """Answers with raw scores that tell the windows apart, and keeps the windows."""

    def __init__(self) -> None:
        self.windows: list[np.ndarray] = []

    def run(self, _: Any, inputs: dict[str, np.ndarray]) -> list[np.ndarray]:
        (window,) = inputs["input_1"]
        assert window.shape == (WINDOW,)
        assert window.dtype == np.float32
        self.windows.append(window)
        return [np.array([[2.0 + float(window[0]), 3.0, 2.5]], np.float32)]


def sample(name: str) -> np.ndarray:
    samples, rate = soundfile.read(DATA / name, dtype="float32")
    return prepare(samples, rate, SAMPLE_RATE)


def published(audio: np.ndarray) -> tuple[list[np.ndarray], int]:
    """The windows that the published front end rates, by its own code in our words; and how often it repeats."""
    length = int(9.01 * SAMPLE_RATE)
    while len(audio) < length:
        audio = np.append(audio, audio)
    hops = int(np.floor(len(audio) / SAMPLE_RATE) - 9.01) + 1
    found = [audio[hop * SAMPLE_RATE : int((hop + 9.01) * SAMPLE_RATE)] for hop in range(hops)]
    return [window for window in found if len(window) >= length], hops


def ramp(seconds: float) -> np.ndarray:
    """No two samples alike."""
    return np.linspace(-0.9, 0.9, round(seconds * SAMPLE_RATE)).astype(np.float32)


@pytest.mark.parametrize("name", CLIPS[:3])
def test_scores_are_those_of_the_package(rater: MosRater, name: str):
    audio = np.resize(sample(name), WINDOW)
    assert astuple(rater.score(audio, SAMPLE_RATE)) == pytest.approx(PUBLISHED[name], abs=0.01)


@pytest.mark.parametrize("seconds", [0.5, 1.0, 2.0, 2.37, 4.6, 9.0, 9.01, 10.5, 15.99, 17.3])
def test_windows_are_those_of_the_published_front_end(seconds: float):
    audio, session = ramp(seconds), Counting()
    score = Dnsmos(session, "published").score(audio, SAMPLE_RATE)
    wanted, _ = published(audio)
    own = np.mean([np.polyval(mos._SIG, 2.0 + float(window[0])) for window in wanted])
    assert score.sig == pytest.approx(own, abs=1e-6)
    assert len(session.windows) == len({window.tobytes() for window in wanted})


@pytest.mark.parametrize("seconds", [0.05, 2.37, 9.0])
def test_a_short_clip_is_repeated_and_rated_once(seconds: float):
    audio, session = ramp(seconds), Counting()
    Dnsmos(session).score(audio, SAMPLE_RATE)
    (window,) = session.windows
    assert np.array_equal(window[: len(audio)], audio)
    assert np.array_equal(window[len(audio) : 2 * len(audio)], audio[: WINDOW - len(audio)])


def test_a_long_clip_is_rated_alike_either_way():
    one, all_ = Counting(), Counting()
    scores = Dnsmos(one, "one").score(ramp(12.4), SAMPLE_RATE), Dnsmos(all_, "published").score(ramp(12.4), SAMPLE_RATE)
    assert scores[0] == scores[1]
    assert len(one.windows) == len(all_.windows) == 3


def test_clean_beats_noisy_beats_noise(rater: MosRater):
    audio = sample(CLIPS[3])
    rng = np.random.default_rng(0)
    hiss = rng.normal(size=len(audio)).astype(np.float32)
    clean, noisy, noise = (rater.score(x, SAMPLE_RATE) for x in (audio, audio + 0.05 * hiss, 0.1 * hiss))
    assert clean.bak > noisy.bak + 0.3
    assert clean.ovrl > noise.ovrl
    assert noise.sig < 2


def odd() -> dict[str, tuple[np.ndarray, int]]:
    rng = np.random.default_rng(1)
    return {
        "silence": (np.zeros(16000, np.float32), 16000),
        "one sample": (np.array([0.5], np.float32), 16000),
        "50 ms": (sample(CLIPS[0])[:800], 16000),
        "8 kHz": soundfile.read(DATA / CLIPS[0], dtype="float32"),
        "48 kHz stereo": (rng.uniform(-0.3, 0.3, (48000, 2)).astype(np.float32), 48000),
        "beyond full scale": (5 * sample(CLIPS[0]), 16000),
        "integers": ((sample(CLIPS[0]) * 20000).astype(np.int16), 16000),
    }


@pytest.mark.parametrize("what", odd())
def test_odd_clips_get_scores(rater: MosRater, what: str):
    score = rater.score(*odd()[what])
    assert isinstance(score, Mos)
    assert all(0.5 < value < 5.5 and type(value) is float for value in astuple(score))
    if what == "silence":
        assert score.ovrl < 2


def test_clipping_is_heard_as_it_would_be_played(rater: MosRater):
    audio = 5 * sample(CLIPS[0])
    assert rater.score(audio, SAMPLE_RATE) == rater.score(np.clip(audio, -1, 1), SAMPLE_RATE)


@pytest.mark.parametrize("bad", [np.zeros(0, np.float32), np.full(100, np.nan, np.float32)])
def test_no_sound_at_all_is_refused(rater: MosRater, bad: np.ndarray):
    with pytest.raises(ValueError, match=r"empty|NaN"):
        rater.score(bad, 16000)


def test_the_same_clip_gets_the_same_score_whatever_came_before(rater: MosRater):
    audio = sample(CLIPS[1])
    first = rater.score(audio, SAMPLE_RATE)
    rater.score(sample(CLIPS[2]), SAMPLE_RATE)
    assert rater.score(audio, SAMPLE_RATE) == DnsmosConfig().open().score(audio, SAMPLE_RATE) == first


def test_config(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    config = DnsmosConfig()
    assert (config.role, config.share, config.windows, config.problems()) == ("mos", 0.25, "one", [])
    keys = {content_hash(one.keyed()) for one in (config, DnsmosConfig(share=0.5), DnsmosConfig(windows="published"))}
    assert len(keys) == 3
    for share in (-0.1, 1.1):
        with pytest.raises(ValueError, match="share"):
            DnsmosConfig(share=share)
    other = tmp_path / "other.onnx"
    monkeypatch.setattr(mos, "_MODEL", other)
    assert "is missing" in config.problems()[0].what
    other.write_bytes(b"another model")
    with pytest.raises(UserError, match="not the pinned model"):
        config.open()
