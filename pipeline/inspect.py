"""`echat inspect`: a quick look into shards."""

from __future__ import annotations

import json
import operator
import re
import shutil
import subprocess
import tarfile
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError, WorkFailedError
from manifests.files import writing

_PLAYERS = (
    ("ffplay", ("-nodisp", "-autoexit", "-loglevel", "error")),
    ("aplay", ("-q",)),
    ("play", ("-q",)),
)
"""Programs that play a WAV and end, in order of preference, with their options."""
_BINS, _WIDTH = 20, 60
_COMPARE: Mapping[str, Callable[[Any, Any], bool]] = {
    "<=": operator.le, ">=": operator.ge, "!=": operator.ne, "<": operator.lt, ">": operator.gt, "=": operator.eq,
}  # fmt: skip


def find_shards(path: Path) -> list[Path]:
    """The tars that a path means: one tar, a folder of shards, or a run folder.

    Raises:
        UserError: There are none.
    """
    if path.is_file():
        return [path]
    for folder in (path, path / "shards" / "current"):
        shards = sorted(folder.glob("*.tar"))
        if shards:
            return shards
    raise UserError(f"{path}: holds no shards; name a .tar, a folder of them, or a run folder whose build is finished")


def read_documents(path: Path) -> Iterator[dict[str, Any]]:
    """The JSON of every dialogue of a tar.

    Raises:
        UserError: It is not a tar of ours.
    """
    from pipeline.tar import member_bytes, open_tar

    try:
        with open_tar(path) as archive:
            for member in archive:
                if member.name.endswith(".json"):
                    document = json.loads(member_bytes(archive, member))
                    if not isinstance(document, dict) or not {"id", "turns"} <= document.keys():
                        raise ValueError(f"{member.name} is no dialogue of this format")
                    if document["id"] != member.name.removesuffix(".json"):
                        raise ValueError(f"{member.name} is of another id than its name says")
                    yield document
    except (tarfile.TarError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path}: cannot be read as a shard ({error}); run echat verify on its folder") from error


def flat(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows of a dialogue by the columns of an index, and `duration`, the seconds of query and reply."""
    from pipeline.flat import flat_rows

    try:
        return [{**row, "duration": row["query_seconds"] + row["reply_seconds"]} for row in flat_rows(document)]
    except (KeyError, TypeError, AttributeError) as error:
        raise UserError(
            f"dialogue {document['id']!r}: {error} is missing or of another kind; run echat verify"
        ) from error


def columns() -> dict[str, bool]:
    """The columns that filters and histograms can name, and whether they are numbers."""
    import pyarrow as pa

    from pipeline.flat import COLUMNS

    return {**{item.name: not pa.types.is_string(item.type) for item in COLUMNS}, "duration": True}


@dataclass(frozen=True)
class Condition:
    """`column relation value`, as `--where` has it."""

    column: str
    relation: str
    value: str | float

    @classmethod
    def parse(cls, text: str) -> Condition:
        """Read `emotion=sad` or `query_wer>0.3`.

        Raises:
            UserError: It is none, or names no column.
        """
        match = re.fullmatch(r"\s*(\w+)\s*(<=|>=|!=|<|>|=)\s*(.*?)\s*", text, re.DOTALL)
        if match is None:
            raise UserError(f"--where {text!r}: is no condition; write column=value, with = != < <= > or >=")
        column, relation, value = match.groups()
        numeric = _known(column, "--where")
        if not numeric:
            return cls(column, relation, value)
        try:
            return cls(column, relation, float(value))
        except ValueError:
            raise UserError(f"--where {text!r}: {column} is a number, and {value!r} is none") from None

    def holds(self, row: Mapping[str, Any]) -> bool:
        """Whether a flat row meets it."""
        return _COMPARE[self.relation](row[self.column], self.value)


def _known(column: str, option: str) -> bool:
    known = columns()
    if column not in known:
        raise UserError(f"{option}: {column!r} is no column; use one of {', '.join(known)}")
    return known[column]


def find_documents(path: Path, where: Sequence[Condition] = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Dialogues with a turn that meets every condition, each with the tar that it lies in."""
    for shard in find_shards(path):
        for document in read_documents(shard):
            if not where or any(all(item.holds(row) for item in where) for row in flat(document)):
                yield shard, document


def find_document(path: Path, prefix: str) -> tuple[Path, dict[str, Any]]:
    """The first dialogue whose id begins with some text.

    Raises:
        UserError: There is none.
    """
    for shard, document in find_documents(path):
        if document["id"].startswith(prefix):
            return shard, document
    raise UserError(f"{path}: holds no dialogue whose id begins with {prefix!r}")


def histogram(path: Path, column: str, where: Sequence[Condition] = ()) -> Iterator[str]:
    """A histogram of a numeric column over turns, as lines of text.

    Raises:
        UserError: The column is none, or no number.
    """
    import numpy as np

    numeric = [name for name, number in columns().items() if number]
    if not _known(column, "--histogram"):
        raise UserError(f"--histogram: {column} is no number; use one of {', '.join(numeric)}")
    values, unmeasured = array("d"), 0  # eight bytes a turn
    optional = column.endswith(("_wer", "_mos"))
    for _, document in find_documents(path, where):
        for row in flat(document):
            if all(item.holds(row) for item in where):
                if optional and row[column] < 0:
                    unmeasured += 1
                else:
                    values.append(row[column])
    rest = f"; {unmeasured:,} unmeasured" if unmeasured else ""
    if not values:
        yield f"{column}: no turn has a value{rest}"
        return
    data = np.frombuffer(values)
    counts, edges = np.histogram(data, bins=_BINS if np.ptp(data) else 1)
    low, middle, high = np.percentile(data, (5, 50, 95))
    for count, start in zip(counts.tolist(), edges.tolist(), strict=False):
        bar = "█" * round(_WIDTH * count / int(counts.max())) or ("▏" if count else "")
        yield f"{start:>10.3f} {count:>8,} {bar}"
    yield f"{edges[-1]:>10.3f}"
    spread = f"mean {data.mean():.3f}, median {middle:.3f}, 5 to 95 % {low:.3f} to {high:.3f}"
    yield f"{column}: {len(data):,} turns, {spread}{rest}"


def write_wavs(shard: Path, document: Mapping[str, Any], folder: Path) -> list[Path]:
    """Decode query and reply of every turn of a dialogue to WAV files, in the order in which they are said.

    Raises:
        UserError: The audio cannot be read, or the folder not written.
    """
    import soundfile

    from pipeline.audio import decode_flac
    from pipeline.tar import member_bytes, open_tar

    paths = []
    with open_tar(shard) as archive:
        for turn in range(len(document["turns"])):  # not the number that the JSON states: it becomes a file name
            for role in ("query", "reply"):
                name = f"{document['id']}.{turn}.{role}.flac"
                try:
                    samples, rate = decode_flac(member_bytes(archive, archive.getmember(name)))
                except (KeyError, RuntimeError, ValueError, tarfile.TarError) as error:
                    raise UserError(f"{shard}: {name}: cannot be read as FLAC; run echat verify") from error
                path = folder / f"{turn}-{role}.wav"
                with writing(path):
                    folder.mkdir(parents=True, exist_ok=True)
                    soundfile.write(path, samples, rate, subtype="PCM_16")
                paths.append(path)
    return paths


def play(paths: Sequence[Path]) -> str:
    """Play files one after the other with the first player that is installed; its name, or "" when none is.

    Raises:
        WorkFailedError: The player failed: there may be no sound card here.
    """
    for name, options in _PLAYERS:
        program = shutil.which(name)
        if program is None:
            continue
        for path in paths:
            done = subprocess.run([program, *options, str(path)], capture_output=True, text=True, check=False)
            if done.returncode:
                said = " ".join(done.stderr.split())[-200:]
                raise WorkFailedError(f"{name} cannot play {path} ({said}); the WAV files stay in {path.parent}")
        return name
    return ""
