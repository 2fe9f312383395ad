"""Tars that no build writes, in sets whose sums all fit: a finding of verify, and a sentence of every other reader."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import echat
from made_set import dialogue, make_set, members, turn

from manifests.errors import UserError
from manifests.files import sha256, write_checksums
from pipeline import rebuild
from pipeline.diff import diff
from pipeline.export.source import open_source
from pipeline.inspect import read_documents
from pipeline.tar import MAX_MEMBERS, index_tar, open_tar, tar_samples
from pipeline.verify import verify

TAR = "train-1turn-00000.tar"


def header(name: bytes, kind: bytes = b"0", size: int = 0, link: bytes = b"") -> bytes:
    """A member's header, to the byte as a hostile hand would write it."""
    info = tarfile.TarInfo("x")
    info.size, info.type = size, kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[:100], block[157:257] = name.ljust(100, b"\0"), link.ljust(100, b"\0")
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def member(name: bytes, data: bytes, kind: bytes = b"0") -> bytes:
    return header(name, kind, len(data)) + data.ljust(-(-len(data) // 512) * 512, b"\0")


def pax(*records: tuple[bytes, bytes], raw: bytes = b"") -> bytes:
    """A header of pax records, and the member that they are about."""
    text = raw
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        length = next(n for n in range(len(rest), len(rest) + 9) if len(b"%d" % n) + len(rest) == n)
        text += b"%d" % length + rest
    return member(b"pax", text, b"x") + member(b"b.json", b"{}")


HOSTILE = {
    "a name that is no UTF-8": member(b"caf\xe9.json", b"{}"),
    "a name of two lines": member(b"a\nb.json", b"{}"),
    "a name that clears a terminal": member(b"\x1b[2J.json", b"{}"),
    "a path": member(b"../b.json", b"{}"),
    "a symbolic link": header(b"b.json", b"2", 0, b"/etc/passwd"),
    "a hard link": header(b"b.json", b"1", 0, b"a.json"),
    "a device of characters": header(b"b.json", b"3"),
    "a device of blocks": header(b"b.json", b"4"),
    "a pipe": header(b"b.json", b"6"),
    "a folder": header(b"b.json", b"5"),
    "a kind that is none": header(b"b.json", b"q"),
    "longer than any member": header(b"b.json", b"0", 2**60),
    "shorter than nothing": header(b"b.json", b"0", -1024),
    "2,000 long names": member(b"././@LongLink", b"b.json\0", b"L") * 2000 + member(b"b.json", b"{}"),
    "a long name of exabytes": header(b"././@LongLink", b"L", 2**62),
    "holes that are cut off": header(b"b.json", b"S"),
    "pax: holes of no number": pax((b"GNU.sparse.size", b"abc")),
    "pax: a map of no numbers": pax((b"GNU.sparse.map", b"a,b")),
    "pax: holes without a map": pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0")),
    "pax: a size of 30 digits": pax((b"size", b"9" * 30)),
    "pax: a size below nothing": pax((b"size", b"-1024")),
    "pax: a length of 20 digits": pax(raw=b"9" * 20 + b" a=b\n"),
    "pax: a length of 5,000 digits": pax(raw=b"9" * 5000 + b" a=b\n"),
}


def seal(folder: Path) -> Path:
    """Make every sum and count of a set fit its tar, whatever that is."""
    document, tar = json.loads((folder / "dataset.json").read_text()), folder / TAR
    document["shards"][0] |= {"size": tar.stat().st_size, "sha256": sha256(tar)}
    document["splits"] = {"train": {"rows": document["rows"], "shards": [TAR]}}
    (folder / "dataset.json").write_text(json.dumps(document))
    names = sorted(path.name for path in folder.iterdir() if path.name != "checksums.sha256")
    (folder / "checksums.sha256").write_bytes(write_checksums({name: sha256(folder / name) for name in names}))
    return folder


@pytest.fixture
def good(tmp_path: Path) -> Path:
    """A set of one dialogue that verifies."""
    folder = make_set(tmp_path / "set", [dialogue("a", [turn() | {"scenario": "s"}])])
    (folder / f"{TAR}.idx").write_text(index_tar(folder / TAR))
    assert verify(seal(folder)) == []
    return folder


def exported(folder: Path) -> None:
    for tar in open_source(folder).tars:
        list(tar.dialogues())


def rebuilt(folder: Path) -> None:
    rebuild._draw([folder / TAR], 1, 1)


def drained(folder: Path) -> None:
    with open_tar(folder / TAR) as archive:
        list(tar_samples(archive))


READERS: tuple[Callable[[Path], object], ...] = (
    exported, rebuilt, lambda folder: list(read_documents(folder / TAR)), lambda folder: diff(folder, folder),
)  # fmt: skip


@pytest.mark.parametrize("first", [True, False], ids=["first", "last"])
@pytest.mark.parametrize("what", HOSTILE)
def test_members_that_no_build_writes_are_refused_by_every_reader(good: Path, what: str, first: bool) -> None:
    fine = b"".join(member(name.encode(), data) for name, data in members(dialogue("a")).items())
    parts = [HOSTILE[what], fine] if first else [fine, HOSTILE[what]]
    (good / TAR).write_bytes(b"".join(parts) + bytes(1024))
    assert any("cannot be read as a tar" in finding.problem for finding in verify(seal(good)))
    with pytest.raises(tarfile.TarError):
        drained(good)
    for read in READERS:
        with pytest.raises(UserError, match="cannot be read as a shard"):
            read(good)
    result = echat("verify", good)
    assert result.returncode == 1 and f"{TAR}: cannot be read as a tar" in result.stdout, result.stderr


def dialogue_of(folder: Path, names: list[str]) -> Path:
    with tarfile.open(folder / "many.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
    return folder / "many.tar"


def test_a_dialogue_has_so_many_members_and_none_twice(tmp_path: Path) -> None:
    names = [f"a.{number}" for number in range(MAX_MEMBERS + 1)]
    with open_tar(dialogue_of(tmp_path, names[:-1])) as archive:
        assert [(key, len(found)) for key, found in tar_samples(archive)] == [("a", MAX_MEMBERS)]
    for more, said in ((names, "has more than 1,024 members"), (["a.json", "a.json"], "stands twice")):
        with pytest.raises(tarfile.TarError, match=said), open_tar(dialogue_of(tmp_path, more)) as archive:
            list(tar_samples(archive))


@pytest.mark.parametrize("name", ["n" * 300, "n" * 300 + ".tar", "\ud800.tar", "a\x1b[2J.tar"])
def test_names_that_no_file_can_have_are_findings(good: Path, name: str) -> None:
    document = json.loads((good / "dataset.json").read_text())
    document["shards"][0]["name"] = name
    (good / "dataset.json").write_text(json.dumps(document))
    assert verify(good)
    result = echat("verify", good)
    assert result.returncode == 1 and result.stderr == ""
    assert "finding: " in result.stdout


def test_a_name_that_no_file_can_have_in_the_checksums_is_a_finding(good: Path) -> None:
    listing = good / "checksums.sha256"
    listing.write_text(listing.read_text() + f"{'0' * 64}  {'n' * 300}\n")
    assert any("name too long" in finding.problem.lower() for finding in verify(good))


@pytest.mark.parametrize("claim", [10**11, 10**400, "1", None, -1], ids=range(5))
def test_a_count_of_turns_that_is_not_theirs_is_a_finding(good: Path, claim: object) -> None:
    contents = members(dialogue("a", num_turns=claim))
    (good / TAR).write_bytes(b"".join(member(name.encode(), data) for name, data in contents.items()) + bytes(1024))
    (good / f"{TAR}.idx").write_text(index_tar(good / TAR))
    assert any("the turns are not in order" in finding.problem for finding in verify(seal(good)))
