"""Counts of a bank's gates: how many clips pass each, in order and alone."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from manifests.labels import NONE
from pipeline.corpus import CorpusClip
from pipeline.voicebank.config import GATES
from pipeline.voicebank.gates import Outcome

_LISTED = 5  # files in the report for each reason
_PASSED, _UNASKED, _FAILED = "passed", "not_applicable", "failed"


@dataclass
class _Gate:
    entered: int = 0
    met: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    first: dict[str, list[str]] = field(default_factory=dict)
    unasked: Counter[str] = field(default_factory=Counter)
    alone: Counter[str] = field(default_factory=Counter)

    def document(self) -> dict[str, Any]:
        reasons = {
            reason: {"clips": count, "first": self.first[reason]} for reason, count in sorted(self.reasons.items())
        }
        return {
            "entered": self.entered,
            **{name: self.met[name] for name in (_PASSED, _UNASKED, _FAILED)},
            "failed_for": reasons,
            "not_applicable_for": dict(sorted(self.unasked.items())),
            "alone": {name: self.alone[name] for name in (_PASSED, _UNASKED, _FAILED)},
        }


class Tally:
    """Of all clips of all corpora."""

    all_gates: Sequence[str] = GATES

    def __init__(self, gates: Sequence[str]) -> None:
        self._gates = {gate: _Gate() for gate in gates}
        self._clips, self._through = 0, 0
        self._emotions: dict[str, Counter[str]] = {}

    def add(self, corpus: str, entry: CorpusClip, outcomes: Mapping[str, Outcome]) -> bool:
        """Count a clip; whether it came through all gates."""
        self._clips += 1
        through = True
        for name, outcome in outcomes.items():
            gate = self._gates[name]
            met = {True: _PASSED, None: _UNASKED, False: _FAILED}[outcome.passed]
            gate.alone[met] += 1
            if not through:
                continue
            gate.entered += 1
            gate.met[met] += 1
            if outcome.passed is None:
                gate.unasked[outcome.reason] += 1
            elif not outcome.passed:
                through = False
                gate.reasons[outcome.reason] += 1
                files = gate.first.setdefault(outcome.reason, [])
                if len(files) < _LISTED:
                    files.append(f"{corpus}: {entry.source_file or entry.file}"[:200])
        label = entry.labels.get("emotion") or entry.unknown.get("emotion") or NONE
        counts = self._emotions.setdefault(label, Counter())
        counts["clips"] += 1
        counts["through"] += through
        self._through += through
        return through

    def document(self) -> dict[str, Any]:
        """For the report."""
        return {
            "clips": self._clips,
            "through": self._through,
            "gates": {name: gate.document() for name, gate in self._gates.items()},
            "by_emotion": {
                label: {"clips": counts["clips"], "through": counts["through"]}
                for label, counts in sorted(self._emotions.items())
            },
        }

    def sentence(self) -> str:
        """Where the clips were lost, in words."""
        lost = [
            f"{reason} ({count:,})" for gate in self._gates.values() for reason, count in gate.reasons.most_common()
        ]
        return "; ".join(lost) or "there are none"
