"""Recognizer on pocketsphinx that asks whether a clip says its text, on the CPU and without downloads.

Each clip is decoded with a bigram model of its own text and about 100 unrelated everyday sentences. Such a
decoder knows what it may hear, so it is no meter of the word error rate: a slip of one word is often "repaired", and a
clean clip scores lower than an open recognizer would score it. Whether audio and text differ is
answered by `Transcript.mismatch`, which weighs each word of the text (`annotators.mismatch`). Both hear the
clip through the transform that fits its voice: children are hardly understood without.
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
from typing import Any, Literal

import numpy as np

from annotators.audio import prepare
from annotators.base import Recognizer, RecognizerConfig, Transcript
from annotators.mismatch import SHIPPED_RULES, MismatchDetector
from annotators.mismatch_align import Pronunciations
from manifests.engine import Problem, Throughput
from manifests.errors import UserError
from manifests.wer import error_rates, normalise

VERSION = 3  # of the code below: raise it when the same clip may give another transcript
SAMPLE_RATE = 16000  # Hz, of the acoustic model
_BACKGROUND = Path(__file__).parent / "data" / "asr_background.txt"
_DISCOUNT = 0.5  # taken off each bigram count
_PEAK = 0.7  # level that clips are scaled to: quiet ones lose precision as 16-bit samples
_SILENT_PEAK = 1e-4  # below this there is nothing to amplify
_MARGIN = 0.2  # seconds of silence added on both sides: without it the first word is often lost
_WEIGHT = 6  # of the clip's own text in the model, in sentences; less loses its words in emotional speech
_DITHER = 8.0  # noise added, in steps of 16 bits (-72 dBFS): the model knows no digital silence and calls it speech
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

    def __init__(self, acoustic_model: Path, dictionary: Path, detector: MismatchDetector | None) -> None:
        """Read the pronunciation dictionary.

        Args:
            acoustic_model: Folder of the acoustic model.
            dictionary: Pronunciation file in the CMUdict format.
            detector: Of mismatches; without one they are not measured (NaN), and voices are heard as they are.
        """
        self.acoustic_model, self.dictionary = acoustic_model, dictionary
        self._detector = detector
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
            The transcript; empty, with error rates and mismatch of 1, for silence and for less than 0.1 s. The mismatch
            is 1 too when the text has no words or one that has no pronunciation (digits, other scripts).

        Raises:
            UserError: The language is not English.
            ValueError: The clip is empty or holds NaN or infinite samples.
        """
        if language != "en":
            raise UserError(f"pocketsphinx recognises en only, not {language!r}: use another recognizer")
        expected = normalise(reference, language)
        cepstra, words = self.analyse(samples, sample_rate, reference)
        heard, mismatch = "", 1.0
        if len(cepstra):
            features = self._detector.features(cepstra) if self._detector else None
            heard = normalise(self._decode(cepstra if features is None else features[0], expected.split()), language)
            mismatch = math.nan
            if self._detector and features is not None:
                mismatch = self._detector.probability(features, words)
        wer, cer = error_rates(expected, heard)
        return Transcript(heard, expected, wer, cer, mismatch, self.unknown(expected.split()))

    def unknown(self, words: Iterable[str]) -> int:
        """How many words of `normalise` neither stand in the dictionary nor are the `'s` form of one that does.

        Their pronunciation is guessed from their letters, so that a reading that a person would accept may be
        taken for another word.
        """
        return sum(
            word not in self._pronunciations and word.removesuffix("'s") not in self._pronunciations for word in words
        )

    def analyse(self, samples: np.ndarray, sample_rate: int, reference: str) -> tuple[np.ndarray, Pronunciations]:
        """What an English clip and its text are compared by.

        Args:
            samples: As for `transcribe`.
            sample_rate: In Hz.
            reference: The text.

        Returns:
            Cepstra float32 (num_frames, 13), 100 frames a second, none for silence and for less than 0.1 s; and of each
            word its pronunciations, each a list of phones.

        Raises:
            ValueError: As `transcribe`.
        """
        spoken = [pronounce(word, self._pronunciations) for word in normalise(reference, "en").split()]
        words = [[variant.split() for variant in variants] for variants in spoken]
        pcm = quantise(samples, sample_rate)
        if pcm is None:
            return np.zeros((0, 13), np.float32), words
        with tempfile.TemporaryDirectory(prefix="asr-") as name:
            folder = Path(name)
            decoder = self._decoder(folder, [["a"]], {}, mfclogdir=name)
            decoder.start_utt()
            decoder.process_raw(pcm.tobytes(), no_search=True, full_utt=True)
            del decoder  # closes the file
            (file,) = folder.glob("*.mfc")
            return np.frombuffer(file.read_bytes(), ">f4", offset=4).reshape(-1, 13).astype(np.float32), words

    def _decode(self, cepstra: np.ndarray, expected: list[str]) -> str:
        """The best hypothesis for cepstra (num_frames, 13), empty when the decoder has none."""
        known = {word: pronounce(word, self._pronunciations) for word in expected}
        own = [word for word in expected if known[word]]
        sentences = self._background + [own] * (_WEIGHT if own else 0)
        with tempfile.TemporaryDirectory(prefix="asr-") as folder:  # the decoder reads its model from files only
            decoder = self._decoder(Path(folder), sentences, known)
        decoder.start_utt()
        decoder.process_cep(np.ascontiguousarray(cepstra, np.float32).tobytes(), full_utt=True)
        decoder.end_utt()
        hypothesis = decoder.hyp()
        return hypothesis.hypstr if hypothesis else ""

    def _decoder(self, folder: Path, sentences: list[list[str]], known: dict[str, list[str]], **options: Any) -> Any:
        """A decoder of a bigram model of some sentences, which it reads from a folder."""
        from pocketsphinx import Decoder

        entries = []
        for word in sorted({word for sentence in sentences for word in sentence}):
            variants = known.get(word) or self._pronunciations[word]
            entries += [f"{word}{f'({i + 1})' if i else ''} {phones}" for i, phones in enumerate(variants)]
        model, lexicon = folder / "row.arpa", folder / "row.dict"
        model.write_text(arpa(sentences), encoding="utf-8")
        lexicon.write_text("\n".join(entries) + "\n", encoding="utf-8")
        return Decoder(
            hmm=str(self.acoustic_model),
            lm=str(model),
            dict=str(lexicon),
            samprate=SAMPLE_RATE,
            ds=2,  # likelihoods of every second frame: a sixth less work, the same error rates
            loglevel="FATAL",
            **options,
        )


def quantise(samples: np.ndarray, sample_rate: int) -> np.ndarray | None:
    """A clip as the decoder wants it: 16 bits at 16 kHz, of one level, in quiet noise, with margins.

    Args:
        samples: Shape (num_samples,), float32 in [-1, 1]; stereo is averaged.
        sample_rate: In Hz.

    Returns:
        int16 (num_samples_at_16_khz + margins,); none for silence, a constant, and less than 0.1 s.

    Raises:
        ValueError: The clip is empty or holds NaN or infinite samples.
    """
    audio = prepare(samples, sample_rate, SAMPLE_RATE)
    audio = audio - audio.mean()
    peak = float(np.abs(audio).max())
    if peak < _SILENT_PEAK or len(audio) < _SHORTEST * SAMPLE_RATE:
        return None
    audio = np.pad(audio * (_PEAK / peak * 32767), int(_MARGIN * SAMPLE_RATE))
    # The same noise for every clip: its score must not depend on others.
    noise = np.random.default_rng(0).standard_normal(len(audio)) * _DITHER
    return np.round(audio + noise).astype("<i2")


class PocketsphinxConfig(RecognizerConfig):
    """pocketsphinx with the acoustic model and dictionary of its own package; English."""

    licence = "BSD-2-Clause (code, acoustic model and CMUdict)"
    throughput = Throughput(7.0, "core", "CPU time on a busy machine, sentences of 2 to 5 s, one thread")

    engine: Literal["pocketsphinx"] = "pocketsphinx"

    @property
    def languages(self) -> tuple[str, ...]:
        """Languages that it recognises."""
        return ("en",)

    def revision(self) -> str:
        """Version of the package (its models come with it), of this code, and the hash of what ships with it."""
        try:
            package = importlib.metadata.version("pocketsphinx")
        except importlib.metadata.PackageNotFoundError:
            package = "missing"
        data = hashlib.sha256(_BACKGROUND.read_bytes() + SHIPPED_RULES.read_bytes()).hexdigest()[:12]
        return f"pocketsphinx-{package}+v{VERSION}+data-{data}"

    def problems(self) -> list[Problem]:
        """The package, or one of its model files, is missing."""
        fix = "pip install --force-reinstall 'pocketsphinx>=5.1,<6'"
        folder = model_folder()
        if folder is None:
            return [Problem("the package pocketsphinx is not installed", fix)]
        names = ("mdef", "means", "variances", "sendump", "feat.params")
        files = (*(f"en-us/{name}" for name in names), "cmudict-en-us.dict")
        missing = [folder / name for name in files if not (folder / name).is_file()]
        return [Problem(f"{path} is missing", fix) for path in missing]

    def open(self) -> Recognizer:
        """Read the dictionary (about 0.3 s).

        Raises:
            UserError: The package or one of its model files is missing.
        """
        for problem in self.problems():
            raise UserError(f"pocketsphinx cannot run: {problem.what}; {problem.fix}")
        folder = model_folder()
        assert folder is not None
        acoustic_model = folder / "en-us"
        return PocketsphinxRecognizer(acoustic_model, folder / "cmudict-en-us.dict", MismatchDetector(acoustic_model))


def model_folder() -> Path | None:
    """Folder of the package's English models, found without importing it; none when not installed."""
    spec = importlib.util.find_spec("pocketsphinx")
    return Path(spec.origin).parent / "model" / "en-us" if spec and spec.origin else None
