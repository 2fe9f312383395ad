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
        reference = clip.reference  # none of a recorded query, which no voice of the speaker's spoke
        evidence = {
            "takes": reference.takes if reference else 0,
            "level": reference.mean["level_mean"] if reference else 0.0,
            "clip_level": clip.cues["level_mean"],
        }
        return replace(super().annotate(clip), evidence=evidence)
