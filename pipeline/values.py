"""Is what an engine wrote what its stage declares? Asked of every value, before Arrow converts it in silence."""

from __future__ import annotations

import math
import numbers
from collections.abc import Mapping
from typing import Any

import pyarrow as pa


class Columns:
    """The columns that a stage declares."""

    def __init__(self, writes: pa.Schema) -> None:
        self._columns = [_Column(declared) for declared in writes]
        self._names = {column.name for column in self._columns}

    def checked(self, result: Mapping[str, Any]) -> dict[str, Any]:
        """One output row with exactly the declared columns, each of its type.

        Raises:
            ValueError: It is another one.
        """
        if set(result) != self._names:
            raise ValueError(f"the engine wrote {sorted(result)} where the stage declares {sorted(self._names)}")
        for column in self._columns:
            column.check(result[column.name])
        return dict(result)


class _Column:
    """Checks the values of one column."""

    def __init__(self, declared: pa.Field) -> None:
        self.name, self.type = declared.name, declared.type
        self.optional = (declared.metadata or {}).get(b"optional") == b"yes"
        self.many = pa.types.is_list(self.type)
        self.plain = _plain_type(self.type.value_type if self.many else self.type)

    def check(self, value: Any) -> None:
        """Raise ValueError for what the column cannot hold."""
        if not ((self.optional and value is None) or self._surely(value)):
            _check_value(self.name, value, self.type)

    def _surely(self, value: Any) -> bool:
        """Whether it is of Python's own type for the column, as nearly every value is; to ask Arrow costs much more."""
        if self.many and type(value) is not list:
            return False
        values, plain = (value if self.many else (value,)), self.plain
        if plain is float:
            return all(type(one) is float and math.isfinite(one) for one in values)
        if plain is int:
            return all(type(one) is int and -(2**31) <= one < 2**31 for one in values)
        if plain is str:
            return all(type(one) is str and one.isascii() for one in values)
        return plain is bytes and all(type(one) is bytes for one in values)


def _plain_type(kind: pa.DataType) -> type | None:
    """Python's type for an Arrow type; None for those that are rare."""
    kinds = {pa.float32(): float, pa.float64(): float, pa.int32(): int, pa.int64(): int, pa.string(): str}
    return {**kinds, pa.binary(): bytes, pa.large_binary(): bytes}.get(kind)


def _check_value(name: str, value: Any, kind: pa.DataType) -> None:
    """Refuse what Arrow would convert in silence: 1.5 to 1, text to a list of letters; and what is no number."""
    if pa.types.is_list(kind):
        if not isinstance(value, list | tuple):
            raise ValueError(f"the engine wrote {type(value).__name__} to {name}, which holds {kind}")
        for item in value:
            _check_value(name, item, kind.value_type)
        return
    if value is None:
        raise ValueError(f"the engine left {name} empty")
    if pa.types.is_floating(kind):
        fits = isinstance(value, numbers.Real) and not isinstance(value, bool)
        if fits and not math.isfinite(value):
            raise ValueError(f"the engine wrote {value} to {name}")
    elif pa.types.is_integer(kind):
        fits = isinstance(value, numbers.Integral) and not isinstance(value, bool)
    else:
        fits = isinstance(value, str if pa.types.is_string(kind) else bytes)
    if not fits:
        raise ValueError(f"the engine wrote {type(value).__name__} to {name}, which holds {kind}")
    pa.scalar(value, kind)
