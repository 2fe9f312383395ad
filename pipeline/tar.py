"""Tar files of shards: the bytes that `webdataset.TarWriter` writes, hashed and indexed on the way out, and read back.

So a shard is written once and not read again, and its writer needs no torch, which webdataset imports. Whoever wrote
a tar that is read is not trusted: every reader opens it by `open_tar`.
"""

from __future__ import annotations

import hashlib
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.files import fsync, replacing

INDEX = "v1.2"
"""Of DALI's wds2idx format."""
MAX_MEMBER_BYTES = 1 << 28
MAX_MEMBERS = 1 << 10  # of one dialogue


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


class _Plain(tarfile.TarInfo):
    """A member as `pack` writes it; any other is refused before `tarfile` does what its header says.

    Links and devices, but also what `tarfile` would follow on its own, by recursion and without limits: headers of long
    names, of pax records and of files with holes. Names and sizes of our members need none of them.
    """

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> _Plain:
        """See `tarfile.TarInfo.frombuf`.

        Raises:
            tarfile.TarError: It is no plain file with a plain name, or larger than any member of a dialogue.
        """
        member = super().frombuf(buf, encoding, errors)
        plain = "/" not in member.name and member.name.isprintable()  # nor is what was no UTF-8 printable
        if not plain or member.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise tarfile.TarError(f"member {member.name!r} is not a plain file with a plain name")
        if not 0 <= member.size <= MAX_MEMBER_BYTES:
            raise tarfile.TarError(
                f"member {member.name!r} claims {member.size:,} bytes; {MAX_MEMBER_BYTES:,} are the most"
            )
        return member


def open_tar(source: Path | Any) -> tarfile.TarFile:
    """Open a tar of ours to read it: a file, or a stream that has `read`, once through.

    Here and from the members that follow, what is no tar, or none of plain files, is told by one kind of error.

    Raises:
        OSError: It cannot be read.
        tarfile.TarError: As said; see `_Plain`.
    """
    if isinstance(source, Path):
        return tarfile.open(source, "r:", tarinfo=_Plain, encoding="utf-8")
    return tarfile.open(fileobj=source, mode="r|", tarinfo=_Plain, encoding="utf-8")


def tar_samples(archive: tarfile.TarFile) -> Iterator[tuple[str, dict[str, bytes]]]:
    """Consecutive members of one key, by extension.

    Args:
        archive: Of `open_tar`.

    Raises:
        tarfile.TarError: As `open_tar`; or a dialogue has too many members, or one of them twice.
    """
    current, members = "", dict[str, bytes]()
    for member in archive:
        key, _, extension = member.name.partition(".")
        if key != current and members:
            yield current, members
            members = {}
        current = key
        if extension in members:
            raise tarfile.TarError(f"member {member.name!r} stands twice")
        if len(members) == MAX_MEMBERS:
            raise tarfile.TarError(f"dialogue {key!r} has more than {MAX_MEMBERS:,} members")
        members[extension] = member_bytes(archive, member)
    if members:
        yield current, members


def member_bytes(archive: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    """What a member of an archive of `open_tar` holds.

    Raises:
        tarfile.TarError: The tar ends before.
    """
    stream = archive.extractfile(member)
    assert stream is not None, "it is a plain file"
    return stream.read()


def index_tar(path: Path) -> str:
    """Byte offsets of a shard's members, a line a sample, in DALI's wds2idx format (v1.2).

    `v1.2 <samples>`, then per sample `<extension> <offset> <bytes> <member>` for each member, in tar order.

    Raises:
        OSError, tarfile.TarError: As `open_tar`.
    """
    lines: dict[str, list[str]] = {}
    with open_tar(path) as archive:
        for member in archive:
            key, _, extension = member.name.partition(".")
            lines.setdefault(key, []).append(f"{extension} {member.offset_data} {member.size} {member.name}")
    return _index([" ".join(items) for items in lines.values()])
