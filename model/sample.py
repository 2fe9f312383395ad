"""A dialogue as training reads it: texts, labels, the query's voice and the reply's speech tokens, turn by turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from manifests.labels import NONE


@dataclass(frozen=True)
class Turn:
    """One query and its reply.

    Attributes:
        labels: What the query's voice carries, by cue family; missing or `none` where it is not known, but for `event`,
            which is `none` where there is known to be none.
        cues: Families that the reply answers to.
        frames: Mel frames of the query; 0 without audio.
        mel: float32 (frames, 80), where it is loaded.
        reply_tokens: int32 (num_tokens,); empty without speech.
    """

    query_text: str
    reply_text: str = ""
    think_tag: str = ""
    think_text: str = ""
    reply_emotion: str = "neutral"
    labels: Mapping[str, str] = field(default_factory=dict)
    cues: tuple[str, ...] = ()
    frames: int = 0
    mel: Tensor | None = None
    reply_tokens: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int32))

    def label(self, family: str) -> str:
        """The label of a family, or `none`."""
        return self.labels.get(family, NONE)

    def knows(self, name: str) -> bool:
        """Whether the turn can tell a family's label, or its `transcript`."""
        if name == "transcript":
            return bool(self.query_text.strip())
        return self.label(name) != NONE or (name == "event" and name in self.labels)


@dataclass(frozen=True)
class Sample:
    """A dialogue, at the turn that the model must answer to: the last one; those before it are history.

    Attributes:
        speaker: Who asks; empty where it is not known.
        source: `real` where the current query is a recording, else `synthetic`.
        task: One of the dataset's tasks, or `none`.
        language: Of the reply.
    """

    id: str
    turns: tuple[Turn, ...]
    speaker: str = ""
    source: str = "synthetic"
    task: str = NONE
    language: str = "en"

    @property
    def current(self) -> Turn:
        return self.turns[-1]

    @property
    def history(self) -> tuple[Turn, ...]:
        return self.turns[:-1]
