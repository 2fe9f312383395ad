"""The one error that users see as a sentence: what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(ValueError):
    """The input is wrong. The CLI prints the message as one sentence and exits with code 2."""


def dotted(path: Iterable[Any]) -> str:
    """Render a key path: `("quotas", "emotion", 0)` becomes `quotas.emotion[0]`."""
    out = ""
    for key in path:
        out += f"[{key}]" if isinstance(key, int) else f".{key}" if out else str(key)
    return out


def from_pydantic(file: str | Path, error: ValidationError, prefix: tuple[Any, ...] = ()) -> UserError:
    """Turn a pydantic error into one sentence that names the file, the key path and what is allowed."""
    problems = []
    for item in error.errors():
        # Pydantic names the branch of a union (`int`, `dict[str,int]`) as if it were a key.
        keys = [key for key in item["loc"] if key not in ("int", "float") and "[" not in str(key)]
        where = dotted((*prefix, *keys)) or "the document"
        kind, message = item["type"], item["msg"].removeprefix("Value error, ")
        if kind == "extra_forbidden":
            message = "is not a key that is known here"
        elif kind == "missing":
            message = "is missing"
        else:
            shown = repr(item.get("input"))
            message = f"{message[0].lower()}{message[1:]} (got {shown if len(shown) <= 80 else shown[:77] + '...'})"
        problems.append(f"{where}: {message}")
    return UserError(f"{file}: {'; '.join(problems)}")
