"""What is fuzzed: readers of manifests, of the ledger and of shards, each given bytes that somebody wrote.

A target returns when the bytes were read, or refused with the documented `UserError`; anything else is a defect, and
leaves it as an exception. `SEEDS` are whole inputs to begin from.
"""

from __future__ import annotations

import atexit
import hashlib
import io
import json
import os
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np
import pyarrow as pa
import soundfile
from conftest import ROOT

from manifests.bank import ScenarioBank
from manifests.errors import UserError
from manifests.files import sha256, write_checksums
from manifests.ids import canonical_json
from manifests.ledger import Ledger
from manifests.run import load_run
from manifests.schema import stage_schema
from manifests.voices import VoiceTable
from manifests.withdrawn import read_withdrawn, withdrawn_path
from pipeline.dag import build_dag
from pipeline.export.source import open_source
from pipeline.inspect import flat, read_documents
from pipeline.tar import index_tar, open_tar, tar_samples
from pipeline.verify_shards import verify_shards

KEY = "0123456789abcdef"
SOURCE = stage_schema(pa.schema([("text", pa.string()), ("audio", pa.large_binary())]))


@cache
def folder() -> Path:
    """A folder in memory, if the machine has such."""
    shm = Path("/dev/shm")
    made = tempfile.mkdtemp(prefix="echat-fuzz-", dir=shm if os.access(shm, os.W_OK) else None)
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)


def manifest(data: bytes) -> None:
    """A run manifest, a scenario bank, a voice table or a list of withdrawals, by the first byte."""
    kind, data = data[:1], data[1:]
    readers: dict[bytes, tuple[str, Callable[[Path], object]]] = {
        b"s": ("scenarios.yaml", lambda path: ScenarioBank.load("en", path)),
        b"v": ("voices.csv", lambda path: VoiceTable.load("tone", path)),
        b"w": (f"inputs/{withdrawn_path(folder()).name}", lambda path: read_withdrawn(path.parents[1])),
    }
    name, read = readers.get(kind, ("run.yaml", lambda path: build_dag(load_run(path), path).planner.counts))
    path = folder() / name
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(data)
    with suppress(UserError):
        read(path)
    path.unlink()


def ledger(data: bytes) -> None:
    """A record, or else the data of a cell whose record is true of it; the first byte says which."""
    kind, data = data[:1], data[1:]
    run = folder() / "run"
    cells = run / "stages" / "source"
    cells.mkdir(parents=True, exist_ok=True)
    record = cells / f"part-0000@{KEY}.json"
    if kind == b"d":
        digest = hashlib.sha256(data).hexdigest()
        name = f"part-0000@{KEY}.{digest[:12]}.parquet"
        (cells / name).write_bytes(data)
        fields = {"stage": "source", "part": 0, "key": KEY, "data": name, "sha256": digest, "size": len(data)}
        record.write_bytes(canonical_json({**fields, "rows": 2, "failures": [], "metrics": {}, "format": 1}))
    else:
        record.write_bytes(data)
    book = Ledger(run)
    with suppress(UserError):
        found = book.find("source", 0, KEY)
        list(book.history("source", [0]))
        if found is not None:
            book.check(found)
            book.load(found, ["id", "turn", "error", "text"])
            book.load(found).to_pylist()
    for path in cells.iterdir():
        path.unlink()


def shards(data: bytes) -> None:
    """A tar in a set that is true of it, its index, dataset.json or checksums.sha256, by the first byte.

    A tar's headers are given their checksums first (`t`), or are as they come (any other byte).
    """
    kind, data = data[:1], data[1:]
    place = folder() / "shards"
    place.mkdir(exist_ok=True)
    for name, content in good_set().items():
        (place / name).write_bytes(content)
    name = {b"i": "train-1turn-00000.tar.idx", b"d": "dataset.json", b"c": "checksums.sha256"}.get(kind, TAR)
    (place / name).write_bytes(with_true_sums(data) if kind == b"t" else data)
    if name == TAR:
        describe(place)
    for finding in verify_shards(place, deep=True):
        assert finding.problem
    for read in (_exported, _trained, _inspected):
        with suppress(UserError):
            read(place)


def _exported(place: Path) -> None:
    for tar in open_source(place).tars:
        for dialogue in tar.dialogues():
            assert dialogue.id


def _trained(place: Path) -> None:
    from model.datasets import ShardDataset

    dataset = ShardDataset(place, "train")
    with suppress(ValueError):
        dataset.load(0)


def _inspected(place: Path) -> None:
    for document in read_documents(place / TAR):
        flat(document)


TAR = "train-1turn-00000.tar"


def with_true_sums(tar: bytes) -> bytes:
    """A tar whose headers have the checksums that they should: any other is refused before the rest is looked at."""
    out, place = bytearray(tar), 0
    while place + tarfile.BLOCKSIZE <= len(out):
        header = out[place : place + tarfile.BLOCKSIZE]
        if any(header):
            header[148:156] = b" " * 8
            out[place + 148 : place + 156] = b"%06o\0 " % sum(header)
        try:
            size = max(0, int(header[124:136].strip(b"\0 ") or b"0", 8))
        except ValueError:
            size = 0
        place += tarfile.BLOCKSIZE * (1 + -(-size // tarfile.BLOCKSIZE))
    return bytes(out)


def odd_tars() -> Iterator[bytes]:
    """Small tars whose names need headers of their own, or are no UTF-8."""
    long = "k" * 120 + ".json"
    for form, name in (
        (tarfile.GNU_FORMAT, long),
        (tarfile.PAX_FORMAT, long),
        (tarfile.USTAR_FORMAT, "k\udcff.json"),
    ):
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w", format=form, encoding="utf-8", errors="surrogateescape") as archive:
            member = tarfile.TarInfo(name)
            member.size = 2
            if form == tarfile.PAX_FORMAT:
                member.pax_headers = {"comment": "ö", "mtime": "0.5", "GNU.sparse.size": "9"}
            archive.addfile(member, io.BytesIO(b"{}"))
        yield stream.getvalue()


def describe(place: Path) -> None:
    """Make the index, dataset.json and checksums.sha256 of a set true of its tar, as a hostile hand would."""
    tar, document = place / TAR, json.loads((place / "dataset.json").read_bytes())
    rows = 0
    with suppress(tarfile.TarError, OSError):
        (place / f"{TAR}.idx").write_text(index_tar(tar))
        with open_tar(tar) as archive:
            for _ in tar_samples(archive):
                rows += 1
    document["shards"][0] |= {"size": tar.stat().st_size, "sha256": sha256(tar), "rows": rows}
    document["splits"]["train"]["rows"] = document["rows"] = rows
    (place / "dataset.json").write_bytes(canonical_json(document))
    names = sorted(path.name for path in place.iterdir() if path.name != "checksums.sha256")
    (place / "checksums.sha256").write_bytes(write_checksums({name: sha256(place / name) for name in names}))


@cache
def good_set() -> dict[str, bytes]:
    """The files of a small set of shards, one shard of it."""
    from tone_runs import build_tones

    with tempfile.TemporaryDirectory() as place:
        out = build_tones(Path(place), plan={"quotas": {"neutral": 2}}).shards
        one = next(shard for shard in json.loads((out / "dataset.json").read_bytes())["shards"] if shard["rows"])
        document = json.loads((out / "dataset.json").read_bytes())
        document["shards"] = [one | {"name": TAR, "split": "train", "rows": 1}]
        document["splits"] = {"train": {"rows": 1, "shards": [TAR]}}
        stem = one["name"].removesuffix(".tar")
        target = Path(place) / "set"
        target.mkdir()
        (target / "dataset.json").write_bytes(canonical_json(document))
        (target / TAR).write_bytes(_one_dialogue(out / f"{stem}.tar"))
        describe(target)
        return {path.name: path.read_bytes() for path in target.iterdir()}


def _one_dialogue(tar: Path) -> bytes:
    """The first dialogue of a shard with short sounds, so that mutations hit more than audio."""
    with open_tar(tar) as archive:
        key, members = next(tar_samples(archive))
    document = json.loads(members["json"]) | {"split": "train"}
    stream = io.BytesIO()
    soundfile.write(stream, np.sin(np.arange(800)) / 4, 16000, format="FLAC", subtype="PCM_16")
    for role in ("query", "reply"):
        document["turns"][0][role] |= {"seconds": 0.05, "sample_rate": 16000}
        members[f"0.{role}.flac"] = stream.getvalue()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name in sorted(members):
            data = canonical_json(document) if name == "json" else members[name]
            info = tarfile.TarInfo(f"{key}.{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def _manifest_seeds() -> Iterator[bytes]:
    runs = ROOT / "manifests" / "runs"
    yield b"r" + (runs / "tone.yaml").read_bytes()
    yield b"r" + (runs / "demo.yaml").read_bytes()
    yield b"s" + (ROOT / "tests" / "data" / "golden_bank.yaml").read_bytes()
    yield b"v" + (ROOT / "manifests" / "voices" / "tone.csv").read_bytes()[:1500]
    yield b'w{"format":1,"takedowns":[]}'


def _ledger_seeds() -> Iterator[bytes]:
    with tempfile.TemporaryDirectory() as place:
        rows = {"id": ["a", "b"], "turn": [0, 0], "row_key": ["k", "k"], "error": ["", ""], "text": ["x", "y"]}
        table = pa.table({**rows, "audio": [b"1", b"2"]}, schema=SOURCE)
        failure = {"id": "a", "turn": 0, "type": "X", "message": "m", "traceback": "t", "attempt": 1}
        book = Ledger(Path(place))
        record = book.commit("source", 0, KEY, table, [failure], {"wall_s": 0.5})
        yield b"r" + book.record_path(record).read_bytes()
        yield b"d" + book.data_path(record).read_bytes()


def _shard_seeds() -> Iterator[bytes]:
    for kind, name in (
        (b"t", TAR),
        (b"r", TAR),
        (b"i", f"{TAR}.idx"),
        (b"d", "dataset.json"),
        (b"c", "checksums.sha256"),
    ):
        yield kind + good_set()[name]
    for data in odd_tars():
        yield b"t" + data


TARGETS: dict[str, Callable[[bytes], None]] = {"manifest": manifest, "ledger": ledger, "shards": shards}
SEEDS: dict[str, Callable[[], Iterator[bytes]]] = {
    "manifest": _manifest_seeds,
    "ledger": _ledger_seeds,
    "shards": _shard_seeds,
}
