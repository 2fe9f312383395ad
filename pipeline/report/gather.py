"""One pass over a finished run: counts, histograms and the dialogues to play. Memory follows labels, not rows."""

from __future__ import annotations

import heapq
import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

from manifests.labels import SPLITS
from manifests.withdrawn import is_withdrawn
from pipeline.grid import Grid
from pipeline.join import by_dialogue, join_rows
from pipeline.select import verdicts
from pipeline.summary import label_of
from pipeline.verdict import KEPT, QUARANTINED, REJECTED

Turns = list[dict[str, Any]]
MAX_TEXTS = 2000
"""Query texts that clusters are made of, and the most pairs and speakers that are remembered."""

_BINS: dict[str, tuple[str, str, float, float]] = {
    # name: title, unit, lowest and highest value of 24 bins; what lies outside counts in the outer ones
    "query_wer": ("WER of queries", "ratio", 0.0, 1.2),
    "reply_wer": ("WER of replies", "ratio", 0.0, 1.2),
    "query_seconds": ("duration of queries", "s", 0.0, 12.0),
    "reply_seconds": ("duration of replies", "s", 0.0, 24.0),
    "query_snr_db": ("SNR of queries", "dB", 0.0, 72.0),
    "query_f0": ("median F0 of queries", "Hz", 60.0, 420.0),
    "query_ovrl": ("predicted opinion score of queries", "MOS", 1.0, 5.0),
    "reply_ovrl": ("predicted opinion score of replies", "MOS", 1.0, 5.0),
}
NUM_BINS = 24


@dataclass
class Histogram:
    """Counts of a measure in equal bins, kept and other dialogues apart."""

    title: str
    unit: str
    low: float
    high: float
    kept: list[int] = field(default_factory=lambda: [0] * NUM_BINS)
    other: list[int] = field(default_factory=lambda: [0] * NUM_BINS)

    @property
    def edges(self) -> list[float]:
        """The `NUM_BINS` + 1 borders."""
        return [self.low + (self.high - self.low) * n / NUM_BINS for n in range(NUM_BINS + 1)]

    def add(self, value: float | None, kept: bool) -> None:
        """Count one value; what was not measured (None, NaN) counts nowhere."""
        if value is None or value != value:
            return
        place = min(max(bisect_right(self.edges, value) - 1, 0), NUM_BINS - 1)
        (self.kept if kept else self.other)[place] += 1


@dataclass(frozen=True)
class Pick:
    """A dialogue that the page shows, and where its rows are."""

    id: str
    part: int
    verdict: str
    reasons: tuple[str, ...]


@dataclass
class Gathered:
    """What one pass finds.

    Attributes:
        dialogues: Counts by task, label, language, source, split and verdict.
        seconds: Seconds of query and reply audio, by the same.
        speakers: Planned and kept dialogues by speaker, gender and split of the speaker.
        histograms: By measure.
        cells: The dialogues shown, by task, label and verdict.
        pairs: Of some contrastive pairs, the two dialogues.
        texts: Query texts of a sample of the dialogues.
    """

    dialogues: Counter[tuple[str, ...]] = field(default_factory=Counter)
    seconds: Counter[tuple[str, ...]] = field(default_factory=Counter)
    speakers: dict[tuple[str, str, str], Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    histograms: dict[str, Histogram] = field(
        default_factory=lambda: {name: Histogram(*values) for name, values in _BINS.items()}
    )
    cells: dict[tuple[str, str, str], list[Pick]] = field(default_factory=dict)
    pairs: dict[str, list[Pick]] = field(default_factory=dict)
    texts: list[tuple[str, str]] = field(default_factory=list)


def gather(grid: Grid, select: Path, per_cell: int, num_pairs: int) -> Gathered:
    """Read every dialogue's metadata once, part by part.

    Args:
        grid: Of a finished run.
        select: The folder of its verdicts.
        per_cell: Dialogues to show of each task, label and verdict; those with the smallest hash of their id.
        num_pairs: Contrastive pairs to show side by side.
    """
    found = Gathered()
    cells: dict[tuple[str, str, str], _Smallest] = defaultdict(lambda: _Smallest(per_cell))
    texts = _Smallest(MAX_TEXTS)
    pairs = _Pairs(num_pairs)
    for part, turns, error, verdict in _dialogues(grid, select):
        del error
        first, pick = turns[0], Pick(turns[0]["id"], part, verdict["verdict"], tuple(verdict["reasons"]))
        _count(found, turns, pick.verdict)
        if is_withdrawn(pick.reasons):
            continue  # counted, but neither heard nor read
        cells[first["plan.task"], label_of(first), pick.verdict].offer(pick.id, pick)
        if first["script.query_text"]:
            texts.offer(pick.id, (first["script.query_text"], first["plan.query_language"]))
        if first["plan.pair"] and pick.verdict == KEPT:
            pairs.offer(first["plan.pair"], pick)
    order = (KEPT, REJECTED, QUARANTINED)
    found.cells = {key: cells[key].items() for key in sorted(cells, key=lambda key: (*key[:2], order.index(key[2])))}
    found.texts = texts.items()
    found.pairs = pairs.complete()
    return found


class _Smallest:
    """The items with the smallest hashes of their names: a sample that neither order nor machine changes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.heap: list[tuple[int, str, Any]] = []

    def offer(self, name: str, item: Any) -> None:
        entry = (-_hash(name), name, item)
        if len(self.heap) < self.size:
            heapq.heappush(self.heap, entry)
        elif self.size and entry[:2] > self.heap[0][:2]:
            heapq.heapreplace(self.heap, entry)

    def items(self) -> list[Any]:
        return [item for _, _, item in sorted(self.heap, key=lambda entry: (-entry[0], entry[1]))]


class _Pairs:
    """Contrastive pairs whose two dialogues were kept, those with the smallest hashes."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.half: dict[str, list[Pick]] = {}

    def offer(self, pair: str, pick: Pick) -> None:
        self.half.setdefault(pair, []).append(pick)
        if len(self.half) > 2 * MAX_TEXTS:  # the largest hashes go, so that what stays is the same in any order
            names = sorted(self.half, key=_hash)
            self.half = {name: self.half[name] for name in names[:MAX_TEXTS]}

    def complete(self) -> dict[str, list[Pick]]:
        whole = sorted((name for name, picks in self.half.items() if len(picks) > 1), key=_hash)
        return {name: sorted(self.half[name][:2], key=lambda pick: pick.id) for name in whole[: self.size]}


def _hash(name: str) -> int:
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big")


def _columns(grid: Grid) -> tuple[str, ...]:
    names = ["plan.task", "plan.cues", "plan.language", "plan.query_language", "plan.source", "plan.split"]
    names += ["plan.pair", "plan.query_speaker", "script.query_text", "rate.query_snr_db"]
    names += [f"plan.{family}" for family in ("age", "gender", "emotion", "event")]
    names += [f"{stage}.{name}" for stage, name in (("speak_query", "seconds"), ("speak_reply", "seconds"))]
    names += ["transcribe.query_wer", "transcribe.reply_wer", "mos.query_ovrl", "mos.reply_ovrl"]
    names += [f"annotate.heard_{slot}_evidence" for slot in grid.dag.manifest.slots]
    return tuple(names)


def _dialogues(grid: Grid, select: Path) -> Iterator[tuple[int, Turns, str, Mapping[str, Any]]]:
    columns = _columns(grid)
    for part, cells in grid.all_cells.items():
        rows, errors = join_rows(grid.ledger, list(cells.values()), columns)
        judged = {row["id"]: row for row in verdicts(select, part).to_pylist()}
        for turns, error in by_dialogue(rows, errors):
            yield part, turns, error, judged[turns[0]["id"]]


def _count(found: Gathered, turns: Sequence[Mapping[str, Any]], verdict: str) -> None:
    first, kept = turns[0], verdict == KEPT
    key = (first["plan.task"], label_of(first), first["plan.language"], first["plan.source"], first["plan.split"])
    found.dialogues[*key, verdict] += 1
    speaker = found.speakers[first["plan.query_speaker"], first["plan.gender"], first["plan.split"]]
    speaker.update({"planned": 1, "kept": int(kept)})
    for row in turns:
        query, reply = row["speak_query.seconds"] or 0.0, row["speak_reply.seconds"] or 0.0
        found.seconds[*key, verdict] += query + reply  # type: ignore[assignment]
        values = {
            "query_wer": row["transcribe.query_wer"],
            "reply_wer": row["transcribe.reply_wer"],
            "query_seconds": row["speak_query.seconds"],
            "reply_seconds": row["speak_reply.seconds"],
            "query_snr_db": row["rate.query_snr_db"],
            "query_f0": _f0(row),
            "query_ovrl": row.get("mos.query_ovrl"),
            "reply_ovrl": row.get("mos.reply_ovrl"),
        }
        for name, value in values.items():
            found.histograms[name].add(value, kept)


def _f0(row: Mapping[str, Any]) -> float | None:
    """The median pitch in Hz that an annotator took for evidence, if any did."""
    for name, value in row.items():
        if name.endswith("_evidence") and value:
            evidence = json.loads(value)
            if evidence.get("f0_hz"):
                return evidence["f0_hz"]
            if "f0_median" in evidence:  # in semitones over 100 Hz
                return 100.0 * 2.0 ** (evidence["f0_median"] / 12)
    return None


def by(found: Mapping[tuple[str, ...], float], *places: int) -> dict[tuple[str, ...], float]:
    """Sums of `dialogues` or `seconds` over all but some places of their keys, in the order of the keys."""
    out: Counter[tuple[str, ...]] = Counter()
    for key in sorted(found, key=lambda key: [SPLITS.index(p) if p in SPLITS else p for p in key] and key):
        out[tuple(key[place] for place in places)] += found[key]  # type: ignore[assignment]
    return dict(out)
