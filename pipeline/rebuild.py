"""`echat rebuild --check`: some dialogues of a dataset made again from its manifest, and compared with what is in it.

A row is a function of the manifest, the inputs and its own id, so that any few dialogues can be made again without the
rest: their plan rows are drawn, all stages run on them in a temporary folder, and what comes out must equal the members
in the shards. Texts of a language model are taken from the shards, since nobody could ask it the same again; all else
is made. Verdicts are not given again: they need every row (`echat verify` on the run folder gives them).
"""

from __future__ import annotations

import heapq
import json
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from manifests import schema
from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.ledger import CellRecord, Ledger
from manifests.run import load_run
from manifests.sound import read_tokens
from manifests.workers import ExecutorConfig, Pool
from pipeline.audio import audio_hash, decode_flac
from pipeline.build import LazyExecutor, check_engines, make_grid, make_references
from pipeline.dag import Dag, build_dag
from pipeline.events import Events
from pipeline.grid import Grid
from pipeline.inspect import read_documents
from pipeline.join import by_dialogue, join_rows
from pipeline.sample import sample_columns, sample_json
from pipeline.shards import VERSION, members_of
from pipeline.stages.plan import part_table
from pipeline.tar import member_bytes, open_tar
from pipeline.topup import with_topup
from pipeline.verify_shards import Finding

_PART_ROWS = 16  # dialogues made at once; bounds memory


@dataclass(frozen=True)
class Checked:
    """What was made again.

    Attributes:
        rows: Dialogues of the shards that were found.
        made: Dialogues made again.
        waveforms: Queries and replies among them.
        taken: Stages whose rows were taken from the shards.
        absent: Shards that the set lists and that are not here.
    """

    rows: int
    made: int
    waveforms: int
    taken: tuple[str, ...]
    absent: int
    findings: tuple[Finding, ...]


def check_rebuild(folder: Path, number: int, seed: int, quiet: bool = False) -> Checked:
    """Make some dialogues of a run folder or a release again and compare them.

    Args:
        folder: A run folder, or a copy of a published release; some of its shards may be absent.
        number: Dialogues, drawn by the seed.

    Raises:
        UserError: The folder is neither, lacks what is needed, or an engine is missing.
    """
    shards = _shards(folder)
    dag = _dag(folder)
    dataset = json.loads((shards / "dataset.json").read_text())
    listed = [shards / shard["name"] for shard in dataset["shards"]]
    tars = [path for path in listed if path.is_file()]
    if not tars:
        raise UserError(f"{shards}: none of the shards that dataset.json lists is here; copy some of them")
    findings = list(_other_makers(dag, dataset, shards))
    rows, sample = _draw(tars, number, seed)
    asks = dag.by_name["script"].engine.price(()) is not None  # type: ignore[attr-defined]
    if not asks:
        check_engines(dag, folder / "run.yaml")
    planned = _plan(dag, set(sample))
    findings += [
        Finding(str(tar), name, "is not what run.yaml and its inputs plan")
        for name, (tar, _) in sample.items()
        if name not in planned
    ]
    with tempfile.TemporaryDirectory(prefix="echat-rebuild-") as place:
        grid = _make(dag, Path(place), planned, {name: item[1] for name, item in sample.items()} if asks else {}, quiet)
        findings += _compare(grid, sample)
    waveforms = 2 * sum(len(rows) for rows in planned.values())
    absent = len(listed) - len(tars)
    return Checked(rows, len(planned), waveforms, ("script",) if asks else (), absent, tuple(findings))


def _shards(folder: Path) -> Path:
    for place in (folder, folder / "shards" / "current"):
        if (place / "dataset.json").is_file() and (folder / "run.yaml").is_file():
            return place
    raise UserError(
        f"{folder}: is neither a finished run folder nor a release (run.yaml beside dataset.json); name one of them"
    )


def _dag(folder: Path) -> Dag:
    manifest = load_run(folder / "run.yaml")
    real = manifest.plan.real
    if real is not None and not all(path.is_dir() for path in real.corpora):
        raise UserError(
            f"{folder}: its plan takes recordings of corpora whose tables are not published; check it in its run folder"
        )
    config = ExecutorConfig(kind="inline", deadline_s=manifest.executor.deadline_s)
    # Everything is made in this process: a Python that the set names is neither asked nor run.
    manifest = manifest.model_copy(update={"executor": config, "workers": (Pool(),)})
    return with_topup(build_dag(manifest, folder / "run.yaml"), folder)


def _other_makers(dag: Dag, dataset: Mapping[str, Any], shards: Path) -> Iterator[Finding]:
    """Engines that are not those which made the set: what is made here may then differ everywhere."""
    file = str(shards / "dataset.json")
    if dataset["version"] != VERSION:
        yield Finding(file, "", f"the shards are of version {dataset['version']}, and this package writes {VERSION}")
    for stage in dag.stages:
        here, there = list(stage.revisions), dataset["engines"].get(stage.name)
        if here != there:
            yield Finding(file, "", f"{stage.name} was made by {there}, and here runs {here}")


def _draw(tars: Sequence[Path], number: int, seed: int) -> tuple[int, dict[str, tuple[Path, dict[str, Any]]]]:
    """How many dialogues there are, and the tar and JSON of those whose hash with the seed is smallest."""
    rows = 0

    def all_rows() -> Iterator[tuple[bytes, str, Path, dict[str, Any]]]:
        nonlocal rows
        for tar in tars:
            for document in read_documents(tar):
                rows += 1
                digest = blake2b(f"{seed}:{document['id']}".encode(), digest_size=16).digest()
                yield digest, document["id"], tar, document

    drawn = heapq.nsmallest(number, all_rows(), key=lambda item: item[:2])
    return rows, {name: (tar, document) for _, name, tar, document in drawn}


def _plan(dag: Dag, wanted: set[str]) -> dict[str, list[tuple[Any, ...]]]:
    """The plan rows of some dialogues, by drawing the whole plan block by block."""
    found: dict[str, list[tuple[Any, ...]]] = {}
    for block in dag.planner.blocks():
        for row in dag.planner.rows(block):
            if row[0] in wanted:
                found.setdefault(row[0], []).append(row)
    return dict(sorted(found.items()))


def _make(
    dag: Dag,
    place: Path,
    planned: Mapping[str, list[tuple[Any, ...]]],
    documents: Mapping[str, Mapping[str, Any]],
    quiet: bool,
) -> Grid:
    """Run all stages on some planned dialogues, but for texts that `documents` hold."""
    ledger, names = Ledger(place), list(planned)
    row_key = content_hash([dag.plan.name, dag.plan.version], 32)
    plan = []
    for part, start in enumerate(range(0, len(names), _PART_ROWS)):
        rows = [row for name in names[start : start + _PART_ROWS] for row in planned[name]]
        plan.append(ledger.commit("plan", part, dag.plan.cell_key([]), part_table(rows, row_key), [], {}))
    grid = Grid(dag, ledger, plan)
    if documents:
        for record in plan:
            grid.records[record.part]["script"] = _take_script(dag, ledger, record, documents)
        grid.find_cells()
    executor = LazyExecutor(dag, place, Events(place))
    try:
        make_references(grid, executor, executor.events, quiet)
        make_grid(grid, executor, executor.events, quiet)
    finally:
        executor.close()
    return grid


def _take_script(dag: Dag, ledger: Ledger, plan: CellRecord, documents: Mapping[str, Mapping[str, Any]]) -> CellRecord:
    """The script cell of a part, from the texts in the shards."""
    stage, rows = dag.by_name["script"], []
    for row in ledger.load(plan, ["id", "turn"]).to_pylist():
        turn = documents[row["id"]]["turns"][row["turn"]]
        texts = {f"{role}_{name}": turn[role][name] for role in ("query", "reply") for name in ("text", "spoken")}
        said = {"reply_emotion": turn["reply"]["emotion"], "think_text": turn["think_text"]}
        rows.append({**row, "row_key": "", "error": "", "writer": "", "prompts": "", **texts, **said})
    table = pa.Table.from_pylist(rows, schema.stage_schema(schema.SCRIPT))
    return ledger.commit("script", plan.part, stage.cell_key([plan.sha256]), table, [], {})


def _compare(grid: Grid, sample: Mapping[str, tuple[Path, Mapping[str, Any]]]) -> Iterator[Finding]:
    columns = sample_columns(grid.dag)
    for cells in grid.all_cells.values():
        for turns, error in by_dialogue(*join_rows(grid.ledger, list(cells.values()), columns)):
            name = turns[0]["id"]
            tar, document = sample[name]
            if error:
                yield Finding(str(tar), name, f"could not be made again ({error})")
                continue
            here = json.loads(json.dumps(sample_json(grid.dag, turns)))
            for path, there, made in differences(
                {**document, "engines": ""},
                {**here, "engines": ""},  # said once, of all rows
            ):
                yield Finding(str(tar), name, f"{path} is {_short(there)}, made again {_short(made)}")
            yield from (Finding(str(tar), name, problem) for problem in _other_members(tar, turns))


def differences(there: Any, here: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Where two JSON values differ: path, the one and the other."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in sorted({*there, *here}):
            yield from differences(there.get(key), here.get(key), f"{path}.{key}" if path else key)
    elif isinstance(there, list) and isinstance(here, list) and len(there) == len(here):
        for place, (left, right) in enumerate(zip(there, here, strict=True)):
            yield from differences(left, right, f"{path}[{place}]")
    elif there != here:
        yield path, there, here


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _other_members(tar: Path, turns: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Sound and tokens of a dialogue that are not those in the tar."""
    made = members_of(turns)
    with open_tar(tar) as archive:
        for tail, data in made.items():
            try:
                there = member_bytes(archive, archive.getmember(f"{turns[0]['id']}.{tail}"))
                if tail.endswith(".npy"):
                    if not np.array_equal(read_tokens(there), read_tokens(data)):
                        yield f"{tail} holds other tokens than those made again"
                elif audio_hash(there) != audio_hash(data):
                    yield f"{tail} holds another waveform than the one made again ({_distance(there, data)})"
            except (KeyError, ValueError, RuntimeError, tarfile.TarError) as error:
                yield f"{tail} cannot be read ({error})"


def _distance(there: bytes, here: bytes) -> str:
    """How far two waveforms are from each other."""
    (left, rate), (right, other) = decode_flac(there), decode_flac(here)
    if rate != other or len(left) != len(right):
        return f"{len(left) / rate:.3f} s at {rate} Hz, made again {len(right) / other:.3f} s at {other} Hz"
    noise, signal = float(np.mean((left - right) ** 2)), float(np.mean(right**2))
    return f"the difference lies {10 * np.log10(signal / noise):.0f} dB below the speech" if signal else "one is silent"
