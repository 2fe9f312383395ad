"""What an export is asked for, and what a format must do."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from manifests.errors import UserError
from manifests.labels import SPLITS
from pipeline.export.source import Dialogue

FORMATS = {
    "osum-raw": "pipeline.export.osum_raw:OsumRaw",
    "osum-shard": "pipeline.export.osum_shard:OsumShard",
    "osum-combine": "pipeline.export.osum_shard:OsumCombine",
    "lhotse": "pipeline.export.lhotse_shar:LhotseShar",
    "parquet": "pipeline.export.parquet:ParquetFiles",
    "kaldi": "pipeline.export.kaldi:Kaldi",
}
TASKS = ("s2s-think", "s2s", "s2t-think", "s2t", "tts", "t2t", "understand")
THINKS = ("natural", "tag")


@dataclass(frozen=True)
class Request:
    """What the user asks for.

    Attributes:
        source: A run folder, a folder of shards or a tar.
        format: A key of `FORMATS`.
        splits: To export; none for all.
        limit: Most dialogues of each split.
        rows: Most samples of a file of the formats that have files of many.
        task: OSUM formats: what a sample trains, one of `TASKS`.
        think: OSUM formats: the form of the think text, one of `THINKS`.
        root: Formats with lists of paths: the folder that the export will lie in; empty for paths relative to it.
    """

    source: Path
    out: Path
    format: str
    splits: tuple[str, ...] = ()
    limit: int | None = None
    rows: int = 1000
    task: str = "s2s-think"
    think: str = "natural"
    root: str = ""

    def check(self) -> None:
        """Refuse what cannot be exported.

        Raises:
            UserError: Names the option.
        """
        for option, values, allowed in (
            ("--format", (self.format,), tuple(FORMATS)),
            ("--split", self.splits, SPLITS),
            ("--task", (self.task,), TASKS),
            ("--think", (self.think,), THINKS),
        ):
            for value in values:
                if value not in allowed:
                    raise UserError(f"{option}: {value!r} is none of {', '.join(allowed)}")
        if self.format == "osum-combine" and self.rows > 1000:
            raise UserError("--rows: the loader reads at most 1000 rows of a combine; allow no more")
        if re.search(r"[\x00-\x1f|]", self.root):
            raise UserError(
                "--root: holds a control character or a |, which lists of paths cannot; name another folder"
            )

    def listed(self, *names: str) -> str:
        """A path of the export as lists name it."""
        return "/".join([*([self.root.rstrip("/")] if self.root else []), *names])


@dataclass
class SplitCounts:
    """Of a split: dialogues read, samples written, and what was left out, by reason."""

    dialogues: int = 0
    samples: int = 0
    left_out: Counter[str] = field(default_factory=Counter)


class SplitWriter(Protocol):
    """Writes one split of an export; made by `Format(request, folder, split, name of the set)`."""

    counts: SplitCounts

    def write(self, dialogue: Dialogue) -> None:
        """Write a dialogue.

        Raises:
            ValueError: Its sound cannot be read, or the format cannot hold it; says why.
        """
        ...

    def close(self) -> None:
        """Write what comes last."""
        ...
