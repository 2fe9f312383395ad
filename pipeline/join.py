"""Joining the cells of one part: same ids, same order, so a join is by position."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from manifests.errors import UserError
from manifests.ledger import CellRecord, Ledger


def join_rows(
    ledger: Ledger, records: Sequence[CellRecord], columns: Sequence[str]
) -> tuple[list[dict[str, Any]], list[str]]:
    """Rows of one part with columns of several stages.

    Args:
        records: The cells, in stage order; each must hold the same ids in the same order.
        columns: Qualified names, `stage.column`; columns of other stages are ignored.

    Returns:
        Per row `id`, `turn` and the columns by qualified name; and per row the first stage's error, or "".

    Raises:
        UserError: A cell that cannot be read or holds other rows.
    """
    errors: list[str] = []
    values: dict[str, list[Any]] = {}
    for record in records:
        names = [column.split(".", 1)[1] for column in columns if column.startswith(f"{record.stage}.")]
        table = ledger.load(record, ["id", "turn", "error", *names])
        ids = {"id": table["id"].to_pylist(), "turn": table["turn"].to_pylist()}
        if record is records[0]:
            values, errors = dict(ids), [""] * table.num_rows
        if any(values[name] != own for name, own in ids.items()):
            raise UserError(
                f"{ledger.data_path(record)}: does not hold the rows of part {record.part} in their order;"
                f" delete this file and run build again to make it anew"
            )
        values |= {f"{record.stage}.{name}": table[name].to_pylist() for name in names}
        errors = [old or new for old, new in zip(errors, table["error"].to_pylist(), strict=True)]
    rows = [dict(zip(values, row, strict=True)) for row in zip(*values.values(), strict=True)]
    return rows, errors


def by_dialogue(rows: Sequence[dict[str, Any]], errors: Sequence[str]) -> list[tuple[list[dict[str, Any]], str]]:
    """Turns grouped by dialogue, in order, with the dialogue's first error."""
    groups: dict[str, tuple[list[dict[str, Any]], list[str]]] = {}
    for row, error in zip(rows, errors, strict=True):
        turns, found = groups.setdefault(row["id"], ([], []))
        turns.append(row)
        found.append(error)
    return [(turns, next(filter(None, found), "")) for turns, found in groups.values()]
