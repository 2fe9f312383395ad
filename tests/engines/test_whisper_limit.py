"""A decoder that never ends is told from one that does, at CTranslate2's own limit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from engines_gate import heavy
from tiny_engines import whisper

from annotators.whisper import Decoded, Whisper

pytestmark = heavy


class Steered:
    """A model that may not say some tokens."""

    def __init__(self, model: Any, never: list[int]) -> None:
        self._model, self._never = model, never

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, *args: Any, **options: Any) -> Any:
        return self._model.generate(*args, **{**options, "suppress_blank": False, "suppress_tokens": self._never})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from faster_whisper import WhisperModel  # pyright: ignore[reportMissingImports]

    return WhisperModel(whisper(tmp_path_factory.mktemp("whisper") / "tiny")["model"], device="cpu")


def decoded(model: Any, never: list[int], window: int, beam: int, monkeypatch: pytest.MonkeyPatch) -> Decoded:
    engine = Whisper(model, beam, 240.0, True)
    features = engine.features(np.random.default_rng(0).normal(0, 0.1, 16000).astype(np.float32), window)
    with monkeypatch.context() as patch:
        patch.setattr(model, "model", Steered(model.model, never))
        (found,) = engine._decode(features[None], window, "en")
    return found


@pytest.mark.parametrize("window", [3, 30])
@pytest.mark.parametrize("beam", [1, 5])
def test_a_decoder_that_never_ends_is_doubtful(
    model: Any, window: int, beam: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = model.hf_tokenizer.token_to_id("<|endoftext|>")
    endless = decoded(model, [end], window, beam, monkeypatch)
    assert not endless.complete
    assert endless.doubtful
    others = [token for token in range(model.hf_tokenizer.get_vocab_size()) if token != end]
    assert decoded(model, others, window, beam, monkeypatch).complete
