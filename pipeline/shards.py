"""`shard`: kept dialogues to WebDataset shards that other people's loaders read.

    shards/<key>/train-1turn-00000.tar       members <id>.<turn>.query.flac, <id>.<turn>.reply.flac,
                                             <id>.<turn>.reply_tokens.npy, <id>.json
    shards/<key>/train-1turn-00000.tar.idx   byte offsets of the members (DALI's wds2idx format, v1.2)
    shards/<key>/dataset.json                shards with rows, bytes and sha256; engines; labels
    shards/<key>/checksums.sha256            for `sha256sum -c`
    shards/current -> <key>

A shard is one split, one turn count and a fixed set of parts, so that a flipped verdict rewrites one shard.
Member order, mtime and owner are fixed: equal rows give equal bytes.
"""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manifests.files import fsync, read_checksums, sha256, temporary, write_atomic, write_checksums, writing
from manifests.ids import canonical_json, content_hash
from manifests.labels import SPLITS
from manifests.ledger import Ledger
from pipeline.join import by_dialogue, join_rows
from pipeline.sample import sample_columns, sample_json
from pipeline.select import Records, kept_ids, point_current, set_aside, verdicts
from pipeline.tar import index_tar, pack

if TYPE_CHECKING:
    from pipeline.dag import Dag

VERSION = 5


@dataclass(frozen=True)
class ShardJob:
    """One shard of a layout; the layout itself is in `folder`/layout.json."""

    folder: str
    select: str
    number: int


@dataclass(frozen=True)
class ShardRecord:
    """A finished shard."""

    name: str
    split: str
    num_turns: int
    rows: int
    size: int
    sha256: str
    key: str
    query_seconds: float
    reply_seconds: float


def lay_out(dag: Dag, select: Path, records: Records) -> list[dict[str, Any]]:
    """Which shards there are, and what each is made of.

    The number of shards of a split follows from its planned dialogues, never from verdicts, so that editing a
    threshold moves no dialogue to another shard.
    """
    planned: dict[tuple[str, int], int] = {}
    for part in records:
        table = verdicts(select, part, ["split", "num_turns"]).to_pylist()
        for row in table:
            group = (row["split"], row["num_turns"])
            planned[group] = planned.get(group, 0) + 1
    identities = [stage.identity() for stage in dag.stages]
    # Licence and consent stand in the JSON of every recorded dialogue.
    corpora = [[about.name, about.licence, about.consent] for about in dag.planner.real.abouts.values()]
    votes = sorted(dag.manifest.select.vote.items())  # what was agreed on stands in the think tag
    layout = []
    for split, num_turns in sorted(planned, key=lambda group: (SPLITS.index(group[0]), group[1])):
        count = 1
        while planned[split, num_turns] / count > dag.manifest.shard.rows and count < len(records):
            count *= 2
        for number in range(count):
            parts = [part for part in sorted(records) if part % count == number]
            kept = {part: kept_ids(select, part, split, num_turns) for part in parts}
            parts = [part for part in parts if kept[part]]
            if not parts:
                continue
            cells = {part: {stage: records[part][stage].key for stage in records[part]} for part in parts}
            content = [[kept[part], [records[part][stage].sha256 for stage in sorted(records[part])]] for part in parts]
            layout.append({
                "name": f"{split}-{num_turns}turn-{number:05d}",
                "split": split,
                "num_turns": num_turns,
                "rows": sum(map(len, kept.values())),
                "cells": {str(part): cells[part] for part in parts},
                "key": content_hash([VERSION, identities, corpora, content, *votes]),
            })  # fmt: skip
    return layout


def write_shard(dag: Dag, ledger: Ledger, job: ShardJob) -> ShardRecord:
    """Write one shard of a layout and its record, or return the record that is there."""
    folder = Path(job.folder)
    spec = json.loads((folder / "layout.json").read_text())[job.number]
    record_path = folder / f"{spec['name']}.json"
    if _is_of(record_path, spec):
        return _record(record_path)
    for part, keys in spec["cells"].items():
        for stage, key in keys.items():
            if (cell := ledger.find(stage, int(part), key)) is not None:
                ledger.check(cell)
    seconds = [0.0, 0.0]
    with writing(folder):
        path = folder / f"{spec['name']}.tar"
        packed = pack(path, _counted(shard_samples(dag, ledger, Path(job.select), spec), seconds))
        write_atomic(path.with_name(path.name + ".idx"), packed.index.encode())
    record = ShardRecord(
        name=path.name,
        split=spec["split"],
        num_turns=spec["num_turns"],
        rows=spec["rows"],
        size=packed.size,
        sha256=packed.sha256,
        key=spec["key"],
        query_seconds=round(seconds[0], 3),
        reply_seconds=round(seconds[1], 3),
    )
    write_atomic(record_path, canonical_json(asdict(record)))
    return record


def shard_samples(dag: Dag, ledger: Ledger, select: Path, spec: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Samples of one shard of a layout, part by part; one part's audio is in memory at a time."""
    columns = sample_columns(dag)
    for part in sorted(map(int, spec["cells"])):
        keys = spec["cells"][part] if part in spec["cells"] else spec["cells"][str(part)]
        wanted = set(kept_ids(select, part, spec["split"], spec["num_turns"]))
        found = [ledger.find(stage, part, key) for stage, key in keys.items()]
        records = [record for record in found if record]
        assert len(records) == len(keys), f"cells of part {part} vanished while shards were written"
        for turns, _ in by_dialogue(*join_rows(ledger, records, columns)):
            if turns[0]["id"] not in wanted:
                continue
            sample: dict[str, Any] = {"__key__": turns[0]["id"], "json": canonical_json(sample_json(dag, turns))}
            yield sample | members_of(turns)


def members_of(turns: Sequence[Mapping[str, Any]]) -> dict[str, bytes]:
    """Sound and tokens of a dialogue by the names that they have in a shard, without the id."""
    members = {}
    for row in turns:
        members[f"{row['turn']}.query.flac"] = row["speak_query.audio"]
        members[f"{row['turn']}.reply.flac"] = row["speak_reply.audio"]
        members[f"{row['turn']}.reply_tokens.npy"] = _npy(row["tokenize.reply_tokens"])
    return members


def _counted(samples: Iterable[dict[str, Any]], seconds: list[float]) -> Iterator[dict[str, Any]]:
    """Pass samples on, adding up the seconds of query and reply."""
    for sample in samples:
        for turn in json.loads(sample["json"])["turns"]:
            seconds[0] += turn["query"]["seconds"]
            seconds[1] += turn["reply"]["seconds"]
        yield sample


def _npy(tokens: Sequence[int]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.asarray(tokens, np.int32), allow_pickle=False)
    return stream.getvalue()


def reuse_shards(root: Path, folder: Path, layout: Sequence[Mapping[str, Any]]) -> list[int]:
    """Hard-link shards whose content is in an earlier set; return the numbers that are left to write.

    A damaged shard, or one whose record is, is not passed on, and one that is being built is begun anew.
    """
    have = {record.key: path for path, record in _finished(root)}
    left = []
    for number, spec in enumerate(layout):
        record = folder / f"{spec['name']}.json"
        if record.exists() and not _is_of(record, spec):
            record.unlink()
        old = have.get(spec["key"])
        if not record.exists() and old is not None:
            tar = folder / f"{spec['name']}.tar"
            link(old.with_suffix(".tar"), tar)
            write_atomic(tar.with_name(tar.name + ".idx"), index_tar(tar).encode())
            write_atomic(record, canonical_json({**asdict(_record(old)), "name": tar.name}))
        if not record.exists():
            left.append(number)
    return left


def _record(path: Path) -> ShardRecord:
    """The record in a file.

    Raises:
        OSError: It cannot be read.
        ValueError: It is no record.
    """
    try:
        return ShardRecord(**json.loads(path.read_text()))
    except TypeError as error:
        raise ValueError(f"{path}: is no record of a shard ({error})") from error


def _finished(root: Path) -> Iterator[tuple[Path, ShardRecord]]:
    """Records of shards in finished sets, those set aside as damaged too, that are to the bit what they were."""
    for listing in sorted(root.glob("*/checksums.sha256")):
        with suppress(ValueError, OSError):
            digests = read_checksums(listing.read_bytes())
            for path in sorted(listing.parent.glob("*turn-*.json")):
                tar = path.with_suffix(".tar")
                with suppress(ValueError, KeyError, OSError):
                    if sha256(path) == digests[path.name] and sha256(tar) == digests[tar.name]:
                        yield path, _record(path)


def _is_of(path: Path, spec: Mapping[str, Any]) -> bool:
    """Whether a shard that is being built is there with its index, whole, and the one that the layout asks for."""
    with suppress(ValueError, OSError):
        record, tar = _record(path), path.with_suffix(".tar")
        wanted = {name: spec[name] for name in ("split", "num_turns", "rows", "key")} | {"name": tar.name}
        whole = (record.size, record.sha256) == (tar.stat().st_size, sha256(tar))
        indexed = whole and tar.with_name(tar.name + ".idx").read_bytes() == index_tar(tar).encode()
        return indexed and wanted.items() <= asdict(record).items()
    return False


def open_layout(dag: Dag, run: Path, layout: Sequence[Mapping[str, Any]]) -> tuple[Path, Path]:
    """The folder that a layout will have when finished, and the one in which it is built."""
    root, key = run / "shards", layout_key(dag, layout)
    final, building = root / key, root / f"building-{key}"
    if final.exists() and not _intact(final):
        set_aside(final)
    if not final.exists():
        with writing(building):
            building.mkdir(parents=True, exist_ok=True)
        write_atomic(building / "layout.json", canonical_json(list(layout)))
    return final, building


def layout_key(dag: Dag, layout: Sequence[Mapping[str, Any]]) -> str:
    """Names the set of shards: their content, and what `dataset.json` says of them all."""
    return content_hash([describe(dag, []), [[spec["name"], spec["key"]] for spec in layout]])


def _intact(folder: Path) -> bool:
    """Whether every file of a finished set is there with the sha256 that it had."""
    try:
        digests = read_checksums((folder / "checksums.sha256").read_bytes())
        return all(sha256(folder / name) == digest for name, digest in digests.items())
    except (OSError, ValueError):
        return False


def finish_layout(dag: Dag, final: Path, building: Path, layout: Sequence[Mapping[str, Any]]) -> None:
    """Write what describes the set, give it its final name and make it current.

    The finished files are linked into a folder of their own: a worker that outlived a killed driver may still be
    writing in the one where they were built.
    """
    if not final.exists():
        records = [json.loads((building / f"{spec['name']}.json").read_text()) for spec in layout]
        names = sorted(f"{spec['name']}{tail}" for spec in layout for tail in (".tar", ".tar.idx", ".json"))
        with writing(final):
            spare = temporary(final)
            spare.mkdir()
            for name in names:
                link(building / name, spare / name)
            write_atomic(spare / "dataset.json", canonical_json(describe(dag, records)))
            hashes = {record["name"]: record["sha256"] for record in records}
            digests = {name: hashes.get(name) or sha256(spare / name) for name in [*names, "dataset.json"]}
            write_atomic(spare / "checksums.sha256", write_checksums(digests))
            os.rename(spare, final)
            fsync(final.parent)
    shutil.rmtree(building, ignore_errors=True)
    point_current(final.parent, final.name)


def link(source: Path, target: Path) -> None:
    """Hard-link, or copy where the file system has no links."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def describe(dag: Dag, records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    shards = [{key: record[key] for key in record if key != "key"} for record in records]
    return {
        "format": "echat-shards",
        "version": VERSION,
        "name": dag.manifest.name,
        "language": dag.manifest.language,
        "publishable": dag.publishable,
        "rows": sum(shard["rows"] for shard in shards),
        "seconds": round(sum(shard["query_seconds"] + shard["reply_seconds"] for shard in shards), 3),
        "splits": {
            split: {
                "rows": sum(shard["rows"] for shard in shards if shard["split"] == split),
                "shards": [shard["name"] for shard in shards if shard["split"] == split],
            }
            for split in SPLITS
        },
        "shards": shards,
        "engines": {stage.name: list(stage.revisions) for stage in dag.stages},
        "licences": {
            **{stage.name: [engine.licence for engine in stage.engines] for stage in dag.stages},
            "voices": dag.planner.licences,
            "corpora": {about.name: about.licence for about in dag.planner.real.abouts.values()},
            "events": list(dag.by_name["speak_query"].engine.event_licences),  # type: ignore[attr-defined]
        },
    }
