"""What every annotator must do."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from contract_audio import AUDIO, CLIPS, asked
from engine_cases import Engines, cases
from sounds import SAMPLE_RATE, VOICELESS, syllables

from annotators.base import Label
from annotators.clip import Clip
from manifests.labels import HEARD, NONE

ANNOTATORS = pytest.mark.parametrize(("role", "name"), cases("annotator."))


def check(label: Label, role: str, keeps_embedding: bool) -> None:
    known = {*HEARD[role.partition(".")[2]], NONE}
    assert label.value in known
    assert set(label.probabilities) <= known
    assert sum(label.probabilities.values()) == pytest.approx(1, abs=1e-6)
    assert all(0 <= p <= 1 for p in label.probabilities.values())
    finite = {key: value for key, value in label.evidence.items() if math.isfinite(value)}
    json.dumps(finite, allow_nan=False)
    if label.embedding is not None:
        assert keeps_embedding
        assert label.embedding.dtype == np.float32
        assert label.embedding.ndim == 1
        assert np.isfinite(label.embedding).all()


@ANNOTATORS
@CLIPS
def test_it_answers_or_says_why(engines: Engines, role: str, name: str, what: str) -> None:
    samples, rate = AUDIO[what]
    engine, keeps = engines.open(role, name), engines.config(role, name).keeps_embedding  # type: ignore[attr-defined]
    label, reason = asked(lambda: engine.annotate(Clip(samples, rate)))
    if label is None or what == "NaN":
        assert what == "NaN", reason
        assert "NaN" in reason
        return
    check(label, role, keeps)
    if what in VOICELESS:
        assert label.value == NONE or max(label.probabilities.values()) < 0.9


@ANNOTATORS
def test_the_same_clip_gives_the_same_whatever_came_between(engines: Engines, role: str, name: str) -> None:
    engine = engines.open(role, name)
    voice = syllables(120, 17)
    before = engine.annotate(Clip(voice, SAMPLE_RATE))
    engine.annotate(Clip(syllables(260, 13, 3.0), SAMPLE_RATE))
    engine.annotate(Clip(np.zeros(SAMPLE_RATE, np.float32), SAMPLE_RATE))
    after = engine.annotate(Clip(voice, SAMPLE_RATE))
    assert (after.value, after.probabilities) == (before.value, before.probabilities)
    np.testing.assert_array_equal(list(after.evidence.values()), list(before.evidence.values()))
    if before.embedding is not None:
        np.testing.assert_array_equal(after.embedding, before.embedding)
