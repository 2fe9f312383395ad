"""A shard's record with a flipped bit is never taken for true: the set is made again as it was."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from conftest import tree
from tone_runs import build_tones

from manifests.run import load_run
from pipeline.build import build

FLIPS = [
    (b'"num_turns"', b'"num_turls"'),
    (b'"size"', b'"{ize"'),
    (b'"rows":', b'"rows":1'),
    (b'_seconds":', b'_seconds":9'),
]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a manifest and the run that was built from it."""
    folder = tmp_path_factory.mktemp("records")
    build_tones(folder, executor={"kind": "inline"})
    return folder


@pytest.fixture
def run(built: Path, tmp_path: Path) -> tuple[Path, Path]:
    """A copy of manifest and run, to be damaged."""
    folder = Path(shutil.copytree(built, tmp_path / "copy", symlinks=True))
    return folder / "run.yaml", folder / "out"


@pytest.mark.parametrize(("good", "bad"), FLIPS, ids=["name", "name of a size", "rows", "seconds"])
def test_a_damaged_record_of_a_finished_set_is_made_again(run: tuple[Path, Path], good: bytes, bad: bytes) -> None:
    file, out = run
    current = out / "shards" / "current"
    before = tree(current)
    record = next(current.glob("train-*.json"))
    damaged = record.read_bytes().replace(good, bad, 1)
    assert damaged != record.read_bytes()
    record.write_bytes(damaged)
    assert not build(load_run(file), file, out, quiet=True).findings
    assert tree(current) == before


@pytest.mark.parametrize("damage", [b"", b"[]", b'{"key":"k"}', b"\xff"])
def test_a_damaged_record_of_a_set_that_is_being_built_is_made_again(run: tuple[Path, Path], damage: bytes) -> None:
    made_again(run, "train-*.json", damage)


@pytest.mark.parametrize("damage", [b"", b"v1.2 0\n", b"\xff"])
def test_a_damaged_index_of_a_set_that_is_being_built_is_made_again(run: tuple[Path, Path], damage: bytes) -> None:
    made_again(run, "train-*.tar.idx", damage)


def made_again(run: tuple[Path, Path], victim: str, damage: bytes) -> None:
    """Damage a file of a set that is being built, go on with the build, and compare with what it was."""
    file, out = run
    current = out / "shards" / "current"
    before, final = tree(current), current.resolve()
    building = final.with_name(f"building-{final.name}")  # as a build leaves it that is killed
    shutil.copytree(final, building)
    for name in ("dataset.json", "checksums.sha256"):
        (building / name).unlink()
    next(building.glob(victim)).write_bytes(damage)
    shutil.rmtree(final)
    assert not build(load_run(file), file, out, quiet=True).findings
    assert tree(current) == before
