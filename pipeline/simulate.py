"""`echat plan --simulate`: replays a run on a cluster that need not exist, with the scheduler that real runs use.

Discrete events: a worker ends a cell, a node fails, a node comes back. Between them every idle worker is given its next
cell by `pipeline.schedule`, the same code that gives it to a Ray actor, so the two cannot drift apart. How long a cell
takes comes from the records of a run (`pipeline/throughput.py`) or from what engines state of themselves.

Every draw follows from the seed and from what it is drawn for (a cell and its attempt, a node and its failure), not
from the order of events: more workers do not change which cells are slow.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from manifests.errors import UserError
from manifests.ids import seed_of
from pipeline.schedule import MAX_CELL_LOSSES, Node, Schedule, big_first, dispatch

Cell = tuple[str, int]


@dataclass(frozen=True)
class Cost:
    """How long a stage takes on a worker of speed 1.

    Attributes:
        row_s: Seconds a row.
        cell_s: Seconds a cell beside its rows: reading, committing.
        load_s: Seconds before a worker's first cell of the stage: loading of a model.
        spread: What cells took over what they should have, as seen in a run; one of them is drawn for each cell.
    """

    row_s: float
    cell_s: float = 0.0
    load_s: float = 0.0
    spread: tuple[float, ...] = (1.0,)


@dataclass(frozen=True)
class Cluster:
    """Where a run is replayed; see `pipeline/cluster.py` for the file of it."""

    nodes: int
    workers: Mapping[str, int]
    """Workers of each pool on every node."""
    speed: float = 1.0
    start_s: float = 0.0
    dispatch_s: float = 0.0
    failures_per_day: float = 0.0
    restart_s: float = 300.0
    stragglers: float = 0.0
    straggler_factor: float = 3.0
    node_hour: float = 0.0
    seed: int = 0


@dataclass
class Prediction:
    """What a replay came to.

    Attributes:
        grid_s: From the start of the workers to the last cell.
        busy_s: Seconds of workers in cells that were committed, by pool.
        there_s: Seconds that workers were paid for, by pool.
        lost_s: Seconds in cells that a failure ended.
        stages: Seconds of workers by stage.
    """

    grid_s: float = 0.0
    cells: int = 0
    failures: int = 0
    lost_cells: int = 0
    lost_s: float = 0.0
    busy_s: dict[str, float] = field(default_factory=dict)
    there_s: dict[str, float] = field(default_factory=dict)
    stages: dict[str, float] = field(default_factory=dict)

    def idle(self, pool: str) -> float:
        """Share of a pool's time in which its workers had nothing to do, or did it in vain."""
        return 1 - self.busy_s[pool] / self.there_s[pool] if self.there_s.get(pool) else 0.0

    @property
    def idle_share(self) -> float:
        """Of all workers."""
        there = sum(self.there_s.values())
        return 1 - sum(self.busy_s.values()) / there if there else 0.0


@dataclass
class _Worker:
    node: int
    pool: str
    ready: float
    cell: Cell | None = None
    began: float = 0.0
    turn: int = 0
    """Goes up whenever what the worker was about to do is void."""
    loaded: set[str] = field(default_factory=set)


def unit(*what: object) -> float:
    """A draw from [0, 1) that follows from what it is for."""
    return seed_of(*what) / 2**63


_END, _FAIL, _BACK, _READY = range(4)


class Simulation:
    """One replay."""

    def __init__(
        self, nodes: Sequence[Node], sizes: Mapping[int, int], costs: Mapping[str, Cost], cluster: Cluster, ahead: int
    ) -> None:
        """
        Args:
            nodes: Stages in order, each with its pool.
            sizes: Rows of each part.
            costs: By stage.
            ahead: `executor.ahead`.

        Raises:
            UserError: A stage has no cost or no worker.
        """
        for node in nodes:
            if node.name not in costs:
                raise UserError(f"the stage {node.name} cannot be simulated: nothing says how long it takes")
            if not cluster.workers.get(node.pool):
                raise UserError(f"the pool {node.pool}, which runs {node.name}, has no workers in the cluster")
        self.sizes, self.costs, self.cluster = sizes, costs, cluster
        self.pool_of = {node.name: node.pool for node in nodes}
        self.schedule = Schedule(nodes, big_first(sizes), set(), ahead)
        self.workers = [
            _Worker(node, pool, cluster.start_s)
            for pool, count in cluster.workers.items()
            for node in range(cluster.nodes)
            for _ in range(count)
        ]
        self.pools = [worker.pool for worker in self.workers]
        self.idle: list[int] = []
        self.attempts: Counter[Cell] = Counter()
        self.failures: Counter[int] = Counter()
        self.events: list[tuple[float, int, int, int, int]] = []
        self._number = 0
        self.done = Prediction(
            there_s=dict.fromkeys(cluster.workers, 0.0),
            busy_s=dict.fromkeys(cluster.workers, 0.0),
            stages={node.name: 0.0 for node in nodes},
        )

    def run(self) -> Prediction:
        """Replay to the last cell."""
        for number, worker in enumerate(self.workers):
            self._at(worker.ready, _READY, number, worker.turn)
        for node in range(self.cluster.nodes):
            self._fail_later(node, 0.0)
        now = 0.0
        while not self.schedule.finished:
            now = self.events[0][0]
            while self.events and self.events[0][0] == now:
                _, _, kind, who, turn = heapq.heappop(self.events)
                (self._end, self._fail, self._back, self._ready)[kind](now, who, turn)
            for number, cell in dispatch(self.schedule, self.pools, self.idle):
                self._begin(now, number, cell)
        self.done.grid_s = now
        for worker in self.workers:
            self.done.there_s[worker.pool] += now
        return self.done

    def _at(self, when: float, kind: int, who: int, turn: int = 0) -> None:
        self._number += 1  # of events at one time, the one that was planned first comes first
        heapq.heappush(self.events, (when, self._number, kind, who, turn))

    def _begin(self, now: float, number: int, cell: Cell) -> None:
        worker = self.workers[number]
        worker.cell, worker.began = cell, now
        self._at(now + self._seconds(worker, cell), _END, number, worker.turn)
        worker.loaded.add(cell[0])

    def _seconds(self, worker: _Worker, cell: Cell) -> float:
        cost, cluster = self.costs[cell[0]], self.cluster
        drawn = (cluster.seed, *cell, self.attempts[cell])
        factor = cost.spread[int(unit("spread", *drawn) * len(cost.spread))] / cluster.speed
        if unit("straggler", *drawn) < cluster.stragglers:
            factor *= cluster.straggler_factor
        load = 0.0 if cell[0] in worker.loaded else cost.load_s / cluster.speed
        return cluster.dispatch_s + load + factor * (cost.cell_s + cost.row_s * self.sizes[cell[1]])

    def _end(self, now: float, number: int, turn: int) -> None:
        worker = self.workers[number]
        if turn != worker.turn or worker.cell is None:
            return  # its node failed meanwhile
        self.schedule.finish(worker.cell)
        self.done.cells += 1
        self.done.busy_s[worker.pool] += now - worker.began
        self.done.stages[worker.cell[0]] += now - worker.began
        worker.cell = None
        self.idle.append(number)

    def _fail_later(self, node: int, now: float) -> None:
        """Failures of a node are as far apart as those of radioactive decay."""
        if self.cluster.failures_per_day > 0:
            draw = unit("failure", self.cluster.seed, node, self.failures[node])
            self._at(now - math.log(1 - draw) * 86_400 / self.cluster.failures_per_day, _FAIL, node)

    def _fail(self, now: float, node: int, _: int) -> None:
        """Every worker of a node is gone, with what it had in hand."""
        self.failures[node] += 1
        self.done.failures += 1
        for number, worker in enumerate(self.workers):
            if worker.node != node:
                continue
            worker.turn += 1
            worker.loaded.clear()
            if worker.cell is not None:
                self.schedule.lose(worker.cell)
                self._count_loss(worker.cell)
                self.done.lost_cells += 1
                self.done.lost_s += now - worker.began
                worker.cell = None
            elif number in self.idle:
                self.idle.remove(number)
        self._at(now + self.cluster.restart_s, _BACK, node)

    def _count_loss(self, cell: Cell) -> None:
        self.attempts[cell] += 1
        if self.attempts[cell] >= MAX_CELL_LOSSES:
            raise UserError(
                f"{cell[0]}, part {cell[1]}, is lost {MAX_CELL_LOSSES} times, where a build gives up: cells take too"
                f" long for so many failures; lower plan.part_rows, or failures_per_day"
            )

    def _back(self, now: float, node: int, _: int) -> None:
        for number, worker in enumerate(self.workers):
            if worker.node == node:
                self._at(now + self.cluster.start_s, _READY, number, worker.turn)
        self._fail_later(node, now)

    def _ready(self, now: float, number: int, turn: int) -> None:
        if turn == self.workers[number].turn:
            self.idle.append(number)
