"""`bank`: replies composed from parts that were written by hand, one for each cue; offline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from manifests.bank import ScenarioBank
from manifests.errors import UserError
from manifests.general import load_general
from manifests.ids import seed_of
from manifests.think.natural import compose_natural
from pipeline.real import SOURCE
from pipeline.writers.base import ScriptConfig, requested_cues, slots_of


class BankConfig(ScriptConfig):
    """Composes query, reply and think text from the scenario bank."""

    licence = "Apache-2.0"

    engine: Literal["bank"] = "bank"

    def revision(self) -> str:
        return f"bank/{self.bank.content_hash()}+general/{load_general(self.language).revision()}"

    def open(self) -> BankWriter:
        return BankWriter(self.bank, f"bank/{self.bank.content_hash()}")


class BankWriter:
    """Composes row by row; a dialogue's draws are its own."""

    def __init__(self, bank: ScenarioBank, revision: str) -> None:
        self.bank = bank
        self.revision = revision
        self.followups = bank.followups.by_id if bank.followups else {}
        self.scenarios = {scenario.id: scenario for scenario in bank.scenarios}

    def write(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | Exception]:
        """See `Writer.write`."""
        return [self.compose(row) for row in rows]

    def compose(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Texts of one turn."""
        if row["plan.source"] == SOURCE:
            return self.answer(row)
        scenario = self.scenarios.get(row["plan.scenario"])
        if scenario is None:
            raise UserError(f"the scenario {row['plan.scenario']!r} was planned but is not in the bank any more")
        cues = requested_cues(row)
        if row["plan.followup"]:
            query, reply, emotion = self._next(row, cues)
        else:
            slots = slots_of(row)
            query = scenario.query_text(slots)
            reply, emotion = self.bank.compose(scenario, slots, cues, seed_of(row["id"], row["turn"], "script"))
        return self._texts(row, query, reply, emotion, self.revision)

    def answer(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """Texts of a recorded query: its own words, and a reply that fits any."""
        cues, general = requested_cues(row), load_general(row["plan.language"])
        reply, emotion = general.reply(self.bank, cues, seed_of(row["id"], row["turn"], "script"))
        return self._texts(row, row["plan.transcript"], reply, emotion, f"{self.revision}+general/{general.revision()}")

    @staticmethod
    def _texts(row: Mapping[str, Any], query: str, reply: str, emotion: str, writer: str) -> dict[str, Any]:
        return {
            "query_text": query,
            "reply_text": reply,
            "reply_emotion": emotion,
            "think_text": compose_natural(
                query, requested_cues(row), emotion, row["plan.language"], seed_of(row["id"], row["turn"], "think")
            ),
            "writer": writer,
            "prompts": "",
            "judge_neutral": None,
            "judge_plausible": None,
            "judge_relevant": None,
        }

    def _next(self, row: Mapping[str, Any], cues: Mapping[str, str]) -> tuple[str, str, str]:
        """Query, reply and reply emotion of a turn after the first, from its own row."""
        followup = self.followups.get(row["plan.followup"])
        if followup is None:
            raise UserError(f"the follow-up {row['plan.followup']!r} was planned but is not in the bank any more")
        earlier = [turn["cues"] for turn in json.loads(row["plan.earlier"])]
        reply, emotion = self.bank.compose_next(followup, earlier, cues, seed_of(row["id"], "script", "followups"))
        return followup.query, reply, emotion
