"""Bits that flip and files that are cut: `verify` finds each, and a build mends it or says in a sentence what to do."""

from __future__ import annotations

import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from conftest import tree
from tone_runs import build_tones

from manifests.errors import UserError
from manifests.run import load_run
from manifests.topup import topup_path
from pipeline.build import build
from pipeline.verify import verify

KINDS = {
    "data of cells": "stages/*/*.parquet",
    "records": "stages/*/*.json",
    "verdicts": "select/current/part-*.parquet",
    "statistics": "select/current/statistics.json",
    "thresholds": "select/current/thresholds.*",
    "checksums of the selection": "select/current/checksums.sha256",
    "tars": "shards/current/*.tar",
    "indices": "shards/current/*.idx",
    "records of shards": "shards/current/*turn*.json",
    "dataset.json": "shards/current/dataset.json",
    "checksums of the set": "shards/current/checksums.sha256",
}
"""All that a build commits. `run.yaml` and `inputs/` are copies of what the user gave, made anew by each build."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flips")
    assert build_tones(folder, plan={"quotas": {"emotion": 3, "neutral": 2}}).findings == []
    return folder


def flipped(data: bytes, draw: random.Random) -> bytes:
    place = draw.randrange(len(data))
    return data[:place] + bytes([data[place] ^ 1 << draw.randrange(8)]) + data[place + 1 :]


def cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data))]


def torn(data: bytes, draw: random.Random) -> bytes:
    """As after a power loss: a block that was never written."""
    place = draw.randrange(len(data))
    return data[:place] + bytes(len(data[place : place + 512])) + data[place + 512 :]


def found(out: Path) -> list[str]:
    """What `verify` says."""
    try:
        return [str(finding) for finding in verify(out)]
    except UserError as error:
        return [str(error)]


def emptied(data: bytes, draw: random.Random) -> bytes:
    """As after a crash that came between the name of a file and its blocks."""
    return b""


HARMS = (flipped, cut, torn, emptied)


@pytest.mark.parametrize("harm", HARMS)
def test_any_damage_to_a_committed_file_is_found(made: Path, harm: Callable[[bytes, random.Random], bytes]) -> None:
    draw, out = random.Random(harm.__name__), made / "out"
    for kind, pattern in KINDS.items():
        path = draw.choice(sorted(out.glob(pattern)))
        data = path.read_bytes()
        path.write_bytes(harm(data, draw))
        if path.read_bytes() != data:
            assert found(out), f"{kind}: {path.name}: was missed"
        path.write_bytes(data)
    assert found(out) == []


def follow(sentence: str, out: Path) -> None:
    """Do what a sentence says, and nothing else."""
    path = Path(re.match(r"(?:finding: )?([^:\[]+?)(?: \[.*?\])?: ", sentence)[1])  # type: ignore[index]
    assert path.is_relative_to(out), sentence
    if "delete its folder" in sentence:
        shutil.rmtree(path.parent.resolve())
    elif "delete th" in sentence:
        path.unlink()
    else:
        assert "again" in sentence, sentence


COSTLY = ("data of cells", "verdicts", "statistics", "thresholds", "checksums of the selection")
"""To be mended by making or selecting anew: each with a flipped bit and one other harm; the rest with every one."""
MENDED = [
    pytest.param(kind, harm, id=f"{kind}-{harm.__name__}")
    for number, kind in enumerate(KINDS)
    for harm in HARMS
    if kind not in COSTLY or harm in (flipped, HARMS[1 + number % 3])
]


@pytest.mark.parametrize(("kind", "harm"), MENDED)
def test_a_build_mends_damage_or_says_what_to_do(
    made: Path, kind: str, harm: Callable[[bytes, random.Random], bytes]
) -> None:
    draw, out, file = random.Random(f"{kind} {harm.__name__}"), made / "out", made / "run.yaml"
    good = tree(out / "shards" / "current")
    path = draw.choice(sorted(out.glob(KINDS[kind])))
    path.write_bytes(harm(path.read_bytes(), draw))
    for _ in range(3):
        try:
            said = [str(finding) for finding in build(load_run(file), file, out, quiet=True).findings]
        except UserError as error:
            said = [str(error)]
        said = said or found(out)
        if not said:
            break
        follow(said[0], out)
    assert found(out) == []
    assert tree(out / "shards" / "current") == good


@pytest.mark.parametrize("stage", ["script", "speak_query", "speak_reply"])
def test_nothing_is_made_of_a_cell_that_was_damaged_after_its_commit(made: Path, stage: str) -> None:
    out, file = made / "out", made / "run.yaml"
    good = tree(out / "shards" / "current")
    path = sorted((out / "stages" / stage).glob("*.parquet"))[0]
    data = path.read_bytes()
    place = data.index(b"fLaC") + 5000 if stage != "script" else len(data) // 3
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    shutil.rmtree(out / "shards")
    shutil.rmtree(out / "select")
    for later in ("speak_query", "speak_reply", "transcribe", "annotate", "rate", "tokenize"):
        if later != stage:
            shutil.rmtree(out / "stages" / later)
    with pytest.raises(UserError, match=r"is not what was committed .* delete this file and run build again") as error:
        build(load_run(file), file, out, quiet=True)
    follow(str(error.value), out)
    assert build(load_run(file), file, out, quiet=True).findings == []
    assert found(out) == []
    assert tree(out / "shards" / "current") == good


def test_damage_is_not_copied_from_an_earlier_cell(made: Path) -> None:
    """A cell that is made again takes the rows of earlier cells, if these are whole."""
    from manifests.ledger import Ledger

    out, file = made / "out", made / "run.yaml"
    ledger = Ledger(out)
    record = next(iter(ledger.history("speak_query", [0])))
    ledger.retire(record)
    path = ledger.data_path(record)
    data = path.read_bytes()
    place = data.index(b"fLaC") + 5000
    path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
    with pytest.raises(UserError, match="is not what was committed"):
        build(load_run(file), file, out, quiet=True)
    path.unlink()
    assert build(load_run(file), file, out, quiet=True).findings == []
    assert found(out) == []


def test_damage_to_the_rounds_of_a_top_up_is_found_and_they_are_planned_anew(tmp_path: Path) -> None:
    deaf = {
        "plugins": ["deaf"],
        "annotate": {"gender": {"engine": "deaf", "wrong": 0.5}},
        "select": {"agree": ["gender"]},
    }
    build_tones(tmp_path, **deaf, plan={"quotas": {"gender": 4}})
    out, file = tmp_path / "out", tmp_path / "run.yaml"
    assert build(load_run(file), file, out, quiet=True, rounds=9).rounds >= 1
    good, path = tree(out / "shards" / "current"), topup_path(out)
    data = path.read_bytes()
    for harm in HARMS:
        path.write_bytes(harm(data, random.Random(harm.__name__)))
        assert found(out), harm.__name__
    path.unlink()
    assert build(load_run(file), file, out, quiet=True, rounds=9).findings == []
    assert path.read_bytes() == data
    assert found(out) == []
    assert tree(out / "shards" / "current") == good
