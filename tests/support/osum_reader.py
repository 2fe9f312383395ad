"""A reader of OSUM-EChat's data by the facts of its formats alone; it shares no code with the export.

Raw: a JSON line a sample, `wav` a path. Shard: a list of tars; consecutive members whose names are equal up to the last
dot are a sample, what follows the dot is the field; `wav_N` and `txt_N` are the N-th turn before, from 1. Combine: the
same tars, but `txt`, `task` and `extra` are taken from the JSON line of the key, and `wav_N`, `txt_N` are passed over.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

OUTPUTS = {
    "<TEXT2TOKEN>": "text2token",
    "<S2TCHAT> <TEXT2TOKEN>": "speech2text_token",
    "<S2TCHAT> <TEXT2TOKEN> <THINK>": "speech2text_token_think",
    "<S2TCHAT> <TEXT2TOKEN> <HISTORY>": "speech2text_token_history",
    "<TEXT2TEXT>": "text2text",
    "<S2TCHAT>": "s2t_chat",
    "<S2TCHAT> <THINKER>": "s2t_chat_think",
}
"""Output type by task; every other task is `text`."""
SPOKEN = ("text2token", "speech2text_token", "speech2text_token_think")
"""Outputs for which the loader takes `extra.speech_token`."""
NAMES = re.compile(r"QWEN|MOSS|[Cc]hat ?[Bb]ot|[Hh]elper|AI [Aa]gent|[Cc]hat(GPT|gpt)|<think>")
"""Some of the words for which the loader drops an answer."""


@dataclass
class Sample:
    """What the loader makes of a sample.

    Attributes:
        wav: int16 (num_samples,) at `rate` Hz.
        history: Of the turns before, sound and text, the oldest first.
        fields: Members or keys that the loader passes over.
    """

    key: str
    txt: str = ""
    task: str = "<TRANSCRIBE>"
    wav: np.ndarray | None = None
    rate: int = 0
    extra: dict[str, Any] = field(default_factory=dict)
    history: list[tuple[np.ndarray, str]] = field(default_factory=list)
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def output(self) -> str:
        return OUTPUTS.get(self.task, "text")

    @property
    def text(self) -> str:
        """What the assistant is to write: a leading tag is gone, the think text stands before, between its marks."""
        words = re.sub(r"^<[^<>]+>\s*", "", self.txt.replace("\n", " "))
        if "think" in self.output:
            words = f"<think>{self.extra['think_str']}<think end>{words}"
        return re.sub(r"\s*([<>])\s*", r"\1", words)

    @property
    def speech(self) -> list[int]:
        """The speech that it is to say, between its edges."""
        if self.output not in SPOKEN:
            return []
        codes = [int(code) for code in self.extra["speech_token"]]
        assert codes
        assert all(0 <= code < 4096 for code in codes)
        return [4096, *codes, 4096]

    @property
    def prompt(self) -> str:
        """Words that it is given beside the sound."""
        return self.extra.get("question", "")

    def check(self) -> None:
        """Assert that the loader drops it for none of the reasons that need no tokenizer."""
        assert self.wav is not None
        assert self.rate == 16000
        assert self.wav.ndim == 1
        assert 0.2 <= len(self.wav) / self.rate <= 200
        assert self.txt
        assert not NAMES.search(self.txt)
        assert "question" not in self.extra or self.extra["question"]
        assert self.speech is not None


def _sound(data: bytes | Path) -> tuple[np.ndarray, int]:
    source = io.BytesIO(data) if isinstance(data, bytes) else data
    assert soundfile.info(source).subtype == "PCM_16"
    return soundfile.read(io.BytesIO(data) if isinstance(data, bytes) else data, dtype="int16")


def read_raw(path: Path, root: Path) -> Iterator[Sample]:
    """Samples of a raw list whose paths are relative to `root`; its `wav_N`, `txt_N` as converters take them."""
    for line in path.read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        sample = Sample(row.pop("key"), row.pop("txt"), row.pop("task"), extra=row.pop("extra"))
        sample.wav, sample.rate = _sound(root / row.pop("wav"))
        number = 1
        while f"wav_{number}" in row:
            wav, rate = _sound(root / row.pop(f"wav_{number}"))
            assert rate == 16000
            sample.history.append((wav, row.pop(f"txt_{number}")))
            number += 1
        sample.fields = row
        yield sample


def read_shards(path: Path, root: Path) -> Iterator[Sample]:
    """Samples of the tars of a list."""
    for line in path.read_text(encoding="utf-8").splitlines():
        assert (root / f"{line}.finished").read_bytes() == b""
        yield from _read_tar(root / line, None)


def read_combines(folder: Path, root: Path) -> Iterator[Sample]:
    """Samples of the lists of a combine."""
    tars = root / (folder / "combines_tar_root.txt").read_text(encoding="utf-8").strip()
    for line in (folder / "combines_list.txt").read_text(encoding="utf-8").splitlines():
        rows = [json.loads(row) for row in (root / line).read_text(encoding="utf-8").split("\n")[:-1]]
        assert len(rows) <= 1000
        assert all(row["wav"] == "only-meta" and row["tar_path_key"] == Path(line).stem for row in rows)
        assert all({"txt", "task", "extra"} <= row.keys() for row in rows)
        yield from _read_tar(tars / f"{Path(line).stem}.tar", {row["key"]: row for row in rows})


def _read_tar(path: Path, instead: dict[str, Any] | None) -> Iterator[Sample]:
    sample, parts = None, {}
    with tarfile.open(path) as archive:
        for member in archive:
            stem, _, suffix = member.name.rpartition(".")
            assert stem
            if sample is None or sample.key != stem:
                if sample is not None:
                    yield _finished(sample, parts)
                sample, parts = Sample(stem), {}
                assert instead is None or stem in instead
            stream = archive.extractfile(member)
            assert stream is not None
            data = stream.read()
            if suffix == "wav":
                sample.wav, sample.rate = _sound(data)
            elif suffix in ("txt", "task", "extra"):
                text = data.decode("utf-8").strip()
                value = json.loads(text) if suffix == "extra" else text
                setattr(sample, suffix, value if instead is None else instead[stem][suffix])
            elif match := re.fullmatch(r"(wav|txt)_(\d+)", suffix):
                if instead is None:
                    value = _sound(data) if match[1] == "wav" else data.decode("utf-8").strip()
                    parts.setdefault(int(match[2]), {})[match[1]] = value
            else:
                sample.fields[suffix] = data.decode("utf-8")
    if sample is not None:
        yield _finished(sample, parts)


def _finished(sample: Sample, parts: dict[int, dict[str, Any]]) -> Sample:
    assert sorted(parts) == list(range(1, len(parts) + 1))
    for number in sorted(parts):
        wav, rate = parts[number]["wav"]
        assert rate == 16000
        sample.history.append((wav, parts[number]["txt"]))
    return sample
