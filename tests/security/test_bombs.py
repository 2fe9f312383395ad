"""Inputs that claim, or hold, more than fits: each is refused in a sentence, and memory stays flat."""

from __future__ import annotations

import gzip
import io
import resource
import subprocess
import sys
import tarfile
import textwrap
from pathlib import Path

import numpy as np
import pytest
import soundfile
from conftest import ROOT

from manifests.errors import UserError
from manifests.sound import MAX_SAMPLES, read_sound, read_tokens
from manifests.yamlfile import MAX_BYTES, load_yaml
from pipeline.audio import decode_flac
from pipeline.inspect import read_documents
from pipeline.tar import open_tar, tar_samples

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{name}: &{name} [{', '.join([f'*{before}'] * 10)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "text", [BOMB, "a: &a [*a]\n", "a: &a {b: *a}\n", "base: &a {x: 1}\nb: &b {<<: [*a, *a]}\nc: {<<: *c}\n"]
)
def test_aliases_that_multiply_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "bomb.yaml").write_text(text)
    with pytest.raises(UserError, match=r"bomb\.yaml.*is not valid YAML"):
        load_yaml(tmp_path / "bomb.yaml")


def test_an_alias_or_two_are_fine(tmp_path: Path) -> None:
    (tmp_path / "fine.yaml").write_text("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}\n")
    assert load_yaml(tmp_path / "fine.yaml") == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 5_000, "- " * 50_000])
def test_yaml_that_is_too_deep_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "deep.yaml").write_text(text)
    with pytest.raises(UserError, match=r"deep\.yaml"):
        load_yaml(tmp_path / "deep.yaml")


def test_yaml_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "large.yaml").open("wb") as stream:
        stream.truncate(MAX_BYTES + 1)
    with pytest.raises(UserError, match="is larger than 16 MiB"):
        load_yaml(tmp_path / "large.yaml")


def flac(seconds: float) -> bytes:
    stream = io.BytesIO()
    soundfile.write(stream, np.zeros(round(seconds * 16000), np.int16), 16000, format="FLAC", subtype="PCM_16")
    return stream.getvalue()


def claiming(samples: int) -> bytes:
    """A short FLAC whose header says that it holds so many samples (36 bits of STREAMINFO, from bit 108)."""
    data = bytearray(flac(1))
    data[21] = data[21] & 0xF0 | samples >> 32
    data[22:26] = (samples & 0xFFFFFFFF).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize("samples", [MAX_SAMPLES + 1, 2**36 - 1])
def test_flac_headers_that_claim_too_much_are_refused(samples: int) -> None:
    for read in (decode_flac, read_sound):
        with pytest.raises(ValueError, match="the audio claims"):
            read(claiming(samples))


def test_flac_that_truly_holds_too_much_is_refused_before_it_is_decoded() -> None:
    data = flac((MAX_SAMPLES + 16000) / 16000)
    assert len(data) < 2_000_000, "silence packs well"
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(ValueError, match="the audio claims"):
        decode_flac(data)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # kB; decoded it takes 268 MB


@pytest.mark.parametrize("shape", [f"({10**14},)", "(3000000000,)", "(-1,)", "(3, 1)", "()"])
def test_arrays_that_claim_other_than_they_hold_are_refused(shape: str) -> None:
    stream = io.BytesIO()
    np.lib.format.write_array_header_1_0(stream, {"descr": "<i4", "fortran_order": False, "shape": (3,)})
    head = stream.getvalue().replace(b"(3,)", shape.encode())
    head = head[:8] + (len(head) - 10).to_bytes(2, "little") + head[10:]
    with pytest.raises(ValueError, match=r"are no array|header cannot be read"):
        read_tokens(head + bytes(12))


def archive(folder: Path, info: tarfile.TarInfo, data: bytes = b"") -> Path:
    path = folder / "bomb.tar"
    with path.open("wb") as stream:
        stream.write(info.tobuf(tarfile.GNU_FORMAT) + data.ljust(-(-len(data) // 512) * 512, b"\0") + bytes(1024))
    return path


def members(path: Path) -> list[str]:
    with open_tar(path) as tar:
        return [key for key, _ in tar_samples(tar)]


@pytest.mark.parametrize("size", [2**28 + 1, 2**40, 2**62])
def test_tar_members_that_claim_too_much_are_refused(tmp_path: Path, size: int) -> None:
    info = tarfile.TarInfo("a.json")
    info.size = size
    path = archive(tmp_path, info)
    with pytest.raises(tarfile.TarError, match="claims"):
        members(path)
    with pytest.raises(UserError, match="cannot be read as a shard"):
        list(read_documents(path))


def test_files_with_holes_are_refused(tmp_path: Path) -> None:
    """A sparse member of half a kilobyte stands for as many zeros as its header likes."""
    info = tarfile.TarInfo("a.json")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, 512
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[386:410] = b"00000000000\0" + b"00000001000\0"
    block[483:495] = b"77777777777\0"  # 8 GiB when unpacked
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    path = tmp_path / "holes.tar"
    path.write_bytes(bytes(block) + bytes(512 + 1024))
    with tarfile.open(path) as tar:
        assert tar.getmembers()[0].size == 8**11 - 1, "it is what is meant"
    with pytest.raises(tarfile.TarError, match="is not a plain file"):
        members(path)


def test_a_gzip_bomb_is_read_line_by_line(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "bomb.jsonl.gz", "wb", compresslevel=9) as stream:
        for _ in range(1024):
            stream.write(bytes(1 << 20))
    program = f"""
        from pathlib import Path
        from pipeline.ingest.tables import json_rows
        assert not any(json_rows(Path({str(tmp_path / "bomb.jsonl.gz")!r})))
        # Not getrusage's, which a child inherits from who starts it.
        print(*[line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")])
    """
    command = [sys.executable, "-c", textwrap.dedent(program)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    assert int(done.stdout) < 300_000, "kB, of a gigabyte"


def test_parquet_that_holds_other_than_its_record_says_is_refused(tmp_path: Path) -> None:
    """A column of one value a billion times takes a few bytes; the number of rows is told by the record."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from targets import KEY, SOURCE

    from manifests.ids import canonical_json
    from manifests.ledger import Ledger

    cells = tmp_path / "stages" / "source"
    cells.mkdir(parents=True)
    many = 2_000_000
    texts = {name: pa.array([""] * many) for name in ("id", "row_key", "error", "text")}
    columns = {**texts, "turn": pa.array(np.zeros(many, np.int32)), "audio": pa.nulls(many, pa.large_binary())}
    table = pa.table({name: columns[name].cast(SOURCE.field(name).type) for name in SOURCE.names}, schema=SOURCE)
    data = cells / f"part-0000@{KEY}.000000000000.parquet"
    pq.write_table(table, data, compression="zstd")
    size = data.stat().st_size
    assert size < 100_000
    fields = {"stage": "source", "part": 0, "key": KEY, "data": data.name, "sha256": "0" * 64, "size": size}
    record = canonical_json({**fields, "rows": 2, "failures": [], "metrics": {}, "format": 1})
    (cells / f"part-0000@{KEY}.json").write_bytes(record)
    ledger = Ledger(tmp_path)
    found = ledger.find("source", 0, KEY)
    assert found is not None
    with pytest.raises(UserError, match=r"cannot be read \(it holds 2000000 rows"):
        ledger.load(found)
