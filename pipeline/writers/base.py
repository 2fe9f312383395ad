"""The protocol of a writer: plan rows in, texts out."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from manifests.bank import ScenarioBank
from manifests.engine import EngineConfig, unkeyed


class Writer(Protocol):
    """A loaded engine. What it writes for a row depends on that row alone."""

    def write(self, rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any] | Exception]:
        """Write some rows: the columns of `schema.SCRIPT` for each, in order, or why that row failed."""
        ...


@dataclass(frozen=True)
class Asks:
    """What a run will ask a language model, about; `cost` in the currency of the manifest's prices."""

    requests: float
    prompt_tokens: float
    completion_tokens: float
    cost: float


class ScriptConfig(EngineConfig):
    """Config of a writer; every one starts from the scenario bank, which the plan is drawn from."""

    role = "script"

    language: str = "en"
    scenarios: Path | None = unkeyed(None, "Set from plan.scenarios; its content is in the revision.")
    openers: Path | None = unkeyed(None, "Set from plan.openers; likewise.")
    followups: Path | None = unkeyed(None, "Set from plan.followups; likewise.")
    several_turns: bool = unkeyed(False, "Set from plan.turns: whether the bank has follow-ups.")
    home: Path | None = unkeyed(None, "Set to the manifest's folder; in a worker that is the run's.")

    @cached_property
    def bank(self) -> ScenarioBank:
        """The bank, read once."""
        return ScenarioBank.load(self.language, self.scenarios, self.openers, self.followups, self.several_turns)

    @property
    def batch_rows(self) -> int:
        """Rows that `write` is given at once."""
        return 1

    def price(self, samples: Iterable[tuple[float, Sequence[Mapping[str, Any]]]]) -> Asks | None:
        """What writing will take; None for a writer that asks nobody.

        Args:
            samples: Some rows of the plan, and how many rows each of them stands for.
        """
        return None

    def open(self) -> Writer:
        raise NotImplementedError


def requested_cues(row: Mapping[str, Any]) -> dict[str, str]:
    """The cues that a row's reply must answer to, by family."""
    return {family: row[f"plan.{family}"] for family in row["plan.cues"]}


def slots_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The scenario's slots as filled in a row."""
    return json.loads(row["plan.slots"])
