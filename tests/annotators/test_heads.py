"""Heads: inputs, probabilities, files; references by enrolment; fits and calibration on made-up speakers."""

import csv
import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from sounds import SAMPLE_RATE, syllables

from annotators import heads, train_heads
from annotators.clip import Clip, Reference
from annotators.corpora import Case, Sample, enrol, labels_of, read_samples, reference_of, rows_of
from annotators.heads import Head, Inputs
from annotators.training import (
    Judged,
    Recipe,
    cases_of,
    fit,
    judge,
    leave_speakers_out,
    temperature_of,
    thresholds_of,
)
from manifests.errors import UserError

EMOTIONS = ("neutral", "angry", "sad")
RECIPE = Recipe("emotion", EMOTIONS, ("pitch", "level"), "reference", strength=1.0, takes=6, draws=2)


def people(seed: int = 0, speakers: int = 6, clips: int = 5, spread: float = 3.0) -> list[Sample]:
    """Speakers whose pitch lies anywhere and moves with emotion by less than they differ."""
    rng = np.random.default_rng(seed)
    shift = {"neutral": (0.0, 0.0), "angry": (3.0, 4.0), "sad": (-2.0, -4.0)}
    out = []
    for speaker in range(speakers):
        base = rng.normal(size=2) * spread * 3
        for emotion in EMOTIONS:
            for take in range(clips):
                pitch, level = base + shift[emotion] + 0.5 * rng.normal(size=2)
                name, values = f"{speaker}-{emotion}-{take}", {"pitch": pitch, "level": level}
                embedding = np.abs(rng.normal(size=256)).astype(np.float32)
                out.append(Sample(name, f"v{speaker}", f"s{speaker}", "", {"emotion": emotion}, values, embedding))
    return out


def simple(**changes: object) -> Head:
    inputs = Inputs(("a", "b"), "none", np.zeros(2), np.array([1.0, 2.0]), np.array([1.0, 4.0]))
    head = Head(("x", "y"), inputs, np.array([[1.0, 0.0], [0.0, 1.0]]), np.zeros(2))
    return replace(head, **changes)  # pyright: ignore


def test_probabilities_by_hand():
    found = simple(temperature=2.0).probabilities({"a": 2.0, "b": 2.0})
    assert found["x"] == pytest.approx(1 / (1 + math.exp(-0.5)))
    assert sum(found.values()) == pytest.approx(1)


def test_unknown_values_count_as_the_mean_and_odd_ones_are_held():
    head = simple()
    assert head.probabilities({"a": math.nan}) == head.probabilities({"a": 1.0, "b": 2.0})
    assert head.probabilities({"a": 1e9, "b": 2.0})["x"] == pytest.approx(1 / (1 + math.exp(-heads.LIMIT)))


def test_reference_normalisation():
    inputs = Inputs(("a",), "reference", np.array([0.5]), np.zeros(1), np.ones(1))
    wide, narrow = Reference({"a": 10.0}, {"a": 2.0}), Reference({"a": 10.0}, {"a": 0.1})
    assert inputs.of({"a": 13.0}, None, wide) == pytest.approx([1.5])
    assert inputs.of({"a": 11.0}, None, narrow) == pytest.approx([2.0])  # the floor, not the deviation
    assert inputs.of({"a": 13.0}, None, Reference({}, {})) == pytest.approx([0.0])
    with pytest.raises(ValueError, match="reference"):
        inputs.of({"a": 13.0})


def test_embedding_enters_as_distance_from_the_voice():
    vector, own = np.full(256, 1 / 16, np.float32), np.zeros(256, np.float32)
    own[0] = 1
    plain = Inputs((), "none", np.zeros(0), np.zeros(0), np.zeros(0), 2.0, np.zeros(256), 0.5)
    assert plain.of({}, vector) == pytest.approx(4 * vector)
    assert not plain.of({}, np.zeros(256)).any()  # silence
    against = replace(plain, normalisation="reference")
    assert against.of({}, vector, Reference({}, {}, own)) == pytest.approx(4 * (vector - own))
    assert not against.of({}, vector, Reference({}, {})).any()


def test_files_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    cases = [case for draw in cases_of(people(), replace(RECIPE, embedding_weight=0.3)) for case in draw]
    head = fit(cases, replace(RECIPE, embedding_weight=0.3))
    text = head.to_json()
    again = Head.from_json(text)
    assert again.to_json() == text
    case = cases[0]
    one, other = (h.probabilities(case.sample.values, case.sample.embedding, case.reference) for h in (head, again))
    assert one == pytest.approx(other, abs=1e-4)
    monkeypatch.setattr(heads, "FOLDER", tmp_path)
    assert heads.digest("mine") == "missing"
    assert len(heads.problems("mine")) == 1
    with pytest.raises(UserError, match="is missing"):
        heads.load("mine")
    (tmp_path / "mine.json").write_text(text)
    assert heads.load("mine").to_json() == text
    assert len(heads.digest("mine")) == 12
    (tmp_path / "mine.json").write_text('{"weights": 1}')
    with pytest.raises(UserError, match="is no head"):
        heads.load("mine")


def test_enrolment_is_spread_over_emotions_and_seeded():
    samples = people()
    cases = enrol(samples, 6, seed=1)
    assert [case.sample for case in cases] == samples
    for voice in {sample.voice for sample in samples}:
        taken = [case.sample.labels["emotion"] for case in cases if case.sample.voice == voice and case.enrolled]
        assert sorted(taken) == sorted(EMOTIONS * 2)
        assert len({id(case.reference) for case in cases if case.sample.voice == voice}) == 1
    drawn = {case.sample.file for case in cases if case.enrolled}
    assert drawn == {case.sample.file for case in enrol(samples, 6, seed=1) if case.enrolled}
    assert drawn != {case.sample.file for case in enrol(samples, 6, seed=2) if case.enrolled}
    assert enrol(people(clips=1), 6, seed=0) == []  # three clips do not make a reference


def test_a_reference_by_hand():
    chosen = people(speakers=1)[:5]
    chosen[0].values["level"] = math.nan  # pyright: ignore
    reference = reference_of(chosen)
    pitches = [sample.values["pitch"] for sample in chosen]
    assert reference.mean["pitch"] == pytest.approx(np.mean(pitches))
    assert reference.deviation["pitch"] == pytest.approx(np.std(pitches, ddof=1))
    assert "level" not in reference.mean  # known of four takes only
    assert np.linalg.norm(reference.embedding) == pytest.approx(1, abs=1e-5)


def test_the_reference_makes_new_speakers_readable():
    draws = cases_of(people(), RECIPE)
    with_reference = leave_speakers_out(draws, RECIPE)
    plain = replace(RECIPE, normalisation="none")
    without = leave_speakers_out(cases_of(people(), plain), plain)
    assert with_reference.uar() > 0.95
    assert without.uar() < with_reference.uar() - 0.2
    assert len(with_reference.truth) == sum(not case.enrolled for draw in draws for case in draw)


def test_speakers_are_judged_by_heads_that_never_saw_them():
    cases = [Case(sample) for sample in people()]
    recipe = replace(RECIPE, normalisation="none")
    asked = []

    def head_for(speaker: str) -> Head:
        asked.append(speaker)
        return fit([case for case in cases if case.sample.speaker != speaker], recipe)

    judged = judge(cases, "emotion", head_for)
    assert sorted(asked) == sorted({case.sample.speaker for case in cases})
    assert set(judged.speakers) == set(asked)


def test_calibration_and_thresholds():
    rng = np.random.default_rng(0)
    truth = rng.integers(2, size=4000)
    odds = rng.normal(size=4000) + np.where(truth == 1, 1.0, -1.0)
    overconfident = np.stack([-5 * odds, 5 * odds], axis=1)
    judged = Judged(("no", "yes"), truth, overconfident, ("s",) * 4000)
    temperature = temperature_of(judged)
    assert temperature == pytest.approx(5, rel=0.15)  # the true log odds are 2 odds
    bounds = thresholds_of(judged, temperature, 0.95)
    probability = judged.probabilities(temperature)
    for index, name in enumerate(judged.classes):
        chosen = (judged.predicted == index) & (probability[:, index] >= bounds[name])
        assert (truth[chosen] == index).mean() == pytest.approx(0.95, abs=0.01)
        assert chosen.mean() > 0.2
    useless = replace(judged, scores=rng.normal(size=(4000, 2)))
    assert set(thresholds_of(useless, 1.0, 0.95).values()) == {1.0}


def test_too_little_to_fit():
    cases = [Case(sample) for sample in people() if sample.labels["emotion"] == "sad"]
    with pytest.raises(UserError, match="hold 1 of 3 labels"):
        fit(cases, replace(RECIPE, normalisation="none"))
    with pytest.raises(UserError, match="one speaker"):
        leave_speakers_out(cases_of(people(speakers=1), RECIPE), RECIPE)


def write_corpus(folder: Path, rows: list[dict[str, str]]) -> None:
    for index, row in enumerate(rows):
        soundfile.write(folder / row["file"], syllables(100 + 20 * index, 17, 0.8), SAMPLE_RATE)
    with (folder / "labels.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def test_corpora_are_read(tmp_path: Path):
    with pytest.raises(UserError, match=r"labels\.csv is missing"):
        rows_of(tmp_path)
    base = {"speaker": "a", "gender": "f", "emotion": "boredom", "event": ""}
    rows = [{"file": "1.wav", **base}, {"file": "2.wav", **base, "emotion": "ANGER", "event": "laugh"}]
    write_corpus(tmp_path, rows)
    (sample,) = read_samples(tmp_path)  # the one without an event
    assert sample.labels == {"gender": "female"}
    assert (sample.voice, sample.speaker, sample.split) == ("a", "a", "")
    assert sample.values == Clip(*soundfile.read(tmp_path / "1.wav", dtype="float32")).cues
    assert labels_of(rows[1]) == {"gender": "female", "emotion": "angry"}
    (tmp_path / "1.wav").write_bytes(b"no audio")
    with pytest.raises(UserError, match=r"1\.wav cannot be read"):
        read_samples(tmp_path)
    (tmp_path / "labels.csv").write_text("file\n1.wav\n")
    with pytest.raises(UserError, match="no column speaker"):
        rows_of(tmp_path)


def test_training_measures_voices_that_it_did_not_fit():
    samples = people(speakers=8)
    splits = ["train"] * 6 + ["validation", "test"]
    samples = [replace(sample, split=splits[int(sample.speaker[1:])]) for sample in samples]
    head = train_heads.train(samples, RECIPE, {"corpora": [{"name": "made up"}]})
    assert (head.card["speakers"], head.card["unseen_voices"]["speakers"]) == (6, 2)
    assert head.card["unseen_voices"]["uar"] > 0.9
    assert set(head.thresholds) == set(EMOTIONS)
    again = train_heads.train([s for s in samples if s.split == "train"], RECIPE, {})
    assert np.array_equal(again.weights, head.weights)
    with pytest.raises(UserError, match="render more"):
        train_heads.train(people(clips=1), RECIPE, {})


def test_splices_hold_both_voices():
    first, second = np.full(32000, 0.5, np.float32), np.full(32000, -0.25, np.float32)
    rng = np.random.default_rng(0)
    for _ in range(20):
        joined = train_heads.splice(first, second, rng)
        assert (joined[:12640] == 0.5).all()
        assert (joined[-12640:] == -0.25).all()
        assert len(joined) <= 64000
    assert len(train_heads.splice(first[:100], second[:50], rng)) == 100


@pytest.mark.parametrize("name", train_heads.RECIPES)
def test_shipped_heads_name_what_they_were_trained_on(name: str):
    head, recipe = heads.load(name), train_heads.RECIPES[name]
    assert head.classes == recipe.classes
    assert head.inputs.features == recipe.features
    assert head.inputs.normalisation == recipe.normalisation
    assert set(head.thresholds) == set(head.classes)
    assert all(0 < value <= 1 for value in head.thresholds.values())
    (corpus,) = head.card["corpora"]
    assert len(corpus["fingerprint"]) > 30
    assert head.card["held_out_speakers"]["uar"] > 1.5 / len(head.classes)
    assert json.loads(head.to_json())["card"]["script"].startswith("python -m annotators.train_heads")
