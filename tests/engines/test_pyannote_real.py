"""The segmentation model in the wheel of whisperx on speech whose borders are known."""

from __future__ import annotations

import numpy as np
from engines_gate import heavy
from real_speech import Line, lines  # noqa: F401  (a fixture)

from annotators.audio import prepare
from annotators.pyannote import PyannoteRaterConfig
from annotators.word_times import sounding_times

pytestmark = heavy
RATE = 16000
TOLERANCE = 0.15  # seconds


def trimmed(line: Line) -> np.ndarray:
    """The utterance from its first sound to its last."""
    audio = prepare(line.samples, line.sample_rate)
    times = sounding_times(audio)
    return audio[int((times[0] - 0.005) * RATE) : int((times[-1] + 0.005) * RATE)]


def test_speech_borders_lie_within_a_seventh_of_a_second(lines: list[Line], record_property) -> None:
    some = [line for line in lines if line.emotion in ("neutral", "none")][:6]
    parts, borders, at = [np.zeros(RATE, np.float32)], [], 1.0
    for line in some:
        speech = trimmed(line)
        borders.append((at, at + len(speech) / RATE))
        parts += [speech, np.zeros(RATE, np.float32)]
        at = borders[-1][1] + 1.0
    mix = np.concatenate(parts)
    mix = mix + np.random.default_rng(0).normal(0, 1e-4, len(mix)).astype(np.float32)
    found = PyannoteRaterConfig(engine="pyannote", shortest_pause=0.7).open().speech(mix)  # type: ignore[attr-defined]
    assert len(found) == len(borders)
    errors = np.abs(np.array(found) - np.array(borders))
    record_property("borders_off_by", np.round(errors, 3).tolist())
    assert errors.max() <= TOLERANCE


def test_noise_is_no_speech() -> None:
    noise = np.random.default_rng(1).normal(0, 0.05, 4 * RATE).astype(np.float32)
    assert PyannoteRaterConfig(engine="pyannote").open().rate(noise, RATE).speech_ratio < 0.3
