"""Weights in a folder, in the hub's cache, or nowhere."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import UserError
from manifests.weights import Weights

COMMIT = "0123456789abcdef0123456789abcdef01234567"
NEEDS = ("config.json", ("model.safetensors", "pytorch_model.bin"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache, empty."""
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf" / "hub"


def fill(cache: Path, *names: str, commit: str = COMMIT) -> Path:
    home = cache / "models--owner--name"
    folder = home / "snapshots" / commit
    folder.mkdir(parents=True, exist_ok=True)
    (home / "refs").mkdir(exist_ok=True)
    (home / "refs" / "main").write_text(commit)
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_a_model_of_the_hub_is_found_where_the_hub_puts_it(cache: Path) -> None:
    weights = Weights("owner/name", NEEDS)
    (problem,) = weights.problems()
    assert problem.fix == "hf download owner/name"
    assert weights.revision() == "owner/name@main-missing"
    folder = fill(cache, "config.json", "pytorch_model.bin")
    assert weights.place() == folder
    assert weights.problems() == []
    assert weights.revision() == f"owner/name@{COMMIT[:12]}"


def test_the_library_of_the_hub_finds_the_same(cache: Path) -> None:
    folder = fill(cache, "config.json")
    import huggingface_hub

    path = huggingface_hub.try_to_load_from_cache("owner/name", "config.json", cache_dir=cache)
    assert path == str(folder / "config.json")


def test_a_commit_names_the_weights_where_they_are_not(cache: Path) -> None:
    weights = Weights(f"owner/name@{COMMIT}", NEEDS)
    before = weights.revision()
    assert "hf download owner/name --revision 0123" in weights.problems()[0].fix
    fill(cache, "config.json", "model.safetensors")
    assert weights.revision() == before
    assert weights.place() is not None
    assert Weights(f"owner/name@{'f' * 40}", NEEDS).place() is None


def test_a_download_that_broke_off_is_told_with_what_is_missing(cache: Path) -> None:
    fill(cache, "config.json")
    (problem,) = Weights("owner/name", NEEDS).problems()
    assert "has no model.safetensors or pytorch_model.bin" in problem.what


def test_a_folder_is_named_by_its_content(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    weights = Weights(str(folder), NEEDS)
    assert "has no config.json, model.safetensors or pytorch_model.bin" in weights.problems()[0].what
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"1")
    assert weights.problems() == []
    first = weights.revision()
    (folder / "README.md").write_text("words decide nothing")
    assert weights.revision() == first
    (folder / "model.safetensors").write_bytes(b"22")
    assert weights.revision() != first


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "../a", "no-slash", "a/b/c", ""])
def test_what_is_no_model_of_the_hub_is_a_path(cache: Path, name: str) -> None:
    weights = Weights(name or "empty name", NEEDS)
    assert weights.hub is None
    assert "is not there" in weights.problems()[0].what
    with pytest.raises(UserError, match="name the folder"):
        weights.found()
