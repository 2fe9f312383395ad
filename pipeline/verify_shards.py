"""Verifying a folder of shards by itself: checksums, index, members, JSON, audio, splits."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from manifests.files import read_checksums, sha256
from manifests.sound import read_tokens
from pipeline.audio import decode_flac
from pipeline.tar import index_tar, open_tar, tar_samples


@dataclass(frozen=True)
class Finding:
    """One broken promise: in which file, at which row (or ""), and what is wrong."""

    file: str
    row: str
    problem: str

    def __str__(self) -> str:
        return f"{self.file}{f' [{self.row}]' if self.row else ''}: {self.problem}"


def verify_shards(folder: Path, deep: bool, kept: dict[str, str] | None = None) -> Iterator[Finding]:
    """Verify a folder of shards.

    Args:
        folder: Holds `dataset.json`, `checksums.sha256`, tars and their indices.
        deep: Decode every audio member and token array.
        kept: Kept dialogues with their split, if the run is at hand; each must be in one shard.
    """
    try:
        dataset = json.loads((folder / "dataset.json").read_text())
        checksums = read_checksums((folder / "checksums.sha256").read_bytes())
        shards = dataset["shards"]
        listed_shards = {shard["name"]: shard for shard in shards}
        totals = (
            dataset["rows"],
            sum(shard["rows"] for shard in shards),
            sum(split["rows"] for split in dataset["splits"].values()),
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        yield Finding(str(folder), "", f"dataset.json or checksums.sha256 cannot be read ({error})")
        return
    outside = [name for name in (*checksums, *listed_shards) if not _inside(name)]
    if outside:
        yield Finding(str(folder), str(outside[0]), "is no name of a file inside the set")
        return
    for name, digest in checksums.items():
        path = folder / name
        try:
            if not path.is_file():
                yield Finding(str(path), "", "is missing")
            elif sha256(path) != digest:
                yield Finding(str(path), "", "the sha256 is not the listed one")
        except OSError as error:  # a name longer than a file's may be, say
            yield Finding(str(path), "", f"cannot be read ({error.strerror or error})")
    listed = {*checksums, "checksums.sha256"}
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        if str(path.relative_to(folder)) not in listed:
            yield Finding(str(path), "", "is not listed in checksums.sha256")
        elif path.suffix == ".tar" and path.name not in listed_shards:
            yield Finding(str(path), "", "is not listed in dataset.json")
    if len(set(totals)) > 1:
        yield Finding(str(folder / "dataset.json"), "", f"the rows do not add up: {totals}")
    seen: dict[str, str] = {}
    homes: dict[tuple[str, str], str] = {}
    for shard in shards:
        yield from _check_shard(folder / shard["name"], shard, deep, seen, homes)
    if kept is not None:
        for name in sorted(kept.keys() - seen.keys()):
            yield Finding(str(folder), name, "was kept but is in no shard")
        for name in sorted(seen.keys() - kept.keys()):
            yield Finding(str(folder), name, "is in a shard but was not kept")


def _check_shard(
    path: Path, shard: dict[str, Any], deep: bool, seen: dict[str, str], homes: dict[tuple[str, str], str]
) -> Iterator[Finding]:
    rows = 0
    try:
        if not path.is_file():
            yield Finding(str(path), "", "is listed in dataset.json and missing")
            return
        if (path.stat().st_size, sha256(path)) != (shard.get("size"), shard.get("sha256")):
            yield Finding(str(path), "", "is not of the size or sha256 that dataset.json says")
        if index_tar(path).encode() != path.with_name(path.name + ".idx").read_bytes():
            yield Finding(str(path), "", "the index does not fit the tar")
        with open_tar(path) as archive:
            for key, members in tar_samples(archive):
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


def _inside(name: Any) -> bool:
    """Whether what somebody wrote is a name, and stays in the folder where it is looked for."""
    return isinstance(name, str) and not name.startswith("/") and ".." not in name.split("/") and name.isprintable()


def _check_sample(
    key: str, members: dict[str, bytes], shard: dict[str, Any], deep: bool, homes: dict[tuple[str, str], str]
) -> Iterator[str]:
    try:
        document = json.loads(members["json"])
        turns = document["turns"]
        if document["id"] != key or document["split"] != shard["split"] or len(turns) != shard["num_turns"]:
            yield "the JSON has another id, split or turn count"
        if [document["num_turns"], *(turn["turn"] for turn in turns)] != [len(turns), *range(len(turns))]:
            yield "the turns are not in order, from 0"
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
    except (
        LookupError, ArithmeticError, ValueError, TypeError, RuntimeError, EOFError, AttributeError, MemoryError
    ) as error:  # fmt: skip
        yield f"cannot be read ({type(error).__name__}: {error})"


def _check_audio(members: dict[str, bytes], turn: dict[str, Any]) -> Iterator[str]:
    for role in ("query", "reply"):
        samples, rate = decode_flac(members[f"{turn['turn']}.{role}.flac"])
        seconds = len(samples) / rate
        if rate != turn[role]["sample_rate"] or abs(seconds - turn[role]["seconds"]) > 1e-3:
            yield f"the {role} lasts {seconds:.4f} s at {rate} Hz, other than the JSON says"
        if not np.isfinite(samples).all() or not samples.any():
            yield f"the {role} is silent or not finite"
    tokens = read_tokens(members[f"{turn['turn']}.reply_tokens.npy"])
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
