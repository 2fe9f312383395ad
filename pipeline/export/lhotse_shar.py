"""Lhotse Shar (lhotse 1.x): a file of cuts and a tar for each kind of data, read in step.

<split>/cuts.000000.jsonl.gz             a MonoCut a turn: the query, its words and labels; all else under `custom`
<split>/recording.000000.tar             FLAC of the query, as it is in the shards
<split>/reply_recording.000000.tar       FLAC of the reply
<split>/reply_tokens.000000.tar          int32 speech tokens of the reply

Turns of a dialogue follow each other in one file. Written by the format alone, without Lhotse: its own writer encodes
sound anew and puts times of writing into the files.
"""

from __future__ import annotations

import gzip
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from manifests.labels import CUES, NONE
from pipeline.audio import flac_info
from pipeline.export.base import Request, SplitCounts
from pipeline.export.files import TarFile, one_line
from pipeline.export.source import Dialogue, Turn

_KINDS = ("recording", "reply_recording", "reply_tokens")


class LhotseShar:
    """Writes one split."""

    def __init__(self, request: Request, folder: Path, split: str, dataset: str) -> None:
        self.counts = SplitCounts()
        self._rows, self._folder, self._dataset = request.rows, folder / split, dataset
        self._folder.mkdir()
        self._number = self._in_file = 0
        self._tars: dict[str, TarFile] = {}
        self._cuts: Any = None
        self._file: Any = None

    def write(self, dialogue: Dialogue) -> None:
        """See `SplitWriter.write`."""
        if not self._in_file or self._in_file + dialogue.document.num_turns > self._rows:
            self._next()
        for turn in dialogue.document.turns:
            self._write_turn(dialogue, turn)
            self._in_file += 1
            self.counts.samples += 1

    def _write_turn(self, dialogue: Dialogue, turn: Turn) -> None:
        name = f"{dialogue.id}-{turn.turn}"
        query, reply = dialogue.queries[turn.turn], dialogue.replies[turn.turn]
        tokens = dialogue.tokens[turn.turn]
        stream = io.BytesIO()
        np.save(stream, tokens, allow_pickle=False)
        manifests = {
            "recording": _recording(name, query),
            "reply_recording": _recording(f"{name}-reply", reply),
            "reply_tokens": {
                "storage_type": "shar", "storage_path": "", "storage_key": "", "shape": list(tokens.shape),
            },
        }  # fmt: skip
        data = {
            "recording": ("flac", query),
            "reply_recording": ("flac", reply),
            "reply_tokens": ("npy", stream.getvalue()),
        }
        for kind, (suffix, content) in data.items():
            self._tars[kind].add(f"{name}.{suffix}", content)
            self._tars[kind].add(f"{name}.json", _line(manifests[kind]))
        self._cuts.write(_line(self._cut(name, dialogue, turn, manifests)))

    def _cut(self, name: str, dialogue: Dialogue, turn: Turn, manifests: dict[str, Any]) -> dict[str, Any]:
        document, requested = dialogue.document, turn.query.requested
        recording = manifests["recording"]
        labels = {family: label for family in CUES if (label := getattr(requested, family)) != NONE}
        supervision = {
            "id": name, "recording_id": recording["id"], "start": 0.0, "duration": recording["duration"], "channel": 0,
            "text": one_line(turn.query.text), "language": document.query_language, "speaker": turn.query.speaker,
            **({"gender": labels["gender"]} if "gender" in labels else {}),
            "custom": {family: label for family, label in labels.items() if family != "gender"},
        }  # fmt: skip
        return {
            "id": name, "start": 0.0, "duration": recording["duration"], "channel": 0, "supervisions": [supervision],
            "recording": recording,
            "custom": {
                "dialogue": document.id, "turn": turn.turn, "num_turns": document.num_turns, "task": document.task,
                "source": document.source, "corpus": document.corpus.name, "pair": document.pair,
                "cues": list(turn.cues), "intensity": requested.intensity, "query_voice": turn.query.voice,
                "reply_text": turn.reply.text, "reply_language": document.language, "reply_voice": turn.reply.voice,
                "reply_emotion": turn.reply.emotion, "token_rate": turn.reply.token_rate,
                "codebook_size": turn.reply.codebook_size, "think_text": turn.think_text, "think_tag": turn.think_tag,
                "reply_recording_unaligned": True,  # or Lhotse cuts it to the length of the query
                "reply_recording": manifests["reply_recording"], "reply_tokens": manifests["reply_tokens"],
            },
            "type": "MonoCut",
        }  # fmt: skip

    def _next(self) -> None:
        self.close()
        number = f"{self._number:06d}"
        self._number, self._in_file = self._number + 1, 0
        self._tars = {kind: TarFile(self._folder / f"{kind}.{number}.tar") for kind in _KINDS}
        self._file = (self._folder / f"cuts.{number}.jsonl.gz").open("xb")
        self._cuts = gzip.GzipFile("", "wb", 6, self._file, mtime=0)

    def close(self) -> None:
        """See `SplitWriter.close`."""
        for tar in self._tars.values():
            tar.close()
        if self._cuts is not None:
            self._cuts.close()
            self._file.close()
        self._tars, self._cuts = {}, None


def _recording(name: str, flac: bytes) -> dict[str, Any]:
    """The manifest of a FLAC that lies beside it in a tar.

    Raises:
        ValueError: It is no FLAC.
    """
    try:
        rate, frames = flac_info(flac)
    except (RuntimeError, ValueError) as error:
        raise ValueError(f"its audio cannot be read ({error})") from error
    return {
        "id": name, "sources": [{"type": "shar", "channels": [0], "source": ""}], "sampling_rate": rate,
        "num_samples": frames, "duration": frames / rate, "channel_ids": [0],
    }  # fmt: skip


def _line(value: dict[str, Any]) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False) + "\n").encode()
