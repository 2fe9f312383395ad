"""`echat verify`: does the dataset keep its promises? Every finding names file and row."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from manifests import schema
from manifests.errors import UserError
from manifests.files import sha256
from manifests.ids import bucket, content_hash, dialogue_id
from manifests.ledger import CellRecord, Ledger
from manifests.run import load_run
from manifests.withdrawn import read_withdrawn
from pipeline.dag import build_dag
from pipeline.duplicates import find_duplicates
from pipeline.grid import Grid
from pipeline.join import by_dialogue
from pipeline.select import damaged_file, judge_part, load_statistics, select_key, settle_part, verdicts
from pipeline.shards import describe, lay_out, layout_key, shard_samples
from pipeline.summary import Summary
from pipeline.tar import open_tar, tar_samples
from pipeline.thresholds import report, rules_of, thresholds_of
from pipeline.topup import with_topup
from pipeline.verdict import KEPT, Rules
from pipeline.verify_shards import Finding, verify_shards


def verify(folder: Path) -> list[Finding]:
    """Verify a run folder or a folder of shards, audio included.

    Raises:
        UserError: The folder is neither.
    """
    if (folder / "dataset.json").exists():
        return list(verify_shards(folder, deep=True))
    if (folder / "run.yaml").exists():
        return verify_run(folder, deep=True)
    raise UserError(f"{folder}: is neither a run folder (run.yaml) nor a folder of shards (dataset.json)")


def verify_run(run: Path, deep: bool = False) -> list[Finding]:
    """Verify cells, verdicts and shards of a run; `deep` decodes every audio member too."""
    dag = with_topup(build_dag(load_run(run / "run.yaml"), run / "run.yaml"), run)
    grid = Grid.open(dag, run)
    ledger, plan = grid.ledger, grid.plan
    if len(plan) < dag.planner.num_parts:
        return [Finding(str(ledger.folder("plan")), "", "parts of the plan are missing: run build again")]
    findings: list[Finding] = []
    ids: dict[int, list[tuple[str, int]]] = {}
    for record in plan:
        table = ledger.load(record)
        ids[record.part] = list(zip(table["id"].to_pylist(), table["turn"].to_pylist(), strict=True))
    findings += _check_plan(ledger, plan, len(plan))
    for stage in dag.stages:
        for part, have in grid.records.items():
            if stage.name not in have:
                findings.append(Finding(str(ledger.folder(stage.name)), f"part {part}", "is not made: run build again"))
            else:
                wanted = schema.stage_schema(stage.writes)
                findings += _check_cell(ledger, have[stage.name], ids[part], wanted)
    findings += _check_references(grid)
    if findings:
        return findings  # what follows reads the cells
    findings = _check_selected(grid, run)
    if findings:
        return findings
    select, shards = run / "select" / "current", run / "shards" / "current"
    kept, findings = _check_verdicts(grid, select, ids)
    findings = findings or check_current(grid, run)
    if findings:
        return findings
    if not kept:
        findings.append(Finding(str(run), "", "no dialogue was kept: see echat status for what went wrong"))
    findings += verify_shards(shards, deep, kept)
    return findings or list(_check_origin(grid, select, shards, deep))


def open_finished(run: Path, then: str) -> Grid:
    """The grid of a run folder whose build is finished.

    Raises:
        UserError: It is no run folder, or its verdicts and shards are not those of its manifest; `then` is the command
            to run once it is built.
    """
    if not (run / "run.yaml").exists():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml); name the folder given to build --out")
    grid = Grid.open(with_topup(build_dag(load_run(run / "run.yaml"), run / "run.yaml"), run), run)
    if check_current(grid, run):
        raise UserError(f"{run}: its build is not finished; run echat build again, then {then}")
    return grid


_ANEW = "delete its folder and run build again"
_AGAIN = "run the same command (build or replay) again"


def _check_selected(grid: Grid, run: Path) -> list[Finding]:
    """Whether there are verdicts on the cells as they are now, by the manifest's thresholds and the frozen ones."""
    select = run / "select" / "current"
    if not grid.complete:
        return [Finding(str(run), "", f"not every cell is made: {_AGAIN}")]
    try:
        thresholds = content_hash(json.loads((select / "thresholds.json").read_bytes()))
    except (OSError, ValueError):
        thresholds = ""
    withdrawn = read_withdrawn(run)
    if select.resolve().name != select_key(grid.dag.manifest, thresholds, grid.all_cells, withdrawn):
        return [Finding(str(select), "", f"the verdicts are missing or of an earlier state of the run: {_AGAIN}")]
    return []


def check_current(grid: Grid, run: Path) -> list[Finding]:
    """Whether verdicts and shards are there and are those of the run's manifest and cells."""
    stale = _check_selected(grid, run)
    if stale:
        return stale
    select, shards = run / "select" / "current", run / "shards" / "current"
    try:
        layout = lay_out(grid.dag, select, grid.all_cells)
    except (OSError, ValueError) as error:
        return [Finding(str(select), "", f"a verdict cannot be read ({error}): {_AGAIN}")]
    if shards.resolve().name != layout_key(grid.dag, layout) or not shards.exists():
        return [Finding(str(shards), "", f"the shards are missing or of an earlier state of the run: {_AGAIN}")]
    return []


def _check_plan(ledger: Ledger, plan: Iterable[CellRecord], num_parts: int) -> Iterator[Finding]:
    """Ids, buckets, and splits that share neither scenario nor speaker."""
    homes: dict[tuple[str, str], str] = {}
    for record in plan:
        file = str(ledger.data_path(record))
        rows = ledger.load(record).to_pylist()
        for turns, _ in by_dialogue(rows, [""] * len(rows)):
            name = turns[0]["id"]
            if dialogue_id(turns) != name:
                yield Finding(file, name, "the id is not the hash of its plan row")
            if [row["turn"] for row in turns] != list(range(turns[0]["num_turns"])):
                yield Finding(file, name, f"the turns are not 0 to {turns[0]['num_turns'] - 1}")
            if bucket(name, num_parts) != record.part:
                yield Finding(file, name, f"belongs to part {bucket(name, num_parts)}")
            for row in turns:
                for kind in ("scenario", "query_speaker"):
                    home = homes.setdefault((kind, row[kind]), row["split"])
                    if home != row["split"]:
                        yield Finding(file, name, f"{kind} {row[kind]!r} is in the splits {home} and {row['split']}")


def _check_cell(ledger: Ledger, record: CellRecord, ids: list[tuple[str, int]], wanted: Any) -> Iterator[Finding]:
    path = ledger.data_path(record)
    if sha256(path) != record.sha256:
        yield Finding(str(path), "", "the sha256 is not the recorded one: delete the file and run build again")
        return
    table = ledger.load(record)
    if not table.schema.equals(wanted):
        yield Finding(str(path), "", "the columns are not those that the stage declares")
    have = list(zip(table["id"].to_pylist(), table["turn"].to_pylist(), strict=True))
    if have != ids:
        yield Finding(str(path), "", "the rows are not those of the plan, in its order")
    failed = {(item["id"], item["turn"]) for item in record.failures}
    own = {
        (row["id"], row["turn"])
        for row in table.select(["id", "turn", "error"]).to_pylist()
        if row["error"].startswith(f"{record.stage}:")
    }
    for name, turn in sorted(failed ^ own):
        yield Finding(str(path), f"{name}.{turn}", "is quarantined in the table or in the record, but not in both")


def _check_references(grid: Grid) -> Iterator[Finding]:
    """Whether the takes of every voice are there, whole and as planned."""
    references = grid.references
    for part, takes in references.takes.items() if references else ():
        assert references is not None
        voice = references.voices[part].voice
        record = references.records.get(voice)
        if record is None:
            yield Finding(str(grid.ledger.folder(references.stage.name)), voice, f"is not made: {_AGAIN}")
            continue
        ids = list(zip(takes["id"].to_pylist(), takes["turn"].to_pylist(), strict=True))
        yield from _check_cell(grid.ledger, record, ids, schema.stage_schema(references.stage.writes))


def _check_verdicts(
    grid: Grid, select: Path, ids: Mapping[int, list[tuple[str, int]]]
) -> tuple[dict[str, str], list[Finding]]:
    """planned = kept + rejected + quarantined, by verdicts given anew; kept ids with their split."""
    thresholds = thresholds_of(grid.dag, grid.ledger, grid.all_cells.values())
    rules = rules_of(grid.dag.manifest, thresholds, read_withdrawn(grid.ledger.run))
    summary = Summary()
    with tempfile.TemporaryDirectory(prefix="echat-verify-") as work:
        for part in ids:
            judge_part((part, list(grid.cells(part).values())), str(grid.ledger.run), work, rules)
        find_duplicates(Path(work), ids, rules)
        kept, findings = _judge_again(grid, select, ids, rules, Path(work), summary)
    frozen = grid.dag.manifest.select.thresholds is not None
    notes = {"thresholds.json": thresholds.to_json(), "thresholds.md": report(thresholds, frozen).encode()}
    for name, content in notes.items():
        path = select / name
        if not path.is_file() or path.read_bytes() != content:
            findings.append(Finding(str(path), "", "is not how the cells calibrate: run the same command again"))
    damaged = damaged_file(select)
    if damaged and not findings:
        findings.append(Finding(str(select / damaged), "", f"is not what was written: {_AGAIN}"))
    file = str(select / "statistics.json")
    try:
        if load_statistics(select) != summary.document():
            findings.append(Finding(file, "", "does not count what the cells say: run the same command again"))
    except (OSError, ValueError, KeyError, TypeError) as error:
        findings.append(Finding(file, "", f"cannot be read ({error}): run the same command again"))
    return kept, findings


def _judge_again(
    grid: Grid, select: Path, ids: Mapping[int, list[tuple[str, int]]], rules: Rules, work: Path, summary: Summary
) -> tuple[dict[str, str], list[Finding]]:
    """Compare every verdict with what the cells say, and count them; kept ids with their split."""
    kept: dict[str, str] = {}
    findings: list[Finding] = []
    for part in ids:
        file = str(select / f"part-{part:04d}.parquet")
        try:
            table = {row["id"]: row for row in verdicts(select, part).to_pylist()}
        except (OSError, ValueError) as error:
            findings.append(Finding(file, "", f"cannot be read ({error}): delete its folder and run build again"))
            continue
        dialogues = list(settle_part((part, list(grid.cells(part).values())), grid.ledger.run, work, rules))
        if list(table) != [turns[0]["id"] for turns, *_ in dialogues]:
            findings.append(Finding(file, "", "the dialogues are not those of the plan"))
            continue
        for turns, error, verdict, reasons in dialogues:
            row = table[turns[0]["id"]]
            if (row["verdict"], row["reasons"], row["error"]) != (verdict, reasons, error):
                said = f"is {row['verdict']}, and its cells say {verdict}: {_ANEW}"
                findings.append(Finding(file, row["id"], said))
            summary.add(turns, verdict, reasons, error, rules)
            if verdict == KEPT:
                kept[row["id"]] = row["split"]
    return kept, findings


def _check_origin(grid: Grid, select: Path, shards: Path, deep: bool) -> Iterator[Finding]:
    """What describes the set is what a build would write; `deep`: every member is what the cells say, byte for byte."""
    layout = lay_out(grid.dag, select, grid.all_cells)
    records = [json.loads((shards / f"{spec['name']}.json").read_text()) for spec in layout]
    if json.loads((shards / "dataset.json").read_text()) != describe(grid.dag, records):
        yield Finding(str(shards / "dataset.json"), "", "is not what the shards and the run say")
    for spec in layout if deep else ():
        path = shards / f"{spec['name']}.tar"
        with open_tar(path) as archive:
            made = shard_samples(grid.dag, grid.ledger, select, spec)
            for sample, (key, members) in zip(made, tar_samples(archive), strict=True):
                if sample.pop("__key__") != key:
                    yield Finding(str(path), key, f"stands in another row's place: {_ANEW}")
                    return
                for name in sorted(sample):
                    if sample[name] != members[name]:
                        yield Finding(str(path), key, f"the member {name} is not what the cells say: {_ANEW}")
