"""A speaker that misbehaves on demand, for tests: the `tone` speaker with faults that a control file switches.

`ECHAT_CHAOS` names a folder. In it, `calls` collects a line per utterance spoken; the file `fault`, when there,
holds JSON, a fault or a list of them: `{"kind": ..., "one_in": 10}` hits rows by the hash of their text,
`{"kind": ..., "text": "..."}` those with that text. The kinds are the functions at the end.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from manifests.engine import unkeyed
from pipeline.registry import register
from synthesis.base import Speaker, Speech, Utterance
from synthesis.tone import ToneConfig, ToneSpeaker

register("speaker", "chaos", "chaos:ChaosConfig")


class ChaosConfig(ToneConfig):
    engine: Literal["chaos"] = "chaos"
    pause_s: float = unkeyed(0.0, "Slept per utterance, to simulate an engine that is slow elsewhere", ge=0)

    def open(self) -> Speaker:
        return ChaosSpeaker(self)


class ChaosSpeaker(ToneSpeaker):
    config: ChaosConfig

    def __init__(self, config: ChaosConfig) -> None:
        super().__init__(config)
        self.before: Speech | None = None
        self.hoard: list[np.ndarray] = []

    def speak(self, utterance: Utterance) -> Speech:
        folder = Path(os.environ["ECHAT_CHAOS"])
        with (folder / "calls").open("a") as stream:
            stream.write(f"{utterance.seed} {time.time()}\n")
        time.sleep(self.config.pause_s)
        speech = super().speak(utterance)
        try:
            faults = json.loads((folder / "fault").read_text())
        except FileNotFoundError:
            return speech
        for fault in faults if isinstance(faults, list) else [faults]:
            text = fault.get("text")
            if utterance.text == text if text else zlib.crc32(utterance.text.encode()) % fault["one_in"] == 0:
                return KINDS[fault["kind"]](self, speech)
        self.before = speech
        return speech


def _raise(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    raise RuntimeError("chaos: this row fails")


def _tell(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    """As clients of servers do that put the header of a request into their error."""
    raise RuntimeError(f"chaos: cannot log in with {os.environ['MY_KEY']}")


def _die(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    os._exit(9)


def _segfault(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    ctypes.string_at(0)
    raise AssertionError("it was survived")


def _hang(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    time.sleep(3600)
    return speech


def _leak(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    """Hoards memory until there is none: this process may have 1 GiB more than it has now."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + 2**30,) * 2)
    while True:
        speaker.hoard.append(np.ones(2**24, np.uint8))


def _nan(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    samples = speech.samples.copy()
    samples[100] = np.nan
    return replace(speech, samples=samples)


def _loud(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    return replace(speech, samples=speech.samples * 40)


def _rate(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    return replace(speech, sample_rate=speech.sample_rate // 2)


def _empty(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    return replace(speech, samples=speech.samples[:0])


def _half(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    return replace(speech, samples=speech.samples[: len(speech.samples) // 2])


def _other(speaker: ChaosSpeaker, speech: Speech) -> Speech:
    """The speech of whoever came before: nothing is wrong with it but whose it is."""
    return speaker.before or replace(speech, samples=speech.samples[::-1].copy())


KINDS = {
    "raise": _raise, "tell": _tell, "die": _die, "segfault": _segfault, "hang": _hang, "leak": _leak, "nan": _nan,
    "loud": _loud, "rate": _rate, "empty": _empty, "half": _half, "other": _other,
}  # fmt: skip
