"""Measure the median F0 of every voice: `python -m synthesis.measure_voices manifests/voices/kokoro.csv`.

Rewrites the table's column `f0_hz`, which says how a voice sounds where its name or label may not: some
women's voices are low. A tool of those who add voices, not a stage of the pipeline.
"""

from __future__ import annotations

import csv
import logging
import sys
from pathlib import Path

import numpy as np

from synthesis.base import Speaker, Utterance
from synthesis.kokoro import KokoroConfig

SENTENCE = "The morning train leaves on Monday, and we will arrive in the afternoon."
_LOG = logging.getLogger(__name__)


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


def measure(speaker: Speaker, row: dict[str, str]) -> float:
    """Median F0 in Hz of one voice when neutral."""
    utterance = Utterance(SENTENCE, row["voice"], seed=0, age=row["age"], gender=row["gender"])
    speech = speaker.speak(utterance)
    return median_f0(speech.samples, speech.sample_rate)


def main(path: Path) -> None:
    """Measure the voices of the table at `path` and write the column."""
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    speaker = KokoroConfig().open()
    for row in rows:
        row["f0_hz"] = f"{measure(speaker, row):.0f}"
        _LOG.info("%s %s Hz", row["voice"], row["f0_hz"])
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main(Path(sys.argv[1]))
