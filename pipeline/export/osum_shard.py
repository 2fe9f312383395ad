"""OSUM-EChat's shard and combine forms.

osum-shard      <split>/shard_000000000.tar             a member for each field of a sample: <key>.txt .wav .task .lang
                                                        .speaker .emotion .gender .duration .extra, and of turns
                                                        before .txt_N .wav_N
                <split>/shard_000000000.tar.finished    empty: the tar is whole
                <split>/shards_list.txt                 the tars
osum-combine    <split>/tars/combine_000000000.tar      likewise
                <split>/combines/combine_000000000.jsonl    txt, task and extra, which the loader takes for the tar's
                <split>/combines_list.txt, combines_tar_root.txt
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import IO, Any

from pipeline.export.base import Request, SplitCounts
from pipeline.export.files import TarFile, wav16k
from pipeline.export.osum import OsumSample, samples
from pipeline.export.source import Dialogue


class OsumShard:
    """Writes one split."""

    prefix, tars = "shard", ""

    def __init__(self, request: Request, folder: Path, split: str, dataset: str) -> None:
        self.counts = SplitCounts()
        self.request, self.folder, self.split = request, folder / split, split
        self._dataset = dataset
        self._tar: TarFile | None = None
        self.number = 0
        """Of tars begun."""
        (self.folder / self.tars).mkdir(parents=True)

    def write(self, dialogue: Dialogue) -> None:
        """See `SplitWriter.write`."""
        for sample in samples(dialogue, self.request, self._dataset, self.counts):
            self.add(sample)

    def add(self, sample: OsumSample) -> None:
        """Write a sample."""
        if self._tar is None or self.counts.samples % self.request.rows == 0:
            self._next()
        assert self._tar is not None
        for name, data in members(sample):
            self._tar.add(f"{sample.key}.{name}", data)
        self.counts.samples += 1

    def _next(self) -> None:
        self._finish()
        self.number += 1
        self._tar = TarFile(self.path(self.number - 1))

    def _finish(self) -> None:
        if self._tar is not None:
            self._tar.close()
            self._tar = None
            tar = self.path(self.number - 1)
            tar.with_name(f"{tar.name}.finished").touch()

    def path(self, number: int) -> Path:
        """Of a tar."""
        return self.folder / self.tars / f"{self.prefix}_{number:09d}.tar"

    def listed(self, path: Path) -> str:
        """A path as lists have it."""
        return self.request.listed(self.split, *path.relative_to(self.folder).parts)

    def close(self) -> None:
        """See `SplitWriter.close`."""
        self._finish()
        with (self.folder / "shards_list.txt").open("x", encoding="utf-8", newline="\n") as lines:
            for number in range(self.number):
                lines.write(self.listed(self.path(number)) + "\n")


class OsumCombine(OsumShard):
    """Writes one split; dialogues of several turns are left out, as the loader reads no history from a combine."""

    prefix, tars = "combine", "tars"

    def __init__(self, request: Request, folder: Path, split: str, dataset: str) -> None:
        super().__init__(request, folder, split, dataset)
        (self.folder / "combines").mkdir()
        self._rows: IO[str] | None = None

    def add(self, sample: OsumSample) -> None:
        """See `OsumShard.add`."""
        if sample.history:
            self.counts.left_out["dialogues of several turns: the loader reads no history from a combine"] += 1
            return
        super().add(sample)
        assert self._rows is not None
        self._rows.write(json.dumps(self._row(sample), ensure_ascii=False, allow_nan=False) + "\n")

    def _row(self, sample: OsumSample) -> dict[str, Any]:
        return {
            "key": sample.key, "txt": sample.txt, "wav": "only-meta", "extra": sample.extra,
            "tar_path_key": self.path(self.number - 1).stem, "task": sample.task,
        }  # fmt: skip

    def _next(self) -> None:
        super()._next()
        self._rows = self._combine(self.number - 1).open("x", encoding="utf-8", newline="\n")

    def _finish(self) -> None:
        super()._finish()
        if self._rows is not None:
            self._rows.close()
            self._rows = None

    def _combine(self, number: int) -> Path:
        return self.folder / "combines" / f"{self.prefix}_{number:09d}.jsonl"

    def close(self) -> None:
        """See `SplitWriter.close`."""
        self._finish()
        with (self.folder / "combines_list.txt").open("x", encoding="utf-8", newline="\n") as lines:
            for number in range(self.number):
                lines.write(self.listed(self._combine(number)) + "\n")
        (self.folder / "combines_tar_root.txt").write_text(
            self.listed(self.folder / self.tars) + "\n", encoding="utf-8"
        )


def members(sample: OsumSample) -> list[tuple[str, bytes]]:
    """Suffix and content of the members of a sample, in the order of the release's converter."""
    wav, seconds = wav16k(sample.audio)
    texts = {
        "task": sample.task, "lang": sample.lang, "speaker": sample.speaker, "emotion": sample.emotion,
        "gender": sample.gender, "duration": str(seconds),
        "extra": json.dumps(sample.extra, ensure_ascii=False, allow_nan=False),
    }  # fmt: skip
    out = [("txt", sample.txt.encode()), ("wav", wav), *((name, text.encode()) for name, text in texts.items())]
    for number, (flac, txt) in enumerate(sample.history, 1):
        out += [(f"txt_{number}", txt.encode()), (f"wav_{number}", wav16k(flac)[0])]
    return out
