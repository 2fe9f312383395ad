"""Draws the turns after the first: how many, what is said next, and which cues the voice carries then.

Everything but the intensity is drawn from the unit that a contrastive pair shares (and all retries of a row), so that
both members have as many turns and say the same in all of them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from manifests.bank import Scenario, ScenarioBank
from manifests.engine import Capabilities
from manifests.errors import UserError
from manifests.followups import FollowUp
from manifests.ids import canonical_json, content_hash, seed_of
from manifests.labels import NONE
from manifests.run import PlanConfig
from manifests.trajectories import following
from pipeline.draws import mix64, salt

Cues = dict[str, str]
"""Labels by the families that a dialogue is about; `neutral` and `none` where a turn has nothing to answer to."""


@dataclass(frozen=True)
class Turns:
    """What the later turns of a plan are drawn from."""

    plan: PlanConfig
    bank: ScenarioBank
    capabilities: Capabilities

    def check(self, file: str) -> None:
        """Refuse a bank with too few follow-ups for the turns asked for.

        Raises:
            UserError: Names the split, a scenario, and how many are needed.
        """
        need = self.plan.max_turns - 1
        for scenario in self.bank.scenarios if need else ():
            if self.plan.splits.get(scenario.split):
                fitting = self._fitting[scenario.id]
                have = sum(item.stage == "middle" for item in map(self._all.__getitem__, fitting))
                if have < need:
                    raise UserError(
                        f"{file}: plan.turns: dialogues of {need + 1} turns need {need} follow-ups of the stage middle"
                        f" that fit, and the scenario {scenario.id} of split {scenario.split} has {have}; add some"
                        f" to plan.followups, or ask for fewer turns"
                    )

    def counts(self, units: np.ndarray) -> list[int]:
        """Number of turns of each dialogue, by its unit seed."""
        asked = sorted(turns for turns, share in self.plan.turns.items() if share)
        if asked == [1]:
            return [1] * len(units)
        ends = np.cumsum([self.plan.turns[turns] for turns in asked])
        draw = (mix64(units ^ salt("turns")) >> np.uint64(11)).astype(float) / 2.0**53
        places = np.minimum(np.searchsorted(ends, draw, side="right"), len(asked) - 1)
        return np.array(asked)[places].tolist()

    def said(self, units: np.ndarray, counts: Sequence[int], scenarios: Sequence[Scenario]) -> list[list[FollowUp]]:
        """The follow-ups of each dialogue, in order and none twice; by rendezvous, so that a new one moves few."""
        out: list[list[FollowUp]] = [[] for _ in counts]
        where = [place for place, count in enumerate(counts) if count > 1]
        if not where:
            return out
        names = np.array([seed_of("followup", item.id) for item in self._all], np.uint64)
        orders = np.argsort(mix64(units[where][:, None] ^ names[None, :]), axis=1).tolist()
        for place, order in zip(where, orders, strict=True):
            fitting = self._fitting[scenarios[place].id]
            left = [self._all[number] for number in order if number in fitting]
            for turn in range(1, counts[place]):
                item = next(item for item in left if item.fits_turn(turn, counts[place]))
                left.remove(item)
                out[place].append(item)
        return out

    def later(self, first: Mapping[str, Any], unit: int, said: Sequence[FollowUp], rival: Cues | None) -> list[Cues]:
        """The turns of a dialogue as plan rows without id, from that of its first turn.

        Args:
            first: The first turn's row; it is the first of those returned, with its number of turns.
            unit: Seed that a pair shares.
            said: Its follow-ups.
            rival: What the other member of its pair is about, whether or not that is planned; None without a pair.
        """
        own = {family: first[family] for family in first["cues"]}
        ours, theirs = self.paths(own, rival, unit, len(said) + 1)
        rows: list[dict[str, Any]] = [{**first, "num_turns": len(said) + 1}]
        earlier: list[dict[str, Any]] = []
        for turn, item in enumerate(said, 1):
            before = rows[-1]
            heard = {family: before[family] for family in before["cues"]}
            contrast = json.loads(before["contrast"])
            kept = {"followup": before["followup"], "intensity": before["intensity"]}
            earlier.append({**kept, "cues": heard, "contrast": contrast})
            labels = {"emotion": "neutral", "event": NONE} | ours[turn]
            known = present(theirs[turn]) if first["contrast"] != "{}" else {}
            rows.append({
                **rows[0],
                **labels,
                "turn": turn,
                "scenario_hash": content_hash([first["scenario_hash"], self._hashes[item.id]]),
                "followup": item.id,
                "earlier": canonical_json(earlier).decode(),
                "contrast": canonical_json(known).decode(),
                "cues": list(present(ours[turn])),
                "intensity": self._intensity(first["seed"], turn, before, labels["emotion"]),
            })  # fmt: skip
        return rows

    def paths(self, own: Cues, rival: Cues | None, unit: int, num_turns: int) -> tuple[list[Cues], list[Cues]]:
        """The cues of each turn, of a dialogue and of the one that it is contrasted with.

        Where two that began with different emotions would come to the same one, one of them stays where it was, so
        that a pair contrasts in every turn.
        """
        ours, theirs = [own], [rival or {}]
        for turn in range(1, num_turns):
            draws = {family: seed_of(unit, family, turn) / 2.0**63 for family in ("emotion", "event")}
            one, two = (self._next(path[0], path[-1], draws) for path in (ours, theirs))
            start, other = own.get("emotion"), theirs[0].get("emotion")
            if start and other and start != other and one["emotion"] == two["emotion"]:
                both = sorted([(start, one, ours[-1]), (other, two, theirs[-1])], key=lambda item: item[0])
                _, mover, before = next(item for item in reversed(both) if item[1]["emotion"] != item[2]["emotion"])
                mover["emotion"] = before["emotion"]
            ours.append(one)
            theirs.append(two)
        return ours, theirs

    def _next(self, first: Cues, before: Cues, draws: Mapping[str, float]) -> Cues:
        out = dict(first)
        if "emotion" in first:
            out["emotion"] = following("emotion", before["emotion"], self.capabilities.emotions, draws["emotion"])
        if "event" in first:
            out["event"] = following("event", first["event"], (NONE,), draws["event"])
        return out

    def _intensity(self, seed: int, turn: int, before: Mapping[str, Any], emotion: str) -> float:
        """0 for neutral; of an emotion that stays, halfway to a new draw, so that it rises or fades."""
        if emotion == "neutral":
            return 0.0
        low, high = self.plan.intensity
        drawn = low + (high - low) * (seed_of(seed, "intensity", turn) / 2.0**63)
        return round((before["intensity"] + drawn) / 2 if emotion == before["emotion"] else drawn, 2)

    @cached_property
    def _all(self) -> tuple[FollowUp, ...]:
        return self.bank.followups.followups if self.bank.followups else ()

    @cached_property
    def _hashes(self) -> dict[str, str]:
        return {item.id: item.content_hash() for item in self._all}

    @cached_property
    def _fitting(self) -> dict[str, set[int]]:
        """Numbers of the follow-ups that fit each scenario."""
        return {
            scenario.id: {
                number
                for number, item in enumerate(self._all)
                if item.fits(scenario.split, scenario.id, scenario.topic)
            }
            for scenario in self.bank.scenarios
        }


def present(cues: Cues) -> Cues:
    """The cues that a reply must answer to."""
    return {family: label for family, label in cues.items() if label not in (NONE, "neutral")}
