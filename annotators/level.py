"""A rater that knows levels alone: whatever is louder than a threshold counts as speech."""

from __future__ import annotations

from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from annotators.audio import checked, prepare
from annotators.base import Quality, Rater, RaterConfig
from manifests.engine import Throughput

_FRAME = 160  # 10 ms at 16 kHz


class LevelConfig(RaterConfig):
    """For signals that are no speech, such as the `tone` engine's; real runs use `silero`."""

    throughput: ClassVar[Throughput] = Throughput(20000.0, "core", "measured on 2.5 s utterances")
    licence: ClassVar[str] = "Apache-2.0"

    engine: Literal["level"] = "level"
    active_dbfs: float = Field(default=-50.0, lt=0, description="Frames above this level count as speech")

    def revision(self) -> str:
        return "level/1"

    def open(self) -> Rater:
        return LevelRater(self.active_dbfs)


class LevelRater:
    """Stateless but for its threshold."""

    def __init__(self, active_dbfs: float) -> None:
        self.active_dbfs = active_dbfs

    def rate(self, samples: np.ndarray, sample_rate: int) -> Quality:
        """Quality from frame levels."""
        wave = prepare(samples, sample_rate)
        clipped = float(np.mean(np.abs(checked(samples, sample_rate)) >= 0.999))
        short = -len(wave) % _FRAME
        frames = (np.pad(wave, (0, short)) if short else wave).reshape(-1, _FRAME)
        power = np.mean(frames.astype(np.float64) ** 2, axis=1)
        active = _db(power) > self.active_dbfs
        first = int(np.argmax(active)) if active.any() else len(active)
        snr = _db(power[active].mean()) - _db(power[~active].mean()) if 0 < active.sum() < len(active) else 0.0
        return Quality(
            speech_ratio=float(active.mean()),
            speech_seconds=float(active.sum() * 0.01),
            lead_seconds=first * 0.01,
            clipped_ratio=clipped,
            snr_db=float(np.clip(snr, -20, 100)),
            rms_dbfs=float(max(_db(power.mean()), -120.0)),
        )


def _db(power: np.ndarray | float) -> np.ndarray:
    return 10 * np.log10(np.asarray(power) + 1e-12)
