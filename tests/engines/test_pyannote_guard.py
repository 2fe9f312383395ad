"""Folders of pyannote that would load something else than what was checked are refused, before pyannote is imported."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from annotators.pyannote import check_checkpoint, check_pipeline
from manifests.errors import UserError


def document() -> dict[str, Any]:
    params = {part: f"$model/{part}" for part in ("segmentation", "embedding", "plda")}
    params |= {"clustering": "VBxClustering"}
    return {"pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params}}


def checkpoint(module: str = "pyannote.audio.models.segmentation.PyanNet") -> dict[str, Any]:
    return {"weight": torch.zeros(2), "pyannote.audio": {"architecture": {"module": module, "class": "Model"}}}


def folder_of(path: Path, described: Any) -> Path:
    for part in ("segmentation", "embedding"):
        (path / part).mkdir()
        torch.save(checkpoint(), path / part / "pytorch_model.bin")
    (path / "config.yaml").write_text(yaml.safe_dump(described))
    return path


def part(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda described: described["pipeline"]["params"].update({name: value})


def test_a_folder_of_its_own_parts_is_taken(tmp_path: Path) -> None:
    check_pipeline(folder_of(tmp_path, document()))


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda d: d["pipeline"].update(name="os.system"), "pipeline is not"),
        (lambda d: d["pipeline"].pop("params"), "pipeline is not"),
        (lambda d: d.pop("pipeline"), "pipeline is not"),
        (lambda d: d.update(preprocessors={"audio": {"name": "os.system"}}), "has preprocessors"),
        (lambda d: d["pipeline"]["params"].pop("plda"), "plda is not"),
        (part("segmentation", "/other/segmentation"), "segmentation is not"),
        (part("segmentation", "$model/../other"), "segmentation is not"),
        (part("embedding", "$model/other"), "embedding is not"),
        (part("embedding", {"checkpoint": "somebody/else"}), "embedding is not"),
        (part("plda", "$model/plda@main"), "plda is not"),
    ],
)  # fmt: skip
def test_a_description_that_leads_elsewhere_is_refused(tmp_path: Path, change: Any, why: str) -> None:
    described = document()
    change(described)
    with pytest.raises(UserError, match=f"config.yaml: {why}"):
        check_pipeline(folder_of(tmp_path, described))


def test_a_description_that_is_a_list_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="pipeline is not"):
        check_pipeline(folder_of(tmp_path, ["pipeline"]))


class Calls:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.path.basename, ("called",)


def test_a_checkpoint_that_calls_or_is_none_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save({"weight": Calls()}, file)
    with pytest.raises(UserError, match=r"would call posixpath\.basename"):
        check_checkpoint(file)
    whole = file.read_bytes()
    for data in (b"", b"no checkpoint", b"\x80\x02}q\x00.", whole[: len(whole) // 2]):
        file.write_bytes(data)
        with pytest.raises(UserError, match="is not a checkpoint that can be checked"):
            check_checkpoint(file)


@pytest.mark.parametrize("module", ["antigravity", "pyannote.audio.modelsx", "os"])
def test_a_checkpoint_of_a_foreign_module_is_refused(tmp_path: Path, module: str) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save(checkpoint(module), file)
    with pytest.raises(UserError, match=f"is a model of {module}, not of"):
        check_checkpoint(file)


@pytest.mark.parametrize("document", [{"weight": torch.zeros(1)}, [1], {"pyannote.audio": {"architecture": {}}}])
def test_a_checkpoint_of_no_module_is_refused(tmp_path: Path, document: Any) -> None:
    file = tmp_path / "pytorch_model.bin"
    torch.save(document, file)
    with pytest.raises(UserError, match="is a model of no module"):
        check_checkpoint(file)
