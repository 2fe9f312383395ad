"""The embedded recognizer: its language model, and that it tells right from wrong texts on real speech."""

import csv
from pathlib import Path

import numpy as np
import pytest
import soundfile

from annotators.base import Recognizer
from annotators.pocketsphinx import PocketsphinxConfig, PocketsphinxRecognizer, arpa, pronounce
from manifests.errors import UserError

DATA = Path(__file__).parents[1] / "data" / "fsdd"
CLIPS = [(row["file"], row["text"]) for row in csv.DictReader((DATA / "labels.csv").open())]
DIGITS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture(scope="module")
def recognizer() -> Recognizer:
    return PocketsphinxConfig().open()


def read(name: str) -> tuple[np.ndarray, int]:
    return soundfile.read(DATA / name, dtype="float32")


def spoken_digits(number: int, gap: float = 0.05) -> tuple[np.ndarray, int, list[str]]:
    """Four digits said by one or more people, one after the other, and their names."""
    chosen = [CLIPS[(number + 3 * k) % len(CLIPS)] for k in range(4)]
    parts, rate = [], 0
    for name, _ in chosen:
        samples, rate = read(name)
        parts += [samples / np.abs(samples).max() * 0.5, np.zeros(int(gap * rate), np.float32)]
    return np.concatenate(parts), rate, [text for _, text in chosen]


def sections(model: str) -> tuple[dict[str, tuple[float, float]], dict[tuple[str, str], float]]:
    """Unigrams (probability, backoff weight) and bigrams of an ARPA file, after checking its counts."""
    header, _, rest = model.partition("\\1-grams:")
    ones, _, rest = rest.partition("\\2-grams:")
    twos, end, _ = rest.partition("\\end\\")
    assert end
    rows = [line.split() for line in ones.split("\n") if line.strip()]
    single = {word: (10 ** float(chance), 10 ** float(weight)) for chance, word, weight in rows}
    rows = [line.split() for line in twos.split("\n") if line.strip()]
    double = {(first, second): 10 ** float(chance) for chance, first, second in rows}
    assert f"ngram 1={len(single)}\n" in header
    assert f"ngram 2={len(double)}\n" in header
    return single, double


def test_every_context_of_the_model_sums_to_one():
    single, double = sections(arpa([s.split() for s in ("a b c", "a b", "c a", "b b a", "d", "d e f")]))
    words = [word for word in single if word != "<s>"]
    assert sum(single[word][0] for word in words) == pytest.approx(1, abs=1e-4)
    for first in single.keys() - {"</s>"}:
        total = sum(double.get((first, word), single[first][1] * single[word][0]) for word in words)
        assert total == pytest.approx(1, abs=1e-4), first


def test_model_does_not_depend_on_the_order_of_sentences():
    assert arpa([["a", "b"], ["c"]]) == arpa([["c"], ["a", "b"]])


@pytest.mark.parametrize(
    ("word", "phones"),
    [
        ("cat", ["K AE T"]),
        ("cat's", ["K AE T Z"]),
        ("shanika", ["SH AE N IH K AE"]),
        ("dupé", ["D AH P EH"]),
        ("quiddooke", ["K W IH D UW K"]),
        ("25", []),
        ("x9", []),
        ("你", []),
        ("'", []),
    ],
)
def test_pronounce(word: str, phones: list[str]):
    assert pronounce(word, {"cat": ["K AE T"]}) == phones


def test_right_text_scores_below_a_wrong_one(recognizer: Recognizer):
    better = exact = 0
    for name, text in CLIPS:
        samples, rate = read(name)
        wrong = DIGITS[(DIGITS.index(text) + 3) % 10]
        right = recognizer.transcribe(samples, rate, text, "en")
        better += right.wer < recognizer.transcribe(samples, rate, wrong, "en").wer
        exact += right.text == right.reference == text
    assert better >= len(CLIPS) - 1
    assert exact >= len(CLIPS) - 1


def test_transcript_depends_on_the_clip_only(recognizer: Recognizer):
    samples, rate = read(CLIPS[0][0])
    clips = [(*read(name), text) for name, text in CLIPS[1:]]
    alone = PocketsphinxConfig().open().transcribe(samples, rate, "zero or one of them", "en")
    for other, other_rate, text in clips:
        recognizer.transcribe(other, other_rate, text, "en")
    assert recognizer.transcribe(samples, rate, "zero or one of them", "en") == alone


@pytest.mark.parametrize("gain", [0.003, 30.0])
def test_level_hardly_matters_even_clipped(recognizer: Recognizer, gain: float):
    name, text = CLIPS[3]
    samples, rate = read(name)
    assert recognizer.transcribe(np.clip(samples * gain, -1, 1), rate, text, "en").wer <= 1


def test_stereo_and_other_rates_are_heard_alike(recognizer: Recognizer):
    name, text = CLIPS[3]
    samples, rate = read(name)
    mono = recognizer.transcribe(samples, rate, text, "en")
    assert recognizer.transcribe(np.stack([samples, samples], axis=1), rate, text, "en") == mono
    assert mono.text == text


def test_a_word_too_many_too_few_or_wrong_raises_the_mismatch(recognizer: Recognizer):
    right, wrong = [], []
    for number in range(3):
        samples, rate, words = spoken_digits(number)
        other = next(digit for digit in DIGITS if digit not in words)
        right.append(recognizer.transcribe(samples, rate, " ".join(words), "en").mismatch)
        for damaged in (words[:1] + words[2:], [*words[:2], *words[1:]], [words[0], other, *words[2:]]):
            wrong.append(recognizer.transcribe(samples, rate, " ".join(damaged), "en").mismatch)
    assert 0 <= min(right) <= max(wrong) <= 1
    assert np.mean([bad > good for bad in wrong for good in right]) >= 0.8


def test_another_text_and_half_a_clip_are_mismatches(recognizer: Recognizer):
    samples, rate, words = spoken_digits(1)
    other = "we are painting the kitchen this weekend"
    right = recognizer.transcribe(samples, rate, " ".join(words), "en").mismatch
    assert recognizer.transcribe(samples, rate, other, "en").mismatch > max(0.9, right)
    assert recognizer.transcribe(samples[: len(samples) // 2], rate, " ".join(words), "en").mismatch > max(0.9, right)


def test_a_minute_instead_of_four_words_is_a_mismatch(recognizer: Recognizer):
    assert isinstance(recognizer, PocketsphinxRecognizer)
    assert recognizer._detector is not None
    samples, rate, words = spoken_digits(0)
    times = int(60 * rate / len(samples)) + 1
    cepstra, spoken = recognizer.analyse(np.tile(samples, times), rate, " ".join(words))  # decoding it takes long
    assert len(cepstra) > 6000
    assert recognizer._detector.probability(recognizer._detector.features(cepstra), spoken) > 0.9


def test_mismatch_without_a_detector_is_not_measured(recognizer: Recognizer):
    assert isinstance(recognizer, PocketsphinxRecognizer)
    bare = PocketsphinxRecognizer(recognizer.acoustic_model, recognizer.dictionary, detector=None)
    samples, rate = read(CLIPS[0][0])
    heard = bare.transcribe(samples, rate, CLIPS[0][1], "en")
    assert np.isnan(heard.mismatch)
    assert heard.text


def test_mismatch_is_that_of_the_analysis(recognizer: Recognizer):
    assert isinstance(recognizer, PocketsphinxRecognizer)
    samples, rate, words = spoken_digits(2)
    cepstra, spoken = recognizer.analyse(samples, rate, " ".join(words))
    assert len(cepstra) == pytest.approx(100 * (len(samples) / rate + 0.4), abs=3)  # with margins of 0.2 s
    assert recognizer._detector is not None
    expected = recognizer.transcribe(samples, rate, " ".join(words), "en").mismatch
    assert recognizer._detector.probability(recognizer._detector.features(cepstra), spoken) == expected
    silent, _ = recognizer.analyse(np.zeros(16000, np.float32), 16000, "hello")
    assert silent.shape == (0, 13)


@pytest.mark.parametrize(
    "samples",
    [np.zeros(16000), np.zeros(1), np.full(800, 0.3), np.full(16000, 1.0)],
    ids=["silence", "one sample", "50 ms", "constant"],
)
def test_nothing_heard_is_an_error_rate_of_one(recognizer: Recognizer, samples: np.ndarray, capfd):
    result = recognizer.transcribe(samples.astype(np.float32), 16000, "hello there", "en")
    assert (result.text, result.wer, result.cer, result.mismatch) == ("", 1.0, 1.0, 1.0)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("text", ["", "25", "Zyxqu 你好", "!?", "😀", "привет"])
def test_odd_texts_are_no_exception(recognizer: Recognizer, text: str, capfd):
    samples, rate = read(CLIPS[0][0])
    heard = recognizer.transcribe(samples, rate, text, "en")
    assert heard.wer >= 0.5
    assert heard.mismatch > 0.9
    assert capfd.readouterr() == ("", "")


def test_bad_samples_and_languages_are_refused(recognizer: Recognizer):
    with pytest.raises(ValueError, match="NaN"):
        recognizer.transcribe(np.array([np.nan, 0]), 16000, "hello", "en")
    with pytest.raises(UserError, match="en only"):
        recognizer.transcribe(np.zeros(16000), 16000, "hello", "zh")


def test_config():
    config = PocketsphinxConfig()
    assert config.languages == ("en",)
    assert config.problems() == []
    assert config.revision() == PocketsphinxConfig().revision()
    assert config.keyed() == {"engine": "pocketsphinx"}
