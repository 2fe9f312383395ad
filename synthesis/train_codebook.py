"""Train the codebook of `synthesis.speech_tokens`: `python -m synthesis.train_codebook [sentences.txt]`.

Renders every sentence with several query voices of the training split and emotions, collects 40 ms log-mel
steps and clusters them with k-means. Prints how well sentences and voices that it has not seen survive.
Seeded throughout: the same renderings give the same codebook.
"""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path

import numpy as np

from manifests.labels import EMOTIONS
from synthesis.base import Speaker, Utterance
from synthesis.kokoro import KokoroConfig
from synthesis.speech_tokens import CODEBOOK, SAMPLE_RATE, STEP, KmeansCodec, log_mel_steps, nearest

_SIZE, _ROUNDS, _TAKES, _HELD_OUT = 1024, 30, 5, 6
_SENTENCES = CODEBOOK.with_name("sentences.txt")
_VOICES = Path(__file__).parents[1] / "manifests" / "voices" / "kokoro.csv"
_LOG = logging.getLogger(__name__)


def renderings(
    speaker: Speaker, sentences: list[str], split: str, takes: int, rng: np.random.Generator
) -> list[tuple[np.ndarray, int]]:
    """Each sentence `takes` times, by random voices of a split and emotions in turn: (samples, rate) each."""
    with _VOICES.open(newline="", encoding="utf-8") as file:
        voices = [row for row in csv.DictReader(file) if row["split"] == split]
    out = []
    for index, sentence in enumerate(sentences):
        for take in range(takes):
            row = voices[int(rng.integers(len(voices)))]
            emotion = EMOTIONS[(index * takes + take) % len(EMOTIONS)]
            speech = speaker.speak(
                Utterance(
                    sentence,
                    row["voice"],
                    seed=take,
                    age=row["age"],
                    gender=row["gender"],
                    emotion=emotion,
                    intensity=float(rng.uniform(0.4, 1.0)),
                )
            )
            out.append((speech.samples, speech.sample_rate))
        _LOG.info("%s: %d of %d sentences", split, index + 1, len(sentences))
    return out


def training_steps(waves: list[tuple[np.ndarray, int]]) -> np.ndarray:
    """Steps of all renderings after some silence, at four offsets within a step, (num_steps, 80)."""
    steps = []
    for samples, rate in waves:
        for quarter in range(4):
            silence = np.zeros(int(rate * (0.2 + quarter * STEP / 4 / SAMPLE_RATE)), samples.dtype)
            steps.append(log_mel_steps(np.concatenate([silence, samples]), rate))
    return np.concatenate(steps)


def kmeans(points: np.ndarray, size: int, rounds: int, rng: np.random.Generator) -> np.ndarray:
    """Lloyd's algorithm from random points; clusters that empty restart at the points that fit worst.

    Args:
        points: (num_points, num_dimensions), more than `size`.
        size: Number of centroids.
        rounds: Number of iterations.
        rng: Chooses the first centroids.

    Returns:
        float64 (size, num_dimensions).
    """
    centroids = points[rng.choice(len(points), size, replace=False)].astype(np.float64)
    for _ in range(rounds):
        owner = np.concatenate([nearest(part, centroids) for part in np.array_split(points, 16)])
        count = np.bincount(owner, minlength=size)
        total = np.zeros_like(centroids)
        np.add.at(total, owner, points)
        empty = np.flatnonzero(count == 0)
        centroids = total / np.maximum(count, 1)[:, None]
        if len(empty):
            distance = ((points - centroids[owner]) ** 2).sum(axis=1)
            centroids[empty] = points[np.argsort(-distance, kind="stable")[: len(empty)]]
    return centroids


def figures(codec: KmeansCodec, centroids: np.ndarray, waves: list[tuple[np.ndarray, int]]) -> dict[str, float]:
    """Round-trip errors in dB of mel power, and token statistics, on renderings that were not trained on.

    Returns:
        `mean_rmse_db`: of predicting each band's mean; `quantised_rmse_db`: of the centroids;
        `decoded_rmse_db`: of decoded waveforms measured anew; `same_tokens`: share of tokens that survive
        decoding and encoding; `used`: share of the codebook that occurs; `perplexity` of the tokens.
    """
    steps, decoded, tokens, again = [], [], [], []
    for samples, rate in waves:
        steps.append(log_mel_steps(samples, rate))
        tokens.append(codec.encode(samples, rate))
        sketch = codec.decode(tokens[-1])
        decoded.append(log_mel_steps(sketch.samples, sketch.sample_rate))
        again.append(codec.encode(sketch.samples, sketch.sample_rate))
    real, back, names = np.concatenate(steps), np.concatenate(decoded), np.concatenate(tokens)

    def rmse(difference: np.ndarray) -> float:
        return 10 * float(np.sqrt((difference**2).mean()))

    share = np.bincount(names, minlength=codec.codebook_size) / len(names)
    present = share[share > 0]
    return {
        "mean_rmse_db": rmse(real - real.mean(axis=0)),
        "quantised_rmse_db": rmse(real - centroids[names]),
        "decoded_rmse_db": rmse(real - back),
        "same_tokens": float((names == np.concatenate(again)).mean()),
        "used": len(present) / codec.codebook_size,
        "perplexity": float(np.exp(-(present * np.log(present)).sum())),
    }


def main(sentences_file: Path) -> None:
    """Train on all but the last sentences of a file, report on those, write the codebook."""
    sentences = [line for line in sentences_file.read_text(encoding="utf-8").splitlines() if line.strip()]
    rng = np.random.default_rng(0)
    speaker = KokoroConfig().open()
    seen = training_steps(renderings(speaker, sentences[:-_HELD_OUT], "train", _TAKES, rng))
    centroids = kmeans(seen, _SIZE, _ROUNDS, rng).astype(np.float16)
    # In order of loudness, so that a plot of tokens over time can be read.
    centroids = centroids[np.argsort(centroids.astype(np.float64).mean(axis=1), kind="stable")]
    unseen = renderings(speaker, sentences[-_HELD_OUT:], "test", 3, rng)
    for name, value in figures(KmeansCodec(centroids), centroids.astype(np.float64), unseen).items():
        _LOG.info("%s %.3f", name, value)
    _LOG.info("steps %d", len(seen))
    CODEBOOK.parent.mkdir(parents=True, exist_ok=True)
    np.savez(CODEBOOK, centroids=centroids)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else _SENTENCES)
