"""Tars of shards: byte for byte those of webdataset's writer, indexed and hashed as if they were read again."""

from __future__ import annotations

import io
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.files import sha256
from pipeline.tar import index_tar, pack

MEMBERS = st.dictionaries(st.sampled_from(["json", "0.query.flac", "0.reply.flac", "a.npy"]), st.binary(max_size=2000))
SAMPLES = st.lists(MEMBERS.filter(bool), max_size=6)


@settings(deadline=None, max_examples=40)
@given(SAMPLES)
def test_a_tar_is_that_of_webdataset(members: list[dict[str, bytes]]) -> None:
    from webdataset.writer import TarWriter

    samples = [{"__key__": f"{number:020x}", **item} for number, item in enumerate(members)]
    stream = io.BytesIO()
    with TarWriter(stream, encoder=False, compress=False, mtime=0) as writer:
        for sample in samples:
            writer.write(sample)
    with TemporaryDirectory() as folder:
        path = Path(folder) / "x.tar"
        packed = pack(path, samples)
        assert path.read_bytes() == stream.getvalue()
        assert (packed.size, packed.sha256, packed.index) == (path.stat().st_size, sha256(path), index_tar(path))
        assert [item.name for item in Path(folder).iterdir()] == ["x.tar"]


def test_what_fails_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> object:
        yield {"__key__": "a", "json": b"{}"}
        raise RuntimeError("a cell is gone")

    (tmp_path / "x.tar").write_bytes(b"old")
    with pytest.raises(RuntimeError):
        pack(tmp_path / "x.tar", broken())  # type: ignore[arg-type]
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("x.tar", b"old")]
