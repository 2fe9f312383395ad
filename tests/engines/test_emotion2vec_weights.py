"""emotion2vec: classes, and checkpoints that funasr would load without a word."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
from engines_gate import heavy
from sounds import SAMPLE_RATE, syllables

from annotators.clip import Clip
from annotators.emotion2vec import CLASSES, Emotion2vecConfig, mapped
from manifests.errors import UserError
from manifests.labels import EMOTIONS, NONE


def test_nine_classes_become_seven_emotions_and_none() -> None:
    labels = ["生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other", "难过/sad",
              "吃惊/surprised", "<unk>"]  # fmt: skip
    found = mapped(labels, [0.1, 0.1, 0.1, 0.2, 0.1, 0.1, 0.1, 0.1, 0.1])
    assert set(found) == {*EMOTIONS, NONE}
    assert found["happy"] == pytest.approx(0.2)
    assert found[NONE] == pytest.approx(0.2), "other and unknown"
    assert sum(found.values()) == pytest.approx(1)
    assert set(CLASSES.values()) == set(found)


def test_a_class_of_another_model_is_told() -> None:
    with pytest.raises(ValueError, match="'bored'"):
        mapped(["bored"], [1.0])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    from tiny_engines import emotion2vec

    emotion2vec(tmp_path / "model")
    return tmp_path / "model"


@heavy
def test_the_embedding_is_kept_on_request_alone(folder: Path) -> None:
    clip = Clip(syllables(120, 17), SAMPLE_RATE)
    kept = Emotion2vecConfig(model=str(folder), embedding=True).open().annotate(clip)
    plain = Emotion2vecConfig(model=str(folder)).open().annotate(clip)
    assert kept.embedding is not None
    assert kept.embedding.shape == (32,)
    assert plain.embedding is None
    assert plain.probabilities == kept.probabilities


@heavy
@pytest.mark.parametrize("fault", ["missing", "shape"])
def test_a_checkpoint_of_another_model_is_refused(folder: Path, fault: str) -> None:
    import torch

    state = torch.load(folder / "model.pt", weights_only=True)["model"]
    name = next(name for name in state if name.endswith("proj.weight"))
    if fault == "missing":
        del state[name]
    else:
        state[name] = torch.zeros(3, 3)
    torch.save({"model": state}, folder / "model.pt")
    with pytest.raises(UserError, match=r"model\.pt: has (none|another)"):
        Emotion2vecConfig(model=str(folder)).open()


@heavy
def test_torchaudio_is_imported_beside_a_cpu_torch() -> None:
    from manifests.torchaudio_cpu import import_torchaudio

    torchaudio = import_torchaudio()
    assert sys.modules["torchaudio"] is torchaudio
    import torch

    wave = torch.from_numpy(np.sin(np.arange(8000, dtype=np.float32)))
    assert torchaudio.functional.resample(wave, 16000, 8000).shape == (4000,)
