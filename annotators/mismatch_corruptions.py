"""Ways in which a clip and its text come to differ, made on purpose: to fit and to measure the detector."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

import numpy as np

AUDIO = ("half", "cut", "noise")
TEXT = ("dropped", "repeated", "replaced")


def corrupt_audio(kind: str, samples: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Damage a clip.

    Args:
        kind: `half` keeps the first half; `cut` takes 30 % out of the middle; `noise` adds noise with the
            long-term spectrum of the clip, 3 dB louder than it.
        samples: float32 (num_samples,).
        rng: Of the noise.

    Returns:
        float32 (num_samples_left,), scaled into [-1, 1] where the noise would clip.
    """
    size = len(samples)
    if kind == "half":
        return samples[: size // 2]
    if kind == "cut":
        return np.concatenate([samples[: int(0.35 * size)], samples[int(0.65 * size) :]])
    if kind != "noise":
        raise ValueError(f"unknown corruption {kind!r}: use one of {', '.join(AUDIO)}")
    spectrum = np.abs(np.fft.rfft(samples))
    noise = np.fft.irfft(spectrum * np.exp(2j * np.pi * rng.random(len(spectrum))), size)
    noise *= np.sqrt(np.mean(np.square(samples, dtype=np.float64)) / np.mean(noise**2)) * 10 ** (3 / 20)
    mixed = samples + noise
    return (mixed / max(1.0, np.abs(mixed).max())).astype(np.float32)


def corrupt_text(kind: str, words: Sequence[str], vocabulary: Sequence[str], rng: random.Random) -> list[str]:
    """Change one word of a text, so that its audio has a word more, less, or another one.

    Args:
        kind: `dropped`: a word is taken out; `repeated`: a word stands twice; `replaced`: another word of nearly the
            same length stands in its place.
        words: Normalised words, at least one; at least two for `dropped`.
        vocabulary: Where other words come from, in a fixed order.
        rng: Of all choices.
    """
    at = rng.randrange(len(words))
    if kind == "dropped":
        return [*words[:at], *words[at + 1 :]]
    if kind == "repeated":
        return [*words[: at + 1], *words[at:]]
    if kind != "replaced":
        raise ValueError(f"unknown corruption {kind!r}: use one of {', '.join(TEXT)}")
    similar = [word for word in vocabulary if abs(len(word) - len(words[at])) <= 1 and word != words[at]]
    return [*words[:at], rng.choice(similar), *words[at + 1 :]]


def pairs(
    samples: np.ndarray, words: Sequence[str], other: Sequence[str], vocabulary: Sequence[str], seed: int
) -> Iterator[tuple[str, np.ndarray, list[str]]]:
    """The clip with its own text and with everything that can go wrong.

    Args:
        samples: float32 (num_samples,).
        words: Of its text, normalised.
        other: Of another clip's text.
        vocabulary: For `corrupt_text`.
        seed: Of all draws.

    Yields:
        `(kind, samples, words)`; kinds are `clean`, `other_text`, those of `AUDIO` and those of `TEXT`.
    """
    yield "clean", samples, list(words)
    yield "other_text", samples, list(other)
    for kind in AUDIO:
        yield kind, corrupt_audio(kind, samples, np.random.default_rng(seed)), list(words)
    draws = random.Random(seed)
    for kind in TEXT:
        yield kind, samples, corrupt_text(kind, words, vocabulary, draws)
