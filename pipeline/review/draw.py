"""Which dialogues people listen to, what they are asked, and what the gate said of each."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from manifests.labels import CUES
from manifests.withdrawn import is_withdrawn
from pipeline.grid import Grid
from pipeline.join import by_dialogue, join_rows
from pipeline.select import verdicts
from pipeline.verdict import KEPT, QUARANTINED, REJECTED, comparable, requested

_HEARD = ("query_wer", "query_mismatch", "query_seconds", "query_speech_ratio", "query_clipped_ratio", "query_snr_db",
          "query_mos")  # fmt: skip
"""Reasons, beside those of annotators, that somebody who hears the first query can judge."""


@dataclass(frozen=True)
class Judged:
    """A dialogue as the gate and the plan have it.

    Attributes:
        wanted: Label by family that the first query must carry to be good: its cues, and what the gate compares.
    """

    id: str
    part: int
    verdict: str
    wanted: Mapping[str, str]


@dataclass(frozen=True)
class Population:
    """Dialogues that the gate kept, those that it rejected for what can be heard in the first query, and others."""

    kept: int
    rejected: int
    other: int


def audible(reasons: Sequence[str]) -> bool:
    """Whether one of a verdict's reasons can be heard in the first query; nobody hears withdrawn ones."""
    if is_withdrawn(reasons):
        return False
    first = [reason.split(" ", 1)[0] for reason in reasons if "(turn " not in reason]
    return any(name in _HEARD or name.endswith(("_disagrees", "_unsure")) for name in first)


def families(grid: Grid) -> tuple[str, ...]:
    """The cue families that the run plans dialogues about, in the order of the taxonomy."""
    cells = (cell for cells in grid.dag.planner.cells.values() for cell in cells)
    named = {family for cell in cells for family, _ in cell.cues} | set(grid.dag.manifest.select.agree)
    return tuple(family for family in CUES if family in named)


def judged(grid: Grid, select: Path) -> Iterator[Judged | None]:
    """Every kept dialogue and every one that was audibly rejected; None for any other."""
    asked, agree = families(grid), grid.dag.manifest.select.agree
    columns = ["plan.source", "plan.cues", *(f"plan.{family}" for family in CUES)]
    for part, cells in grid.all_cells.items():
        table = {row["id"]: row for row in verdicts(select, part).to_pylist()}
        for turns, _ in by_dialogue(*join_rows(grid.ledger, [cells["plan"]], columns)):
            row, said = turns[0], table[turns[0]["id"]]
            rejected = said["verdict"] == REJECTED
            if said["verdict"] == QUARANTINED or (rejected and not audible(said["reasons"])):
                yield None
                continue
            wanted = {
                family: requested(row, family)
                for family in asked
                if family in (*row["plan.cues"], *agree) and comparable(row, family, real=True)
            }
            yield Judged(row["id"], part, said["verdict"], wanted)


def draw(grid: Grid, select: Path, number: int, seed: int) -> tuple[list[Judged], Population]:
    """Draw dialogues by the hash of seed and id: half of them rejected ones, as far as there are so many.

    Memory follows the number drawn.
    """
    best: dict[str, list[tuple[int, str, Judged]]] = {KEPT: [], REJECTED: []}
    counts = {KEPT: 0, REJECTED: 0, "": 0}
    for item in judged(grid, select):
        if item is None:
            counts[""] += 1
            continue
        counts[item.verdict] += 1
        entry = (-order(seed, "", item.id), item.id, item)
        heap = best[item.verdict]
        if len(heap) < number:
            heapq.heappush(heap, entry)
        elif entry[:2] > heap[0][:2]:
            heapq.heapreplace(heap, entry)
    kept, rejected = ([item for *_, item in sorted(best[name], reverse=True)] for name in (KEPT, REJECTED))
    few = max(number - len(kept), min(len(rejected), number // 2))
    return rejected[:few] + kept[: number - few], Population(counts[KEPT], counts[REJECTED], counts[""])


def order(seed: int, rater: str, name: str) -> int:
    """A number that orders the clips of a rater and names them."""
    return int.from_bytes(blake2b(f"{seed}:{rater}:{name}".encode(), digest_size=8).digest(), "big")
