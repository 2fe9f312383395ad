"""A plugin for benchmarks: the tone speaker and recognizer, which also sleep, as if they were slow models.

Sleeping takes no core, so that a machine of two cores stands in for one with as many as there are workers.
Two variables of the environment serve benchmarks that compare: `SLEEPING_CALLS` names a file to which every call of a
speaker adds a line, seed, begin, end and process; `SLEEPING_TOGETHER` has a process wait before its first call until so
many processes are about to make theirs, so that the start of workers can be told apart from their work.
"""

from __future__ import annotations

import os
import time
from pathlib import Path
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


_READY = "ready"
_TOGETHER_S = 180.0
_met: set[int] = set()  # processes that are past their meeting; a fork is a process of its own


class SleepingSpeaker(ToneSpeaker):
    def speak(self, utterance: Any) -> Any:
        calls = os.environ.get("SLEEPING_CALLS")
        if calls and os.getpid() not in _met:
            _met.add(os.getpid())
            _meet(Path(calls), int(os.environ.get("SLEEPING_TOGETHER", "1")))
        began = time.time()
        time.sleep(self.config.sleep)  # type: ignore[attr-defined]
        speech = super().speak(utterance)
        if calls:
            _note(Path(calls), f"{utterance.seed} {began:.4f} {time.time():.4f} {os.getpid()}")
        return speech


def _note(path: Path, line: str) -> None:
    with path.open("ab", buffering=0) as stream:
        stream.write(f"{line}\n".encode())  # one write to the end, so that processes do not mix


def _meet(path: Path, others: int) -> None:
    _note(path, f"{_READY} {os.getpid()}")
    deadline = time.monotonic() + _TOGETHER_S
    while path.read_text().count(_READY) < others:
        if time.monotonic() > deadline:
            raise RuntimeError(f"fewer than {others} workers called a speaker in {_TOGETHER_S:.0f} s")
        time.sleep(0.01)


def calls(path: Path) -> list[tuple[str, float, float, int]]:
    """The calls of a file: seed, begin and end on the clock, process."""
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return [(line[0], float(line[1]), float(line[2]), int(line[3])) for line in lines if len(line) == 4]


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
