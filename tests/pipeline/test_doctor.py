"""What `doctor` says of an engine: where its weights are, and what it will run on."""

from __future__ import annotations

import importlib.metadata
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest

from annotators.emotion2vec import Emotion2vecConfig
from annotators.pyannote import PyannoteRaterConfig, PyannoteSpeakersConfig
from annotators.wav2vec2_age_gender import Wav2vec2AgeConfig
from annotators.whisperx import WhisperxConfig
from manifests.engine import EngineConfig
from manifests.run import RunManifest
from manifests.workers import ExecutorConfig, Pool
from pipeline import doctor, environments
from synthesis.cosyvoice import CosyVoiceConfig
from synthesis.kokoro import KokoroConfig

FILES = {
    Emotion2vecConfig: ("model.pt", "configuration.json", "config.yaml", "tokens.txt"),
    Wav2vec2AgeConfig: ("config.json", "model.safetensors"),
    PyannoteSpeakersConfig: (
        "config.yaml", "segmentation/pytorch_model.bin", "embedding/pytorch_model.bin", "plda/plda.npz",
        "plda/xvec_transform.npz",
    ),
    WhisperxConfig: ("model.bin", "config.json", "tokenizer.json", "vocabulary.json"),
    PyannoteRaterConfig: ("pytorch_model.bin",),
}  # fmt: skip


def written(folder: Path, names: tuple[str, ...]) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


@pytest.mark.parametrize("kind", FILES, ids=lambda kind: kind.__name__)
def test_weights_are_where_they_were_found(kind: type[EngineConfig], tmp_path: Path) -> None:
    settings: dict[str, Any] = {"engine": kind.model_fields["engine"].default, "model": str(tmp_path / "model")}
    assert kind(**settings).where.startswith("not found")
    folder = written(tmp_path / "model", FILES[kind])
    assert kind(**settings).where.startswith(str(folder))


def test_every_aligner_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    aligner = written(
        tmp_path / "aligner", ("config.json", "vocab.json", "preprocessor_config.json", "model.safetensors")
    )
    where = WhisperxConfig(align={"en": str(aligner), "zh": "owner/aligner"}).where
    assert where == f"not found; en: {aligner}; zh: not found"


def test_the_segmentation_may_be_a_model_of_the_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commit = "0123456789abcdef0123456789abcdef01234567"
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    config = PyannoteRaterConfig(model=f"pyannote/segmentation@{commit}")
    assert f"hf download pyannote/segmentation --revision {commit}" in [problem.fix for problem in config.problems()]
    folder = tmp_path / "hub" / "models--pyannote--segmentation" / "snapshots" / commit
    written(folder, ("pytorch_model.bin",))
    assert config.where == str(folder / "pytorch_model.bin")
    assert config.revision().endswith(f"pyannote/segmentation@{commit[:12]}")


def test_a_segmentation_that_is_not_there_is_not_mended_by_an_installation(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name, told in (("nowhere", "is not there"), ("empty", "has no pytorch_model.bin")):
        problems = PyannoteRaterConfig(model=str(tmp_path / name)).problems()
        (mine,) = [problem for problem in problems if str(tmp_path / name) in problem.what]
        assert told in mine.what
        assert mine.fix.startswith("name ")


def test_a_segmentation_is_named_by_its_content(tmp_path: Path) -> None:
    file = written(tmp_path / "model", ("pytorch_model.bin",)) / "pytorch_model.bin"
    names = [PyannoteRaterConfig(model=str(place)).revision() for place in (file, file.parent)]
    assert names[0] == names[1]
    file.write_bytes(b"another")
    assert PyannoteRaterConfig(model=str(file)).revision() != names[0]


def manifest(gpus: float, **executor: Any) -> RunManifest:
    """As much of a run as says where its workers run."""
    pools = (Pool(name="ears", gpus=gpus),)
    return RunManifest.model_construct(executor=ExecutorConfig(**executor), workers=pools)


HERE, CLUSTER = {"kind": "inline"}, {"address": "auto"}
HIDDEN = "device is cuda and the workers of its pool ears get no GPU"


@pytest.mark.parametrize(
    ("engine", "run", "gpus", "device", "problem"),
    [
        (KokoroConfig(), None, 2, "CPU", ""),
        (CosyVoiceConfig(), None, 2, "GPU", ""),
        (CosyVoiceConfig(), None, 0, "CPU, for want of a GPU", ""),
        (WhisperxConfig(), None, 1, "GPU", ""),
        (WhisperxConfig(device="cpu"), None, 1, "CPU", ""),
        (WhisperxConfig(device="cuda"), manifest(0, **HERE), 0, "none", "device is cuda and this machine has no GPU"),
        (WhisperxConfig(device="cuda"), manifest(0, **HERE), 1, "GPU", ""),
        (WhisperxConfig(device="cuda"), manifest(0.5), 0, "none", "device is cuda and this machine has no GPU"),
        (WhisperxConfig(device="cuda"), manifest(0.5, **CLUSTER), 0, "GPU of the cluster", ""),
        (WhisperxConfig(device="cuda"), manifest(0, **CLUSTER), 0, "none", HIDDEN),
        (WhisperxConfig(device="cuda"), manifest(0), 4, "none", HIDDEN),
        (WhisperxConfig(), manifest(0), 4, "CPU, for the pool ears has no GPU", ""),
        (CosyVoiceConfig(), manifest(1), 4, "GPU", ""),
    ],
)
def test_the_device_is_that_which_the_engine_will_take(
    monkeypatch: pytest.MonkeyPatch, engine: Any, run: RunManifest | None, gpus: int, device: str, problem: str
) -> None:
    monkeypatch.setattr(environments, "count_gpus", lambda: gpus)
    found = environments.about("transcribe", engine, run)
    assert found.device == device
    assert [told.what for told in found.problems if "device" in told.what] == ([problem] if problem else [])


def test_onnx_runtime_for_gpus_is_onnx_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if name == "onnxruntime":
            raise importlib.metadata.PackageNotFoundError(name)
        return "1.23.0" if name == "onnxruntime-gpu" else real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    (check,) = [check for check in doctor.machine_checks(tmp_path) if check.what == "onnxruntime"]
    assert check.ok
    assert check.state == "1.23.0 (for GPUs)"


def test_the_wheel_of_whisperx_brings_the_segmentation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("whisperx")
    module.__spec__ = ModuleSpec("whisperx", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setitem(sys.modules, "whisperx", module)
    assert [problem.fix for problem in PyannoteRaterConfig().problems() if "whisperx" in problem.what] == [
        "make engines"
    ]
    file = written(tmp_path / "assets", ("pytorch_model.bin",)) / "pytorch_model.bin"
    assert PyannoteRaterConfig().where == str(file)
