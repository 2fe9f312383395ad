"""A clip as annotators get it: samples, what is known of its voice, and measurements that they share."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from annotators.audio import prepare

SAMPLE_RATE = 16000  # Hz
_SHORTEST = 0.1  # seconds; less fills no frame of most networks
_SILENCE = 1e-4  # from the lowest sample to the highest


@dataclass(frozen=True)
class Reference:
    """What a voice sounds like over all emotions, from takes that are not scored.

    Neutral takes alone normalise emotion cues worse than none at all, so they must span the emotions.

    Attributes:
        mean: Mean of each cue over the takes, by name as `annotators.cues.measure` gives them.
        deviation: Standard deviation of each cue over the takes.
        embedding: Mean speaker embedding, unit length, float32 (256,); empty when there is none.
        takes: Number of takes.
        source: `synthesis` (reference takes of a synthetic voice), `enrolment` (clips of a real speaker).
    """

    mean: Mapping[str, float]
    deviation: Mapping[str, float]
    embedding: np.ndarray = field(default_factory=lambda: np.zeros(0, np.float32))
    takes: int = 0
    source: str = "synthesis"

    def to_json(self) -> str:
        """As text for a row; the same reference always gives the same text."""
        return json.dumps({
            "mean": {name: round(float(value), 6) for name, value in sorted(self.mean.items())},
            "deviation": {name: round(float(value), 6) for name, value in sorted(self.deviation.items())},
            "embedding": [round(float(value), 5) for value in self.embedding],
            "takes": self.takes,
            "source": self.source,
        }, separators=(",", ":"))  # fmt: skip

    @classmethod
    def from_json(cls, text: str) -> Reference | None:
        """The reference that `to_json` wrote; None for empty text."""
        if not text:
            return None
        document = json.loads(text)
        return cls(**{**document, "embedding": np.array(document["embedding"], np.float32)})


def measures_revision() -> str:
    """Names the code and weights behind a clip's measurements; references made under another one do not fit."""
    from annotators import cues, encoder

    return f"cues-{cues.VERSION}+{encoder.revision()}"


class Clip:
    """One utterance to annotate. Annotators share its measurements, so each is made once, when first asked for.

    Attributes:
        sample_rate: The original rate, in Hz; half of it bounds what the clip can hold.
        reference: Of its voice, or None.
    """

    def __init__(self, samples: np.ndarray, sample_rate: int, reference: Reference | None = None) -> None:
        """Check a clip.

        Args:
            samples: Shape (num_samples,) or (num_samples, 2), in [-1, 1].
            sample_rate: In Hz.
            reference: Of the voice, where known.

        Raises:
            ValueError: The clip is empty, or holds NaN or infinite samples.
        """
        self.audio = prepare(samples, sample_rate, SAMPLE_RATE)
        """float32 (num_samples,), mono at 16 kHz."""
        self.sample_rate = sample_rate
        self.reference = reference

    @property
    def seconds(self) -> float:
        """Duration."""
        return len(self.audio) / SAMPLE_RATE

    @property
    def soundless(self) -> bool:
        """Whether there is nothing that a network could hear: less than 0.1 s, silence, or a constant."""
        return self.seconds < _SHORTEST or float(np.ptp(self.audio)) < _SILENCE

    @property
    def bandwidth(self) -> float:
        """Highest frequency that the clip can hold, in Hz."""
        return min(self.sample_rate, SAMPLE_RATE) / 2

    def without(self, start: float, end: float) -> Clip:
        """The clip with the interval from `start` to `end` (in seconds) cut out; what is left may be empty no sample.

        A clip that would be empty keeps 10 ms of silence, so that every annotator can answer.
        """
        first, last = round(max(start, 0.0) * SAMPLE_RATE), round(max(end, 0.0) * SAMPLE_RATE)
        rest = np.concatenate([self.audio[:first], self.audio[last:]])
        if not len(rest):
            rest = np.zeros(SAMPLE_RATE // 100, np.float32)
        clip = Clip(rest, SAMPLE_RATE, self.reference)
        clip.sample_rate = self.sample_rate
        return clip

    @cached_property
    def cues(self) -> dict[str, float]:
        """Acoustic cues (`annotators.cues.measure`); NaN where one cannot be measured."""
        from annotators.cues import measure

        return measure(self.audio, self.bandwidth)

    @cached_property
    def embedding(self) -> np.ndarray:
        """Speaker embedding (`annotators.encoder.embed`), unit length, float32 (256,); zeros without sound."""
        from annotators.encoder import embed

        return embed(self.audio)
