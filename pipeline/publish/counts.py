"""What is in a release, counted from its index: the dataset's own statistics, beside those of the selection."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from manifests.labels import CUES

_BY_DIALOGUE = {"split": "split", "task": "task", "source": "source", "reply_language": "language",
                "query_language": "query_language", "num_turns": "num_turns"}  # fmt: skip
_BY_TURN = {**{family: family for family in CUES}, "reply_emotion": "reply_emotion"}
_SECONDS = ("query_seconds", "reply_seconds")


def count_turns(indices: Iterable[Path]) -> dict[str, Any]:
    """Counts of dialogues by split, task, source, languages, turns and corpus; of turns by label; and seconds.

    Args:
        indices: Parquet files of `write_index`; they are read batch by batch.
    """
    counts: dict[str, Counter[str]] = {name: Counter() for name in (*_BY_DIALOGUE, *_BY_TURN, "corpus")}
    seconds = {name: {"sum": 0.0, "shortest": float("inf"), "longest": 0.0} for name in _SECONDS}
    turns = dialogues = tokens = 0
    columns = ["turn", "corpus", "reply_tokens", *_BY_DIALOGUE.values(), *_BY_TURN.values(), *_SECONDS]
    for path in indices:
        for batch in pq.ParquetFile(path).iter_batches(columns=columns):
            for row in batch.to_pylist():
                turns += 1
                tokens += row["reply_tokens"]
                counts["corpus"][row["corpus"]] += bool(row["corpus"])
                for name, column in _BY_TURN.items():
                    counts[name][row[column]] += 1
                for name, found in seconds.items():
                    found["sum"] += row[name]
                    found["shortest"] = min(found["shortest"], row[name])
                    found["longest"] = max(found["longest"], row[name])
                if row["turn"] == 0:
                    dialogues += 1
                    for name, column in _BY_DIALOGUE.items():
                        counts[name][str(row[column])] += 1
    return {
        "dialogues": dialogues,
        "turns": turns,
        "reply_tokens": tokens,
        **{name: {key: round(value, 3) for key, value in found.items()} for name, found in seconds.items() if turns},
        **{name: dict(sorted((+counter).items())) for name, counter in counts.items()},
    }
