"""The rater of signal quality: speech, silence, noise, clipping."""

import csv
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from annotators.base import Rater
from annotators.quality import WINDOW, SileroQualityConfig, bridge, snr_db

DATA = Path(__file__).parents[1] / "data" / "fsdd"
CLIPS = [row["file"] for row in csv.DictReader((DATA / "labels.csv").open())]


@pytest.fixture(scope="module")
def rater() -> Rater:
    return SileroQualityConfig().open()


def read(name: str) -> tuple[np.ndarray, int]:
    return soundfile.read(DATA / name, dtype="float32")


def noise(count: int, level: float) -> np.ndarray:
    return (np.random.default_rng(0).normal(size=count) * level).astype(np.float32)


@pytest.mark.parametrize("name", CLIPS)
def test_speech_is_speech(rater: Rater, name: str):
    samples, rate = read(name)
    quality = rater.rate(samples, rate)
    assert 0.2 < quality.speech_ratio <= 1
    assert quality.speech_seconds == pytest.approx(quality.speech_ratio * len(samples) / rate)
    assert 0 <= quality.lead_seconds < 0.4
    assert quality.snr_db > 3


@pytest.mark.parametrize("level", [0.001, 0.05, 0.3])
def test_noise_is_not(rater: Rater, level: float):
    quality = rater.rate(noise(32000, level), 16000)
    assert quality.speech_ratio < 0.1
    assert quality.rms_dbfs == pytest.approx(20 * np.log10(level), abs=0.2)


def test_lead_is_the_silence_before_speech(rater: Rater):
    samples, rate = read(CLIPS[3])
    shorter = rater.rate(samples, rate)
    longer = rater.rate(np.pad(samples, (rate, rate)), rate)
    assert longer.lead_seconds == pytest.approx(1 + shorter.lead_seconds, abs=0.1)
    assert longer.speech_seconds == pytest.approx(shorter.speech_seconds, abs=0.15)


def test_more_noise_is_a_lower_ratio(rater: Rater):
    samples, rate = read(CLIPS[3])
    padded = np.pad(samples, rate // 2)
    ratios = [rater.rate(padded + noise(len(padded), level), rate).snr_db for level in (0.0003, 0.003, 0.03)]
    assert ratios[0] > ratios[1] + 10 > ratios[2] + 20
    level = np.sqrt(np.mean(samples**2))
    assert ratios[1] == pytest.approx(20 * np.log10(level / 0.003), abs=5)


def test_clipped_samples_are_counted(rater: Rater):
    samples = np.zeros(1000, np.float32)
    samples[:7], samples[7:9] = 1.0, -1.5
    assert rater.rate(samples, 16000).clipped_ratio == 0.009
    assert rater.rate(samples, 8000).clipped_ratio == 0.009
    stereo = np.stack([samples, np.zeros_like(samples)], axis=1)
    assert rater.rate(stereo, 16000).clipped_ratio == pytest.approx(0.0045)


def test_silence(rater: Rater):
    quality = rater.rate(np.zeros(16000, np.float32), 16000)
    assert (quality.speech_ratio, quality.speech_seconds, quality.lead_seconds) == (0, 0, 1)
    assert (quality.clipped_ratio, quality.snr_db, quality.rms_dbfs) == (0, -20, -120)


@pytest.mark.parametrize("count", [1, 100, 511, 512, 513, 800])
@pytest.mark.parametrize("rate", [8000, 16000, 48000])
def test_short_clips_are_rated(rater: Rater, count: int, rate: int):
    quality = rater.rate(noise(count, 0.1), rate)
    assert all(np.isfinite(list(vars(quality).values())))
    assert 0 <= quality.speech_ratio <= 1


def test_ratings_do_not_depend_on_the_clips_before(rater: Rater):
    samples, rate = read(CLIPS[0])
    first = rater.rate(samples, rate)
    for name in CLIPS[1:]:
        rater.rate(*read(name))
    assert rater.rate(samples, rate) == first


def test_bad_samples_are_refused(rater: Rater):
    with pytest.raises(ValueError, match="1 of 2 samples are NaN"):
        rater.rate(np.array([np.nan, 0.0]), 16000)


def test_bridge_fills_short_pauses_only():
    speech = np.array([0, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 1, 0], bool)
    assert bridge(speech, 3).astype(int).tolist() == [0, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 0]
    assert not bridge(np.zeros(4, bool), 3).any()


def test_ratio_without_pauses_is_estimated_from_the_quietest_windows():
    level = np.where(np.arange(40) % 5 == 0, 0.01, 1.0).repeat(WINDOW)
    assert snr_db(level.astype(np.float32), np.ones(40, bool)) == pytest.approx(39, abs=0.1)
    assert snr_db(np.ones(WINDOW, np.float32), np.ones(1, bool)) == 0
    assert snr_db(np.zeros(WINDOW, np.float32), np.ones(1, bool)) == -20


def test_config():
    config = SileroQualityConfig()
    assert config.problems() == []
    assert config.revision().startswith("silero-vad-6")


def test_opening_does_not_import_the_package_and_its_pytorch():
    sys.modules.pop("silero_vad", None)
    SileroQualityConfig().open()
    assert "silero_vad" not in sys.modules
