"""What a stage declares is what an engine may write, value by value, whether or not a value is of Python's own type."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from pipeline.values import Columns

WRITES = pa.schema([
    pa.field("text", pa.string()),
    pa.field("audio", pa.large_binary()),
    pa.field("rate", pa.int32()),
    pa.field("score", pa.float64()),
    pa.field("tokens", pa.list_(pa.int32())),
    pa.field("maybe", pa.float64(), metadata={"optional": "yes"}),
])  # fmt: skip
GOOD: dict[str, Any] = {
    "text": "a", "audio": b"a", "rate": 1, "score": 0.5, "tokens": [1, 2], "maybe": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", ""), ("text", "é😀"), ("audio", b""), ("rate", -(2**31)), ("rate", 2**31 - 1), ("rate", np.int64(7)),
        ("score", 1), ("score", np.float32(0.5)), ("score", -0.0), ("tokens", []), ("tokens", (1, 2)),
        ("tokens", [np.int32(1), 2]), ("maybe", 0.5),
    ],
)  # fmt: skip
def test_what_fits_is_passed_on_as_it_is(name: str, value: Any) -> None:
    row = GOOD | {name: value}
    assert Columns(WRITES).checked(row) == row
    assert pa.Table.from_pylist([row], WRITES).num_rows == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("text", b"a"), ("text", 1), ("text", None), ("text", "\ud800"), ("audio", "a"), ("audio", [97]), ("rate", 1.0),
        ("rate", True), ("rate", 2**31), ("rate", -(2**31) - 1), ("rate", "1"), ("rate", None), ("score", "0.5"),
        ("score", True), ("score", math.nan), ("score", math.inf), ("score", np.float64("nan")), ("score", None),
        ("tokens", None), ("tokens", "12"), ("tokens", [1, 2.5]), ("tokens", [1, True]), ("tokens", [1, None]),
        ("tokens", [2**31]), ("tokens", [[1]]), ("tokens", np.array([1, 2])), ("maybe", math.nan), ("maybe", "x"),
    ],
)  # fmt: skip
def test_what_arrow_would_convert_or_could_not_hold_is_refused(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=f"{name}|utf-8|Value|overflow|int32"):
        Columns(WRITES).checked(GOOD | {name: value})


@pytest.mark.parametrize("row", [{}, {**GOOD, "more": 1}, {key: GOOD[key] for key in list(GOOD)[1:]}])
def test_a_row_has_the_declared_columns_and_no_others(row: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="declares"):
        Columns(WRITES).checked(row)
