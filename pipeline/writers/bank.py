"""`bank`: replies composed from parts that were written by hand, one for each cue; offline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from manifests.bank import ScenarioBank
from manifests.errors import UserError
from manifests.ids import seed_of
from manifests.think.natural import compose_natural
from pipeline.writers.base import ScriptConfig, requested_cues, slots_of


class BankConfig(ScriptConfig):
    """Composes query, reply and think text from the scenario bank."""

    licence = "Apache-2.0"

    engine: Literal["bank"] = "bank"

    def revision(self) -> str:
        return f"bank/{self.bank.content_hash()}"

    def open(self) -> BankWriter:
        return BankWriter(self.bank, self.revision())


class BankWriter:
    """Composes row by row; a dialogue's draws are its own."""

    def __init__(self, bank: ScenarioBank, revision: str) -> None:
        self.bank = bank
        self.revision = revision
        self.scenarios = {scenario.id: scenario for scenario in bank.scenarios}

    def write(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | Exception]:
        """See `Writer.write`."""
        return [self.compose(row) for row in rows]

    def compose(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Texts of one turn."""
        scenario = self.scenarios.get(row["plan.scenario"])
        if scenario is None:
            raise UserError(f"the scenario {row['plan.scenario']!r} was planned but is not in the bank any more")
        slots, cues = slots_of(row), requested_cues(row)
        query = scenario.query_text(slots)
        reply, emotion = self.bank.compose(scenario, slots, cues, seed_of(row["id"], row["turn"], "script"))
        return {
            "query_text": query,
            "reply_text": reply,
            "reply_emotion": emotion,
            "think_text": compose_natural(
                query, cues, emotion, row["plan.language"], seed_of(row["id"], row["turn"], "think")
            ),
            "writer": self.revision,
            "prompts": "",
            "judge_neutral": None,
            "judge_plausible": None,
            "judge_relevant": None,
        }
