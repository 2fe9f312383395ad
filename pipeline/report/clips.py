"""What the page shows of one dialogue: sound, waveform, words, scores, labels and the verdict. Plain values alone."""

from __future__ import annotations

import base64
import difflib
import io
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from manifests.files import write_atomic
from manifests.labels import CUES, NONE
from manifests.wer import normalise
from pipeline.audio import decode_flac
from pipeline.grid import Grid
from pipeline.join import by_dialogue, join_rows
from pipeline.report.gather import Pick
from pipeline.report.ogg import with_serial
from pipeline.sample import sample_columns
from pipeline.summary import label_of

WAVE_COLUMNS = 120
"""Columns of a drawn waveform."""
_PREFIX = "data:audio/ogg;base64,"
_OPUS_RATES = (8000, 12000, 16000, 24000, 48000)


class Store(Protocol):
    """Where encoded clips go."""

    def put(self, name: str, data: bytes) -> None:
        """Keep a clip."""
        ...

    def address(self, name: str) -> str:
        """What an audio element plays a clip from; "" for one that is not to be heard."""
        ...


class Inline:
    """Clips within the page itself, as data addresses; `allot` says which of them.

    Attributes:
        refused: Clips that did not fit.
    """

    def __init__(self) -> None:
        self.clips: dict[str, bytes] = {}
        self.chosen: set[str] = set()
        self.refused = 0

    def put(self, name: str, data: bytes) -> None:
        """See `Store.put`."""
        self.clips[name] = data

    def allot(self, names: Sequence[str], budget: float) -> None:
        """Choose clips in an order until the bytes are used; a name that comes twice takes its bytes twice."""
        uses = Counter(names)
        for name in dict.fromkeys(names):
            cost = uses[name] * (len(_PREFIX) + (len(self.clips[name]) + 2) // 3 * 4)
            if cost <= budget:
                budget -= cost
                self.chosen.add(name)
            else:
                self.refused += 1

    def address(self, name: str) -> str:
        """See `Store.address`."""
        return _PREFIX + base64.b64encode(self.clips[name]).decode() if name in self.chosen else ""


class Files:
    """Clips as files beside the page."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "audio"
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, name: str, data: bytes) -> None:
        """See `Store.put`."""
        write_atomic(self.folder / f"{name}.opus", data)

    def address(self, name: str) -> str:
        """See `Store.address`."""
        return f"audio/{name}.opus"


@dataclass(frozen=True)
class Utterance:
    """One query or reply.

    Attributes:
        clip: Name of the sound in the store, or "" without one.
        wave: Path of an SVG of `WAVE_COLUMNS` x 100 units.
        event: Start and end of the sound event as shares of the duration, or None.
        diff: What was asked for against what was heard: (`same`, `lost` or `added`, words).
    """

    role: str
    text: str
    seconds: float | None
    clip: str
    wave: str
    event: tuple[float, float] | None
    diff: tuple[tuple[str, str], ...]
    scores: tuple[tuple[str, str], ...]
    labels: tuple[tuple[str, str, str], ...]
    voice: str
    emotion: str


@dataclass(frozen=True)
class Card:
    """One dialogue."""

    id: str
    task: str
    label: str
    split: str
    source: str
    verdict: str
    reasons: tuple[str, ...]
    error: str
    pair: str
    turns: tuple[tuple[Utterance, Utterance, str], ...]
    """Query, reply and think text of each."""

    @property
    def clips(self) -> list[str]:
        """Names of its sounds."""
        return [said.clip for query, reply, _ in self.turns for said in (query, reply) if said.clip]


def cards(grid: Grid, picks: Iterable[Pick], store: Store) -> Iterator[Card]:
    """Read the picked dialogues part by part, sound included, and encode their clips."""
    by_part: dict[int, dict[str, Pick]] = {}
    for pick in picks:
        by_part.setdefault(pick.part, {})[pick.id] = pick
    columns = sample_columns(grid.dag)
    for part in sorted(by_part):
        rows, errors = join_rows(grid.ledger, list(grid.cells(part).values()), columns)
        for turns, error in by_dialogue(rows, errors):
            pick = by_part[part].get(turns[0]["id"])
            if pick:
                yield _card(grid, turns, error, pick, store)


def _card(grid: Grid, turns: Sequence[Mapping[str, Any]], error: str, pick: Pick, store: Store) -> Card:
    first = turns[0]
    slots = grid.dag.manifest.slots
    return Card(
        id=pick.id, task=first["plan.task"], label=label_of(first), split=first["plan.split"],
        source=first["plan.source"], verdict=pick.verdict, reasons=pick.reasons, error=error, pair=first["plan.pair"],
        turns=tuple(
            (_utterance(row, "query", slots, store), _utterance(row, "reply", slots, store),
             row["script.think_text"] or "")
            for row in turns
        ),
    )  # fmt: skip


def _utterance(row: Mapping[str, Any], role: str, slots: Sequence[str], store: Store) -> Utterance:
    text, heard = row[f"script.{role}_text"] or "", row[f"transcribe.{role}_transcript"]
    language = row["plan.query_language" if role == "query" else "plan.language"]
    seconds, clip, wave = row[f"speak_{role}.seconds"], "", ""
    if row[f"speak_{role}.audio"]:
        samples, rate = decode_flac(row[f"speak_{role}.audio"])
        wave = waveform(samples)
        clip = f"{row['id']}.{row['turn']}.{role}"
        store.put(clip, opus(samples, rate))
    event = None
    if role == "query" and seconds and row["speak_query.event_end"]:
        event = (row["speak_query.event_start"] / seconds, row["speak_query.event_end"] / seconds)
    spoken = row[f"script.{role}_spoken"] or text
    return Utterance(
        role=role, text=text, seconds=seconds, clip=clip, wave=wave, event=event,
        diff=diff(spoken, heard, language) if heard is not None else (),
        scores=tuple(_scores(row, role)), labels=tuple(_labels(row, slots)) if role == "query" else (),
        voice=row[f"plan.{role}_voice"],
        emotion=row["plan.emotion"] if role == "query" else row["script.reply_emotion"] or "",
    )  # fmt: skip


def _scores(row: Mapping[str, Any], role: str) -> Iterator[tuple[str, str]]:
    for name, column, shown in (
        ("WER", f"transcribe.{role}_wer", ".2f"),
        ("mismatch", f"transcribe.{role}_mismatch", ".2f"),
        ("SNR", f"rate.{role}_snr_db", ".0f"),
        ("speech", f"rate.{role}_speech_ratio", ".0%"),
        ("MOS", f"mos.{role}_ovrl", ".2f"),
        ("s", f"speak_{role}.seconds", ".1f"),
    ):
        value = row.get(column)
        if value is not None:
            yield name, f"{value:{shown}}"


def _labels(row: Mapping[str, Any], slots: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Family or annotator, asked, heard with its probability."""
    for family in CUES:
        asked = row[f"plan.{family}"]
        heard = [slot for slot in slots if slot.partition("_")[0] == family]
        if not heard and asked != NONE:
            yield family, asked, ""
        for slot in heard:
            label = row[f"annotate.heard_{slot}"]
            sure = row[f"annotate.heard_{slot}_p"]
            yield slot, asked, "" if label is None else f"{label} {sure:.2f}"


def diff(asked: str, heard: str, language: str) -> tuple[tuple[str, str], ...]:
    """Words asked for against words heard, after the normalisation that WER takes.

    Returns:
        Runs of words: `same`, `lost` (asked and not heard) or `added` (heard and not asked).
    """
    left, right = normalise(asked, language).split(), normalise(heard, language).split()
    out: list[tuple[str, str]] = []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, left, right, autojunk=False).get_opcodes():
        if kind == "equal":
            out.append(("same", " ".join(left[a:b])))
            continue
        if a < b:
            out.append(("lost", " ".join(left[a:b])))
        if c < d:
            out.append(("added", " ".join(right[c:d])))
    return tuple(out)


def waveform(samples: np.ndarray) -> str:
    """The peaks of a clip as an SVG path in a box of `WAVE_COLUMNS` x 100 units; full scale fills it.

    Args:
        samples: Mono, (samples,), -1 to 1.
    """
    edges = np.linspace(0, len(samples), WAVE_COLUMNS + 1).astype(int)
    steps = []
    for column, (start, stop) in enumerate(pairwise(edges.tolist())):
        chunk = samples[start : max(stop, start + 1)]
        low, high = (float(chunk.min()), float(chunk.max())) if chunk.size else (0.0, 0.0)
        top, bottom = 50 - 50 * min(1.0, high), 50 - 50 * max(-1.0, low)
        steps.append(f"M{column}.5 {top - 0.5:.1f}V{bottom + 0.5:.1f}")
    return "".join(steps)


def opus(samples: np.ndarray, rate: int) -> bytes:
    """A clip as Ogg Opus, at the next rate that Opus knows; the level is left alone, and equal clips give equal bytes.

    Args:
        samples: Mono, (samples,), -1 to 1.
        rate: In Hz.
    """
    import soundfile
    import soxr

    target = next((known for known in _OPUS_RATES if known >= rate), _OPUS_RATES[-1])
    if target != rate:
        samples = soxr.resample(samples, rate, target)
    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(samples, -1, 1), target, format="OGG", subtype="OPUS", compression_level=0.9)
    return with_serial(buffer.getvalue())
