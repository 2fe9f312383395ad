"""A speaker that misbehaves on demand, for tests: the `tone` speaker with faults that a control file switches.

`ECHAT_CHAOS` names a folder. In it, `calls` collects a line per utterance spoken; the file `fault`, when there,
holds JSON: `{"kind": "raise" | "nan" | "die" | "hang" | "loud", "one_in": 10}` hits rows by the hash of their text,
`{"kind": ..., "text": "..."}` those with that text.
"""

from __future__ import annotations

import json
import os
import time
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from pipeline.registry import register
from synthesis.base import Speaker, Speech, Utterance
from synthesis.tone import ToneConfig, ToneSpeaker

register("speaker", "chaos", "chaos:ChaosConfig")


class ChaosConfig(ToneConfig):
    engine: Literal["chaos"] = "chaos"

    def open(self) -> Speaker:
        return ChaosSpeaker(self)


class ChaosSpeaker(ToneSpeaker):
    def speak(self, utterance: Utterance) -> Speech:
        folder = Path(os.environ["ECHAT_CHAOS"])
        with (folder / "calls").open("a") as stream:
            stream.write(f"{utterance.seed} {time.time()}\n")
        speech = super().speak(utterance)
        try:
            fault = json.loads((folder / "fault").read_text())
        except FileNotFoundError:
            return speech
        text = fault.get("text")
        hit = utterance.text == text if text else zlib.crc32(utterance.text.encode()) % fault["one_in"] == 0
        if not hit:
            return speech
        return _break(speech, fault["kind"])


def _break(speech: Speech, kind: str) -> Speech:
    if kind == "raise":
        raise RuntimeError("chaos: this row fails")
    if kind == "die":
        os._exit(9)
    if kind == "hang":
        time.sleep(3600)
    if kind == "nan":
        samples = speech.samples.copy()
        samples[100] = np.nan
        return replace(speech, samples=samples)
    if kind == "loud":
        return replace(speech, samples=speech.samples * 40)
    raise AssertionError(kind)
