"""The training rows whose label is likeliest wrong, with their recordings where these can be found."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from manifests.errors import UserError
from manifests.sound import read_sound
from model.datasets import CorpusDataset, ShardDataset
from pipeline.report.clips import Store, opus, waveform


@dataclass(frozen=True)
class Suspect:
    """One row.

    Attributes:
        believed: The label that the models found likeliest, over the whole training.
        truth: The label before a wrong one was planted, where one was.
        clip: Name of the sound in the store, or "" without one; likewise `wave`, see `waveform`.
    """

    item: str
    family: str
    label: str
    believed: str
    truth: str
    scores: tuple[tuple[str, str], ...]
    clip: str
    wave: str
    seconds: float


def suspects(rows: Sequence[Mapping[str, Any]], data: Mapping[str, Any], store: Store) -> tuple[list[Suspect], str]:
    """Rows of a data map with their sounds.

    Args:
        data: Where the recordings are: `corpus`, or `shards` and `split`.

    Returns:
        The rows, and why some of them are silent, or "".
    """
    found: dict[str, tuple[str, float]] = {}
    reasons: list[str] = []
    try:
        for item, encoded in _recordings(data, {str(row["item"]) for row in rows}, reasons):
            try:
                samples, rate = _decoded(encoded)
            except (ValueError, RuntimeError) as error:
                reasons.append(f"{item}: cannot be read as audio ({error})")
                continue
            store.put(item, opus(samples, rate))
            found[item] = (waveform(samples), len(samples) / rate)
    except (UserError, OSError, ValueError, KeyError, TypeError) as error:
        reasons.append(str(error))
    silent = {str(row["item"]) for row in rows} - set(found)
    why = f"{len(silent):,} recordings were not found" + (f": {reasons[0]}" if reasons else "") if silent else ""
    return [_suspect(row, found) for row in rows], why


def _suspect(row: Mapping[str, Any], found: Mapping[str, tuple[str, float]]) -> Suspect:
    item = str(row["item"])
    wave, seconds = found.get(item, ("", 0.0))
    scores = (
        ("score", f"{row['score']:+.2f}"), ("confidence in the label", f"{row['confidence']:.2f}"),
        (f"in {row['believed']}", f"{row['odds'][row['believed']]:.2f}"), ("margin", f"{row['margin']:+.2f}"),
        ("spread", f"{row['spread']:.2f}"), ("seeds", f"{row['seeds']}"),
    )  # fmt: skip
    return Suspect(
        item, str(row["family"]), str(row["label"]), str(row["believed"]), str(row.get("truth", "")), scores,
        item if wave else "", wave, seconds,
    )  # fmt: skip


def _recordings(data: Mapping[str, Any], wanted: set[str], reasons: list[str]) -> Iterator[tuple[str, bytes]]:
    """Encoded audio of items, each once."""
    corpus = data.get("corpus")
    known = CorpusDataset(Path(corpus)) if corpus else ShardDataset(Path(data["shards"]), data["split"])
    left = set(wanted)
    for number in range(len(known)):
        item = known.about(number)["id"]
        if item not in left:
            continue
        left.discard(item)
        place = PurePosixPath(item)
        if corpus and (place.is_absolute() or ".." in place.parts):
            reasons.append(f"{item}: leads out of the corpus; what is there is not put into a page")
            continue
        try:
            yield item, known.recording(number)
        except (OSError, ValueError) as error:
            reasons.append(f"{item}: cannot be read ({error})")
        if not left:
            return


def _decoded(encoded: bytes) -> tuple[np.ndarray, int]:
    """Mono float32 (num_samples,) in [-1, 1] and the sample rate in Hz."""
    samples, rate = read_sound(encoded, always_2d=True)
    return samples.mean(axis=1), rate
