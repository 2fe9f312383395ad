"""The same utterances in the same cells for bare processes, our grid and Ray Data: what benchmarks of them share.

A cell is one stage of speech (`speak_query`, `speak_reply`) of one part. For the peers each is a Parquet file of rows
as the stage reads them, so that all call the same stage's worker, which calls the engine and encodes FLAC; all write a
Parquet file a cell. Engines sleep (benchmarks/sleeping.py).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests.ids import seed_of
from manifests.ledger import CellRecord, Ledger
from manifests.run import dump_run, load_run
from pipeline.dag import build_dag
from pipeline.executor import Executor, InlineExecutor
from pipeline.grid import Grid
from pipeline.join import join_rows
from pipeline.runner import Runner
from pipeline.schedule import Node, Schedule, big_first
from pipeline.stages.plan import run_plan

SPEAK = ("speak_query", "speak_reply")
MADE = pa.schema([
    ("seed", pa.string()), ("id", pa.string()), ("turn", pa.int32()), ("audio", pa.large_binary()),
    ("sample_rate", pa.int32()), ("seconds", pa.float64()), ("audio_sha256", pa.string()),
])  # fmt: skip
"""What a peer writes of an utterance; `seed` names it."""


def use_plugins() -> None:
    """Let this process and those that it starts find the sleeping engines and this file."""
    here = str(Path(__file__).parent)
    sys.path.insert(0, here)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [here, os.environ.get("PYTHONPATH", "")]))


def prepare(file: Path, run: Path) -> Grid:
    """Plan and script a manifest in a run folder, which is not measured."""
    manifest = load_run(file)
    dag, ledger = build_dag(manifest, file), Ledger(run)
    run.mkdir(parents=True)
    (run / "run.yaml").write_text(dump_run(manifest))
    grid = Grid(dag, ledger, run_plan(dag.plan, ledger))
    make(grid, InlineExecutor(Runner(run, manifest), manifest.workers), ("script",))
    return grid


def make(grid: Grid, executor: Executor, stages: tuple[str, ...]) -> None:
    """Make the cells of some stages."""
    nodes = [Node(name, grid.dag.by_name[name].upstream, grid.dag.manifest.workers[0].name) for name in stages]
    parts = big_first({record.part: record.rows for record in grid.plan})
    known = {name: set(parts) for name in stages}

    def done(cell: tuple[str, int], record: CellRecord) -> None:
        grid.records[cell[1]][cell[0]] = record

    executor.run(Schedule(nodes, parts, set()), lambda cell: grid.job(cell, known), done)


def write_cells(grid: Grid, folder: Path) -> dict[str, list[str]]:
    """Write what the peers read, biggest part first as the grid begins; returns the seeds of each cell's utterances."""
    folder.mkdir()
    cells: dict[str, list[str]] = {}
    for part in big_first({record.part: record.rows for record in grid.plan}):
        for name in SPEAK:
            have = grid.records[part]
            rows, _ = join_rows(grid.ledger, [have["plan"], have["script"]], grid.dag.by_name[name].reads)
            seeds = [str(seed_of(row["id"], row["turn"], name)) for row in rows]
            cell = f"{len(cells):04d}-{name}-{part:04d}"
            columns = {"seed": seeds, "stage": [name] * len(rows), "row": [json.dumps(row) for row in rows]}
            pq.write_table(pa.table(columns), folder / f"{cell}.parquet")
            cells[cell] = seeds
    return cells


class Speaking:
    """What a worker of a peer holds; called with a cell, it gives a table of `MADE`."""

    def __init__(self, file: str) -> None:
        use_plugins()
        self.file = file
        self.workers: dict[str, Any] = {}

    @cached_property
    def _dag(self) -> Any:
        return build_dag(load_run(Path(self.file)), self.file)

    def __call__(self, cell: pa.Table) -> pa.Table:
        rows = [json.loads(row) for row in cell["row"].to_pylist()]
        made: list[dict[str, Any]] = []
        for seed, stage, row in zip(cell["seed"].to_pylist(), cell["stage"].to_pylist(), rows, strict=True):
            if stage not in self.workers:
                self.workers[stage] = self._dag.by_name[stage].open()
            (out,) = self.workers[stage].process([row])
            made.append({"seed": seed, "id": row["id"], "turn": row["turn"], **out})
        return pa.Table.from_pylist([{name: row[name] for name in MADE.names} for row in made], MADE)


def start_ray() -> Any:
    """Start Ray for Ray Data as its documentation does, silent; returns the module."""
    import logging

    import ray
    import ray.data

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    ray.data.DataContext.get_current().enable_progress_bars = False
    return ray


def ray_data(
    ray: Any, file: Path, cells: Path, out: Path, workers: int, in_flight: int | None = None, checkpoint: str = ""
) -> None:
    """All cells by Ray Data: read, map by a pool of actors, write a file a cell.

    Args:
        in_flight: Cells that an actor may be given at once; None for Ray Data's own choice.
        checkpoint: Folder of Ray Data's own checkpoints.
    """
    if checkpoint:
        from ray.data.checkpoint import CheckpointConfig

        ray.data.DataContext.get_current().checkpoint_config = CheckpointConfig(
            id_column="seed", checkpoint_path=checkpoint, delete_checkpoint_on_success=False
        )
    pool = ray.data.ActorPoolStrategy(size=workers, max_tasks_in_flight_per_actor=in_flight)
    # The reader that is Ray 2.60's default joins small files into one block whatever is asked for, and one actor of the
    # pool would then get all the work; the one before it makes a block of a file.
    ray.data.DataContext.get_current().use_datasource_v2 = False
    names = sorted(map(str, cells.glob("*.parquet")))
    # As few cores as our workers ask for: sleeping needs none, and reading and writing must find a place beside them.
    rows = ray.data.read_parquet(names, override_num_blocks=len(names), num_cpus=0.1)
    made = rows.map_batches(
        Speaking, fn_constructor_args=(str(file),), batch_size=None, batch_format="pyarrow", compute=pool, num_cpus=0.1
    )
    made.write_parquet(str(out), ray_remote_args={"num_cpus": 0.1})


def sounds_of_files(paths: Iterable[Path]) -> list[tuple[str, str]]:
    """Seed and sha256 of the audio of every utterance that peers wrote, sorted."""
    found: list[tuple[str, str]] = []
    for path in paths:
        table = pq.read_table(path, columns=["seed", "audio_sha256"], partitioning=None)
        found += zip(table["seed"].to_pylist(), table["audio_sha256"].to_pylist(), strict=True)
    return sorted(found)


def sounds_of_run(ledger: Ledger, records: Sequence[CellRecord]) -> list[tuple[str, str]]:
    """The same of committed cells."""
    found: list[tuple[str, str]] = []
    for record in records:
        rows = ledger.load(record, ["id", "turn", "audio_sha256"]).to_pylist()
        found += [(str(seed_of(row["id"], row["turn"], record.stage)), row["audio_sha256"]) for row in rows]
    return sorted(found)
