"""An annotator for tests that reads the label as `tone` does and shows the reference that it was given."""

from __future__ import annotations

from dataclasses import replace
from typing import ClassVar, Literal

from annotators.base import Annotator, Label
from annotators.clip import Clip
from annotators.tone import ToneAnnotator, ToneLabelConfig
from pipeline.registry import register

register("annotator.gender", "referring", "referring:ReferringConfig")


class ReferringConfig(ToneLabelConfig):
    needs_reference: ClassVar[bool] = True

    engine: Literal["referring"] = "referring"

    def open(self) -> Annotator:
        return Referring(self.family)


class Referring(ToneAnnotator):
    def annotate(self, clip: Clip) -> Label:
        reference = clip.reference
        assert reference is not None, "the stage gives every clip its voice's reference"
        evidence = {
            "takes": reference.takes,
            "level": reference.mean["level_mean"],
            "clip_level": clip.cues["level_mean"],
        }
        return replace(super().annotate(clip), evidence=evidence)
