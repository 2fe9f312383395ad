"""The event detector on sounds made here, on odd input, and on renderings of the neural voice (slow)."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from annotators import event_features
from annotators.base import Label
from annotators.clip import Clip
from annotators.event_augment import augment, odd_sounds
from annotators.events import CLASSES, MODEL, EventDetector, EventDetectorConfig, find, read_model
from annotators.train_events import Example, f1, fit_thresholds, overlap, read_clips, targets, train
from manifests.errors import UserError
from manifests.labels import EVENTS, NONE

RATE = 16000
FSDD = Path(__file__).parent.parent / "data" / "fsdd"


def detector() -> EventDetector:
    return EventDetector(read_model())


def checked(label: Label, seconds: float) -> Label:
    """`label`, when it has the form that any label has."""
    assert tuple(label.probabilities) == CLASSES
    assert sum(label.probabilities.values()) == pytest.approx(1.0)
    assert all(0 <= value <= 1 for value in label.probabilities.values())
    assert label.value in CLASSES
    assert 0 <= label.evidence["start_s"] <= label.evidence["end_s"] <= seconds + 0.001
    assert all(np.isfinite(value) for value in label.evidence.values())
    return label


def noise(seconds: float, level: float = 0.1, seed: int = 0) -> np.ndarray:
    return (level * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype(np.float32)


# Odd input


@pytest.mark.parametrize("seconds", [0.001, 0.03, 0.05, 5.0])
def test_silence_and_scraps_are_none(seconds: float) -> None:
    label = checked(detector().annotate(Clip(np.zeros(max(int(seconds * RATE), 1), np.float32), RATE)), seconds)
    assert label.value == NONE
    assert len(set(label.probabilities.values())) == 1


@pytest.mark.parametrize("seed", range(8))
def test_sounds_without_a_voice_are_no_sure_event(seed: int) -> None:
    audio = odd_sounds(np.random.default_rng([99, seed]))
    label = checked(detector().annotate(Clip(audio, RATE)), len(audio) / RATE)
    assert label.value == NONE or label.probabilities[label.value] < 0.9


@pytest.mark.parametrize("name", sorted(path.name for path in FSDD.glob("*.flac")))
def test_real_spoken_digits_are_none(name: str) -> None:
    samples, rate = soundfile.read(FSDD / name, dtype="float32")  # 8 kHz
    assert checked(detector().annotate(Clip(samples, rate)), len(samples) / rate).value == NONE


def test_a_minute_clipped_and_stereo_are_answered_within_the_budget() -> None:
    audio = np.clip(10 * noise(60.0), -1, 1)
    clip = Clip(np.column_stack([audio, audio]), RATE)
    events = detector()
    start = time.process_time()
    checked(events.annotate(clip), 60.0)
    assert time.process_time() - start < 60 * 0.06  # 30 ms a second of audio, doubled for a busy machine


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3 * RATE), st.floats(0, 1), st.sampled_from([8000, 16000, 24000]), st.integers(0, 99))
def test_any_noise_is_answered(num: int, level: float, rate: int, seed: int) -> None:
    audio = level * np.random.default_rng(seed).uniform(-1, 1, num)
    checked(detector().annotate(Clip(audio.astype(np.float32), rate)), num / rate)


# Parts


def test_features_ignore_the_gain() -> None:
    audio = odd_sounds(np.random.default_rng(3)) + noise(1.0, 0.01, 5)[0]
    one, other = event_features.measure(audio), event_features.measure(0.25 * audio)
    assert one is not None
    assert other is not None
    assert one.rows.shape[1] == event_features.NUM
    np.testing.assert_allclose(one.rows, other.rows, atol=0.02)


def test_the_stretch_with_the_highest_odds_is_found() -> None:
    posterior = np.full((100, len(CLASSES)), 0.01)
    posterior[:, -1] = 0.93
    posterior[40:60, -1] = 0.02
    posterior[40:60, EVENTS.index("cough")] = 0.9
    posterior /= posterior.sum(axis=1, keepdims=True)
    found = find(posterior, np.zeros(100), 5.0)
    assert (found.start, found.end) == (pytest.approx(2.0, abs=0.06), pytest.approx(3.0, abs=0.06))
    assert int(found.shares.argmax()) == EVENTS.index("cough")
    silent = find(posterior, np.where(np.arange(100) < 55, -40.0, 0.0), 5.0)
    assert silent.start == pytest.approx(2.75, abs=0.06)  # silence is no evidence


def test_a_model_of_another_version_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.json"
    other.write_text(json.dumps({**read_model(), "classes": ["laugh", "none"]}))
    with pytest.raises(UserError, match="another version"):
        read_model(other)
    with pytest.raises(UserError, match="cannot be read"):
        read_model(tmp_path / "absent.json")


def test_the_card_says_what_the_shipped_model_was_trained_on() -> None:
    card = read_model()["card"]
    assert card["script"] == "annotators.train_events"
    assert not any("emo" in name.lower() for name in card["corpora"])
    assert card["clips"]["train"] >= 300
    assert MODEL.stat().st_size < 200_000
    config = EventDetectorConfig(engine="events", family="event")
    assert set(config.thresholds()) == set(CLASSES)
    assert config.revision() == EventDetectorConfig(engine="events").revision()
    assert config.problems() == []


# Training


def test_steps_at_the_edges_are_not_learnt_from() -> None:
    features = event_features.measure(noise(2.0))
    assert features is not None
    steps = targets(Example(features, "sigh", (0.5, 1.5), "train", False))
    assert set(steps[:9]) == {len(EVENTS)}
    assert set(steps[12:29]) == {EVENTS.index("sigh")}
    assert steps[10] == -1
    assert set(steps[32:]) == {len(EVENTS)}


def test_augmented_events_stay_where_they_are_said_to_be() -> None:
    quiet = 1e-4 * np.random.default_rng(0).standard_normal(2 * RATE)
    audio = quiet.copy()
    audio[RATE : RATE + 4000] += noise(0.25, 0.5)
    for seed in range(20):
        made, span = augment(audio.astype(np.float32), (1.0, 1.25), np.random.default_rng(seed))
        assert span is not None
        inside = made[round(span[0] * RATE) : round(span[1] * RATE)]
        assert np.isfinite(made).all()
        assert inside.std() > 5 * made[: round((span[0] - 0.1) * RATE)].std()


def test_scores() -> None:
    assert overlap((0.0, 1.0), (0.5, 1.5)) == pytest.approx(1 / 3)
    assert overlap((0.0, 1.0), (2.0, 3.0)) == 0.0
    confusion = {"a": {"a": 3, "b": 1}, "b": {"a": 2, "b": 0}}
    assert f1(confusion, "a") == pytest.approx(2 * 3 / (5 + 4))
    assert f1(confusion, "b") == 0.0


@pytest.mark.slow
def test_a_tiny_corpus_trains_to_tell_noise_from_tones(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    clips = []
    for number in range(64):
        event = CLASSES[number % len(CLASSES)]
        tone = 0.1 * np.sin(2 * np.pi * 150 * np.arange(2 * RATE) / RATE)
        tone *= 1 + 0.3 * np.sin(2 * np.pi * 3 * np.arange(2 * RATE) / RATE)
        tone += 0.001 * rng.standard_normal(2 * RATE)
        span = None
        if event != NONE:
            pitch = 300 * 1.4 ** EVENTS.index(event)
            tone[RATE // 2 : RATE] = 0.1 * np.sign(np.sin(2 * np.pi * pitch * np.arange(RATE // 2) / RATE))
            span = (0.5, 1.0)
        features = event_features.measure(tone.astype(np.float32))
        assert features is not None
        split = ("train", "validation", "test")[number // 8 % 3]
        clips.append(Example(features, event, span, split, False))
    model = train(clips, 1, ["made here"], 0)
    assert model["card"]["test"]["macro_f1"] > 0.9
    assert model["card"]["test"]["overlap_median"] > 0.4
    assert model == train(clips, 1, ["made here"], 0)
    assert all(0 < value <= 1 for value in fit_thresholds(EventDetector(model), clips).values())
    with pytest.raises(UserError, match="have no laugh"):
        train([clip for clip in clips if clip.event != "laugh"], 1, [], 0)
    with pytest.raises(UserError, match=r"synthesis\.event_clips"):
        read_clips([tmp_path])


# The neural voice


@pytest.mark.slow
def test_events_of_a_voice_held_out_are_heard_where_they_are() -> None:
    from synthesis.base import Utterance
    from synthesis.kokoro import KokoroConfig

    speaker, events = KokoroConfig().open(), detector()
    text = "Honestly, I have no idea what to cook tonight."
    for seed, event in enumerate((NONE, *EVENTS)):
        asked = Utterance(text, "bm_lewis", seed=1000 + seed, gender="male", event=event, split="test")
        speech = speaker.speak(asked)
        label = checked(events.annotate(Clip(speech.samples, speech.sample_rate)), len(speech.samples) / 24000)
        assert label.value == event
        if speech.event is not None:
            found = (label.evidence["start_s"], label.evidence["end_s"])
            assert overlap(found, (speech.event.start, speech.event.end)) > 0.5
