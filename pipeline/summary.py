"""What a selection counts: verdicts, reasons, labels, and how much the kept texts repeat themselves."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from itertools import pairwise
from typing import Any

from manifests.labels import CUES
from pipeline.hygiene.shingles import words
from pipeline.thresholds import held_out
from pipeline.verdict import KEPT, REJECTED, Rules, comparable, requested

_SKETCH = 12  # 4 kB each; a standard error of 1.6 %


class Summary:
    """The counts of some dialogues.

    Attributes:
        counts: By JSON lists, so that any label is safe in them.
        pairs: A HyperLogLog of word pairs by language and role.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.pairs: dict[tuple[str, str], Any] = {}

    def add(
        self, turns: Sequence[Mapping[str, Any]], verdict: str, reasons: Sequence[str], error: str, rules: Rules
    ) -> None:
        """Count a dialogue."""
        self.counts.update(tally(turns, verdict, reasons, error, rules))
        if verdict == KEPT:
            for row in turns:
                self.add_texts(row)

    def add_texts(self, row: Mapping[str, Any]) -> None:
        """Count the word pairs of a turn."""
        self._add_text(row["plan.query_language"], "query", row["script.query_text"])
        self._add_text(row["plan.language"], "reply", row["script.reply_text"])

    def _add_text(self, language: str, role: str, text: str) -> None:
        said = words(text)
        sketch = self.pairs.get((language, role))
        if sketch is None:
            sketch = self.pairs[language, role] = _sketch()
        for pair in pairwise(said):
            sketch.update("\x1f".join(pair))
        self.counts[json.dumps(["pairs", language, role])] += max(0, len(said) - 1)

    def merge(self, other: Summary) -> None:
        """Add the counts of other dialogues."""
        self.counts.update(other.counts)
        for key, sketch in other.pairs.items():
            if key in self.pairs:
                self.pairs[key].merge(sketch)
            else:
                self.pairs[key] = sketch.copy()

    def document(self) -> dict[str, Any]:
        """As nested counts: `{"verdict": {"kept": 40}, "task": {"emotion": {"sad": {...}}}}`.

        `yield` has kept / planned of every task and label; `agreement` counts recognised labels at or above their
        threshold; `text` has by language the share of different word pairs (distinct-2, by HyperLogLog) of the kept
        texts, and the share of near duplicates among what nothing else rejected.
        """
        names = ("verdict", "task", "split", "source", "unmeasured", "reason", "error", "heard", "agreement", "yield")
        tree: dict[str, Any] = {name: {} for name in (*names, "text")}
        for name in sorted(self.counts):
            *path, last = json.loads(name)
            if path[0] not in ("pairs", "good"):
                node = tree
                for key in path:
                    node = node.setdefault(key, {})
                node[last] = self.counts[name]
        for task, labels in tree["task"].items():
            tree["yield"][task] = {
                label: round(verdicts.get(KEPT, 0) / sum(verdicts.values()), 4) for label, verdicts in labels.items()
            }
        tree["text"] = self._texts()
        return tree

    def _texts(self) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for (language, role), sketch in sorted(self.pairs.items()):
            total = self.counts[json.dumps(["pairs", language, role])]
            distinct = min(1.0, sketch.count() / total) if total else 1.0
            out.setdefault(language, {})[f"{role}_distinct_2"] = round(float(distinct), 3)
        languages = {json.loads(name)[1] for name in self.counts if name.startswith('["good"')}
        for language in sorted(languages):
            near, other = (self.counts[json.dumps(["good", language, kind])] for kind in ("near", "other"))
            out.setdefault(language, {})["near_duplicates"] = round(near / (near + other), 4)
        return out


def _sketch() -> Any:
    from datasketch import HyperLogLogPlusPlus

    return HyperLogLogPlusPlus(_SKETCH, hashfunc=_hash)


def _hash(text: str) -> int:
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big")


def summary_columns(rules: Rules) -> tuple[str, ...]:
    """Columns that `Summary.add` reads: fewer than a verdict is made of."""
    heard = [f"annotate.heard_{slot}{tail}" for slot in rules.slots for tail in ("", "_p")]
    plan = ("source", "split", "task", "num_turns", "round", "cues", "language", "query_language", *CUES)
    texts = ("script.query_text", "script.reply_text")
    return (*(f"plan.{name}" for name in plan), *dict.fromkeys(limit[1] for limit in rules.limits), *texts, *heard)


def label_of(row: Mapping[str, Any]) -> str:
    """The label that a dialogue counts for in its task, from its first row's plan."""
    return "+".join(row[f"plan.{family}"] for family in row["plan.cues"]) or "neutral"


@lru_cache(maxsize=4096)
def _name(*parts: str) -> str:
    """The name of a counter; there are few, and every dialogue raises a dozen."""
    return json.dumps(parts)


def tally(
    turns: Sequence[Mapping[str, Any]], verdict: str, reasons: Sequence[str], error: str, rules: Rules
) -> Iterator[str]:
    """Names of the counters that one dialogue raises: JSON lists, so that any label is safe in them."""
    first = turns[0]
    yield _name("verdict", verdict)
    yield _name("task", first["plan.task"], label_of(first), verdict)
    yield _name("split", first["plan.split"], verdict)
    yield _name("source", first["plan.source"], verdict)
    names = sorted({reason.split(" ", 1)[0] for reason in reasons})
    yield from (_name("reason", name) for name in names)
    if error:
        yield _name("error", error)
        return
    near = verdict == REJECTED and "near_duplicate" in names
    if near or verdict == KEPT:
        yield _name("good", first["plan.language"], "near" if near else "other")
    # Agreement of the rows that the thresholds were chosen on flatters them; that of the rest does not.
    chosen_on = first["plan.round"] == 0 and held_out(first["id"], rules.calibration_share)
    for row in turns:
        for name, column, *_ in rules.limits:
            if row[column] is None:
                yield _name("unmeasured", name)
        for slot in rules.slots:
            yield _name("heard", slot, requested(row, slot), row[f"annotate.heard_{slot}"])
        for slot in rules.judged:
            heard = row[f"annotate.heard_{slot}"]
            if comparable(row, slot, rules.config.agree_real) and row[f"annotate.heard_{slot}_p"] >= rules.least(
                slot, heard
            ):
                agrees = "agree" if heard == requested(row, slot) else "disagree"
                yield _name("agreement", slot, heard, "chosen_on" if chosen_on else "rest", agrees)
