"""Annotator of gender from pitch and vocal-tract length, in numpy alone.

Two numbers carry most of what listeners hear as the gender of an adult voice: its fundamental frequency and
the length of the vocal tract, which scales the formants (Fitch & Giedd 1999). Both move with emotion and age.
It errs on raised voices of men and on low, soft ones of women, and cannot tell boys from girls: their pitch
and formants hardly differ, so a boy is most often called female.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import Literal

import numpy as np

from annotators.base import Annotator, AnnotatorConfig, Label
from annotators.clip import Clip
from annotators.pitch import pitch_track, vocal_tract_length
from manifests import labels
from manifests.engine import Problem, Throughput
from manifests.errors import UserError

VERSION = 1  # of the code below and of `annotators.pitch`: raise it when the same clip may get another label
_RULE = Path(__file__).parent / "data" / "gender_f0_formants.json"
_FEWEST = 6  # frames: less than 60 ms of voice says nothing


def measure(audio: np.ndarray, bandwidth: float) -> dict[str, float]:
    """The evidence: median pitch, length of the vocal tract and share of voiced frames.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.
        bandwidth: Highest frequency that the clip can hold, in Hz.

    Returns:
        `f0_hz` and `vtl_cm`, 0 where they cannot be measured, and `voiced_ratio`, 0 to 1.
    """
    pitch = pitch_track(audio)
    voiced = pitch > 0
    if voiced.sum() < _FEWEST:
        return {"f0_hz": 0.0, "vtl_cm": 0.0, "voiced_ratio": float(voiced.mean())}
    length = vocal_tract_length(audio, voiced, bandwidth)
    return {
        "f0_hz": float(np.median(pitch[voiced])),
        "vtl_cm": 0.0 if math.isnan(length) else length,
        "voiced_ratio": float(voiced.mean()),
    }


class F0FormantGender:
    """A logistic rule on the pitch in octaves and the length of the vocal tract."""

    def __init__(self, rule: dict[str, float]) -> None:
        """Keep the rule.

        Args:
            rule: `intercept`, `per_octave` and `per_cm` of the log odds of a female voice, and the point
                `f0_hz`, `vtl_cm` that they start from.
        """
        self._rule = rule

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds without 60 ms of voice."""
        evidence = measure(clip.audio, clip.bandwidth)
        if evidence["f0_hz"] == 0:
            return Label(labels.NONE, dict.fromkeys(labels.GENDERS, 0.5), evidence)
        female = 1 / (1 + math.exp(-self._log_odds(evidence)))
        probabilities = {"female": female, "male": 1 - female}
        return Label(max(probabilities, key=lambda value: probabilities[value]), probabilities, evidence)

    def _log_odds(self, evidence: dict[str, float]) -> float:
        """Of a female voice; a length that could not be measured counts as neither's."""
        rule = self._rule
        octaves = math.log2(evidence["f0_hz"] / rule["f0_hz"])
        longer = evidence["vtl_cm"] - rule["vtl_cm"] if evidence["vtl_cm"] else 0.0
        return rule["intercept"] + rule["per_octave"] * octaves + rule["per_cm"] * longer


class F0FormantGenderConfig(AnnotatorConfig):
    """Gender by pitch and formants, with a rule fitted on synthetic voices (`annotators.train_gender`)."""

    role = "annotator.gender"
    licence = "as this package (code and coefficients)"
    throughput = Throughput(150.0, "core", "CPU time, sentences of 2 to 4 s, one thread")

    engine: Literal["f0_formants"] = "f0_formants"

    def revision(self) -> str:
        """Version of this code and the hash of its rule."""
        return f"f0_formants-v{VERSION}+rule-{hashlib.sha256(_RULE.read_bytes()).hexdigest()[:12]}"

    def problems(self) -> list[Problem]:
        """The rule's file is missing."""
        if _RULE.is_file():
            return []
        return [Problem(f"{_RULE} is missing", "pip install --force-reinstall echat-pipeline")]

    def open(self) -> Annotator:
        """Read the rule.

        Raises:
            UserError: Its file is missing.
        """
        for problem in self.problems():
            raise UserError(f"f0_formants cannot run: {problem.what}; {problem.fix}")
        return F0FormantGender(json.loads(_RULE.read_text(encoding="utf-8"))["rule"])
