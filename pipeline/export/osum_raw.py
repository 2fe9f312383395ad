"""OSUM-EChat's raw form: a list of JSON lines, and a WAV file for every sound.

<split>/data.list             key, wav, txt, task, extra, lang, speaker, emotion, gender; wav_N, txt_N of turns before
<split>/wav/<xx>/<key>.wav    what is heard; <key>_h1.wav of the turns before; <key>_a.wav the answer
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from pipeline.export.base import Request, SplitCounts
from pipeline.export.files import wav16k, write_new
from pipeline.export.osum import OsumSample, samples
from pipeline.export.source import Dialogue


class OsumRaw:
    """Writes one split."""

    def __init__(self, request: Request, folder: Path, split: str, dataset: str) -> None:
        self.counts = SplitCounts()
        self._request, self._folder, self._split, self._dataset = request, folder, split, dataset
        (folder / split).mkdir()
        self._list = (folder / split / "data.list").open("x", encoding="utf-8", newline="\n")

    def write(self, dialogue: Dialogue) -> None:
        """See `SplitWriter.write`."""
        for sample in samples(dialogue, self._request, self._dataset, self.counts):
            self._list.write(json.dumps(self._row(sample), ensure_ascii=False, allow_nan=False) + "\n")
            self.counts.samples += 1

    def _row(self, sample: OsumSample) -> dict[str, Any]:
        wav, seconds = self._sound(sample.key, sample.audio)
        extra = {**sample.extra, "duration": seconds}
        if sample.answer is not None:
            extra["a_wav_path"], _ = self._sound(f"{sample.key}_a", sample.answer)
        row = {
            "key": sample.key, "wav": wav, "txt": sample.txt, "task": sample.task, "lang": sample.lang,
            "speaker": sample.speaker, "emotion": sample.emotion, "gender": sample.gender, "extra": extra,
        }  # fmt: skip
        for number, (flac, txt) in enumerate(sample.history, 1):
            row[f"wav_{number}"], _ = self._sound(f"{sample.key}_h{number}", flac)
            row[f"txt_{number}"] = txt
        return row

    def _sound(self, name: str, flac: bytes) -> tuple[str, float]:
        """Write a WAV file; its path as lists have it, and its seconds."""
        data, seconds = wav16k(flac)
        place = ("wav", hashlib.sha256(name.encode()).hexdigest()[:2], f"{name}.wav")
        write_new(self._folder.joinpath(self._split, *place), data)
        return self._request.listed(self._split, *place), seconds

    def close(self) -> None:
        """See `SplitWriter.close`."""
        self._list.close()
