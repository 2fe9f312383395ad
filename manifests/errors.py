"""The one error that users see as a sentence: what is wrong, where, and what to do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pydantic import ValidationError


class UserError(ValueError):
    """The input is wrong. The CLI prints the message as one sentence and exits with code 2."""


class WorkFailedError(RuntimeError):
    """The work failed for a reason that is not in the input; exit code 1."""


def dotted(path: Iterable[Any]) -> str:
    """Render a key path: `("quotas", "emotion", 0)` becomes `quotas.emotion[0]`."""
    out = ""
    for key in path:
        out += f"[{key}]" if isinstance(key, int) else f".{key}" if out else str(key)
    return out


def from_pydantic(file: str | Path, error: ValidationError, prefix: tuple[Any, ...] = ()) -> UserError:
    """Turn a pydantic error into one sentence that names the file, the key path and what is allowed."""
    problems: dict[str, list[str]] = {}
    for item in error.errors():
        # Pydantic names the branch of a union (`int`, `dict[str,int]`) as if it were a key.
        keys = [key for key in item["loc"] if key not in ("int", "float") and "[" not in str(key)]
        where = dotted((*prefix, *keys)) or "the document"
        problems.setdefault(where, []).append(_words(item))
    sentences = (f"{where}: {' or '.join(dict.fromkeys(said))}" for where, said in problems.items())
    return UserError(f"{file}: {'; '.join(sentences)}")


_KINDS = {
    "tuple_type": "should be a list",
    "list_type": "should be a list",
    "dict_type": "should be a mapping of keys",
    "model_type": "should be a mapping of keys",
    "path_type": "should be a path",
    "extra_forbidden": "is not a key that is known here",
    "missing": "is missing",
}


def _words(item: Any) -> str:
    """One pydantic problem in words, with the value unless it is a whole document."""
    message = _KINDS.get(item["type"])
    if message is None:
        message = item["msg"].removeprefix("Value error, ")
        message = message[0].lower() + message[1:]
    if item["type"] in ("extra_forbidden", "missing") or isinstance(item.get("input"), dict):
        return message
    shown = repr(item.get("input"))
    return f"{message} (got {shown if len(shown) <= 80 else shown[:77] + '...'})"
