"""Measure who the voices of a table are: `python -m synthesis.measure_voices manifests/voices/kokoro.csv`.

Every query voice speaks a few takes of different sentences, and a speaker encoder says whether takes of one voice
are closer to each other than to those of any other. The command rewrites the columns `f0_hz`, `nearest` and
`nearest_cosine`; `benchmarks/voices.py` reports all of it. A tool of those who add voices, not a stage of the
pipeline.
"""

from __future__ import annotations

import argparse
import csv
import io
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import numpy as np

from manifests.files import write_atomic
from manifests.ids import content_hash, seed_of
from manifests.labels import EMOTIONS
from manifests.voices import Voice, VoiceTable
from synthesis.base import Speaker, SpeakerConfig, Utterance
from synthesis.kokoro import KokoroConfig

NEUTRAL_TAKES = 3
INTENSITY = 0.85  # of the emotional take: the middle of the range that runs draw from, unless they say otherwise
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True)
class Take:
    """One take of a voice.

    Attributes:
        voice: Name.
        emotion: Of the take.
        embedding: float32 (256,), of unit length.
        f0_hz: Median F0.
        wer: Word error rate of the recognizer, against the take's text.
    """

    voice: str
    emotion: str
    embedding: np.ndarray
    f0_hz: float
    wer: float


@dataclass(frozen=True)
class Scores:
    """How well takes tell voices apart.

    Attributes:
        auc: Area under the ROC curve of the cosine of two takes, as a test of whether one voice spoke both.
        rank1: Share of takes whose voice has the highest cosine, among all voices.
        confused: Takes that are given to another voice: (voice, emotion, the other).
    """

    auc: float
    rank1: float
    confused: tuple[tuple[str, str, str], ...]


def utterances(voice: Voice, neutral: int = NEUTRAL_TAKES) -> list[Utterance]:
    """The takes of a voice: neutral ones, then one in an emotion that its name draws, of different sentences.

    Sentences are drawn by the voice's name, so two voices rarely share one and equal words cannot help.
    """
    texts = _sentences(voice.language)
    first = seed_of("identity", voice.voice)
    others = [emotion for emotion in EMOTIONS if emotion != "neutral"]
    emotions = ["neutral"] * neutral + [others[first // len(texts) % len(others)]]
    return [
        Utterance(
            text=texts[(first + 13 * number) % len(texts)], voice=voice.voice, recipe=voice.recipe,
            seed=seed_of(first, number), language=voice.language, age=voice.age, gender=voice.gender,
            emotion=emotion, intensity=0.0 if emotion == "neutral" else INTENSITY,
        )
        for number, emotion in enumerate(emotions)
    ]  # fmt: skip


def _sentences(language: str) -> list[str]:
    """Short sentences that ship; their number has no common factor with the step of `utterances`."""
    text = (files("manifests") / "voices" / f"identity.{language}.txt").read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line]


def listen(voices: Sequence[Voice], config: SpeakerConfig, cache: Path, neutral: int = NEUTRAL_TAKES) -> Iterator[Take]:
    """Speak and measure the takes of some voices, in order; what the cache folder holds is not spoken again."""
    from annotators import encoder

    hearer, speaker = _Hearer(), None
    cache.mkdir(parents=True, exist_ok=True)
    versions = [config.revision(), config.keyed(), encoder.revision()]
    for voice in voices:
        for utterance in utterances(voice, neutral):
            path = cache / f"{content_hash([vars(utterance), *versions], 24)}.npz"
            if not path.is_file():
                speaker = speaker or config.open()
                stream = io.BytesIO()
                embedding, f0_hz, wer = hearer.hear(speaker, utterance)
                np.savez(stream, embedding=embedding, f0_hz=np.array(f0_hz), wer=np.array(wer))
                write_atomic(path, stream.getvalue())
                _LOG.info("%s %s", voice.voice, utterance.emotion)
            with np.load(path, allow_pickle=False) as known:
                yield Take(
                    voice.voice, utterance.emotion, known["embedding"], float(known["f0_hz"]), float(known["wer"])
                )


class _Hearer:
    """Measures a take."""

    def __init__(self) -> None:
        from annotators.pocketsphinx import PocketsphinxConfig

        self._recognizer = PocketsphinxConfig().open()

    def hear(self, speaker: Speaker, utterance: Utterance) -> tuple[np.ndarray, float, float]:
        """Embedding, F0 in Hz and word error rate."""
        from annotators import encoder
        from annotators.audio import prepare

        speech = speaker.speak(utterance)
        heard = self._recognizer.transcribe(speech.samples, speech.sample_rate, utterance.text, utterance.language)
        embedding = encoder.embed(prepare(speech.samples, speech.sample_rate, encoder.SAMPLE_RATE))
        return embedding, median_f0(speech.samples, speech.sample_rate), heard.wer


def told_apart(takes: Sequence[Take]) -> Scores:
    """Same or different voice over all pairs of takes; each take identified by the means of the voices' other takes.

    Args:
        takes: Two at least of every voice.
    """
    names = np.array([take.voice for take in takes])
    vectors = np.stack([take.embedding for take in takes]).astype(np.float64)
    first, second = np.triu_indices(len(takes), 1)
    cosines = np.einsum("ij,ij->i", vectors[first], vectors[second])
    same = names[first] == names[second]
    known = sorted(set(names))
    sums = np.stack([vectors[names == name].sum(axis=0) for name in known])
    likeness = vectors @ _units(sums).T
    for row, (name, vector) in enumerate(zip(names, vectors, strict=True)):
        own = known.index(name)
        likeness[row, own] = vector @ _units(sums[own] - vector)
    return Scores(auc(cosines[same], cosines[~same]), *_identified(takes, known, likeness))


def told_apart_from(enrolled: Sequence[Take], probes: Sequence[Take]) -> Scores:
    """Each probe against the mean of every voice's enrolled takes."""
    known, means = centres(enrolled)
    likeness = np.stack([probe.embedding for probe in probes]).astype(np.float64) @ means.T
    own = np.array([[probe.voice == name for name in known] for probe in probes])
    return Scores(auc(likeness[own], likeness[~own]), *_identified(probes, known, likeness))


def nearest(takes: Sequence[Take]) -> dict[str, tuple[str, float]]:
    """For each voice the other one whose mean embedding is closest, and their cosine."""
    known, means = centres(takes)
    cosines = means @ means.T - 2 * np.eye(len(known))
    return {name: (known[row.argmax()], float(row.max())) for name, row in zip(known, cosines, strict=True)}


def centres(takes: Sequence[Take]) -> tuple[list[str], np.ndarray]:
    """Names of the voices and the unit mean of the embeddings of each: (num_voices, 256)."""
    known = sorted({take.voice for take in takes})
    sums = [np.sum([take.embedding for take in takes if take.voice == name], axis=0) for name in known]
    return known, _units(np.stack(sums).astype(np.float64))


def auc(higher: np.ndarray, lower: np.ndarray) -> float:
    """Chance that a value of the first exceeds one of the second, ties counting half (Hanley & McNeil 1982)."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([higher, lower]))[: len(higher)]
    return float((ranks.sum() - len(higher) * (len(higher) + 1) / 2) / (len(higher) * len(lower)))


def _identified(
    takes: Sequence[Take], known: list[str], likeness: np.ndarray
) -> tuple[float, tuple[tuple[str, str, str], ...]]:
    heard = [known[column] for column in likeness.argmax(axis=1)]
    wrong = [(take.voice, take.emotion, name) for take, name in zip(takes, heard, strict=True) if take.voice != name]
    return 1 - len(wrong) / len(takes), tuple(wrong)


def _units(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def median_f0(samples: np.ndarray, sample_rate: int, lowest: float = 60.0, highest: float = 620.0) -> float:
    """Median F0 over voiced frames, by normalised autocorrelation of 40 ms frames every 10 ms.

    Args:
        samples: (num_samples,).
        sample_rate: In Hz.
        lowest: Of the F0 looked for, in Hz.
        highest: Likewise.

    Returns:
        The median in Hz, 0.0 when no frame is voiced.
    """
    width, hop = int(0.04 * sample_rate), int(0.01 * sample_rate)
    if len(samples) < width:
        return 0.0
    frames = np.lib.stride_tricks.sliding_window_view(samples.astype(np.float64), width)[::hop]
    level = np.sqrt((frames**2).mean(axis=1))
    frames = frames[level > 0.15 * np.percentile(level, 95)]
    window = np.hanning(width)
    size = 4 * width
    shortest, longest = int(sample_rate / highest), int(sample_rate / lowest)

    def correlation(signal: np.ndarray) -> np.ndarray:
        lags = np.fft.irfft(np.abs(np.fft.rfft(signal, size)) ** 2)[..., : longest + 1]
        return lags / lags[..., :1]

    centred = (frames - frames.mean(axis=1, keepdims=True)) * window
    peaks = (correlation(centred) / correlation(window))[:, shortest:]
    best = peaks.max(axis=1, keepdims=True)
    # The first peak that is nearly the highest: later ones are multiples of the period.
    middle = peaks[:, 1:-1]
    is_peak = (middle > peaks[:, :-2]) & (middle >= peaks[:, 2:]) & (middle > 0.88 * best) & (best > 0.5)
    first = is_peak.argmax(axis=1)[is_peak.any(axis=1)]
    return float(np.median(sample_rate / (first + 1.0 + shortest))) if len(first) else 0.0


def main(table: Path, cache: Path) -> None:
    """Measure the query voices of a table and write its columns; reply voices get their F0."""
    config = KokoroConfig()
    voices = VoiceTable.load("kokoro", table).voices
    takes = [take for take in listen(voices, config, cache) if take.emotion == "neutral"]
    queries = {voice.voice for voice in voices if voice.role == "query"}
    closest = nearest([take for take in takes if take.voice in queries])
    with table.open(newline="", encoding="utf-8-sig") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        own = [take.f0_hz for take in takes if take.voice == row["voice"]]
        other, cosine = closest.get(row["voice"], ("", None))
        row["f0_hz"] = f"{np.median(own):.0f}"
        row["nearest"], row["nearest_cosine"] = other, "" if cosine is None else f"{cosine:.2f}"
    stream = io.StringIO()
    writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomic(table, stream.getvalue().encode())


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description="Measure the voices of a table and write what was found into it.")
    parser.add_argument("table", type=Path)
    parser.add_argument("--cache", type=Path, default=Path("build/voices"), help="folder of measured takes")
    options = parser.parse_args()
    main(options.table, options.cache)
