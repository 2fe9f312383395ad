"""Recognizer on pocketsphinx that asks whether a clip says its text, on the CPU and without downloads.

Each clip is decoded with a bigram model of its own text and about 100 unrelated everyday sentences. Such a
decoder knows what it may hear: another text, a missing half or a cut is found almost always, a slip of one
word is often "repaired". It is a mismatch detector, not a meter of the word error rate: a clean clip scores
lower than an open recognizer would score it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import itertools
import math
import re
import tempfile
import unicodedata
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import numpy as np

from annotators.audio import prepare
from annotators.base import Recognizer, RecognizerConfig, Transcript
from annotators.text import error_rates, normalise
from manifests.engine import Problem, Throughput
from manifests.errors import UserError

VERSION = 1  # of the code below: raise it when the same clip may give another transcript
SAMPLE_RATE = 16000  # Hz, of the acoustic model
_BACKGROUND = Path(__file__).parent / "data" / "asr_background.txt"
_DISCOUNT = 0.5  # taken off each bigram count
_PEAK = 0.7  # level that clips are scaled to: quiet ones lose precision as 16-bit samples
_SILENT_PEAK = 1e-4  # below this there is nothing to amplify
_MARGIN = 0.2  # seconds of silence added on both sides: without it the first word is often lost
_WEIGHT = 6  # of the clip's own text in the model, in sentences; less loses its words in emotional speech
_SHORTEST = 0.1  # seconds; less is no word, and too few frames for the decoder's mean

# Letters to phones for words that are not in the dictionary (names, mostly), longest match first. Rough, but
# the language model expects the word in its place, so rough is enough; leaving it out would reject the clip.
_SPELLING = {
    "tch": "CH", "sch": "SH", "igh": "AY", "dge": "JH",
    "ai": "EY", "ar": "AA R", "au": "AO", "aw": "AO", "ay": "EY", "ce": "S EH", "ch": "CH", "ci": "S IH",
    "ck": "K", "cy": "S IY", "ea": "IY", "ee": "IY", "ei": "EY", "er": "ER", "ew": "UW", "ey": "IY",
    "ie": "IY", "ir": "ER", "kn": "N", "ng": "NG", "oa": "OW", "oi": "OY", "oo": "UW", "or": "AO R",
    "ou": "AW", "ow": "OW", "oy": "OY", "ph": "F", "qu": "K W", "sh": "SH", "th": "TH", "ur": "ER",
    "wh": "W", "wr": "R", "zh": "ZH",
    "a": "AE", "b": "B", "c": "K", "d": "D", "e": "EH", "f": "F", "g": "G", "h": "HH", "i": "IH", "j": "JH",
    "k": "K", "l": "L", "m": "M", "n": "N", "o": "AA", "p": "P", "q": "K", "r": "R", "s": "S", "t": "T",
    "u": "AH", "v": "V", "w": "W", "x": "K S", "y": "IY", "z": "Z",
}  # fmt: skip


def arpa(sentences: Iterable[list[str]]) -> str:
    """A bigram model with absolute discounting, interpolated with the unigrams, as an ARPA file.

    Args:
        sentences: Words of each sentence; their order does not matter, repetition does.

    Returns:
        The file's text; for every word the probabilities of what may follow sum to 1.
    """
    framed = [["<s>", *words, "</s>"] for words in sentences]
    singles = Counter(word for words in framed for word in words)
    pairs = Counter(pair for words in framed for pair in itertools.pairwise(words))
    context, followers = Counter(), Counter()
    for (first, _), count in pairs.items():
        context[first] += count
        followers[first] += 1
    total = sum(singles.values()) - len(framed)  # <s> is given, never predicted
    share = {word: count / total for word, count in singles.items()}
    backoff = {word: _DISCOUNT * followers[word] / context[word] for word in context}
    lines = ["\\data\\", f"ngram 1={len(singles)}", f"ngram 2={len(pairs)}", "", "\\1-grams:"]
    for word in sorted(singles):
        chance = -99.0 if word == "<s>" else math.log10(share[word])
        lines.append(f"{chance:.6f} {word} {math.log10(backoff.get(word, 1.0)):.6f}")
    lines += ["", "\\2-grams:"]
    for (first, second), count in sorted(pairs.items()):
        chance = (count - _DISCOUNT) / context[first] + backoff[first] * share[second]
        lines.append(f"{math.log10(chance):.6f} {first} {second}")
    return "\n".join([*lines, "", "\\end\\", ""])


def pronounce(word: str, dictionary: dict[str, list[str]]) -> list[str]:
    """Pronunciations of a normalised word, each a string of phones separated by blanks.

    Args:
        word: A word of `normalise`.
        dictionary: Pronunciations of known words.

    Returns:
        The dictionary's, or one spelled out letter by letter; empty when the word has no letter of a to z
        (digits, other scripts), in which case it cannot be heard and counts as an error.
    """
    if word in dictionary:
        return dictionary[word]
    if word.endswith("'s") and word[:-2] in dictionary:
        return [f"{phones} Z" for phones in dictionary[word[:-2]]]
    plain = "".join(c for c in unicodedata.normalize("NFKD", word) if "a" <= c <= "z")
    if len(plain) < len(re.sub(r"[\W_]", "", unicodedata.normalize("NFC", word))):
        return []  # some of it cannot be spelled out
    plain = re.sub(r"([^eo])\1", r"\1", plain)
    if len(plain) > 3 and word.endswith("e") and plain[-2] not in "aeiou":
        plain = plain[:-1]  # a final e is mute, é is not
    phones, at = [], 0
    while at < len(plain):
        size = next(size for size in (3, 2, 1) if plain[at : at + size] in _SPELLING)
        phones.append(_SPELLING[plain[at : at + size]])
        at += size
    return [" ".join(phones)] if phones else []


class PocketsphinxRecognizer:
    """The dictionary and the background text in memory; a decoder is built for every clip.

    A decoder keeps state from one clip to the next (its noise and mean estimates), so that scores would
    depend on the order of the clips. With its dictionary cut to the words needed, a new one costs 10 to
    20 ms: less than the decoding.
    """

    def __init__(self, acoustic_model: Path, dictionary: Path) -> None:
        """Read the pronunciation dictionary.

        Args:
            acoustic_model: Folder of the acoustic model.
            dictionary: Pronunciation file in the CMUdict format.
        """
        self._acoustic_model = acoustic_model
        self._pronunciations: dict[str, list[str]] = {}
        for line in dictionary.read_text(encoding="utf-8").splitlines():
            word, _, phones = line.partition(" ")
            self._pronunciations.setdefault(re.sub(r"\(\d+\)$", "", word), []).append(phones)
        background = _BACKGROUND.read_text(encoding="utf-8").splitlines()
        self._background = [normalise(line, "en").split() for line in background]

    def transcribe(self, samples: np.ndarray, sample_rate: int, reference: str, language: str) -> Transcript:
        """Recognise one clip, expecting its text or everyday sentences.

        Args:
            samples: Shape (num_samples,), float32 in [-1, 1]; stereo is averaged.
            sample_rate: In Hz; resampled to 16 kHz.
            reference: The text that was to be spoken. Words that are not in CMUdict are spelled out by
                rule; those without letters are left out of the model and so count as errors.
            language: Must be `en`.

        Returns:
            The transcript; empty, with error rates of 1, for silence and for less than 0.1 s.

        Raises:
            UserError: The language is not English.
            ValueError: The clip is empty or holds NaN or infinite samples.
        """
        if language != "en":
            raise UserError(f"pocketsphinx recognises en only, not {language!r}: use another recognizer")
        audio = prepare(samples, sample_rate, SAMPLE_RATE)
        expected = normalise(reference, language)
        peak = float(np.abs(audio).max())
        heard = ""
        if peak >= _SILENT_PEAK and len(audio) >= _SHORTEST * SAMPLE_RATE:
            audio = np.pad(audio * (_PEAK / peak * 32767), int(_MARGIN * SAMPLE_RATE))
            pcm = np.round(audio).astype("<i2").tobytes()
            heard = normalise(self._decode(pcm, expected.split()), language)
        wer, cer = error_rates(expected, heard)
        return Transcript(heard, expected, wer, cer)

    def _decode(self, pcm: bytes, expected: list[str]) -> str:
        """The best hypothesis for 16-bit samples at 16 kHz, empty when the decoder has none."""
        from pocketsphinx import Decoder

        known = {word: pronounce(word, self._pronunciations) for word in expected}
        own = [word for word in expected if known[word]]
        sentences = self._background + [own] * (_WEIGHT if own else 0)
        words = sorted({word for sentence in sentences for word in sentence})
        entries = []
        for word in words:
            variants = known.get(word) or self._pronunciations[word]
            entries += [f"{word}{f'({i + 1})' if i else ''} {phones}" for i, phones in enumerate(variants)]
        with tempfile.TemporaryDirectory(prefix="asr-") as folder:  # the decoder reads both from files only
            model, lexicon = Path(folder, "row.arpa"), Path(folder, "row.dict")
            model.write_text(arpa(sentences), encoding="utf-8")
            lexicon.write_text("\n".join(entries) + "\n", encoding="utf-8")
            decoder = Decoder(
                hmm=str(self._acoustic_model),
                lm=str(model),
                dict=str(lexicon),
                samprate=SAMPLE_RATE,
                loglevel="FATAL",
            )
        decoder.start_utt()
        decoder.process_raw(pcm, full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""


class PocketsphinxConfig(RecognizerConfig):
    """pocketsphinx with the acoustic model and dictionary of its own package; English."""

    licence = "BSD-2-Clause (code, acoustic model and CMUdict)"
    throughput = Throughput(13.0, "core", "CPU time, sentences of 2 to 4 s, one thread")

    engine: Literal["pocketsphinx"] = "pocketsphinx"

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that it recognises."""
        return ("en",)

    def revision(self) -> str:
        """Version of the package (its models come with it), of this code, and the background text's hash."""
        try:
            package = importlib.metadata.version("pocketsphinx")
        except importlib.metadata.PackageNotFoundError:
            package = "missing"
        text = hashlib.sha256(_BACKGROUND.read_bytes()).hexdigest()[:12]
        return f"pocketsphinx-{package}+v{VERSION}+text-{text}"

    def problems(self) -> list[Problem]:
        """The package, or one of its model files, is missing."""
        fix = "pip install --force-reinstall 'pocketsphinx>=5.1,<6'"
        folder = _model_folder()
        if folder is None:
            return [Problem("the package pocketsphinx is not installed", fix)]
        files = ("en-us/mdef", "en-us/means", "en-us/feat.params", "cmudict-en-us.dict")
        missing = [folder / name for name in files if not (folder / name).is_file()]
        return [Problem(f"{path} is missing", fix) for path in missing]

    def open(self) -> Recognizer:
        """Read the dictionary (about 0.3 s).

        Raises:
            UserError: The package or one of its model files is missing.
        """
        for problem in self.problems():
            raise UserError(f"pocketsphinx cannot run: {problem.what}; {problem.fix}")
        folder = _model_folder()
        assert folder is not None
        return PocketsphinxRecognizer(folder / "en-us", folder / "cmudict-en-us.dict")


def _model_folder() -> Path | None:
    """Folder of the package's English models, found without importing it; none when not installed."""
    spec = importlib.util.find_spec("pocketsphinx")
    return Path(spec.origin).parent / "model" / "en-us" if spec and spec.origin else None
