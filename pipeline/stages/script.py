"""`script`: the words of query and reply, composed from the scenario bank."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from manifests import schema
from manifests.bank import ScenarioBank
from manifests.engine import EngineConfig, unkeyed
from manifests.errors import UserError
from manifests.ids import seed_of
from pipeline.stage import EngineStage, Row, RowWorker


class BankConfig(EngineConfig):
    """Composes replies from parts that were written by hand, one for each cue."""

    role = "script"
    licence = "Apache-2.0"

    engine: Literal["bank"] = "bank"
    language: str = "en"
    scenarios: Path | None = unkeyed(None, "Set from plan.scenarios; its content is in the revision.")
    openers: Path | None = unkeyed(None, "Set from plan.openers; likewise.")

    @cached_property
    def bank(self) -> ScenarioBank:
        """The bank, read once."""
        return ScenarioBank.load(self.language, self.scenarios, self.openers)

    def revision(self) -> str:
        return f"bank/{self.bank.content_hash()}"

    def open(self) -> ScenarioBank:
        return self.bank


@dataclass(frozen=True)
class Script(EngineStage):
    """Write each turn's query and reply."""

    engine: BankConfig

    name = "script"
    version = 1
    reads = (
        "plan.scenario", "plan.slots", "plan.cues", "plan.age", "plan.gender", "plan.emotion", "plan.event",
    )  # fmt: skip
    writes = schema.SCRIPT

    def open(self) -> ScriptWorker:
        return ScriptWorker(self.engine.open())


class ScriptWorker(RowWorker):
    """Composes row by row; a dialogue's draws are its own."""

    def __init__(self, bank: ScenarioBank) -> None:
        self.bank = bank
        self.scenarios = {scenario.id: scenario for scenario in bank.scenarios}

    def make(self, row: Row) -> dict[str, Any]:
        """Texts of one turn."""
        scenario = self.scenarios.get(row["plan.scenario"])
        if scenario is None:
            raise UserError(f"the scenario {row['plan.scenario']!r} was planned but is not in the bank any more")
        slots = json.loads(row["plan.slots"])
        cues = {family: row[f"plan.{family}"] for family in row["plan.cues"]}
        reply, emotion = self.bank.compose(scenario, slots, cues, seed_of(row["id"], row["turn"], "script"))
        return {"query_text": scenario.query_text(slots), "reply_text": reply, "reply_emotion": emotion}
