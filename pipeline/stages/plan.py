"""`plan`: quotas to rows, on Beam; a barrier, and the root of every key."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests import schema
from manifests.errors import UserError
from manifests.ids import bucket, content_hash
from manifests.labels import CUES
from manifests.ledger import CellRecord, Ledger
from pipeline.label_cells import Block
from pipeline.planner import Planner
from pipeline.stage import Stage

_NAMESPACE = "echat.plan"


@dataclass(frozen=True)
class Plan(Stage):
    """Which dialogues to make: a row per turn, cut into parts by the dialogue's id."""

    planner: Planner

    name = "plan"
    version = 4
    reads = ()
    writes = schema.PLAN

    def keyed(self) -> dict[str, Any]:
        return self.planner.identity()


def part_table(rows: Iterable[tuple[Any, ...]], row_key: str) -> pa.Table:
    """The plan table of one part, sorted by id and turn."""
    names = ["id", "turn", *schema.PLAN.names]
    ordered = sorted(rows)
    columns = {name: [row[place] for row in ordered] for place, name in enumerate(names)}
    columns["row_key"] = [row_key] * len(ordered)
    columns["error"] = [""] * len(ordered)
    target = schema.stage_schema(schema.PLAN)
    return pa.table({name: columns[name] for name in target.names}, schema=target)


def expand(block: Block, planner: Planner) -> Iterator[tuple[int, list[tuple[Any, ...]]]]:
    """Draw a block and deal its rows out to their parts."""
    parts: dict[int, list[tuple[Any, ...]]] = {}
    for row in planner.rows(block):
        parts.setdefault(bucket(row[0], planner.num_parts), []).append(row)
    yield from parts.items()


def commit_part(item: tuple[int, Iterable[list[tuple[Any, ...]]]], run: str, key: str, row_key: str) -> int:
    """Write one part of the plan; running it again changes nothing."""
    part, groups = item
    table = part_table((row for group in groups for row in group), row_key)
    Ledger(Path(run)).commit("plan", part, key, table, [], {"worker": f"beam:{os.getpid()}"})
    return table.num_rows


def pipeline_options(beam_args: tuple[str, ...]) -> Any:
    """Beam options: the in-process runner unless the manifest says otherwise."""
    from apache_beam.options.pipeline_options import PipelineOptions

    flags = list(beam_args)
    if not any(flag.startswith("--runner") for flag in flags):
        flags.append("--runner=apache_beam.runners.portability.fn_api_runner.FnApiRunner")
    return PipelineOptions(flags)


def check_beam(beam_args: tuple[str, ...], file: Path | str) -> None:
    """Refuse options that Beam does not take.

    Raises:
        UserError: Names the file and the key.
    """
    if not beam_args:
        return  # ours are known to be good, and Beam takes seconds to import
    import contextlib
    import io

    import apache_beam as beam

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            beam.Pipeline(options=pipeline_options(beam_args))
    except (Exception, SystemExit) as error:
        reason = said.getvalue().strip().splitlines()[-1:] or [" ".join(str(error).split())[:200]]
        raise UserError(f"{file}: executor.beam: Beam refuses these options ({reason[0]})") from error


def run_plan(stage: Plan, ledger: Ledger, beam_args: tuple[str, ...] = ()) -> list[CellRecord]:
    """Commit the plan's parts, unless they are committed, and return their records in part order."""
    planner, key = stage.planner, stage.cell_key([])
    records = [ledger.find("plan", part, key) for part in range(planner.num_parts)]
    if any(record is None for record in records):
        import apache_beam as beam

        # A row of the plan is its own content, so a part that a larger plan adds nothing to stays the same file, and
        # so do the cells that are made of it.
        row_key = content_hash([stage.name, stage.version], 32)
        with beam.Pipeline(options=pipeline_options(beam_args)) as pipeline:
            rows = (
                pipeline
                | "blocks" >> beam.Create(list(planner.blocks()))
                | "spread" >> beam.Reshuffle()
                | "draw" >> beam.FlatMap(expand, planner)
            )
            # Every part is committed, also one that no dialogue falls into.
            empty = pipeline | "parts" >> beam.Create([(part, []) for part in range(planner.num_parts)])
            _ = (
                (rows, empty)
                | beam.Flatten()
                | "by part" >> beam.GroupByKey()
                | "commit" >> beam.Map(commit_part, str(ledger.run), key, row_key)
            )
        records = [ledger.find("plan", part, key) for part in range(planner.num_parts)]
    assert all(records), "Beam returned before every part of the plan was committed"
    return [record for record in records if record]


Counts = Counter[tuple[str, str, str, int]]
"""Dialogues per task, label, split and number of turns."""


def count_plan(planner: Planner, beam_args: tuple[str, ...] = ()) -> Counts:
    """Count the dialogues, by drawing the whole plan and writing nothing."""
    import apache_beam as beam
    from apache_beam.metrics.metric import MetricsFilter

    pipeline = beam.Pipeline(options=pipeline_options(beam_args))
    _ = pipeline | beam.Create(list(planner.blocks())) | beam.Reshuffle() | "draw" >> beam.Map(_count, planner)
    result = pipeline.run()
    result.wait_until_finish()
    counters = result.metrics().query(MetricsFilter().with_namespace(_NAMESPACE))["counters"]
    return Counter({tuple(json.loads(item.key.metric.name)): item.result for item in counters})


def label_counts(rows: Iterable[tuple[Any, ...]]) -> Counts:
    """Dialogues of some rows, each by the label of its first turn."""
    names = ["id", "turn", *schema.PLAN.names]
    turn, task, cues, split, turns = map(names.index, ("turn", "task", "cues", "split", "num_turns"))
    values = {family: names.index(family) for family in CUES}
    return Counter(
        (row[task], "+".join(row[values[family]] for family in row[cues]) or "neutral", row[split], row[turns])
        for row in rows
        if row[turn] == 0
    )


def _count(block: Block, planner: Planner) -> None:
    from apache_beam.metrics.metric import Metrics

    for key, number in label_counts(planner.rows(block)).items():
        Metrics.counter(_NAMESPACE, json.dumps(key)).inc(number)
