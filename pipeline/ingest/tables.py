"""Reading tables that corpora come with: CSV, TSV, JSON lines (also compressed), in whatever encoding."""

from __future__ import annotations

import csv
import gzip
import json
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manifests.errors import UserError

_LONGEST_LINE = 1_000_000  # characters; a longer one is no row of a corpus
csv.field_size_limit(_LONGEST_LINE)
EXTRA = "\0extra"
"""Key of the cells of a row that has more of them than its table has columns: a text with a comma and no quotes."""


def csv_rows(table: Path, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> Iterator[dict[str, str]]:
    """Rows of a table with a header; names are stripped, absent cells are empty, and see `EXTRA`.

    Raises:
        UserError: It is missing, not UTF-8, no table, or names a column twice.
    """
    with _reading(table), table.open(encoding="utf-8-sig", newline="") as lines:
        reader = csv.DictReader(lines, restkey=EXTRA, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
        names = [name.strip() for name in reader.fieldnames or ()]
        if not any(names):
            raise UserError(f"{table}: is empty: its first line must name the columns")
        for name in names:
            if name and names.count(name) > 1:
                raise UserError(f"{table}: the column {name!r} stands twice; keep one")
        reader.fieldnames = names
        for row in reader:
            yield {key: "; ".join(value) if isinstance(value, list) else value or "" for key, value in row.items()}


def csv_cells(table: Path) -> Iterator[list[str]]:
    """Rows of a table without a header.

    Raises:
        UserError: As `csv_rows`.
    """
    with _reading(table), table.open(encoding="utf-8-sig", newline="") as lines:
        yield from csv.reader(lines)


@contextmanager
def _reading(table: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{table}: cannot be read ({error.strerror or error}); name the folder that holds it") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except csv.Error as error:
        raise UserError(f"{table}: is not a table of separated values ({error})") from None


def json_rows(path: Path) -> Iterator[dict[str, Any] | None]:
    """Objects of a file of JSON lines, `.gz` or plain; None for a line that is none.

    Raises:
        UserError: The file cannot be read.
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8") as lines:
            while line := lines.readline(_LONGEST_LINE):
                if line.strip():
                    yield _object(line)
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    except (OSError, EOFError, zlib.error) as error:
        raise UserError(f"{path}: cannot be read ({getattr(error, 'strerror', None) or error})") from None


def _object(line: str) -> dict[str, Any] | None:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def text_of(value: Any) -> str:
    """A JSON value as a label: text and numbers; anything else is absent."""
    if isinstance(value, bool) or value is None:
        return ""
    return str(value).strip() if isinstance(value, str | int | float) else ""


def number_of(value: Any, default: float | None = None) -> float | None:
    """A JSON value or a cell as a number of at least 0; `default` when it is none."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return default
    return number if 0 <= number < 1e7 else default


def unreadable(row: Mapping[str, Any], *names: str) -> str:
    """Why a row's times cannot be read, or "": a cut that is misspelt must not take the whole file."""
    for name in names:
        if text_of(row.get(name)) and number_of(row.get(name)) is None:
            return f"its {name} is no number of seconds"
    return ""


def decoded(path: Path) -> str:
    """Text of a file whose encoding nobody states: UTF-8, UTF-16 with its mark, or GB 18030.

    Raises:
        UserError: It cannot be read.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error})") from None
    for encoding in ("utf-16",) if data[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise UserError(f"{path}: is neither UTF-8, UTF-16 nor GB 18030: save it as UTF-8")
