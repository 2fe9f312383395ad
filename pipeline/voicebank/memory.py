"""A file that remembers what engines have heard, so that other thresholds, or a run after a stop, hear nothing again.

JSON lines of a key and a value. The key names the engine with its settings and revision, the clip's sha256, and what
else the answer depends on; so nothing in it ever goes stale, and a line that was torn by a stop is passed over.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from manifests.errors import UserError
from manifests.files import writing
from manifests.ids import content_hash

T = TypeVar("T")


class Memory:
    """Of one file, or of this process alone when there is none."""

    def __init__(self, path: Path | None = None) -> None:
        """Read the file, if it is there.

        Raises:
            UserError: It cannot be read, or is something else.
        """
        self._path, self._known = path, {}
        if path is None or not path.exists():
            return
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UserError(f"{path}: cannot be read as what engines have heard ({error}); name another file") from None
        whole, _, torn = text.rpartition("\n")
        for number, line in enumerate(whole.splitlines(), 1):
            try:
                entry = json.loads(line)
                self._known[entry["key"]] = entry["value"]
            except (ValueError, TypeError, KeyError):
                raise UserError(f"{path}:{number}: is no line of such a file; name another or remove it") from None
        if torn:
            with writing(path), path.open("r+b") as file:
                file.truncate(len(text.encode()) - len(torn.encode()))

    def recall(self, what: list[Any], kind: Callable[..., T], ask: Callable[[], T]) -> T:
        """The answer that is known, or else that of `ask`, which is then kept.

        Args:
            what: Everything that the answer depends on.
            kind: The dataclass of the answer.
        """
        key = content_hash(what, 32)
        if key not in self._known:
            value = asdict(ask())  # type: ignore[call-overload]
            self._known[key] = value
            if self._path is not None:
                with writing(self._path), self._path.open("a", encoding="utf-8") as lines:
                    lines.write(json.dumps({"key": key, "value": value}) + "\n")
        return kind(**self._known[key])
