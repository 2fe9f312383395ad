"""Tar files of shards: the bytes that `webdataset.TarWriter` writes, hashed and indexed on the way out.

So a shard is written once and not read again, and its writer needs no torch, which webdataset imports.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.files import fsync, replacing

INDEX = "v1.2"
"""Of DALI's wds2idx format."""


@dataclass(frozen=True)
class Packed:
    """A finished tar: bytes, sha256, and the text of its index."""

    size: int
    sha256: str
    index: str


def pack(path: Path, samples: Iterable[Mapping[str, Any]]) -> Packed:
    """Write samples to a tar, durably and in one step; equal samples give equal bytes.

    Args:
        samples: `__key__`, and bytes by extension, which become the members `<key>.<extension>` in sorted order.
    """
    digest, lines, place = hashlib.sha256(), [], 0
    with replacing(path) as spare:
        with spare.open("wb", buffering=2**20) as stream:

            def put(data: bytes) -> None:
                stream.write(data)
                digest.update(data)

            for sample in samples:
                key, items = sample["__key__"], []
                for extension in sorted(name for name in sample if name != "__key__"):
                    name, data = f"{key}.{extension}", sample[extension]
                    put(_header(name, len(data)))
                    put(data)
                    put(bytes(-len(data) % tarfile.BLOCKSIZE))
                    items.append(f"{extension} {place + tarfile.BLOCKSIZE} {len(data)} {name}")
                    place += tarfile.BLOCKSIZE * (1 + -(-len(data) // tarfile.BLOCKSIZE))
                lines.append(" ".join(items))
            end = 2 * tarfile.BLOCKSIZE
            put(bytes(end + -(place + end) % tarfile.RECORDSIZE))
        size = spare.stat().st_size
        fsync(spare)
    return Packed(size, digest.hexdigest(), _index(lines))


def _header(name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.size, member.mode, member.uname, member.gname = size, 0o444, "bigdata", "bigdata"
    return member.tobuf(tarfile.USTAR_FORMAT)


def _index(lines: list[str]) -> str:
    return "\n".join([f"{INDEX} {len(lines)}", *lines]) + "\n"


def index_tar(path: Path) -> str:
    """Byte offsets of a shard's members, a line a sample, in DALI's wds2idx format (v1.2).

    `v1.2 <samples>`, then per sample `<extension> <offset> <bytes> <member>` for each member, in tar order.
    """
    lines: dict[str, list[str]] = {}
    with tarfile.open(path, "r:") as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            lines.setdefault(key, []).append(f"{extension} {member.offset_data} {member.size} {member.name}")
    return _index([" ".join(items) for items in lines.values()])
