"""Clips: what they hold, references as text, and measurements that are made once."""

import numpy as np
import pytest
from sounds import SAMPLE_RATE, syllables

from annotators import cues, encoder
from annotators.clip import Clip, Reference, measures_revision


def test_any_rate_and_channels_become_mono_16_khz():
    sound = syllables(120, 17)
    clip = Clip(np.stack([sound, sound], axis=1)[::2], 8000)
    assert clip.audio.shape == (len(sound),)
    assert (clip.seconds, clip.bandwidth) == (2.0, 4000.0)
    assert Clip(sound, 48000).bandwidth == 8000.0


@pytest.mark.parametrize("samples", [np.zeros(0), np.array([np.nan]), np.zeros((3, 5))], ids=["empty", "NaN", "shape"])
def test_refuses_what_is_no_audio(samples: np.ndarray):
    with pytest.raises(ValueError, match=r"audio|NaN"):
        Clip(samples, SAMPLE_RATE)


def test_measurements_are_made_once(monkeypatch: pytest.MonkeyPatch):
    calls = []

    def counted(audio: np.ndarray) -> np.ndarray:
        calls.append(len(audio))
        return np.zeros(encoder.SIZE, np.float32)

    monkeypatch.setattr(encoder, "embed", counted)
    clip = Clip(syllables(120, 17), SAMPLE_RATE)
    assert clip.embedding is clip.embedding
    assert clip.cues is clip.cues
    assert calls == [32000]


def test_without_cuts_and_keeps_the_rest():
    sound = syllables(120, 17)
    reference = Reference({"f0_mean": 1.0}, {"f0_mean": 2.0})
    clip = Clip(sound[::2], 8000, reference)
    rest = clip.without(0.5, 1.0)
    assert rest.seconds == pytest.approx(1.5)
    assert np.array_equal(rest.audio[:8000], clip.audio[:8000])
    assert np.array_equal(rest.audio[8000:], clip.audio[16000:])
    assert (rest.sample_rate, rest.reference) == (8000, reference)
    assert not np.any(clip.without(-1.0, 9.0).audio)


def test_reference_survives_text():
    embedding = np.linspace(0, 1, 256, dtype=np.float32)
    reference = Reference({"b": 2.5, "a": -1.0}, {"a": 0.5}, embedding, 14, "enrolment")
    again = Reference.from_json(reference.to_json())
    assert again is not None
    assert (again.mean, again.deviation) == (reference.mean, reference.deviation)
    assert (again.takes, again.source) == (14, "enrolment")
    assert np.allclose(again.embedding, embedding, atol=1e-5)
    assert again.to_json() == reference.to_json()
    assert Reference.from_json("") is None


def test_revision_names_code_and_weights():
    assert measures_revision() == f"cues-{cues.VERSION}+{encoder.revision()}"
