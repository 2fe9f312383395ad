"""The ledger: which cells are committed, and the tables that they made.

A cell is one stage applied to one part. It is committed by a record, a small JSON file that is created
last and exclusively, and that names the cell's data file by its content:

    stages/<stage>/part-0007@<key>.<sha12>.parquet
    stages/<stage>/part-0007@<key>.json

Nothing that a record names is ever overwritten. A record whose data is gone counts as not committed. A
record that `replay` sets aside becomes `part-0007@<key>.retired-<n>.json`; its rows can still be copied.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ConfigDict, TypeAdapter

from manifests.clock import STORAGE, clock
from manifests.errors import UserError
from manifests.files import fsync, sha256, temporary, write_exclusive, writing
from manifests.ids import canonical_json, content_hash
from manifests.schema import SCHEMA_VERSION

FORMAT = 1
"""Of the records; a record of another format is refused."""

_NAME = re.compile(r"part-(\d{4,})@([0-9a-f]{16})(?:\.retired-(\d+))?\.json")
_DATA = re.compile(r"part-\d{4,}@[0-9a-f]{16}\.[0-9a-f]{12}\.parquet")


@dataclass(frozen=True)
class CellRecord:
    """What is known of a committed cell. Times and workers are here and never in the data.

    Attributes:
        data: Name of the data file, beside the record.
        failures: One entry per row that this stage quarantined: id, turn, type, message, traceback, attempt.
        metrics: Rows made and copied, seconds of audio, wall seconds, worker, finish time.
        seal: Hash of all the rest, so that a flipped bit is seen; "" in records of earlier versions.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")

    stage: str
    part: int
    key: str
    data: str
    sha256: str
    size: int
    rows: int
    failures: list[dict[str, Any]] = field(default_factory=list)
    metrics: dict[str, Any] = field(default_factory=dict)
    format: int = FORMAT
    seal: str = ""

    def sealed(self) -> CellRecord:
        """The record with its seal."""
        return replace(self, seal=content_hash(asdict(replace(self, seal=""))))


_RECORD = TypeAdapter(CellRecord)


class Ledger:
    """The cells of one run folder."""

    def __init__(self, run: Path) -> None:
        self.run = run

    def folder(self, stage: str) -> Path:
        """Where a stage's cells lie."""
        return self.run / "stages" / stage

    def _record_path(self, stage: str, part: int, key: str) -> Path:
        return self.folder(stage) / f"part-{part:04d}@{key}.json"

    def data_path(self, record: CellRecord) -> Path:
        """The data file that a record names."""
        return self.folder(record.stage) / record.data

    def find(self, stage: str, part: int, key: str) -> CellRecord | None:
        """The record of a cell, or None when it is not committed.

        Raises:
            UserError: The record is damaged, of another format, or its data is not as long as it says.
        """
        path = self._record_path(stage, part, key)
        record = self._read(path)
        if record is None:
            return None
        data = self.data_path(record)
        try:
            size = data.stat().st_size
        except FileNotFoundError:
            return None
        if size != record.size:
            raise UserError(
                f"{data}: holds {size:,} bytes where its record says {record.size:,};"
                f" delete this file and run build again to make it anew"
            )
        return record

    def _read(self, path: Path) -> CellRecord | None:
        try:
            text = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise UserError(f"{path}: the record cannot be read ({error.strerror})") from error
        try:
            document = json.loads(text)
            version = document.get("format")
            if version != FORMAT:
                raise UserError(
                    f"{path}: is a record of format {version}, this version reads format {FORMAT};"
                    f" build into a new folder, or use the version that wrote it"
                )
            record = _RECORD.validate_json(text, strict=True)
            if not path.name.startswith(f"part-{record.part:04d}@{record.key}.") or path.parent.name != record.stage:
                raise ValueError("the record is of another cell")
            if record.seal and (record.sealed() != record or canonical_json(asdict(record)) != text):
                raise ValueError("the record is not what was committed")
            return record
        except UserError:
            raise
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise UserError(
                f"{path}: is not a readable record; delete this file and run build again to make the cell anew"
            ) from error

    def history(self, stage: str, parts: Sequence[int]) -> Iterator[CellRecord]:
        """Earlier cells of some parts whose data is still there, retired ones included, in a stable order."""
        # Asked before every cell, so the names of other parts, which are many, are hardly looked at.
        folder, heads = self.folder(stage), tuple(f"part-{part:04d}@" for part in parts)
        names = os.listdir(folder) if folder.is_dir() else []
        for name in sorted(name for name in names if name.startswith(heads) and _NAME.fullmatch(name)):
            record = self._read(folder / name)
            if record is not None and self.data_path(record).exists():
                yield record

    def parts(self, stage: str) -> set[int]:
        """Numbers of all parts of which a cell was ever committed."""
        names = (_NAME.fullmatch(path.name) for path in self.folder(stage).glob("part-*.json"))
        return {int(match[1]) for match in names if match}

    def files(self, stage: str) -> tuple[list[Path], list[Path]]:
        """All records of a stage, retired ones too, and all data files, whether or not a record names them."""
        paths = sorted(self.folder(stage).iterdir()) if self.folder(stage).is_dir() else []
        return (
            [path for path in paths if _NAME.fullmatch(path.name)],
            [path for path in paths if _DATA.fullmatch(path.name)],
        )

    def all_records(self, stage: str) -> Iterator[CellRecord]:
        """Every record of a stage, retired ones and those without their data included."""
        return (record for path in self.files(stage)[0] if (record := self._read(path)))

    def record_path(self, record: CellRecord) -> Path:
        """The file of a record that is committed."""
        return self._record_path(record.stage, record.part, record.key)

    def commit(
        self,
        stage: str,
        part: int,
        key: str,
        table: pa.Table,
        failures: list[dict[str, Any]],
        metrics: dict[str, Any],
    ) -> CellRecord:
        """Write a cell's table and its record, in that order; when another worker was first, its record wins.

        Raises:
            UserError: The disk is full, read-only or forbidden.
        """
        folder, started = self.folder(stage), time.perf_counter()
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            spare = temporary(folder / f"part-{part:04d}.parquet")
            try:
                # Audio is FLAC already; zstd would only cost time on it.
                plain = {name for name in table.column_names if pa.types.is_large_binary(table.schema.field(name).type)}
                codec: Any = {path: "none" if path in plain else "zstd" for path in _leaves(table.schema)}
                pq.write_table(table, spare, compression=codec, use_dictionary=False)
                fsync(spare)
                digest = sha256(spare)
                size = spare.stat().st_size
                data = folder / f"part-{part:04d}@{key}.{digest[:12]}.parquet"
                os.replace(spare, data)
            finally:
                spare.unlink(missing_ok=True)
            fsync(folder)
        metrics = {**metrics, "commit_s": round(time.perf_counter() - started, 4)}
        record = CellRecord(stage, part, key, data.name, digest, size, table.num_rows, failures, metrics).sealed()
        while not write_exclusive(self._record_path(stage, part, key), canonical_json(asdict(record))):
            winner = self.find(stage, part, key)
            if winner is not None:
                return winner
            self._record_path(stage, part, key).unlink(missing_ok=True)  # its data is gone: it names nothing
        return record

    def load(self, record: CellRecord, columns: Sequence[str] | None = None) -> pa.Table:
        """Read a cell's table, or some of its columns.

        Raises:
            UserError: The file cannot be read, or was written under another schema version.
        """
        path = self.data_path(record)
        try:
            with clock(STORAGE):
                table = read_table(path, columns)
            table.validate(full=True)  # a string that is no UTF-8 would end its reader
            missing = {*(columns or ())} - {*table.column_names}  # decodes the names, too
            if missing or table.num_rows != record.rows:
                raise ValueError(f"it holds {table.num_rows} rows and lacks {sorted(missing) or 'no column'}")
        except (OSError, ValueError, KeyError, pa.ArrowException) as error:
            raise UserError(
                f"{path}: cannot be read ({_short(error)}); delete this file and run build again to make it anew"
            ) from error
        version = (table.schema.metadata or {}).get(b"echat.schema_version", b"none").decode()
        if version != str(SCHEMA_VERSION):
            raise UserError(
                f"{path}: was written under schema version {version}, this version reads {SCHEMA_VERSION};"
                f" build into a new folder, or use the version that wrote it"
            )
        return table

    def check(self, record: CellRecord) -> CellRecord:
        """The record, once every byte of its data is known to be what was committed.

        Whoever makes something lasting from a cell calls this first: what is made of damaged data would outlive it.

        Raises:
            UserError: It is not, or cannot be read.
        """
        path = self.data_path(record)
        try:
            with clock(STORAGE):
                whole = sha256(path) == record.sha256
        except OSError as error:
            raise UserError(f"{path}: cannot be read ({error.strerror or error}); run build again") from error
        if not whole:
            raise UserError(
                f"{path}: is not what was committed (its sha256 is another);"
                f" delete this file and run build again to make it anew"
            )
        return record

    def retire(self, record: CellRecord) -> None:
        """Set a record aside so that the cell is made again; its good rows will be copied."""
        path = self._record_path(record.stage, record.part, record.key)
        earlier = [_NAME.fullmatch(old.name) for old in path.parent.glob(f"{path.stem}.retired-*.json")]
        number = max((int(match[3]) for match in earlier if match and match[3]), default=-1) + 1
        with writing(path):
            os.replace(path, path.with_name(f"{path.stem}.retired-{number}.json"))
            fsync(path.parent)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """A small Parquet file, or those of its columns that it has.

    Threads, and pyarrow's own `read_table` with its look for a folder of files, would double what 200 rows cost.

    Raises:
        OSError, pa.ArrowException: It cannot be read.
    """
    with pq.ParquetFile(path, memory_map=False) as file:
        missing = {*(columns or ())} - {*file.schema_arrow.names}
        if missing:
            raise ValueError(f"it lacks {sorted(missing)}")
        return file.read(columns=list(columns) if columns else None, use_threads=False)


def _leaves(schema: pa.Schema) -> list[str]:
    """Parquet's names of the columns; those of a list are its elements."""
    lists = {field.name for field in schema if pa.types.is_list(field.type)}
    return [f"{name}.list.element" if name in lists else name for name in schema.names]


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:160] or type(error).__name__
