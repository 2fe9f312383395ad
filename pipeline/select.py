"""`select`: thresholds to verdicts, on Beam; a barrier that sees every row's metadata and never its audio.

select/<key>/part-0007.parquet      a verdict per dialogue (`schema.VERDICT`)
select/<key>/statistics.json        counts, reasons, requested against recognised labels, yields
select/<key>/thresholds.json        least probability of each recognised label, frozen (`pipeline/thresholds.py`)
select/<key>/thresholds.md          how each was chosen, for people
select/current -> <key>
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import schema
from manifests.files import fsync, temporary, write_atomic, writing
from manifests.ids import canonical_json, content_hash
from manifests.ledger import CellRecord, Ledger
from manifests.run import RunManifest
from pipeline.join import by_dialogue, join_rows
from pipeline.stages.plan import pipeline_options
from pipeline.thresholds import Thresholds, held_out, report, rules_of
from pipeline.verdict import KEPT, Rules, comparable, judge, judged_columns, requested

VERSION = 4

Records = Mapping[int, Mapping[str, CellRecord]]
"""Committed cells by part and stage; the stages in their order, for the first error of a row is the one named."""


def select_key(manifest: RunManifest, thresholds: str, records: Records) -> str:
    """Of everything that the verdicts depend on; `thresholds` is the content hash of the frozen thresholds."""
    cells = [[records[part][stage].sha256 for stage in sorted(records[part])] for part in sorted(records)]
    config = manifest.select.model_dump(exclude={"thresholds"})
    return content_hash(
        {
            "version": VERSION,
            "config": repr(config),  # a limit may be infinite, which JSON cannot say
            "slots": list(manifest.slots),
            "thresholds": thresholds,
            "cells": cells,
        }
    )


def judge_part(item: tuple[int, list[CellRecord]], run: str, folder: str, rules: Rules) -> dict[str, Any]:
    """Write the verdicts of one part and return its counts."""
    part, records = item
    ledger = Ledger(Path(run))
    rows, errors = join_rows(ledger, records, judged_columns(rules))
    out = []
    counts: Counter[str] = Counter()
    for turns, error in by_dialogue(rows, errors):
        verdict, reasons = judge(turns, error, rules)
        first = turns[0]
        out.append({
            "id": first["id"], "split": first["plan.split"], "task": first["plan.task"],
            "num_turns": first["plan.num_turns"], "verdict": verdict, "reasons": reasons, "error": error,
        })  # fmt: skip
        counts.update(tally(turns, verdict, reasons, error, rules))
    pq.write_table(pa.Table.from_pylist(out, schema.VERDICT), Path(folder) / f"part-{part:04d}.parquet")
    return dict(counts)


def tally(
    turns: Sequence[Mapping[str, Any]], verdict: str, reasons: Sequence[str], error: str, rules: Rules
) -> Iterator[str]:
    """Names of the counters that one dialogue raises: JSON lists, so that any label is safe in them."""
    first = turns[0]
    yield json.dumps(["verdict", verdict])
    yield json.dumps(["task", first["plan.task"], label_of(first), verdict])
    yield json.dumps(["split", first["plan.split"], verdict])
    yield json.dumps(["source", first["plan.source"], verdict])
    for name in sorted({reason.split(" ", 1)[0] for reason in reasons}):
        yield json.dumps(["reason", name])
    if error:
        yield json.dumps(["error", error])
        return
    # Agreement of the rows that the thresholds were chosen on flatters them; that of the rest does not.
    chosen_on = first["plan.round"] == 0 and held_out(first["id"], rules.calibration_share)
    for row in turns:
        for name, column, *_ in rules.limits:
            if row[column] is None:
                yield json.dumps(["unmeasured", name])
        for slot in rules.slots:
            yield json.dumps(["heard", slot, requested(row, slot), row[f"annotate.heard_{slot}"]])
        for slot in rules.judged:
            heard = row[f"annotate.heard_{slot}"]
            if comparable(row, slot, rules.config.agree_real) and row[f"annotate.heard_{slot}_p"] >= rules.least(
                slot, heard
            ):
                agrees = "agree" if heard == requested(row, slot) else "disagree"
                yield json.dumps(["agreement", slot, heard, "chosen_on" if chosen_on else "rest", agrees])


def label_of(row: Mapping[str, Any]) -> str:
    """The label that a dialogue counts for in its task, from its first row's plan."""
    return "+".join(row[f"plan.{family}"] for family in row["plan.cues"]) or "neutral"


def _merge(parts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for part in parts:
        total.update(part)
    return dict(total)


def statistics(counts: Mapping[str, int]) -> dict[str, Any]:
    """Counters as a nested document: `{"verdict": {"kept": 40}, "task": {"emotion": {"sad": {...}}}}`.

    `yield` has kept / planned of every task and label; `agreement` counts recognised labels at or above their
    threshold.
    """
    names = ("verdict", "task", "split", "source", "unmeasured", "reason", "error", "heard", "agreement", "yield")
    tree: dict[str, Any] = {name: {} for name in names}
    for name in sorted(counts):
        *path, last = json.loads(name)
        node = tree
        for key in path:
            node = node.setdefault(key, {})
        node[last] = counts[name]
    for task, labels in tree["task"].items():
        tree["yield"][task] = {
            label: round(verdicts.get(KEPT, 0) / sum(verdicts.values()), 4) for label, verdicts in labels.items()
        }
    return tree


def run_select(ledger: Ledger, manifest: RunManifest, thresholds: Thresholds, records: Records) -> Path:
    """Judge every dialogue, unless it is done; return the folder of the verdicts and make it current."""
    key = select_key(manifest, thresholds.content_hash(), records)
    root = ledger.run / "select"
    folder = root / key
    notes = {
        "thresholds.json": thresholds.to_json(),
        "thresholds.md": report(thresholds, manifest.select.thresholds is not None).encode(),
    }
    if folder.exists() and not _whole(folder, records, notes):
        set_aside(folder)
    if not folder.exists():
        import apache_beam as beam

        with writing(folder):
            spare = temporary(folder)
            spare.mkdir(parents=True)
            items = [(part, list(records[part].values())) for part in sorted(records)]
            with beam.Pipeline(options=pipeline_options(manifest.executor.beam)) as pipeline:
                _ = (
                    pipeline
                    | beam.Create(items)
                    | beam.Reshuffle()
                    | "judge" >> beam.Map(judge_part, str(ledger.run), str(spare), rules_of(manifest, thresholds))
                    | "sum" >> beam.CombineGlobally(_merge).without_defaults()
                    | "write" >> beam.Map(_write_statistics, str(spare / "statistics.json"))
                )
            for name, content in notes.items():
                (spare / name).write_bytes(content)
            for path in spare.iterdir():
                with path.open("rb") as stream:
                    os.fsync(stream.fileno())
            try:
                os.rename(spare, folder)
            except OSError:
                shutil.rmtree(spare)  # somebody else was first, with the same content
                if not folder.exists():
                    raise
            fsync(root)
    point_current(root, key)
    return folder


def _whole(folder: Path, records: Records, notes: Mapping[str, bytes]) -> bool:
    """Whether everything of a finished selection can still be read."""
    try:
        load_statistics(folder)
        if any((folder / name).read_bytes() != content for name, content in notes.items()):
            return False
        return all(verdicts(folder, part, ["id"]) is not None for part in records)
    except (OSError, ValueError):
        return False


def set_aside(folder: Path) -> None:
    """Give a damaged folder another name, so that it can be made again and nothing is lost."""
    spare = folder.with_name(f"damaged-{folder.name}-{time.time_ns()}")
    with writing(spare):
        os.rename(folder, spare)


def _write_statistics(counts: Mapping[str, int], path: str) -> None:
    write_atomic(Path(path), canonical_json(statistics(counts)))


def point_current(root: Path, key: str) -> None:
    """Make the symbolic link `current` name the finished folder, in one step."""
    link = root / "current"
    if link.is_symlink() and os.readlink(link) == key:
        return
    with writing(link):
        spare = temporary(link)
        spare.symlink_to(key)
        os.replace(spare, link)
        fsync(root)


def load_statistics(folder: Path) -> dict[str, Any]:
    """The counts of a finished selection."""
    return json.loads((folder / "statistics.json").read_text())


def verdicts(folder: Path, part: int, columns: Sequence[str] | None = None) -> pa.Table:
    """The verdicts of one part."""
    return pq.read_table(folder / f"part-{part:04d}.parquet", columns=list(columns) if columns else None)


def kept_ids(folder: Path, part: int, split: str, num_turns: int) -> list[str]:
    """Dialogues of one part that were kept, of one split and turn count, in order."""
    table = verdicts(folder, part).to_pylist()
    return [
        row["id"] for row in table if row["verdict"] == KEPT and row["split"] == split and row["num_turns"] == num_turns
    ]
