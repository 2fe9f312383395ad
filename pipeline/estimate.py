"""What a run will take, before it is begun: counts, hours of audio, disk, core-hours; and whether it fits here."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.ids import canonical_json
from manifests.schema import PLAN
from manifests.workers import Pool
from pipeline.dag import Dag
from pipeline.grid import SHARD, Grid, pool_of
from pipeline.label_cells import Block
from pipeline.stage import Stage
from pipeline.stages.mos import Mos
from pipeline.stages.plan import Counts
from pipeline.stages.voices import Voices
from pipeline.writers.bank import BankWriter
from pipeline.writers.base import Asks

_SAMPLE_ROWS = 400  # dialogues composed to learn how long the texts are
_UNIT = 10_000  # parts of a GPU, as Ray counts them
_FLAC_RATIO = 0.6  # of PCM_16, measured on speech; a little more than it usually takes
_HEARD = {  # seconds of audio that a stage handles, as multiples of the hours of query and reply
    "script": (0, 0), "speak_query": (1, 0), "speak_reply": (0, 1), "transcribe": (1, 1), "annotate": (1, 0),
    "rate": (1, 1), "mos": (1, 1), "tokenize": (0, 1),
}  # fmt: skip


@dataclass(frozen=True)
class StageCost:
    """Work of one stage on cores or on GPUs: hours of audio through it, hours on how many units, and their price."""

    stage: str
    pool: str
    audio_hours: float
    realtime: float
    unit: str
    unit_hours: float
    wall_hours: float
    workers: int
    source: str
    price: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """The whole run."""

    dialogues: int
    parts: int
    query_hours: float
    reply_hours: float
    disk_gb: float
    texts: int
    turns: float
    stages: tuple[StageCost, ...]
    asks: Asks | None = None
    """What a language model will be asked; None where none is."""
    gpus: int = 0
    """Whole GPUs that hold the workers of every pool."""

    @property
    def price(self) -> float:
        """At the manifest's prices of workers (`workers.hourly`); 0 without any."""
        return sum(cost.price for cost in self.stages)

    def total(self, unit: str) -> float:
        """Hours on cores or on GPUs."""
        return sum(cost.unit_hours for cost in self.stages if cost.unit == unit)

    @property
    def wall_hours(self) -> float:
        """Of the busiest pool, since the pools work side by side."""
        pools: dict[str, float] = {}
        for cost in self.stages:
            pools[cost.pool] = pools.get(cost.pool, 0.0) + cost.wall_hours
        return max(pools.values(), default=0.0)


def estimate(dag: Dag) -> Estimate:
    """Estimate a run from the throughput that each engine states and the texts of a sample of its rows."""
    query_chars, reply_chars = _mean_chars(dag)
    query: Any = dag.by_name["speak_query"]
    reply: Any = dag.by_name["speak_reply"]
    dialogues = dag.planner.num_dialogues
    query_h = dialogues * query_chars * query.engine.seconds_per_char / 3600
    reply_h = dialogues * reply_chars * reply.engine.seconds_per_char / 3600
    costs = []
    for stage in (*([dag.voices] if dag.voices else []), *dag.stages):
        if isinstance(stage, Voices):
            hours = _take_hours(dag, stage)
        else:
            weight = _HEARD[stage.name]
            hours = weight[0] * query_h + weight[1] * reply_h
        if isinstance(stage, Mos):
            hours *= stage.engine.share
        if hours:
            costs += _costs(dag, stage, hours)
    seconds = 3600 * (query_h * query.engine.sample_rate_hz + reply_h * reply.engine.sample_rate_hz)
    bank, plan = dag.planner.bank, dag.manifest.plan
    turns = dialogues * sum(count * share for count, share in plan.turns.items())
    followups = len(bank.followups.followups) if bank.followups else 0
    texts = min(sum(scenario.num_queries for scenario in bank.scenarios), dialogues)
    texts += min(followups, int(turns - dialogues + 0.5))
    disk = 2 * seconds * 2 * _FLAC_RATIO / 1e9  # two bytes a sample; once in the cells, once in the shards
    script: Any = dag.by_name["script"]
    asks = script.engine.price(_samples(dag))
    gpus = whole_gpus(dag.manifest.workers)
    return Estimate(dialogues, dag.planner.num_parts, query_h, reply_h, disk, texts, turns, tuple(costs), asks, gpus)


def _costs(dag: Dag, stage: Stage, hours: float) -> Iterator[StageCost]:
    """What a stage takes of its pool to handle so many hours of audio."""
    pool = pool_of(dag.manifest.workers, stage.name)
    for rate in stage.throughputs:
        # A worker has a whole core or more, which an engine uses one of; and often a fraction of a GPU.
        share = pool.gpus if rate.unit == "gpu" and pool.gpus else 1.0
        work = hours / rate.realtime
        price = work / share * pool.hourly
        wall = work / share / pool.count
        yield StageCost(
            stage.name, pool.name, hours, rate.realtime, rate.unit, work, wall, pool.count, rate.source, price
        )


def _take_hours(dag: Dag, stage: Voices) -> float:
    """Hours of reference takes of all query voices that the plan may draw; those that ship are not made again."""
    voices = [voice for voice in dag.planner.voices.voices if voice.role == "query"][: dag.planner.num_dialogues]
    chars = sum(len(text) for voice in voices for text in stage.takes(voice)["text"].to_pylist())
    return chars * stage.engine.seconds_per_char / 3600  # type: ignore[attr-defined]


def _mean_chars(dag: Dag) -> tuple[float, float]:
    """Mean length of a dialogue's query texts and reply texts."""
    writer = BankWriter(dag.planner.bank, "")  # stands in for any other, which would cost money to ask
    totals = [0.0, 0.0]
    for weight, rows in _samples(dag):
        texts = [writer.compose(row) for row in rows]
        for place, role in enumerate(("query_text", "reply_text")):
            totals[place] += weight * sum(len(text[role]) for text in texts)
    return totals[0] / dag.planner.num_dialogues, totals[1] / dag.planner.num_dialogues


def _samples(dag: Dag) -> Iterator[tuple[float, list[dict[str, Any]]]]:
    """The rows of the first dialogues of every label cell, and how many rows each of them stands for."""
    planner = dag.planner
    names = ["id", "turn", *[f"plan.{name}" for name in PLAN.names]]
    counts = planner.counts
    for (task, label), count in counts.items():
        index = [cell.name for cell in planner.cells[task]].index(label)
        drawn = planner.rows(Block(task, index, 0, min(count, max(1, _SAMPLE_ROWS // len(counts)))))
        rows = [dict(zip(names, row, strict=True)) for row in drawn]
        yield count / sum(row["turn"] == 0 for row in rows), rows


def reuse(grid: Grid) -> list[tuple[str, int, int]]:
    """Per stage: cells that are committed, and cells to make (whose unchanged rows are copied)."""
    out = []
    for stage in grid.dag.stages:
        have = sum(stage.name in cells for cells in grid.records.values())
        out.append((stage.name, have, len(grid.records) - have))
    return out


def count_gpus() -> int:
    """GPUs of this machine, as the driver's own tool lists them."""
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return 0
    listing = subprocess.run([tool, "--list-gpus"], capture_output=True, text=True, check=False)
    return sum(line.startswith("GPU ") for line in listing.stdout.splitlines())


@dataclass(frozen=True)
class Disk:
    """Bytes that a run will still write, about, and those that are free where it lies."""

    folder: Path
    needed: int
    free: int

    @property
    def fits(self) -> bool:
        return self.needed <= self.free

    def __str__(self) -> str:
        return (
            f"{self.folder}: needs about {self.needed / 1e9:,.2f} GB more on disk, and"
            f" {self.free / 1e9:,.2f} GB are free there"
        )


def disk(dag: Dag, run: Path, figures: Estimate | None = None) -> Disk:
    """What a run needs on disk beyond what of it is there, against what is free.

    Args:
        run: Its folder, which need not exist.
        figures: Of `estimate`, if they are known.
    """
    grid = Grid.open(dag, run)
    have = sum(record.size for cells in grid.all_cells.values() for record in cells.values())
    # Of finished shards all that do not change are linked; those of another state may be written anew.
    if grid.complete:
        have += sum(path.stat().st_size for path in (run / "shards" / "current").glob("*.tar"))
    there = next(folder for folder in (run.absolute(), *run.absolute().parents) if folder.exists())
    planned = int(1e9 * (figures or estimate(dag)).disk_gb)
    return Disk(run, max(0, planned - have), shutil.disk_usage(there).free)


def check_disk(dag: Dag, run: Path) -> None:
    """Refuse to begin what the disk cannot hold.

    Raises:
        UserError: Names what is needed and what is free.
    """
    found = disk(dag, run)
    if not found.fits:
        raise UserError(f"{found}; free some space, choose another --out, or plan fewer dialogues")


def check_placement(dag: Dag) -> None:
    """Refuse pools that this machine cannot hold; a cluster's resources are not asked for here.

    Raises:
        UserError: Names the stages whose pool does not fit.
    """
    if dag.manifest.executor.kind != "ray" or dag.manifest.executor.address != "local":
        return
    have: Mapping[str, float] = {"CPU": os.cpu_count() or 1, "GPU": count_gpus()}
    used = {"CPU": 0.0, "GPU": 0.0}
    for pool in dag.manifest.workers:
        for kind, amount in (("CPU", pool.cpus), ("GPU", pool.gpus)):
            used[kind] += pool.count * amount
            if used[kind] > have[kind]:
                raise UserError(_refusal(dag, pool, kind, amount, used[kind], have[kind]))
    whole = whole_gpus(dag.manifest.workers)
    if whole > have["GPU"]:
        names = ", ".join(pool.name for pool in dag.manifest.workers if pool.gpus)
        raise UserError(
            f"the pools {names} cannot be placed: no worker"
            f" spans two GPUs, so theirs take {whole} whole ones, and this machine has {have['GPU']:g}; choose shares"
            f" (workers.gpus) that fill a GPU, fewer workers (workers.count), or plan with --assume-cluster"
        )


def whole_gpus(pools: Iterable[Pool]) -> int:
    """How many GPUs hold the workers of some pools, each on the fullest GPU that has room, as Ray fills a machine."""
    whole, rooms = 0, Counter[int]()  # GPUs that have been begun, by what is free of each
    for pool in pools:
        need = round(pool.gpus * _UNIT)
        if need >= _UNIT:
            whole += need // _UNIT * pool.count
        left = pool.count if 0 < need < _UNIT else 0
        while left:
            room = min((room for room, number in rooms.items() if number and room >= need), default=0)
            if not room:
                fresh = math.ceil(left / (_UNIT // need))
                whole, rooms[_UNIT], room = whole + fresh, fresh, _UNIT
            each = room // need
            filled = min(rooms[room], left // each)
            number, taken = (filled, each) if filled else (1, left)
            rooms[room] -= number
            rooms[room - taken * need] += number
            left -= number * taken
    return whole


def _refusal(dag: Dag, pool: Pool, kind: str, amount: float, used: float, have: float) -> str:
    names = [stage for stage in (*(s.name for s in dag.stages), SHARD) if pool_of(dag.manifest.workers, stage) is pool]
    others = used - pool.count * amount
    beside = f" beside {others:g} of other pools" if others else ""
    return (
        f"stage {', '.join(names) or pool.name} cannot be placed: pool {pool.name} asks for {pool.count} workers x"
        f" {amount:g} {kind}{beside}, and this machine has {have:g} {kind}; lower workers.{pool.name}.count, set"
        f" executor.address to a Ray cluster, or plan with --assume-cluster"
    )


def by_label(counts: Counts) -> Counter[tuple[str, str, str]]:
    """Dialogues per task, label and split."""
    return _summed(counts, lambda key: key[:3])


def by_turns(counts: Counts) -> Counter[tuple[int, str]]:
    """Dialogues per number of turns and split."""
    return _summed(counts, lambda key: (key[3], key[2]))


def _summed(counts: Counts, group: Callable[[tuple[str, str, str, int]], Any]) -> Counter[Any]:
    out: Counter[Any] = Counter()
    for key, number in counts.items():
        out[group(key)] += number
    return out


def as_json(estimate_: Estimate, counts: Counts) -> dict[str, Any]:
    """The estimate and the counts for machines."""
    return {
        "dialogues": estimate_.dialogues,
        "parts": estimate_.parts,
        "counts": [
            {"task": task, "label": label, "split": split, "dialogues": number}
            for (task, label, split), number in sorted(by_label(counts).items())
        ],
        "turns": [
            {"turns": turns, "split": split, "dialogues": number}
            for (turns, split), number in sorted(by_turns(counts).items())
        ],
        "query_hours": estimate_.query_hours,
        "reply_hours": estimate_.reply_hours,
        "disk_gb": estimate_.disk_gb,
        "query_texts": estimate_.texts,
        "wall_hours": estimate_.wall_hours,
        "core_hours": estimate_.total("core"),
        "gpu_hours": estimate_.total("gpu"),
        "gpus": estimate_.gpus,
        "price": estimate_.price,
        "asks": vars(estimate_.asks) if estimate_.asks else None,
        "stages": [json.loads(canonical_json(vars(stage))) for stage in estimate_.stages],
    }
