"""Reading tables that corpora come with: CSV, TSV, JSON lines (also compressed), in whatever encoding."""

from __future__ import annotations

import csv
import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifests.errors import UserError

_LONGEST_LINE = 1_000_000  # characters; a longer one is no row of a corpus
csv.field_size_limit(_LONGEST_LINE)


def csv_rows(table: Path, delimiter: str = ",", quoting: int = csv.QUOTE_MINIMAL) -> Iterator[dict[str, str]]:
    """Rows of a table with a header; names are stripped, absent cells are empty.

    Raises:
        UserError: It is missing, not UTF-8, or no table.
    """
    try:
        with table.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, delimiter=delimiter, quoting=quoting)  # type: ignore[arg-type]
            if not reader.fieldnames:
                raise UserError(f"{table}: is empty: its first line must name the columns")
            reader.fieldnames = [name.strip() for name in reader.fieldnames]
            for row in reader:
                yield {key: value or "" for key, value in row.items() if isinstance(key, str)}
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
    except (OSError, EOFError) as error:
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
