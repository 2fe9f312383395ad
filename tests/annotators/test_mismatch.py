"""The mismatch detector: its search on made-up sounds, its acoustic model and corruptions, and the fit of its rule."""

import itertools
import random

import numpy as np
import pytest

from annotators.mismatch import MEASURES, mismatch_log_odds, read_rules, summarise
from annotators.mismatch_acoustics import AcousticModel, Transform, features
from annotators.mismatch_align import align, weigh
from annotators.mismatch_corruptions import AUDIO, TEXT, corrupt_audio, corrupt_text, pairs
from annotators.pocketsphinx import model_folder
from annotators.train_mismatch import fit_rules, held_out_auc, roc_auc

PHONES = ["A", "B", "C", "D", "SIL"]


class Sounds:
    """An acoustic model of five sounds of three states, whose features name the state that is heard."""

    loop_states = np.arange(12).reshape(4, 3)
    silence_states = np.arange(12, 15)

    def states(self, phone: str, left: str, right: str, first: bool, last: bool) -> tuple[int, int, int]:
        at = 3 * PHONES.index(phone)
        return at, at + 1, at + 2

    def log_likelihoods(self, heard: np.ndarray, senones: np.ndarray) -> np.ndarray:
        return np.where(heard[0, :, :1] == np.asarray(senones)[None], 0.0, -20.0)

    @staticmethod
    def say(text: str) -> np.ndarray:
        """Two frames per state of each sound; a dot is silence."""
        states = [3 * PHONES.index("SIL" if c == "." else c) + k for c in text for k in range(3)]
        return np.repeat(np.array(states, float), 2)[None, :, None]


def spell(text: str) -> list[list[list[str]]]:
    """Words of a text, each with one pronunciation: its letters."""
    return [[list(word)] for word in text.split()]


@pytest.mark.parametrize("said", ["ABCDA", ".AB.CDA.", "AB...CDA"])
def test_own_text_gains_nothing_from_leaving_it(said: str):
    evidence = weigh(Sounds(), Sounds.say(said), spell("AB C DA"))  # type: ignore[arg-type]
    assert evidence is not None
    assert max(evidence.absent.max(), evidence.replaced.max(), evidence.inserted.max()) < 0
    assert evidence.pace == pytest.approx(6, abs=3)


def test_evidence_names_the_word_that_differs():
    sounds: AcousticModel = Sounds()  # type: ignore[assignment]
    absent = weigh(sounds, sounds.say("ABDA"), spell("AB C DA"))  # type: ignore[attr-defined]
    replaced = weigh(sounds, sounds.say("ABBDA"), spell("AB C DA"))  # type: ignore[attr-defined]
    inserted = weigh(sounds, sounds.say("ABCDA"), spell("AB DA"))  # type: ignore[attr-defined]
    assert absent
    assert replaced
    assert inserted
    assert absent.absent.argmax() == 1
    assert absent.absent.max() > 30
    assert replaced.replaced.argmax() == 1
    assert replaced.replaced.max() > 30
    assert inserted.inserted.argmax() == 1
    assert inserted.inserted.max() > 30
    # One word twice is as much as a word that is not there.
    repeated = weigh(sounds, sounds.say("ABCDA"), spell("AB C C DA"))  # type: ignore[attr-defined]
    assert repeated
    assert repeated.absent[1:3].max() > 30


def test_the_better_pronunciation_counts():
    words = [[["A", "B"]], [["C"], ["D"]], [["A"]]]
    evidence = weigh(Sounds(), Sounds.say("ABDA"), words)  # type: ignore[arg-type]
    assert evidence
    assert evidence.replaced.max() < 0


def test_a_clip_too_short_for_its_text_has_no_evidence():
    assert weigh(Sounds(), Sounds.say("A"), spell("ABC")) is None  # type: ignore[arg-type]


def test_alignment_finds_states_and_pauses():
    heard = Sounds.say(".AB..CD")
    assert align(Sounds(), heard, spell("AB CD")).tolist() == heard[0, :, 0].tolist()  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model() -> AcousticModel:
    folder = model_folder()
    assert folder is not None
    return AcousticModel(folder / "en-us")


def test_acoustic_model_reads_what_the_files_say(model: AcousticModel):
    assert len(model.phones) == 39
    assert model.states("AH", "SIL", "B", True, False) != tuple(model.loop_states[model.phones.index("AH")])
    # A triphone that was never trained falls back to its phone.
    assert model.states("ZH", "ZH", "ZH", False, False) == tuple(model.loop_states[model.phones.index("ZH")])
    rng = np.random.default_rng(0)
    frames = features(rng.normal(0, 5, (7, 13)).astype(np.float32))
    senones = np.array([*model.states("T", "S", "R", False, False), *model.silence_states])
    fast = model.log_likelihoods(frames, senones)
    codebooks, weights = model.mixtures(senones)
    assert weights.sum(axis=1) == pytest.approx(1, abs=0.1)  # as 8 bits hold them
    square, linear, constant = model.gaussians(int(codebooks[0]))
    slow = sum(
        np.log(np.exp(square[k] @ frames[k, 3] ** 2 + linear[k] @ frames[k, 3] + constant[k]) @ weights[k, :, 0])
        for k in range(3)
    )
    assert fast[3, 0] == pytest.approx(slow, abs=1e-2)
    alone = [model.log_likelihoods(frames, [senone])[:, 0] for senone in senones]
    assert np.allclose(np.column_stack(alone), fast, atol=1e-3)


def test_features_are_level_free_and_transforms_linear():
    cepstra = np.random.default_rng(1).normal(size=(20, 13)).astype(np.float32)
    assert np.allclose(features(cepstra), features(cepstra + 3), atol=1e-4)
    doubled = Transform(2 * np.eye(13), np.ones(13))
    assert np.allclose(features(cepstra, doubled)[1:], 2 * features(cepstra)[1:], atol=1e-5)
    assert doubled.log_volume == pytest.approx(39 * np.log(2))


def test_audio_corruptions_do_what_they_say():
    rng = np.random.default_rng(2)
    samples = (np.sin(np.arange(16000) / 9) * 0.2 + rng.normal(0, 0.01, 16000)).astype(np.float32)
    assert len(corrupt_audio("half", samples, rng)) == 8000
    assert len(corrupt_audio("cut", samples, rng)) == pytest.approx(11200, abs=1)
    noisy = corrupt_audio("noise", samples, rng)
    noise = noisy - samples
    assert 10 * np.log10(np.mean(samples**2) / np.mean(noise**2)) == pytest.approx(-3, abs=0.1)
    assert np.abs(np.fft.rfft(noise)).argmax() == np.abs(np.fft.rfft(samples)).argmax()
    with pytest.raises(ValueError, match="unknown"):
        corrupt_audio("louder", samples, rng)


def test_text_corruptions_change_one_word():
    words, vocabulary = ["the", "cat", "sat", "on", "the", "mat"], ["dog", "on", "tree", "house"]
    for seed in range(20):
        assert len(corrupt_text("dropped", words, vocabulary, random.Random(seed))) == 5
        twice = corrupt_text("repeated", words, vocabulary, random.Random(seed))
        assert any(a == b for a, b in itertools.pairwise(twice))
        other = corrupt_text("replaced", words, vocabulary, random.Random(seed))
        assert sum(a != b for a, b in zip(words, other, strict=True)) == 1
    kinds = [kind for kind, _, _ in pairs(np.ones(100, np.float32), words, ["no"], vocabulary, 0)]
    assert kinds == ["clean", "other_text", *AUDIO, *TEXT]


def test_auc():
    assert roc_auc(np.array([2.0, 3.0]), np.array([0.0, 1.0])) == 1
    assert roc_auc(np.array([1.0, 3.0]), np.array([1.0, 2.0])) == pytest.approx(0.625)


def test_rules_separate_and_never_punish_less_evidence():
    rng = np.random.default_rng(3)
    kinds = ["clean"] * 150 + ["cut"] * 75 + ["replaced"] * 75
    measures = {name: rng.normal(size=300) for names in MEASURES.values() for name in names}
    measures["second_absent"][150:225] += 6
    measures["replaced"][225:] += 6
    measures["inserted"][:150] += 1  # grows when all is well: must get no weight
    rules = fit_rules(measures, kinds)
    assert {kind: tuple(rule.weight) for kind, rule in rules.items()} == MEASURES
    assert min(min(rule.weight.values()) for rule in rules.values()) == 0 == rules["word"].weight["inserted"]
    odds = mismatch_log_odds(rules, measures)
    assert roc_auc(odds[150:], odds[:150]) > 0.97
    one = {name: values[200] for name, values in measures.items()}
    assert mismatch_log_odds(rules, one) == pytest.approx(odds[200])
    assert mismatch_log_odds(rules, one) > max(rule.log_odds(one) for rule in rules.values())  # odds add up
    areas = held_out_auc(measures, kinds, [f"s{n % 10}" for n in range(300)])
    assert list(areas) == ["cut", "replaced"]
    assert min(areas.values()) > 0.95


def test_shipped_rules_know_every_measure_and_one_word_has_them_all():
    rules, transforms = read_rules()
    assert {kind: tuple(rule.weight) for kind, rule in rules.items()} == MEASURES
    assert all(transform.matrix.shape == (13, 13) and transform.offset.shape == (13,) for transform in transforms)
    for said, text in (("ABCDA", "AB C DA"), ("AB", "AB")):
        evidence = weigh(Sounds(), Sounds.say(said), spell(text))  # type: ignore[arg-type]
        assert evidence
        assert np.isfinite(mismatch_log_odds(rules, summarise(evidence)))  # type: ignore[arg-type]
