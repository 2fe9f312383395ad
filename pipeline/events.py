"""events.jsonl: what happened to a run, one JSON object a line, written by the lock's holder alone."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from manifests.files import writing
from manifests.masking import masked


class Events:
    """Appends to a run's log of events."""

    def __init__(self, run: Path) -> None:
        self.path = run / "events.jsonl"
        # A killed writer may have left a line without its end.
        if self.path.exists() and (data := self.path.read_bytes()) and not data.endswith(b"\n"):
            with writing(self.path), self.path.open("ab") as stream:
                stream.write(b"\n")

    def __call__(self, kind: str, **fields: Any) -> None:
        """Log one event; `fields` must be JSON. Secrets of the environment are masked in `error` and `message`."""
        fields |= {name: masked(fields[name]) for name in ("error", "message") if name in fields}
        line = json.dumps({"time": round(time.time(), 3), "event": kind, **fields}, ensure_ascii=False)
        with writing(self.path), self.path.open("a", encoding="utf-8") as stream:
            stream.write(line + "\n")


def last_events(run: Path, number: int = 5) -> list[dict[str, Any]]:
    """The newest events; a torn last line of a killed writer is left out."""
    try:
        lines = (run / "events.jsonl").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    events = []
    for line in lines[-number - 1 :]:
        try:
            events.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return events[-number:]
