"""Annotator of gender and age from acoustic cues and the speaker embedding.

The heads are trained on our own synthesis. Gender carries over to real adults (`benchmarks/emodb.py`); children were
left out of it, as neither pitch nor formants tell girls from boys. Age does not carry over: its head recognises how
this package renders a child and an old voice, and is a check of that rendering only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from annotators import encoder, heads
from annotators.base import Annotator, AnnotatorConfig, Example, Label
from annotators.clip import Clip, measures_revision
from manifests.engine import Problem, Throughput
from manifests.labels import AGES, GENDERS

VERSION = 1  # of the code below: raise it when the same clip may get another label
_EVIDENCE = ("f0_median", "vtl_cm", "jitter", "shimmer", "tremor", "syllable_rate")


def has_voice(cues: Mapping[str, float]) -> bool:
    """Whether the clip has the 60 ms of voice that pitch needs."""
    return cues["f0_median"] == cues["f0_median"]  # NaN otherwise


class VoiceHead:
    """A head on cues and embedding that hears no emotion, so needs no reference."""

    def __init__(self, head: heads.Head) -> None:
        """Keep the head."""
        self._head = head

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds without 60 ms of voice."""
        cues = clip.cues
        if not has_voice(cues):
            return heads.unsure(self._head.classes)
        return heads.label(self._head.probabilities(cues, clip.embedding), {name: cues[name] for name in _EVIDENCE})


class _VoiceConfig(AnnotatorConfig):
    """What gender and age share."""

    licence = "Apache-2.0 (encoder's weights: Resemblyzer; heads: this package)"
    throughput = Throughput(
        25.0, "core", "CPU time, clips of 2 to 3 s, one thread, measurements that engines share included"
    )
    head: ClassVar[str]

    engine: Literal["voice"] = "voice"

    def revision(self) -> str:
        """Versions of the code, the measurements and the head."""
        return f"voice-{VERSION}+heads-{heads.VERSION}-{heads.digest(self.head)}+{measures_revision()}"

    def problems(self) -> list[Problem]:
        """The head or the encoder's weights are missing."""
        return [*heads.problems(self.head), *encoder.problems()]

    def thresholds(self) -> dict[str, float]:
        """As held on speakers that the head had not seen."""
        return dict(heads.load(self.head).thresholds)

    def card(self) -> Mapping[str, Any]:
        """What the head was trained on."""
        return heads.load(self.head).card

    def fit(self, examples: Sequence[Example]) -> Annotator:
        """As the base says; the head is made as the shipped one is, without a calibration of its own.

        Raises:
            UserError: The examples are of fewer than two labels.
        """
        from annotators.train_heads import RECIPES
        from annotators.training import case_of, fit

        recipe = RECIPES[self.head]
        return VoiceHead(fit([case_of(example, recipe.family) for example in examples], recipe))

    def open(self) -> Annotator:
        """Read the head.

        Raises:
            UserError: It is missing.
        """
        return VoiceHead(heads.load(self.head))


class VoiceGenderConfig(_VoiceConfig):
    """Gender by pitch, formants and the speaker embedding."""

    role = "annotator.gender"
    head = "gender"
    classes: ClassVar[tuple[str, ...]] = GENDERS


class VoiceAgeConfig(_VoiceConfig):
    """Child, adult or old, as this package renders them: not an estimate of a person's age."""

    role = "annotator.age"
    head = "age"
    classes: ClassVar[tuple[str, ...]] = AGES
    consistency_only: ClassVar[bool] = True
