"""Weights that a manifest names by path are found from any folder."""

from __future__ import annotations

from pathlib import Path

from manifests.weights import with_weights


def test_paths_begin_at_the_manifest_and_names_stay_names(tmp_path: Path) -> None:
    (tmp_path / "weights" / "x").mkdir(parents=True)
    section = {
        "engine": "e", "model": "weights/x", "weights": "./later", "align": {"en": "weights/x", "zh": "owner/name"},
        "folder": "weights/x",
    }  # fmt: skip
    found = with_weights(section, tmp_path)
    here = str(tmp_path / "weights" / "x")
    assert found == {
        "engine": "e", "model": here, "weights": str(tmp_path / "later"), "align": {"en": here, "zh": "owner/name"},
        "folder": "weights/x",
    }  # fmt: skip
    assert with_weights({"model": "owner/name@abc", "weights": ""}, tmp_path) == {
        "model": "owner/name@abc",
        "weights": "",
    }
