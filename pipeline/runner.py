"""What a worker process does: open engines once, leave breadcrumbs, make cells and shards."""

from __future__ import annotations

import faulthandler
import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any

from threadpoolctl import threadpool_limits

from manifests.errors import UserError, WorkFailedError
from manifests.files import writing
from manifests.ledger import CellRecord, Ledger
from manifests.run import RunManifest, load_run
from pipeline.cell import CellJob, run_cell
from pipeline.dag import build_dag
from pipeline.shards import ShardJob, ShardRecord, write_shard
from pipeline.stage import Closing, Worker

Job = CellJob | ShardJob


def crumb_path(run: Path, stage: str, part: int) -> Path:
    """Where a worker notes the rows in hand, for whoever finds it dead."""
    return run / "crumbs" / f"{stage}-{part:04d}.json"


class Runner:
    """Runs jobs in this process; one a worker, whatever the executor.

    Args:
        loading: Context manager around the loading of models and libraries, which may take longer than a cell.
        no_memory: See `run_cell`.
    """

    def __init__(
        self,
        run: Path,
        manifest: RunManifest | None = None,
        loading: Callable[[], AbstractContextManager[Any]] = nullcontext,
        no_memory: Callable[[], None] = lambda: None,
    ) -> None:
        self.run = run
        self.no_memory = no_memory
        self.loading = loading
        self.dag = build_dag(manifest or load_run(run / "run.yaml"), run / "run.yaml")
        self.ledger = Ledger(run)
        self._workers: dict[str, Worker] = {}
        # Sums of products differ in their last bits with the number of threads, and a row may not: one thread for what
        # is loaded later, and below for what is there. What an engine runs on threads of its own is its setting.
        os.environ["OPENBLAS_NUM_THREADS"] = "1"

    def do(self, job: Job) -> CellRecord | ShardRecord:
        """Make one cell or shard; see `run_cell` and `write_shard`."""
        if isinstance(job, ShardJob):
            return write_shard(self.dag, self.ledger, job)
        stage = self.dag.stage(job.stage)
        with self._crumbs(job) as crumb:
            return run_cell(stage, job, self.ledger, lambda: self._worker(job.stage), crumb, self.no_memory)

    def _worker(self, name: str) -> Worker:
        if name not in self._workers:
            with self.loading():
                self._workers[name] = self.dag.stage(name).open()
            threadpool_limits(limits=1, user_api="blas")
        return self._workers[name]

    def close(self) -> None:
        """Give back what workers hold, such as connections."""
        for worker in self._workers.values():
            if isinstance(worker, Closing):
                worker.close()
        self._workers.clear()

    @contextmanager
    def _crumbs(self, job: CellJob) -> Iterator[Any]:
        path = crumb_path(self.run, job.stage, job.part)
        with writing(path):
            path.parent.mkdir(exist_ok=True)
            handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_TRUNC)

        def crumb(rows: Sequence[tuple[str, int]]) -> None:
            # In place and unsynced: it must survive the process, not the machine, and costs microseconds.
            data = json.dumps(rows).encode()
            os.pwrite(handle, data, 0)
            os.ftruncate(handle, len(data))

        try:
            yield crumb
        finally:
            os.close(handle)
        path.unlink(missing_ok=True)


def read_crumb(run: Path, stage: str, part: int) -> tuple[tuple[str, int], ...]:
    """The rows that a dead worker had in hand; empty when it died elsewhere."""
    with suppress(OSError, json.JSONDecodeError):
        text = crumb_path(run, stage, part).read_text()
        return tuple((name, turn) for name, turn in json.loads(text or "[]"))
    return ()


LOADING_S = 1800
"""Longest time for loading a model or a library; beyond it a worker counts as hung."""


def _end_process() -> None:
    """End this worker: a new one has what memory an engine has leaked here, and tries the row again by itself."""
    os._exit(12)


class RayRunner:
    """The body of a Ray actor: a `Runner` behind a deadline, whose errors come back as data."""

    def __init__(self, run: str, deadline_s: int) -> None:
        self.run = Path(run)
        self.deadline_s = deadline_s
        self.runner: Runner | None = None

    def ready(self) -> None:
        """Answer, once this worker has a place and lives."""

    def do(self, job: Job) -> CellRecord | ShardRecord | UserError | WorkFailedError:
        """Make one cell or shard. A hang, even one that holds the interpreter lock, ends this process."""
        folder = self.run / "logs"
        folder.mkdir(exist_ok=True)
        dump = folder / f"stacks-{os.getpid()}.txt"
        with dump.open("w") as self._stream:
            try:
                if self.runner is None:
                    with self._loading():
                        self.runner = Runner(self.run, loading=self._loading, no_memory=_end_process)
                self._arm(self.deadline_s)
                return self.runner.do(job)
            except (UserError, WorkFailedError) as error:
                return error
            finally:
                faulthandler.cancel_dump_traceback_later()
                dump.unlink(missing_ok=True)

    def _arm(self, seconds: int) -> None:
        faulthandler.dump_traceback_later(seconds, exit=True, file=self._stream)

    @contextmanager
    def _loading(self) -> Iterator[None]:
        """Give the time of loading a limit of its own; the cell's begins anew after it."""
        self._arm(LOADING_S)
        yield
        self._arm(self.deadline_s)
