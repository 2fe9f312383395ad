"""A plugin for benchmarks/simulate.py: the tone speaker and recognizer, which also sleep, as if they were slow models.

Sleeping takes no core, so that a machine of two cores stands in for one with as many as there are workers.
"""

from __future__ import annotations

import time
from typing import Any, Literal

from annotators.tone import ToneRecognizer, ToneRecognizerConfig
from manifests.engine import unkeyed
from pipeline.registry import register
from synthesis.tone import ToneConfig, ToneSpeaker


class SleepingSpeakerConfig(ToneConfig):
    engine: Literal["sleeping"] = "sleeping"  # type: ignore[assignment]
    sleep: float = unkeyed(0.0, "Seconds an utterance", ge=0)

    def open(self) -> Any:
        return SleepingSpeaker(self)


class SleepingSpeaker(ToneSpeaker):
    def speak(self, utterance: Any) -> Any:
        time.sleep(self.config.sleep)  # type: ignore[attr-defined]
        return super().speak(utterance)


class SleepingRecognizerConfig(ToneRecognizerConfig):
    engine: Literal["sleeping"] = "sleeping"  # type: ignore[assignment]
    sleep: float = unkeyed(0.0, "Seconds an utterance", ge=0)

    def open(self) -> Any:
        return SleepingRecognizer(self.sleep)


class SleepingRecognizer(ToneRecognizer):
    def __init__(self, sleep: float) -> None:
        self.sleep = sleep

    def transcribe(self, *args: Any) -> Any:
        time.sleep(self.sleep)
        return super().transcribe(*args)


register("speaker", "sleeping", "sleeping:SleepingSpeakerConfig")
register("recognizer", "sleeping", "sleeping:SleepingRecognizerConfig")
