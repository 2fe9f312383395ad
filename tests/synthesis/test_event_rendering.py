"""Vocal sound events: the table, placement and bank without a model, renderings by the neural voice (slow)."""

from __future__ import annotations

import csv
import hashlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.labels import EVENTS
from synthesis.base import Utterance
from synthesis.event_bank import COLUMNS, INDEX, EventBank, Recording
from synthesis.event_recipes import render
from synthesis.event_table import TABLE, Range, read_events, table_hash
from synthesis.event_voice import Take, VoiceBody, Vowel
from synthesis.events import PEAK, EventRenderer, active_dbfs, find_pause, has_break, place

RATE = 24000
CUES = read_events()


def voice(sounds: str, f0_hz: float = 120.0, alpha: float = 1.0) -> VoiceBody:
    """A voice without a model: pulses through two resonances stand for every vowel."""
    num = int(0.4 * RATE)
    rng = np.random.default_rng(len(sounds))
    pulses = np.zeros(num)
    pulses[:: int(RATE / f0_hz)] = 1.0
    pulses += 0.01 * rng.standard_normal(num)
    from scipy.signal import lfilter

    wave = pulses
    for hz in (700.0, 1200.0):
        radius, angle = 0.97, 2 * np.pi * hz / RATE
        wave = lfilter([1.0], [1.0, -2 * radius * np.cos(angle), radius**2], wave)
    wave = np.asarray(wave) / np.abs(wave).max() * 0.5
    bounds = np.linspace(0, num, len(sounds) + 1).astype(int)
    bounds[-2:] = (num // 5, num)  # the last sound is the long one
    take = Take(wave.astype(np.float32), np.full(int(num / RATE * 80) + 1, f0_hz), np.sort(bounds), sounds)
    return VoiceBody(take, RATE, f0_hz, alpha)


def plain(sounds: str) -> VoiceBody:
    """The voice of sounds whose vowel is last."""
    return voice(sounds.rstrip("ː"))


def words(pause: float = 0.0, seconds: float = 1.0) -> np.ndarray:
    """A tone in two halves with silence of `pause` seconds between them."""
    tone = 0.1 * np.sin(2 * np.pi * 200 * np.arange(int(seconds / 2 * RATE)) / RATE)
    return np.concatenate([tone, np.zeros(int(pause * RATE)), tone]).astype(np.float32)


def utterance(text: str = "Well, I lost my keys.", event: str = "laugh", seed: int = 1) -> Utterance:
    return Utterance(text, "af_bella", seed=seed, event=event)


# Table


def test_table_has_every_event_with_its_source() -> None:
    assert set(CUES) == set(EVENTS)
    assert all(cues.source for cues in CUES.values())


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("event", "hiccup", "hiccup"),
        ("event", "cough", "twice"),
        ("seconds", "0.2", "low..high"),
        ("seconds", "0.4..0.2", "lower end first"),
        ("seconds", "0..nan", "seconds"),
        ("noise", "0..1.5", "0 to 1"),
        ("sounds", "a||b", "sounds"),
        ("before", "-1", "before"),
    ],
)
def test_wrong_tables_are_refused_by_line_and_column(tmp_path: Path, column: str, value: str, said: str) -> None:
    with TABLE.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    rows[0][column] = value
    path = tmp_path / "events.csv"
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(UserError, match=said) as error:
        read_events(path)
    assert f"{path}:" in str(error.value)


def test_the_hash_of_a_table_changes_with_a_number_of_it() -> None:
    changed = {**CUES, "laugh": replace(CUES["laugh"], noise=Range(0.1, 0.2))}
    assert table_hash(changed) != table_hash(CUES)
    assert table_hash(dict(reversed(CUES.items()))) == table_hash(CUES)


# Voice


def test_a_vowel_sings_the_pitch_asked_for_and_sounds_throughout() -> None:
    from annotators.pitch import pitch_track

    vowel = Vowel(plain("hɑ").take, "ɑ", RATE)
    sung = vowel.sing(np.full(RATE, 240.0), np.random.default_rng(0))
    import soxr

    found = pitch_track(soxr.resample(sung, RATE, 16000).astype(np.float32))
    assert np.median(found[found > 0]) == pytest.approx(240, rel=0.02)
    assert (found > 0).mean() > 0.9
    blocks = sung[: RATE // 1000 * 1000].reshape(-1, 600).std(axis=1)
    assert blocks[1:-1].min() > 0.5 * np.median(blocks)


def test_a_take_without_the_vowel_is_refused() -> None:
    with pytest.raises(ValueError, match="has no"):
        Vowel(plain("hɑ").take, "u", RATE)


@pytest.mark.parametrize("event", EVENTS)
def test_recipes_stay_within_their_table_and_repeat(event: str) -> None:
    lengths = []
    for seed in range(6):
        first = render(event, CUES[event], plain, np.random.default_rng(seed))
        again = render(event, CUES[event], plain, np.random.default_rng(seed))
        assert first.tobytes() == again.tobytes()
        assert np.isfinite(first).all()
        assert np.abs(first).max() > 0
        assert 0.15 < len(first) / RATE < 12
        lengths.append(len(first))
    assert len(set(lengths)) > 1  # drawn, not one recipe


# Placement


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    event=st.sampled_from(EVENTS),
    pause=st.sampled_from([0.0, 0.05, 0.3]),
    text=st.sampled_from(["I lost my keys", "Well, I lost my keys.", "I lost them."]),
    level=st.floats(0.01, 5.0),
    seconds=st.floats(0.05, 2.0),
)
def test_no_word_is_covered_or_changed(
    seed: int, event: str, pause: float, text: str, level: float, seconds: float
) -> None:
    rng = np.random.default_rng(seed)
    said = words(pause)
    sound = level * rng.standard_normal(int(seconds * RATE))
    speech = place(said, sound, utterance(text, event), CUES[event], "voice", RATE, rng)
    span = speech.event
    assert span is not None
    start, end = round(span.start * RATE), round(span.end * RATE)
    assert end - start == len(sound)
    assert 0 < start < end < len(speech.samples)
    assert np.abs(speech.samples).max() <= max(PEAK + 0.001, np.abs(said).max())
    assert CUES[event].level_db.low - 40 <= span.snr_db <= CUES[event].level_db.high + 0.01
    weights = dict(zip(("before", "within", "after"), CUES[event].weights, strict=True))
    assert weights[span.position] > 0
    # What is put in is one piece; around it are the words, each sample of them.
    outside = {
        "before": speech.samples[-len(said) :],
        "after": speech.samples[: len(said)],
    }
    if span.position == "within":
        middle = find_pause(said, RATE)
        assert middle is not None
        cut = sum(middle) // 2
        rest = len(said) - cut
        assert np.array_equal(speech.samples[:cut], said[:cut])
        assert np.array_equal(speech.samples[-rest:], said[cut:])
        assert cut < start
        assert end < len(speech.samples) - rest
    else:
        assert np.array_equal(outside[span.position], said)
    if not has_break(text) or pause < 0.1:
        assert span.position != "within"


def test_recorded_level_is_the_level() -> None:
    rng = np.random.default_rng(0)
    speech = place(words(), rng.standard_normal(RATE), utterance(event="cough"), CUES["cough"], "voice", RATE, rng)
    span = speech.event
    assert span is not None
    event = speech.samples[round(span.start * RATE) : round(span.end * RATE)]
    spoken = active_dbfs(words(), RATE)
    found = active_dbfs(event, RATE)
    assert spoken is not None
    assert found is not None
    assert found - spoken == pytest.approx(span.snr_db, abs=0.1)


@pytest.mark.parametrize(
    ("text", "breaks"),
    [
        ("Well, I know", True),
        ("No! Really", True),
        ("I know — I think", True),
        ("I know.", False),
        ("the U.S. army", True),
        ("it costs 3.50 now", False),
        ('"Hm," he said', True),
        ("a well-known man", False),
    ],
)
def test_breaks_between_words(text: str, breaks: bool) -> None:
    assert has_break(text) is breaks


def test_silence_at_the_ends_is_no_pause() -> None:
    said = np.concatenate([np.zeros(RATE, np.float32), words(), np.zeros(RATE, np.float32)])
    assert find_pause(said, RATE) is None
    start, end = find_pause(words(0.3), RATE) or (0, 0)
    assert (start / RATE, end / RATE) == (pytest.approx(0.5, abs=0.02), pytest.approx(0.8, abs=0.02))


def test_silent_words_and_unknown_events_are_refused() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="words are silent"):
        place(np.zeros(RATE, np.float32), np.ones(RATE), utterance(), CUES["laugh"], "voice", RATE, rng)
    with pytest.raises(ValueError, match="no row of the table"):
        EventRenderer({}).add(words(), utterance(), plain, RATE)


# Recordings


def make_bank(folder: Path, rows: list[tuple[str, str, str]]) -> EventBank:
    """A bank of noises for (label, split, gender) rows, each of its own length."""
    recordings = []
    for number, (label, split, gender) in enumerate(rows):
        path = folder / f"{label}-{number}.flac"
        noise = 0.1 * np.random.default_rng(number).standard_normal(RATE // 2 + 240 * number)
        soundfile.write(path, noise, RATE, subtype="PCM_16")
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        recordings.append(
            Recording(path.name, label, split, gender, f"who{number}", path.name, "0.5", digest, "CC-BY", "made here")
        )
    with (folder / INDEX).open("w", newline="", encoding="utf-8") as lines:
        writer = csv.DictWriter(lines, COLUMNS)
        writer.writeheader()
        writer.writerows(vars(row) for row in recordings)
    return EventBank.load(folder)


def test_recordings_of_other_splits_are_never_used(tmp_path: Path) -> None:
    bank = make_bank(tmp_path, [("cough", "train", "none"), ("cough", "test", "none"), ("laugh", "train", "none")])
    events = EventRenderer(CUES, bank)
    for seed in range(10):
        for split, file in (("train", "cough-0.flac"), ("test", "cough-1.flac"), ("validation", "voice")):
            asked = replace(utterance(event="cough", seed=seed), split=split)
            span = events.add(words(), asked, plain, RATE).event
            assert span is not None
            assert span.source == file
    span = events.add(words(), utterance(event="sigh"), plain, RATE).event
    assert span is not None
    assert span.source == "voice"


def test_recordings_fit_the_speaker_where_they_can(tmp_path: Path) -> None:
    bank = make_bank(tmp_path, [("cough", "train", "female"), ("cough", "train", "male"), ("sigh", "train", "male")])
    rng = np.random.default_rng(0)
    taken = {gender: bank.take("cough", "train", gender, RATE, rng)[1] for gender in ("female", "male")}
    assert taken == {"female": "cough-0.flac", "male": "cough-1.flac"}
    assert bank.take("sigh", "train", "female", RATE, rng)[1] == "sigh-2.flac"
    wave, _ = bank.take("sigh", "train", "male", 16000, rng)
    assert len(wave) == (RATE // 2 + 480) * 16000 // RATE


def test_a_changed_recording_is_noticed(tmp_path: Path) -> None:
    bank = make_bank(tmp_path, [("cough", "train", "none")])
    soundfile.write(tmp_path / "cough-0.flac", np.zeros(RATE), RATE)
    with pytest.raises(ValueError, match="is not the file"):
        bank.take("cough", "train", "none", RATE, np.random.default_rng(0))


def test_broken_banks_are_refused_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="echat ingest events"):
        EventBank.load(tmp_path)
    make_bank(tmp_path, [("cough", "train", "none")])
    (tmp_path / "cough-0.flac").unlink()
    with pytest.raises(UserError, match=r"events.csv:2: cough-0.flac is missing"):
        EventBank.load(tmp_path)


# The neural voice

ASKED = Utterance("Well, I lost my keys, and the shop is closed.", "af_bella", seed=11, gender="female")


@pytest.fixture(scope="module")
def kokoro():
    from synthesis.kokoro import KokoroConfig

    return KokoroConfig().open()


@pytest.mark.slow
def test_the_words_are_those_of_the_same_utterance_without_an_event(kokoro) -> None:
    said = kokoro.speak(ASKED).samples
    for event in ("laugh", "sigh"):
        speech = kokoro.speak(replace(ASKED, event=event))
        span = speech.event
        assert span is not None
        start, end = round(span.start * RATE), round(span.end * RATE)
        event_db = active_dbfs(speech.samples[start:end], RATE)
        words_db = active_dbfs(said, RATE)
        assert event_db is not None
        assert words_db is not None
        assert event_db - words_db == pytest.approx(span.snr_db, abs=0.3)
        assert len(speech.samples) > len(said) + (end - start)
        added = len(speech.samples) - len(said)
        before = _equal(speech.samples[: len(said)], said)
        after = _equal(speech.samples[::-1][: len(said)], said[::-1])
        assert before + after >= len(said), "the words were changed"
        cuts = range(len(said) - after, before + 1)
        assert any(cut <= start < end <= cut + added for cut in cuts), "the span holds words"


def _equal(one: np.ndarray, other: np.ndarray) -> int:
    """How many samples are equal from the start."""
    differing = np.flatnonzero(one != other)
    return int(differing[0]) if len(differing) else len(one)


@pytest.mark.slow
def test_same_seed_same_bytes_other_seed_another_event(kokoro) -> None:
    asked = replace(ASKED, text="Hello there.", event="cough", age="old")
    first, again = kokoro.speak(asked), kokoro.speak(asked)
    assert first.samples.tobytes() == again.samples.tobytes()
    assert first.event == again.event
    other = kokoro.speak(replace(asked, seed=12))
    assert other.event != first.event


@pytest.mark.slow
@pytest.mark.parametrize(("age", "lowest", "highest"), [("adult", 150, 420), ("child", 280, 700)])
def test_a_laugh_is_in_the_pitch_of_its_speaker(kokoro, age: str, lowest: float, highest: float) -> None:
    from synthesis.measure_voices import median_f0

    speech = kokoro.speak(replace(ASKED, text="Hello there.", event="laugh", age=age))
    span = speech.event
    assert span is not None
    laugh = speech.samples[round(span.start * RATE) : round(span.end * RATE)]
    assert lowest < median_f0(laugh, RATE, highest=900) < highest
