"""Executors: the same schedule in the calling process, or on pools of Ray actors."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from manifests.errors import UserError, WorkFailedError
from manifests.ray_start import start_ray
from manifests.workers import ExecutorConfig, Pool
from pipeline.cell import CellJob
from pipeline.environments import runtime_env
from pipeline.runner import Job, RayRunner, Runner, crumb_path, read_crumb
from pipeline.schedule import MAX_CELL_LOSSES, Schedule, dispatch

Cell = tuple[str, int]
_MAX_BLIND_LOSSES = 3  # deaths outside any row (loading a model, reading inputs) before the run gives up
_MAX_STILLBORN = 20  # of one pool, without one in between that began
_PLACING_S = 1800.0  # without a worker that lives, before the run gives up: an autoscaler has long given an answer


class Executor(Protocol):
    """Runs every job of a schedule."""

    def run(self, schedule: Schedule, make_job: Callable[[Cell], Job], done: Callable[[Cell, Any], None]) -> None:
        """Return when the schedule is finished; call `done` with each record as it comes.

        Raises:
            UserError: A worker met wrong input; committed cells stay committed.
            WorkFailedError: Workers keep dying, or a server that they need is gone.
        """
        ...

    def close(self) -> None:
        """Give back what was started."""
        ...


class InlineExecutor:
    """Runs jobs one after the other in the calling process: for tests, debugging and small runs."""

    def __init__(self, runner: Runner, pools: tuple[Pool, ...]) -> None:
        self.runner = runner
        self.pools = pools

    def run(self, schedule: Schedule, make_job: Callable[[Cell], Job], done: Callable[[Cell, Any], None]) -> None:
        while not schedule.finished:
            cell = next(filter(None, (schedule.next(pool.name) for pool in self.pools)))
            record = self.runner.do(make_job(cell))
            schedule.finish(cell)
            done(cell, record)

    def close(self) -> None:
        self.runner.close()


@dataclass
class _Losses:
    """What is known of the deaths of workers on one cell, in this run."""

    total: int = 0
    blind: int = 0
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)

    @property
    def poison(self) -> tuple[tuple[str, int], ...]:
        """Rows that were alone in a dying worker's hands twice."""
        return tuple(sorted(row for row, count in self.seen.items() if count >= 2))


class RayExecutor:
    """Pools of plain Ray actors under one `ray.wait` loop. Only job descriptions and records travel.

    An actor that dies is replaced (`max_restarts=0`: the loop does it, and so knows of it). The rows that it had
    in hand are run one by one from then on, and a row that kills twice is quarantined.
    """

    def __init__(self, run: Path, config: ExecutorConfig, pools: tuple[Pool, ...], event: Callable[..., None]) -> None:
        import ray.exceptions

        self.failures = ray.exceptions
        self.run_folder = run
        self.event = event
        self.deadline_s = config.deadline_s
        self.losses: dict[Cell, _Losses] = {}
        self.stillborn = Counter[str]()
        """Workers of each pool that died before they began, one after the other."""
        local = {"object_store_memory": 128 * 2**20} if config.address == "local" else {}
        self.ray = start_ray(config.address, **local)
        self.node = self.ray.get_runtime_context().get_node_id()
        self.slots = [(pool, self._spawn(pool)) for pool in pools for _ in range(pool.count)]

    def _spawn(self, pool: Pool) -> Any:
        actor = self.ray.remote(RayRunner).options(
            num_cpus=pool.cpus, num_gpus=pool.gpus, max_restarts=0, max_task_retries=0, **runtime_env(pool)
        )
        return actor.remote(str(self.run_folder), self.deadline_s)

    def run(self, schedule: Schedule, make_job: Callable[[Cell], Job], done: Callable[[Cell, Any], None]) -> None:
        flying: dict[Any, tuple[int, Cell]] = {}
        # Only a worker that answers is given a cell: one for which a cluster has no room would keep it for ever.
        starting = {actor.ready.remote(): slot for slot, (_, actor) in enumerate(self.slots)}
        idle, pools = list[int](), [pool.name for pool, _ in self.slots]
        heard = time.monotonic()
        while not schedule.finished:
            for slot, cell in dispatch(schedule, pools, idle):
                flying[self.slots[slot][1].do.remote(self._job(cell, make_job))] = (slot, cell)
            if not flying and not starting:
                raise WorkFailedError("nothing runs and nothing can start: the schedule is stuck, which is a defect")
            ready, _ = self.ray.wait([*flying, *starting], num_returns=1, timeout=5.0)
            if not ready:
                self._check_node()
            heard = time.monotonic() if ready or flying else heard
            if time.monotonic() - heard > _PLACING_S:
                raise WorkFailedError(
                    f"no worker could be placed in {_PLACING_S:.0f} s: the cluster has no room for one; add nodes, or"
                    " ask for less in workers, and run the same command again"
                )
            for reference in ready:
                if reference in starting:
                    slot = starting.pop(reference)
                    if self._answers(reference, slot):
                        idle.append(slot)
                    else:
                        starting[self.slots[slot][1].ready.remote()] = slot
                    continue
                slot, cell = flying.pop(reference)
                try:
                    record = self.ray.get(reference)
                except self.failures.RayTaskError as error:
                    raise WorkFailedError(f"{cell[0]}, part {cell[1]}: {error}") from error
                except self.failures.RayError as error:
                    self._lost(slot, cell, error)
                    schedule.lose(cell)
                    starting[self.slots[slot][1].ready.remote()] = slot
                else:
                    if isinstance(record, UserError | WorkFailedError):
                        raise record
                    schedule.finish(cell)
                    done(cell, record)
                    idle.append(slot)

    def _check_node(self) -> None:
        """Give up when Ray is gone from this machine: its workers are dead, and no other can be started from here.

        Raises:
            WorkFailedError: As said.
        """
        if not any(node["NodeID"] == self.node and node["Alive"] for node in self.ray.nodes()):
            raise WorkFailedError(
                "Ray's processes on this machine have died, and its workers with them; run the same command again,"
                " what is committed stays"
            )

    def _answers(self, reference: Any, slot: int) -> bool:
        """Whether a worker has begun; if it died before, another one is on its way."""
        pool, _ = self.slots[slot]
        try:
            self.ray.get(reference)
            self.stillborn[pool.name] = 0
            return True
        except self.failures.RayError as error:
            self.stillborn[pool.name] += 1
            self.event("worker_not_started", error=str(error)[:500])
            if self.stillborn[pool.name] >= _MAX_STILLBORN:
                raise WorkFailedError(
                    f"workers of the pool {pool.name} died {_MAX_STILLBORN} times before one began"
                    f" ({' '.join(str(error).split())[:300]}); see events.jsonl, then run the same command again"
                ) from error
            self.slots[slot] = (pool, self._spawn(pool))
            return False

    def _job(self, cell: Cell, make_job: Callable[[Cell], Job]) -> Job:
        job = make_job(cell)
        lost = self.losses.get(cell)
        if lost and isinstance(job, CellJob):
            return replace(job, one_by_one=True, poison=lost.poison)
        return job

    def _lost(self, slot: int, cell: Cell, error: Exception) -> None:
        """Replace a dead actor and note what it had in hand."""
        pool, actor = self.slots[slot]
        lost = self.losses.setdefault(cell, _Losses())
        rows = read_crumb(self.run_folder, *cell)
        lost.total += 1
        lost.blind += not rows
        if len(rows) == 1:
            lost.seen[rows[0]] += 1
        crumb_path(self.run_folder, *cell).unlink(missing_ok=True)
        self.event("worker_lost", stage=cell[0], part=cell[1], losses=lost.total, rows=rows, error=str(error)[:500])
        if lost.blind >= _MAX_BLIND_LOSSES or lost.total >= MAX_CELL_LOSSES:
            raise WorkFailedError(
                f"workers died {lost.total} times on {cell[0]}, part {cell[1]}; see {self.run_folder / 'logs'}"
                f" and events.jsonl, then run the same command again"
            )
        self.ray.kill(actor, no_restart=True)
        self.slots[slot] = (pool, self._spawn(pool))

    def close(self) -> None:
        self.ray.shutdown()
