"""Small corpora of real-looking recordings, for tests."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from pipeline.ingest.writer import Request, adapter_of, ingest

RATE = 16000


def voice(seed: int, seconds: float = 0.6, rate: int = RATE, level: float = 0.2) -> np.ndarray:
    """A buzz with noise, int16 (num_samples,); every seed sounds different."""
    draw = np.random.default_rng(seed)
    time = np.arange(round(seconds * rate)) / rate
    wave = np.sin(2 * np.pi * (100 + 7 * (seed % 40)) * time) + 0.2 * draw.standard_normal(len(time))
    return np.round(32767 * level * wave / np.abs(wave).max()).astype(np.int16)


def save(path: Path, samples: np.ndarray, rate: int = RATE, **kwargs: Any) -> Path:
    """Write an audio file in a folder that need not be there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **kwargs)
    return path


def table(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> Path:
    """Write a table with a header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as lines:
        writer = csv.DictWriter(lines, list(rows[0]), delimiter=delimiter)
        writer.writeheader()
        writer.writerows(rows)
    return path


def take_in(adapter: str, source: Path, out: Path, **kwargs: Any) -> dict[str, Any]:
    """Ingest with a licence and consent."""
    stated = {"licence": "CC0 1.0", "consent": "asked by the test"} | kwargs
    return ingest(adapter_of(adapter), Request(source, out, **stated))


def kept(out: Path) -> dict[str, dict[str, str]]:
    """Rows of an ingested corpus by their source file."""
    with (out / "labels.csv").open(encoding="utf-8", newline="") as lines:
        return {row["source_file"]: row for row in csv.DictReader(lines)}


def reasons(report: dict[str, Any]) -> dict[str, int]:
    """Rows that were left out, by reason."""
    return {reason: left["rows"] for reason, left in report["rejected"].items()}


def people(
    folder: Path, speakers: int = 6, each: tuple[str, ...] = ("happy", "sad", "angry", "neutral"), language: str = "de"
) -> Path:
    """A source for the adapter `csv`: every speaker says a sentence in each emotion, twice."""
    rows = []
    for who in range(speakers):
        for turn, emotion in enumerate(each * 2):
            file = f"s{who}-{turn}.wav"
            save(folder / file, voice(100 * who + turn, 0.5 + 0.01 * turn))
            rows.append({
                "file": file, "speaker": f"s{who}", "gender": "fm"[who % 2], "age": "30", "emotion": emotion,
                "text": f"Satz Nummer {turn}.", "language": language,
            })  # fmt: skip
    table(folder / "labels.csv", rows)
    return folder
