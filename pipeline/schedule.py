"""Which cell is made next: furthest downstream first, never too far ahead, biggest part first.

Pure bookkeeping, without processes or files, so that its rules can be tested by themselves.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

MAX_CELL_LOSSES = 50
"""Deaths of workers on one cell after which a run gives up."""


@dataclass(frozen=True)
class Node:
    """A stage of the schedule: what it waits for, and the pool that runs it."""

    name: str
    needs: tuple[str, ...]
    pool: str


@dataclass
class Schedule:
    """The state of a grid of stages and parts.

    Args:
        nodes: Stages in topological order.
        parts: Parts, the biggest first; every stage takes them in this order.
        done: Cells that are committed already.
        ahead: How far a stage may run ahead of the slowest stage that reads it: it may begin a part only if fewer
            than `ahead` parts, in their order, lie between it and the first part which that reader lacks. So the
            first part that is not finished can always go on, and the cap cannot lock up.
    """

    nodes: Sequence[Node]
    parts: Sequence[int]
    done: set[tuple[str, int]]
    ahead: int = 16
    running: set[tuple[str, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        known = {node.name: node for node in self.nodes}
        self._needs = {node.name: tuple(name for name in node.needs if name in known) for node in self.nodes}
        self._readers = {name: [other for other, needs in self._needs.items() if name in needs] for name in known}
        self._rank = {part: rank for rank, part in enumerate(self.parts)}
        self._finished = {name: sum((name, part) in self.done for part in self.parts) for name in known}
        self._first = dict.fromkeys(known, 0)  # rank of the first part that a stage lacks
        for name in known:
            self._advance(name)
        self._ready: dict[str, list[int]] = {name: [] for name in known}
        for name in known:
            for part in self.parts:
                self._offer(name, part)

    def _advance(self, name: str) -> None:
        rank = self._first[name]
        while rank < len(self.parts) and (name, self.parts[rank]) in self.done:
            rank += 1
        self._first[name] = rank

    def _offer(self, name: str, part: int) -> None:
        """Queue a cell if all that it waits for is there."""
        cell = (name, part)
        if (
            cell not in self.done
            and cell not in self.running
            and all((n, part) in self.done for n in self._needs[name])
        ):
            heapq.heappush(self._ready[name], self._rank[part])

    @property
    def total(self) -> int:
        """All cells."""
        return len(self.nodes) * len(self.parts)

    @property
    def finished(self) -> bool:
        """Whether every cell is committed."""
        return sum(self._finished.values()) == self.total and not self.running

    def next(self, pool: str) -> tuple[str, int] | None:
        """The cell that a free worker of a pool should make now, or None; it counts as running from here on."""
        for node in reversed(self.nodes):
            ready = self._ready[node.name]
            if node.pool == pool and ready and not self._too_far(node.name, ready[0]):
                cell = (node.name, self.parts[heapq.heappop(ready)])
                self.running.add(cell)
                return cell
        return None

    def _too_far(self, name: str, rank: int) -> bool:
        readers = self._readers[name]
        return bool(readers) and rank >= min(self._first[reader] for reader in readers) + self.ahead

    def finish(self, cell: tuple[str, int]) -> None:
        """A running cell is committed; its readers may be ready now."""
        self.running.discard(cell)
        self.done.add(cell)
        self._finished[cell[0]] += 1
        self._advance(cell[0])
        for reader in self._readers[cell[0]]:
            self._offer(reader, cell[1])

    def lose(self, cell: tuple[str, int]) -> None:
        """A running cell's worker is gone; the cell waits again."""
        self.running.discard(cell)
        self._offer(*cell)


def dispatch(schedule: Schedule, pools: Sequence[str], idle: list[int]) -> Iterator[tuple[int, tuple[str, int]]]:
    """Give each idle worker what it should make now; who gets something leaves `idle`.

    Args:
        pools: Name of each worker's pool.
        idle: Numbers of the workers without work, the one that waits longest first.
    """
    for worker in list(idle):
        cell = schedule.next(pools[worker])
        if cell is not None:
            idle.remove(worker)
            yield worker, cell


def relatives(part: int, num_parts: int, known: Collection[int]) -> tuple[int, ...]:
    """Parts whose cells may hold rows of this part, under any earlier or later power of two of parts."""
    parents = {part % size for size in (2**power for power in range(num_parts.bit_length())) if size < num_parts}
    children = range(part, max(known, default=-1) + 1, num_parts)
    return tuple(sorted({part, *(other for other in (*parents, *children) if other in known)}))


def big_first(sizes: Mapping[int, int]) -> list[int]:
    """Parts by falling size, then by number."""
    return sorted(sizes, key=lambda part: (-sizes[part], part))
