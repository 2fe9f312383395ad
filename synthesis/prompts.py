"""Voice banks as a zero-shot speaker reads them: whose voice, saying what, in which emotion.

A bank is a folder that `echat ingest voices` made: `voices.csv`, `prompts.csv` and `prompts/*.flac`.
"""

from __future__ import annotations

import csv
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import soundfile
import soxr

from manifests.errors import UserError
from manifests.labels import NONE

VOICES, PROMPTS = "voices.csv", "prompts.csv"
MAX_SECONDS = 30.0
"""Of a prompt: speech tokenizers take no more."""
CALM = ("neutral", NONE)
"""Emotions of a prompt that lends no manner to what is spoken after it; that nobody wrote down is taken for one."""
_COLUMNS = ("file", "voice", "emotion", "language", "text", "seconds", "sha256")


@dataclass(frozen=True)
class Prompt:
    """One recording of a voice.

    Attributes:
        path: The file, whose content is `sha256`.
        text: What is said in it; empty when nobody wrote it down.
    """

    path: Path
    voice: str
    emotion: str
    language: str
    text: str
    seconds: float
    sha256: str

    def samples(self, sample_rate: int) -> np.ndarray:
        """Its sound, float32 (num_samples,), mono.

        Raises:
            UserError: The file is missing or is not the one that the bank lists; nothing is wrong with a row.
        """
        try:
            data = self.path.read_bytes()
        except OSError as error:
            raise UserError(f"{self.path}: the prompt cannot be read ({error.strerror or error})") from error
        if hashlib.sha256(data).hexdigest() != self.sha256:
            raise UserError(f"{self.path}: is not the prompt that {PROMPTS} lists: make the bank again")
        with self.path.open("rb") as stream:
            samples, rate = soundfile.read(stream, dtype="float32", always_2d=True)
        mono = samples.mean(axis=1)
        return mono if rate == sample_rate else np.asarray(soxr.resample(mono, rate, sample_rate), np.float32)


@dataclass(frozen=True)
class VoiceBank:
    """The prompts of a bank by voice, in the order of the table."""

    folder: Path
    prompts: dict[str, tuple[Prompt, ...]]
    digest: str
    """Changes with any prompt: its words, labels or sound."""

    def pick(self, voice: str, emotion: str, language: str, seed: int) -> Prompt:
        """A prompt of a voice: in the language if it has any; of those one of the emotion, else a calm one, else any.

        Equals are drawn by seed.

        Raises:
            ValueError: The bank does not have the voice.
        """
        have = self.prompts.get(voice)
        if not have:
            raise ValueError(f"the bank {self.folder} has no voice {voice!r}")
        mine = [prompt for prompt in have if prompt.language == language] or list(have)
        for wanted in ((emotion,), CALM):
            fitting = [prompt for prompt in mine if prompt.emotion in wanted]
            if fitting:
                return fitting[seed % len(fitting)]
        return mine[seed % len(mine)]


def read_bank(folder: Path) -> VoiceBank:
    """Read a bank's table of prompts; their sound is read, and checked, when it is needed.

    Raises:
        UserError: A file, a column or a value is missing or wrong; names file, line and column.
    """
    path = folder / PROMPTS
    try:
        state = path.stat()
    except OSError as error:
        raise UserError(
            f"{path}: the bank's prompts cannot be read ({error.strerror or error}); make a bank with"
            " `echat ingest voices CORPUS --out DIR`"
        ) from error
    return _read(folder, state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=8)
def _read(folder: Path, _changed: int, _size: int) -> VoiceBank:
    path = folder / PROMPTS
    data = path.read_bytes()
    try:
        reader = csv.DictReader(data.decode("utf-8-sig").splitlines())
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 text (byte {error.start})") from error
    missing = [column for column in _COLUMNS if column not in (reader.fieldnames or ())]
    if missing:
        raise UserError(f"{path}: lacks the column(s) {', '.join(missing)}; make the bank again")
    prompts: dict[str, list[Prompt]] = {}
    for row in reader:
        prompt = _prompt(folder, row, f"{path}:{reader.line_num}")
        prompts.setdefault(prompt.voice, []).append(prompt)
    if not prompts:
        raise UserError(f"{path}: lists no prompt")
    digest = hashlib.sha256(data).hexdigest()[:12]
    return VoiceBank(folder, {voice: tuple(have) for voice, have in prompts.items()}, digest)


def _prompt(folder: Path, row: dict[str, str], where: str) -> Prompt:
    values = {column: (row[column] or "").strip() for column in _COLUMNS}
    name = Path(values["file"])
    if not values["file"] or name.is_absolute() or ".." in name.parts:
        raise UserError(f"{where}: file is {values['file']!r}; name a file inside the bank")
    if not values["voice"] or len(values["sha256"]) != 64:
        raise UserError(f"{where}: has no voice, or no sha256; make the bank again")
    try:
        seconds = float(values["seconds"])
    except ValueError as error:
        raise UserError(f"{where}: seconds is {values['seconds']!r}, which is no number") from error
    if not 0 < seconds <= MAX_SECONDS:
        raise UserError(f"{where}: the prompt has {seconds:g} s; a prompt may have {MAX_SECONDS:g} s at most")
    return Prompt(
        folder / name,
        values["voice"],
        values["emotion"] or NONE,
        values["language"],
        values["text"],
        seconds,
        values["sha256"],
    )
