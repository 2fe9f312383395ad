"""`select`: thresholds to verdicts, on Beam; a barrier that sees every row's metadata and never its audio.

select/<key>/part-0007.parquet      a verdict per dialogue (`schema.VERDICT`)
select/<key>/statistics.json        counts, reasons, requested against recognised labels, yields
select/<key>/thresholds.json        least probability of each recognised label, frozen (`pipeline/thresholds.py`)
select/<key>/thresholds.md          how each was chosen, for people
select/<key>/checksums.sha256       of all these
select/current -> <key>
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from manifests import schema
from manifests.files import fsync, read_checksums, sha256, temporary, write_atomic, write_checksums, writing
from manifests.ids import canonical_json, content_hash
from manifests.ledger import CellRecord, Ledger, read_table
from manifests.run import RunManifest
from manifests.withdrawn import Withdrawn, read_withdrawn
from pipeline.duplicates import Compared, find_duplicates, read_duplicates
from pipeline.hygiene import revision
from pipeline.join import by_dialogue, join_rows
from pipeline.stages.plan import pipeline_options
from pipeline.summary import Summary, summary_columns
from pipeline.summary import label_of as label_of  # what others count by
from pipeline.thresholds import Thresholds, report, rules_of
from pipeline.verdict import KEPT, Rules, judge, judged_columns, settle

VERSION = 7
CHECKSUMS = "checksums.sha256"

Records = Mapping[int, Mapping[str, CellRecord]]
"""Committed cells by part and stage; the stages in their order, for the first error of a row is the one named."""


def select_key(manifest: RunManifest, thresholds: str, records: Records, withdrawn: Withdrawn) -> str:
    """Of everything that the verdicts depend on; `thresholds` is the content hash of the frozen thresholds."""
    cells = [[records[part][stage].sha256 for stage in sorted(records[part])] for part in sorted(records)]
    config = manifest.select.model_dump(exclude={"thresholds"})
    return content_hash(
        {
            "version": VERSION,
            "words": revision(),
            "config": repr(config),  # a limit may be infinite, which JSON cannot say
            "slots": list(manifest.slots),
            "thresholds": thresholds,
            "cells": cells,
            **({"withdrawn": withdrawn.identity()} if withdrawn else {}),
        }
    )


def judge_part(item: tuple[int, list[CellRecord]], run: str, work: str, rules: Rules) -> None:
    """Judge the dialogues of one part by themselves, once: the texts cost the most of a selection.

    Leaves in `work` verdict and reasons of each, in order, and what of those to keep is to be compared with others.
    """
    part, records = item
    rows, errors = join_rows(Ledger(Path(run)), records, judged_columns(rules))
    judged, compared = [], Compared()
    for turns, error in by_dialogue(rows, errors):
        judged.append(judge(turns, error, rules))
        if judged[-1][0] == KEPT and rules.config.text.deduplicates:
            compared.add(turns, part, rules)
    (Path(work) / f"judged-{part:04d}.json").write_bytes(canonical_json(judged))
    compared.write(Path(work), part)


def settle_part(
    item: tuple[int, list[CellRecord]], run: Path, work: Path, rules: Rules
) -> Iterator[tuple[list[dict[str, Any]], str, str, list[str]]]:
    """Turns, error, verdict and reasons of each dialogue of a part, after `judge_part` and `find_duplicates`."""
    part, records = item
    judged = json.loads((work / f"judged-{part:04d}.json").read_bytes())
    copies = read_duplicates(work, part)
    dialogues = by_dialogue(*join_rows(Ledger(run), records, summary_columns(rules)))
    for (turns, error), (verdict, reasons) in zip(dialogues, judged, strict=True):
        yield turns, error, *settle(verdict, reasons, copies.get(turns[0]["id"], ()))


def write_verdicts(item: tuple[int, list[CellRecord]], run: str, folder: str, work: str, rules: Rules) -> Summary:
    """Write the verdicts of one part and return its counts."""
    out, summary = [], Summary()
    for turns, error, verdict, reasons in settle_part(item, Path(run), Path(work), rules):
        first = turns[0]
        out.append({
            "id": first["id"], "split": first["plan.split"], "task": first["plan.task"],
            "num_turns": first["plan.num_turns"], "verdict": verdict, "reasons": reasons, "error": error,
        })  # fmt: skip
        summary.add(turns, verdict, reasons, error, rules)
    pq.write_table(pa.Table.from_pylist(out, schema.VERDICT), Path(folder) / f"part-{item[0]:04d}.parquet")
    return summary


def _merged(parts: Iterable[Summary]) -> Summary:
    total = Summary()
    for part in parts:
        total.merge(part)
    return total


def run_select(ledger: Ledger, manifest: RunManifest, thresholds: Thresholds, records: Records) -> Path:
    """Judge every dialogue, unless it is done; return the folder of the verdicts and make it current."""
    withdrawn = read_withdrawn(ledger.run)
    key = select_key(manifest, thresholds.content_hash(), records, withdrawn)
    root = ledger.run / "select"
    folder = root / key
    notes = {
        "thresholds.json": thresholds.to_json(),
        "thresholds.md": report(thresholds, manifest.select.thresholds is not None).encode(),
    }
    if folder.exists() and (damaged_file(folder) or not _whole(folder, records, notes)):
        set_aside(folder)
    if not folder.exists():
        import apache_beam as beam

        with writing(folder):
            spare = temporary(folder)
            work = spare / "work"
            work.mkdir(parents=True)
            rules, options = rules_of(manifest, thresholds, withdrawn), pipeline_options(manifest.executor.beam)
            items = [(part, list(records[part].values())) for part in sorted(records)]
            with beam.Pipeline(options=options) as pipeline:
                parts = pipeline | beam.Create(items) | beam.Reshuffle()
                _ = parts | "judge" >> beam.Map(judge_part, str(ledger.run), str(work), rules)
            find_duplicates(work, records, rules)
            with beam.Pipeline(options=options) as pipeline:
                _ = (
                    pipeline
                    | beam.Create(items)
                    | beam.Reshuffle()
                    | "verdicts" >> beam.Map(write_verdicts, str(ledger.run), str(spare), str(work), rules)
                    | "sum" >> beam.CombineGlobally(_merged).without_defaults()
                    | "write" >> beam.Map(_write_statistics, str(spare / "statistics.json"))
                )
            shutil.rmtree(work)  # what is in it is in the verdicts
            for name, content in notes.items():
                (spare / name).write_bytes(content)
            digests = {path.name: sha256(path) for path in sorted(spare.iterdir())}
            (spare / CHECKSUMS).write_bytes(write_checksums(digests))
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


def damaged_file(folder: Path) -> str:
    """The first file of a finished selection that is not what was written; "" when all are."""
    try:
        digests = read_checksums((folder / CHECKSUMS).read_bytes())
        return next((name for name, digest in digests.items() if sha256(folder / name) != digest), "")
    except (OSError, ValueError):
        return CHECKSUMS


def set_aside(folder: Path) -> None:
    """Give a damaged folder another name, so that it can be made again and nothing is lost."""
    spare = folder.with_name(f"damaged-{folder.name}-{time.time_ns()}")
    with writing(spare):
        os.rename(folder, spare)


def _write_statistics(summary: Summary, path: str) -> None:
    write_atomic(Path(path), canonical_json(summary.document()))


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
    return read_table(folder / f"part-{part:04d}.parquet", columns)


def kept_ids(folder: Path, part: int, split: str, num_turns: int) -> list[str]:
    """Dialogues of one part that were kept, of one split and turn count, in order."""
    table = verdicts(folder, part).to_pylist()
    return [
        row["id"] for row in table if row["verdict"] == KEPT and row["split"] == split and row["num_turns"] == num_turns
    ]
