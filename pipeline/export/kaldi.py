"""Kaldi data folders: the queries and the replies of each split, an utterance a turn.

<split>_query/wav.scp text utt2spk spk2utt utt2dur     sorted as `LC_ALL=C sort` has them
<split>_query/wav/<xx>/<utterance>.wav                 16 kHz mono
<split>_reply/...                                      likewise

An utterance is called `<speaker>-<dialogue>-<turn>`. `-` is less than any character of a speaker, so sorting by
utterance sorts by speaker, as Kaldi wants.
"""

from __future__ import annotations

import hashlib
import re
from itertools import groupby
from pathlib import Path

from pipeline.export.base import Request, SplitCounts
from pipeline.export.files import DiskTable, one_line, wav16k, write_new
from pipeline.export.source import Dialogue

_PLAIN = re.compile(r"[A-Za-z0-9_]{1,64}")
_HASHED = re.compile(r".*_[0-9a-f]{12}")


class Kaldi:
    """Writes one split, as two data folders."""

    def __init__(self, request: Request, folder: Path, split: str, dataset: str) -> None:
        self.counts = SplitCounts()
        self._roles = {role: _DataFolder(request, folder, f"{split}_{role}") for role in ("query", "reply")}

    def write(self, dialogue: Dialogue) -> None:
        """See `SplitWriter.write`."""
        for turn, query, reply in zip(dialogue.document.turns, dialogue.queries, dialogue.replies, strict=True):
            for role, speaker, text, flac in (
                ("query", turn.query.speaker, turn.query.text, query),
                ("reply", turn.reply.voice, turn.reply.text, reply),
            ):
                words = one_line(text)
                if not words:
                    self.counts.left_out["utterances without words"] += 1
                    continue
                self._roles[role].add(speaker_name(speaker), f"{dialogue.id}-{turn.turn}", words, flac)
                self.counts.samples += 1

    def close(self) -> None:
        """See `SplitWriter.close`."""
        for folder in self._roles.values():
            folder.close()


class _DataFolder:
    def __init__(self, request: Request, folder: Path, name: str) -> None:
        self._request, self._folder, self._name = request, folder / name, name
        self._folder.mkdir()
        self._table = DiskTable(self._folder / ".utterances", ["utterance", "speaker", "wav", "words", "seconds"])

    def add(self, speaker: str, name: str, words: str, flac: bytes) -> None:
        """Write a WAV file and remember its line."""
        utterance = f"{speaker}-{name}"
        data, seconds = wav16k(flac)
        place = ("wav", hashlib.sha256(utterance.encode()).hexdigest()[:2], f"{utterance}.wav")
        write_new(self._folder.joinpath(*place), data)
        self._table.add(utterance, speaker, self._request.listed(self._name, *place), words, seconds)

    def close(self) -> None:
        """Write the sorted tables."""
        tables = {"wav.scp": 2, "text": 3, "utt2spk": 1, "utt2dur": 4}
        for name, column in tables.items():
            with (self._folder / name).open("x", encoding="utf-8", newline="\n") as lines:
                for row in self._table.rows():
                    lines.write(f"{row[0]} {row[column]}\n")
        with (self._folder / "spk2utt").open("x", encoding="utf-8", newline="\n") as lines:
            for speaker, rows in groupby(self._table.rows(), lambda row: row[1]):
                lines.write(speaker)
                for row in rows:
                    lines.write(f" {row[0]}")
                lines.write("\n")
        self._table.close()


def speaker_name(speaker: str) -> str:
    """A speaker's name without what Kaldi or a file system cannot hold; different speakers stay different."""
    if _PLAIN.fullmatch(speaker) and not _HASHED.fullmatch(speaker):
        return speaker
    digest = hashlib.sha256(speaker.encode("utf-8", "surrogatepass")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', speaker)[:40].strip('_') or 'speaker'}_{digest}"
