"""Which annotators confirm the labels of a bank, on clips whose pitch says the emotion."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any, ClassVar, Literal

import hearing
import numpy as np
import pytest
from conftest import tree
from corpora import save, table, take_in

from annotators.base import Annotator, Label
from annotators.clip import Clip
from annotators.fingerprint import audio_hash
from manifests.errors import UserError
from manifests.labels import EMOTIONS
from pipeline import registry
from pipeline.corpus import read_clip, read_corpus
from pipeline.voicebank.config import BankConfig
from pipeline.voicebank.make import make_bank
from pipeline.voicebank.memory import Memory

RATE = 16000
OFF = {"snr_db_min": None, "mos_min": None, "one_speaker_min": None, "wer_max": None, "seconds": (0.2, 5.0)}


class Witness:
    """Hears sadness in everything, and tells the pitch of what it hears and of the reference."""

    def annotate(self, clip: Clip) -> Label:
        reference = clip.reference
        mean = reference.mean["f0_median"] if reference else None
        WitnessConfig.seen.append((clip.cues["f0_median"], mean, reference.takes if reference else 0))
        return hearing.sure("sad", EMOTIONS)


class WitnessConfig(hearing._Config):
    engine: Literal["witness"] = "witness"
    needs_reference: ClassVar[bool] = True
    seen: ClassVar[list[tuple[float, float | None, int]]] = []

    def open(self) -> Annotator:
        return Witness()


class Fragile:
    def annotate(self, clip: Clip) -> Label:
        label = hearing.Perfect().annotate(clip)
        if label.value == "angry":
            raise ZeroDivisionError("out of luck")
        return label


class FragileConfig(hearing._Config):
    engine: Literal["fragile"] = "fragile"

    def open(self) -> Annotator:
        return Fragile()


@pytest.fixture(autouse=True)
def engines(monkeypatch: pytest.MonkeyPatch) -> None:
    known = {role: dict(names) for role, names in registry._ENGINES.items()}
    monkeypatch.setattr(registry, "_ENGINES", known)
    for name in ("perfect", "chance", "relative"):
        registry.register("annotator.emotion", name, f"hearing:{name.capitalize()}Config")
    for name in ("witness", "fragile"):
        registry.register("annotator.emotion", name, f"{__name__}:{name.capitalize()}Config")
    monkeypatch.setattr(hearing.RelativeConfig, "fitted_on", [])
    monkeypatch.setattr(WitnessConfig, "seen", [])


def buzz(hertz: float, seconds: float = 0.5) -> np.ndarray:
    """A voiced sound whose pitch can be tracked and whose lowest partial is the strongest, int16 (num_samples,)."""
    time = np.arange(int(seconds * RATE)) / RATE
    wave = sum(np.sin(2 * np.pi * hertz * n * time) / n for n in range(1, 12))
    return np.round(8000 * wave).astype(np.int16)  # type: ignore[arg-type]


def corpus(folder: Path, clips: list[tuple[str, str, float]], name: str = "mine") -> Path:
    """An ingested corpus of (speaker, emotion, hertz)."""
    rows = []
    for number, (speaker, emotion, hertz) in enumerate(clips):
        save(folder / "src" / f"{number}.wav", buzz(hertz, 0.5 + 0.01 * number))
        rows.append({"file": f"{number}.wav", "speaker": speaker, "gender": "f", "age": "30", "emotion": emotion,
                     "text": "Hello.", "language": "en"})  # fmt: skip
    table(folder / "src" / "labels.csv", rows)
    take_in("csv", folder / "src", folder / name, name=name)
    return folder / name


def bank(out: Path, folder: Path, *engines: str, **changes: Any) -> dict[str, Any]:
    confirm = {"emotion": tuple({"engine": engine} for engine in engines)}
    return make_bank([folder], out, BankConfig.model_validate({**OFF, "confirm": confirm, **changes}), "gates.yaml")


def true(speakers: str = "ab") -> list[tuple[str, str, float]]:
    return [(who, emotion, hearing.PITCHES[emotion]) for who in speakers for emotion in ("happy", "sad", "angry")]


def test_a_label_is_confirmed_by_every_annotator_or_not_at_all(tmp_path: Path) -> None:
    folder = corpus(tmp_path, [*true(), ("a", "fear", hearing.PITCHES["neutral"])])
    report = bank(tmp_path / "one", folder, "perfect")
    gate = report["gates"]["emotion"]
    assert gate["failed_for"] == {"perfect hears another emotion": {"clips": 1, "first": ["mine: 6.wav"]}}
    assert report["emotions"] == {"angry": 2, "happy": 2, "sad": 2}
    two = bank(tmp_path / "two", folder, "perfect", "relative")["gates"]["emotion"]
    # Without a reference `relative` hears sad in any voice under 8 Hz, so happiness alone is heard by both.
    assert {reason: lost["clips"] for reason, lost in two["failed_for"].items()} == {
        "perfect hears another emotion": 1, "relative hears another emotion": 4,
    }  # fmt: skip
    assert report["by_emotion"]["fear"] == {"clips": 1, "through": 0}


def test_an_annotator_that_knows_synthesis_alone_is_not_asked(tmp_path: Path) -> None:
    folder = corpus(tmp_path, true())
    report = bank(tmp_path / "alone", folder, "chance")
    only = "chance only knows how this package's own synthesis renders emotion"
    assert report["gates"]["emotion"]["not_applicable_for"] == {only: 6}
    assert report["not_confirmed"] == {f"emotion: {only}": 6}
    both = bank(tmp_path / "both", folder, "chance", "perfect")
    assert both["gates"]["emotion"]["passed"] == 6


def test_an_annotator_that_was_trained_on_the_corpus_is_not_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = corpus(tmp_path, true())
    hashes = [audio_hash(*read_clip(clip)) for clip in read_corpus(folder).clips]
    card = {"corpora": [{"name": "elsewhere", "fingerprint": hashes[:2]}]}
    monkeypatch.setattr(hearing.PerfectConfig, "trained_on", card)
    report = bank(tmp_path / "bank", folder, "perfect")
    ((reason, count),) = report["gates"]["emotion"]["not_applicable_for"].items()
    assert count == 6
    assert "the model of perfect was trained on clips of this corpus (at least 2 of them" in reason


def test_heads_are_trained_on_the_other_speakers(tmp_path: Path) -> None:
    emotions = {"low": {"sad": 110.0, "happy": 140.0}, "high": {"sad": 190.0, "happy": 220.0}}
    clips = [(who, emotion, pitch) for who, own in emotions.items() for emotion, pitch in own.items() for _ in range(4)]
    folder = corpus(tmp_path, clips)
    report = bank(tmp_path / "bank", folder, "relative", retrain=("emotion",), per_label=9)
    fitted = [speakers for speakers, _ in hearing.RelativeConfig.fitted_on]
    assert fitted == [frozenset({"low"}), frozenset({"high"})]
    assert report["engines"]["emotion"]["trained"].startswith("anew")
    assert report["through"] == 16, "against the voice's own pitch both emotions of both are told apart"


def test_a_clip_is_no_part_of_its_own_reference(tmp_path: Path) -> None:
    pitches = [100 * 2 ** (tone / 12) for tone in (0, 1, 3, 7, 12, 20)]  # any three have another mean
    folder = corpus(tmp_path, [("a", "sad", pitch) for pitch in pitches])
    bank(tmp_path / "bank", folder, "witness", enrol=3)
    assert len(WitnessConfig.seen) == 6
    for own, mean, takes in WitnessConfig.seen:
        assert takes == 3 and mean is not None
        tones = [12 * math.log2(pitch / 100) for pitch in pitches]  # the cue is in semitones over 100 Hz
        others = [tone for tone in tones if abs(tone - own) > 0.5]
        assert len(others) == 5
        means = [float(np.mean(some)) for some in itertools.combinations(others, 3)]
        assert min(abs(mean - one) for one in means) < 0.1
        with_own = [float(np.mean([own, *some])) for some in itertools.combinations(others, 2)]
        assert min(abs(mean - one) for one in means) < min(abs(mean - one) for one in with_own)


def test_an_engine_that_fails_on_a_clip_fails_no_other(tmp_path: Path) -> None:
    report = bank(tmp_path / "bank", corpus(tmp_path, true()), "fragile")
    failed = report["gates"]["emotion"]["failed_for"]
    assert {reason: lost["clips"] for reason, lost in failed.items()} == {"its engine failed with ZeroDivisionError": 2}
    assert report["through"] == 4


def test_a_child_is_not_asked_for_its_gender(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    rows = []
    for number, age in enumerate(("6", "30")):
        save(folder / f"{number}.wav", buzz(120 + 90 * number))
        rows.append({"file": f"{number}.wav", "speaker": f"s{number}", "gender": "m", "age": age, "text": "Hi.",
                     "language": "en"})  # fmt: skip
    table(folder / "labels.csv", rows)
    take_in("csv", folder, tmp_path / "mine", name="mine")
    config = BankConfig.model_validate({**OFF, "confirm": {"gender": {"engine": "f0_formants"}}})
    report = make_bank([tmp_path / "mine"], tmp_path / "bank", config, "gates.yaml")
    assert report["gates"]["gender"]["not_applicable_for"] == {"a child's gender cannot be heard": 1}
    assert report["emotions"] == {"none": 2}


def test_what_was_heard_is_remembered_and_nothing_goes_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, file = corpus(tmp_path, [("a", "sad", 100.0 + 9 * turn) for turn in range(6)]), tmp_path / "heard.jsonl"
    config = BankConfig.model_validate({**OFF, "confirm": {"emotion": {"engine": "witness"}}, "enrol": 3})

    def hear(out: str, **changes: Any) -> int:
        del WitnessConfig.seen[:]
        with_changes = config.model_copy(update=changes)
        make_bank([folder], tmp_path / out, with_changes, "gates.yaml", Memory(file))
        return len(WitnessConfig.seen)

    assert hear("first") == 6
    assert hear("again") == 0
    assert tree(tmp_path / "again") == tree(tmp_path / "first")
    assert hear("other_threshold", per_label=1) == 0
    assert hear("other_references", enrol=0) == 6
    file.write_bytes(file.read_bytes()[:-20])
    assert hear("torn", enrol=0) == 1
    assert hear("mended", enrol=0) == 0
    monkeypatch.setattr(WitnessConfig, "revision", lambda _: "witness/2")
    assert hear("other_engine") == 6
    file.write_text("notes\nof mine\n")
    with pytest.raises(UserError, match=r"heard.jsonl:1: is no line of such a file"):
        Memory(file)
    assert file.read_text() == "notes\nof mine\n"
