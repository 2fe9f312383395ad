"""`echat verify`: does the dataset keep its promises? Every finding names file and row."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests import schema
from manifests.errors import UserError
from manifests.files import sha256
from manifests.ids import bucket, dialogue_id
from manifests.ledger import CellRecord, Ledger
from manifests.run import load_run
from pipeline.audio import decode_flac
from pipeline.join import by_dialogue
from pipeline.verdict import KEPT, VERDICTS


@dataclass(frozen=True)
class Finding:
    """One broken promise: in which file, at which row (or ""), and what is wrong."""

    file: str
    row: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}{f' [{self.row}]' if self.row else ''}: {self.problem}"


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
    from pipeline.build import Grid
    from pipeline.dag import build_dag

    dag = build_dag(load_run(run / "run.yaml"), run / "run.yaml")
    ledger = Ledger(run)
    key = dag.plan.cell_key([])
    found = [ledger.find("plan", part, key) for part in range(dag.planner.num_parts)]
    plan = [record for record in found if record]
    if len(plan) < len(found):
        return [Finding(str(ledger.folder("plan")), "", "parts of the plan are missing: run build again")]
    grid = Grid(dag, ledger, plan)
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
    select, shards = run / "select" / "current", run / "shards" / "current"
    if not select.exists() or not shards.exists():
        return [*findings, Finding(str(run), "", "has no finished shards: run build again")]
    kept, problems = _check_verdicts(select, ids)
    findings += problems
    return [*findings, *verify_shards(shards, deep, kept)]


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


def _check_verdicts(select: Path, ids: dict[int, list[tuple[str, int]]]) -> tuple[dict[str, str], list[Finding]]:
    """planned = kept + rejected + quarantined; kept ids with their split."""
    from pipeline.select import load_statistics, verdicts

    kept: dict[str, str] = {}
    findings: list[Finding] = []
    total = 0
    for part, rows in ids.items():
        file = str(select / f"part-{part:04d}.parquet")
        table = verdicts(select, part).to_pylist()
        total += len(table)
        if [row["id"] for row in table] != list(dict.fromkeys(name for name, _ in rows)):
            findings.append(Finding(file, "", "the dialogues are not those of the plan"))
        for row in table:
            if row["verdict"] not in VERDICTS or (row["verdict"] == "rejected") != bool(row["reasons"]):
                findings.append(Finding(file, row["id"], f"the verdict {row['verdict']!r} does not fit its reasons"))
            if row["verdict"] == KEPT:
                kept[row["id"]] = row["split"]
    counted = load_statistics(select)["verdict"]
    if sum(counted.values()) != total or counted.get(KEPT, 0) != len(kept):
        findings.append(Finding(str(select), "", f"planned {total} is not the sum of {counted}"))
    return kept, findings


def verify_shards(folder: Path, deep: bool, kept: dict[str, str] | None = None) -> Iterator[Finding]:
    """Verify a folder of shards.

    Args:
        folder: Holds `dataset.json`, `checksums.sha256`, tars and their indices.
        deep: Decode every audio member and token array.
        kept: Kept dialogues with their split, if the run is at hand; each must be in one shard.
    """
    try:
        dataset = json.loads((folder / "dataset.json").read_text())
        checksums = [line.split("  ", 1) for line in (folder / "checksums.sha256").read_text().splitlines()]
        shards = dataset["shards"]
    except (OSError, ValueError, KeyError) as error:
        yield Finding(str(folder), "", f"dataset.json or checksums.sha256 cannot be read ({error})")
        return
    for digest, name in checksums:
        path = folder / name
        if not path.exists():
            yield Finding(str(path), "", "is missing")
        elif sha256(path) != digest:
            yield Finding(str(path), "", "the sha256 is not the listed one")
    listed = {name for _, name in checksums} | {"checksums.sha256"}
    for path in sorted(folder.iterdir()):
        if path.name not in listed:
            yield Finding(str(path), "", "is not listed in checksums.sha256")
    seen: dict[str, str] = {}
    homes: dict[tuple[str, str], str] = {}
    for shard in shards:
        path = folder / shard["name"]
        if path.exists():
            yield from _check_shard(path, shard, deep, seen, homes)
    if kept is not None:
        for name in sorted(kept.keys() - seen.keys()):
            yield Finding(str(folder), name, "was kept but is in no shard")
        for name in sorted(seen.keys() - kept.keys()):
            yield Finding(str(folder), name, "is in a shard but was not kept")


def _check_shard(
    path: Path, shard: dict[str, Any], deep: bool, seen: dict[str, str], homes: dict[tuple[str, str], str]
) -> Iterator[Finding]:
    from pipeline.shards import index_tar

    rows = 0
    try:
        if index_tar(path) != path.with_name(path.name + ".idx").read_text():
            yield Finding(str(path), "", "the index does not fit the tar")
        with tarfile.open(path, "r:") as archive:
            for key, members in _samples(archive):
                rows += 1
                if key in seen:
                    yield Finding(str(path), key, f"stands in {seen[key]} too")
                seen[key] = path.name
                for problem in _check_sample(key, members, shard, deep, homes):
                    yield Finding(str(path), key, problem)
    except (tarfile.TarError, OSError) as error:
        yield Finding(str(path), "", f"cannot be read as a tar ({error})")
    if rows != shard["rows"]:
        yield Finding(str(path), "", f"holds {rows} dialogues where dataset.json says {shard['rows']}")


def _samples(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Consecutive members of one key; refuses anything but plain files with plain names."""
    current, members = "", {}
    for member in archive:
        key, _, extension = member.name.partition(".")
        if not member.isfile() or "/" in member.name:
            raise tarfile.TarError(f"member {member.name!r} is not a plain file with a plain name")
        if key != current and members:
            yield current, members
            members = {}
        current = key
        stream = archive.extractfile(member)
        members[extension] = stream.read() if stream else b""
    if members:
        yield current, members


def _check_sample(
    key: str, members: dict[str, bytes], shard: dict[str, Any], deep: bool, homes: dict[tuple[str, str], str]
) -> Iterator[str]:
    try:
        document = json.loads(members["json"])
        turns = document["turns"]
        if document["id"] != key or document["split"] != shard["split"] or len(turns) != shard["num_turns"]:
            yield "the JSON has another id, split or turn count"
        if b"null" in members["json"] and _has_null(document):
            yield "the JSON holds a null"
        names = {"json"}
        for turn in turns:
            place = turn["turn"]
            names |= {f"{place}.query.flac", f"{place}.reply.flac", f"{place}.reply_tokens.npy"}
            for kind, value in (("scenario", turn["scenario"]), ("speaker", turn["query"]["speaker"])):
                home = homes.setdefault((kind, value), document["split"])
                if home != document["split"]:
                    yield f"{kind} {value!r} is in the splits {home} and {document['split']}"
            if deep:
                yield from _check_audio(members, turn)
        if set(members) != names:
            yield f"the members are {sorted(members)}, not {sorted(names)}"
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        yield f"cannot be read ({type(error).__name__}: {error})"


def _check_audio(members: dict[str, bytes], turn: dict[str, Any]) -> Iterator[str]:
    for role in ("query", "reply"):
        samples, rate = decode_flac(members[f"{turn['turn']}.{role}.flac"])
        seconds = len(samples) / rate
        if rate != turn[role]["sample_rate"] or abs(seconds - turn[role]["seconds"]) > 1e-3:
            yield f"the {role} lasts {seconds:.4f} s at {rate} Hz, other than the JSON says"
        if not np.isfinite(samples).all() or not samples.any():
            yield f"the {role} is silent or not finite"
    tokens = np.load(io.BytesIO(members[f"{turn['turn']}.reply_tokens.npy"]), allow_pickle=False)
    reply = turn["reply"]
    if tokens.shape != (reply["num_tokens"],) or tokens.dtype != np.int32:
        yield f"the reply tokens have shape {tokens.shape} and type {tokens.dtype}"
    elif tokens.size and not 0 <= tokens.min() <= tokens.max() < reply["codebook_size"]:
        yield "a reply token is outside the codebook"


def _has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_has_null, value.values()))
    if isinstance(value, list):
        return any(map(_has_null, value))
    return value is None
