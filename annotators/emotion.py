"""Annotator of emotion from acoustic cues, heard against the voice's own reference.

A cue says little of emotion until one knows how the voice usually sounds, so each is taken in deviations from the
voice's mean over all emotions. A clip without a reference is labelled by a weaker head on the cues as they are; the
evidence `reference` says which answered (the number of takes, 0 without).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from annotators import encoder, heads
from annotators.base import Annotator, AnnotatorConfig, Example, Label
from annotators.clip import Clip, measures_revision
from annotators.voice import has_voice
from manifests.engine import Problem, Throughput

VERSION = 1  # of the code below: raise it when the same clip may get another label
WITH, WITHOUT = "emotion", "emotion_raw"  # heads
_EVIDENCE = ("f0_median", "f0_range", "level_mean", "alpha_ratio", "syllable_rate", "jitter", "tremor")


class CueEmotion:
    """Two heads: for clips whose voice is known, and for others."""

    def __init__(self, against_voice: heads.Head, alone: heads.Head) -> None:
        """Keep the heads for clips with a reference and for those without."""
        self._with, self._without = against_voice, alone

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds without 60 ms of voice."""
        cues, reference = clip.cues, clip.reference
        evidence = {name: cues[name] for name in _EVIDENCE}
        evidence["reference"] = float(reference.takes) if reference else 0.0
        head = self._with if reference else self._without
        if not has_voice(cues):
            return heads.unsure(head.classes, {"reference": evidence["reference"]})
        return heads.label(head.probabilities(cues, clip.embedding, reference), evidence)


class CueEmotionConfig(AnnotatorConfig):
    """Seven emotions by cues against the voice's reference, with heads trained on our own synthesis."""

    role = "annotator.emotion"
    licence = "Apache-2.0 (encoder's weights: Resemblyzer; heads: this package)"
    throughput = Throughput(
        25.0, "core", "CPU time, clips of 2 to 3 s, one thread, measurements that engines share included"
    )
    needs_reference: ClassVar[bool] = True

    engine: Literal["cues"] = "cues"

    def revision(self) -> str:
        """Versions of the code, the measurements and the heads."""
        return f"emotion-{VERSION}+heads-{heads.VERSION}-{heads.digest(WITH, WITHOUT)}+{measures_revision()}"

    def problems(self) -> list[Problem]:
        """A head or the encoder's weights are missing."""
        return [*heads.problems(WITH, WITHOUT), *encoder.problems()]

    def thresholds(self) -> dict[str, float]:
        """None: ten judged clips an emotion do not hold one; a run calibrates its own where it has the rows."""
        return {}

    def card(self) -> Mapping[str, Any]:
        """What the head with the reference was trained on; the other one was trained on the same clips."""
        return heads.load(WITH).card

    def fit(self, examples: Sequence[Example]) -> Annotator:
        """As the base says, by the recipe for real speech; without any reference the weaker head serves all clips.

        Raises:
            UserError: The examples are of fewer than two labels.
        """
        from annotators.train_heads import REAL_EMOTION, RECIPES
        from annotators.training import case_of, fit

        cases = [case_of(example, "emotion") for example in examples]
        known = [case for case in cases if case.reference is not None]
        alone = fit(cases, RECIPES[WITHOUT])
        return CueEmotion(fit(known, REAL_EMOTION) if known else alone, alone)

    def open(self) -> Annotator:
        """Read the heads.

        Raises:
            UserError: One is missing.
        """
        return CueEmotion(heads.load(WITH), heads.load(WITHOUT))
