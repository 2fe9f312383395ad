"""Draws the planned dialogues: quotas per task and label, contrastive pairs, splits first.

The rows of a (task, label) cell are numbered 0, 1, 2 ... and row n never depends on how many are asked for,
so a larger plan contains the smaller one, and a top-up adds rows at the end. Scenario and voice are drawn by
rendezvous hashing within the split, so that a new voice or scenario moves few rows.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from manifests.bank import Scenario, ScenarioBank
from manifests.engine import Capabilities
from manifests.errors import UserError
from manifests.ids import canonical_json, content_hash, dialogue_id, seed_of
from manifests.labels import NONE, SPLITS
from manifests.run import RunManifest
from manifests.schema import PLAN
from manifests.topup import NO_TOPUP, Cell, TopUp
from manifests.voices import Voice, VoiceTable
from pipeline.draws import last_share, mix64, partner, rendezvous, salt
from pipeline.label_cells import Block, LabelCell, label_cells
from pipeline.real import NO_REAL, RealQueries, Recording
from pipeline.turns import Turns

BLOCK_ROWS = 20_000  # rows drawn at once; bounds memory, not the result


@dataclass(frozen=True)
class Planner:
    """Everything that the plan depends on, checked when first asked for the counts."""

    manifest: RunManifest
    file: str
    bank: ScenarioBank
    voices: VoiceTable
    reply_voices: VoiceTable
    reply_voice: str | None
    speaker: str
    capabilities: Capabilities
    reply_languages: tuple[str, ...]
    topup: TopUp = NO_TOPUP
    real: RealQueries = NO_REAL

    def identity(self) -> dict[str, Any]:
        """What decides the rows, for the plan's key."""
        own = {"scenarios", "openers", "followups", "voices", "retries", "real"}
        single = {"turns"} if self.manifest.plan.max_turns == 1 else set()
        plan = self.manifest.plan.model_dump(mode="json", exclude=own | single)
        return {
            "plan": plan,
            **({"real": self.real.identity()} if self.real.folders else {}),
            "topup": self.topup.content_hash(),
            "seed": self.manifest.seed,
            "language": self.manifest.language,
            "bank": self.bank.content_hash(),
            "voices": self.voices.content_hash(),
            "reply_voice": self._reply_voice,
        }

    @cached_property
    def _reply_voice(self) -> str:
        names = [voice.voice for voice in self.reply_voices.replies(self.manifest.language)]
        if not names:
            raise UserError(f"{self.reply_voices.path}: has no reply voice for {self.manifest.language!r}")
        chosen = self.reply_voice or names[0]
        if chosen not in names:
            raise UserError(f"{self.file}: speak_reply.voice: {chosen!r} is not a reply voice: use {', '.join(names)}")
        return chosen

    @property
    def licences(self) -> list[str]:
        """Of the voices that the run may use."""
        voices = [*self.voices.voices, *self.reply_voices.replies(self.manifest.language)]
        return sorted({voice.licence for voice in voices})

    def rivals(self, task: str) -> list[str]:
        """The labels that a task's pairs are drawn from: those that the quota names, or all of them."""
        quota = self.manifest.plan.quotas.get(task, 0)
        return [cell.name for cell in self.cells[task] if not isinstance(quota, dict) or cell.name in quota]

    @cached_property
    def cells(self) -> dict[str, tuple[LabelCell, ...]]:
        """The label cells of each task, in a fixed order that no quota changes."""
        return label_cells(self.capabilities, self.manifest.plan.multi)

    @cached_property
    def quotas(self) -> dict[Cell, int]:
        """Dialogues to keep per (task, label).

        Raises:
            UserError: A language or label that the speaker cannot render.
        """
        for languages, who in (
            (self.capabilities.languages, "speak_query"),
            (self.reply_languages, "speak_reply"),
        ):
            if self.manifest.language not in languages:
                raise UserError(
                    f"{self.file}: language: {who} cannot speak {self.manifest.language!r};"
                    f" its engine speaks {', '.join(languages)}"
                )
        _ = self._reply_voice
        quotas: dict[Cell, int] = {}
        for task, quota in sorted(self.manifest.plan.quotas.items()):
            names = [cell.name for cell in self.cells[task]]
            if isinstance(quota, dict):
                self._check_labels("quotas", task, quota)
                wanted = {name: quota.get(name, 0) for name in names}
            else:
                if quota and not names:
                    raise UserError(f"{self.file}: plan.quotas.{task}: the speaker {self.speaker} renders no {task}")
                share, rest = divmod(quota, len(names)) if names else (0, 0)
                # The rest goes to labels in a fixed order that favours no family, or a small quota of `multi`
                # would be all children, say.
                order = sorted(names, key=lambda name: seed_of("rest", task, name))
                wanted = {name: share + (order.index(name) < rest) for name in names}
            quotas |= {(task, name): count for name, count in wanted.items() if count}
        return quotas

    def _check_labels(self, key: str, task: str, labels: dict[str, Any]) -> None:
        names = [cell.name for cell in self.cells[task]]
        unknown = [label for label in labels if label not in names]
        if unknown:
            raise UserError(
                f"{self.file}: plan.{key}.{task}.{unknown[0]}: the speaker {self.speaker} cannot render it;"
                f" use {', '.join(names) or 'another speaker: it renders no ' + task}"
            )

    @cached_property
    def first_counts(self) -> dict[Cell, int]:
        """Dialogues of the first plan per (task, label): the quotas, divided by the yields that the manifest states."""
        yields: Any = self.manifest.plan.yields
        for task, labels in yields.items() if isinstance(yields, dict) else ():
            if isinstance(labels, dict):
                self._check_labels("yields", task, labels)

        def ratio(task: str, label: str) -> float:
            value = yields.get(task, 1.0) if isinstance(yields, dict) else yields
            return value.get(label, 1.0) if isinstance(value, dict) else value

        # 21 / 0.7 is a little more than 30.
        return {cell: math.ceil(quota / ratio(*cell) - 1e-9) for cell, quota in self.quotas.items()}

    @cached_property
    def counts(self) -> dict[Cell, int]:
        """Planned dialogues per (task, label) without retries, after every check.

        Raises:
            UserError: A language or label that the speaker cannot render, a quota or a share of recordings that
                cannot be met.
        """
        self._turns.check(self.file)
        for (task, name), first in self.first_counts.items():
            self.real.check(task, name, self._cell(task, name).cues, first)
        counts = {cell: first + self.topup.extra(cell) for cell, first in self.first_counts.items()}
        for (task, name), count in counts.items():
            for split, supply in self._supplies(task, name).items():
                if count * self.manifest.plan.splits[split] > supply:
                    raise UserError(
                        f"{self.file}: plan.quotas.{task}.{name}: cannot be met in split {split}:"
                        f" {count * self.manifest.plan.splits[split]:,.0f} planned for it, and {supply:,} different"
                        f" queries by different voices are to be had; lower the quota or add scenarios or voices"
                    )
        return counts

    def _cell(self, task: str, name: str) -> LabelCell:
        return next(cell for cell in self.cells[task] if cell.name == name)

    def _recording(self, cell: LabelCell, number: int) -> Recording | None:
        return self.real.of_row(cell.task, cell.name, cell.cues, number)

    @property
    def real_counts(self) -> dict[Cell, int]:
        """Of the planned dialogues per (task, label), without retries, those whose query is a recording."""
        return {
            (task, name): self.real.count(task, name, self._cell(task, name).cues, count)
            for (task, name), count in self.counts.items()
        }

    def room(self, task: str, name: str) -> int:
        """Most rows of a label that scenarios and voices suffice for."""
        shares = self.manifest.plan.splits
        room = min(int(supply / shares[split]) for split, supply in self._supplies(task, name).items())
        return room - any(room * shares[split] > supply for split, supply in self._supplies(task, name).items())

    def _supplies(self, task: str, name: str) -> dict[str, int]:
        """Different queries by different voices that a label can have, by split."""
        cell = self._cell(task, name)
        supplies = {}
        for split in (split for split, share in self.manifest.plan.splits.items() if share):
            where = f"{self.file}: plan.quotas.{task}.{name}: cannot be met in split {split}"
            scenarios = self._scenarios[split]
            if not scenarios:
                raise UserError(f"{where}: the scenario bank has none there; add some, or set splits.{split}: 0")
            voices = self._voices(split, cell)
            if not voices:
                labels = ", ".join(f"{family} {value}" for family, value in cell.cues) or "any label"
                raise UserError(f"{where}: {self.voices.path} has no query voice there for {labels}")
            supplies[split] = sum(scenario.num_queries for scenario in scenarios) * len(voices)
        return supplies

    @cached_property
    def _retries(self) -> dict[tuple[Cell, int], list[tuple[int, int]]]:
        """(number, attempt) of the rows to try again, by label and round; those of rows that are planned."""
        found = {}
        for cell, count in self.counts.items():
            seen: set[tuple[int, int]] = set()
            for number, item in enumerate(self.topup.rounds, 1):
                found[cell, number] = [row for row in item.retries.get(cell, ()) if row[0] < count and row not in seen]
                seen.update(found[cell, number])
        return found

    @cached_property
    def num_dialogues(self) -> int:
        """Planned dialogues."""
        return sum(self.counts.values()) + sum(map(len, self._retries.values()))

    @cached_property
    def num_parts(self) -> int:
        """A power of two such that parts hold one to two times `part_rows` dialogues on average."""
        parts = 1
        while self.num_dialogues / parts > 2 * self.manifest.plan.part_rows:
            parts *= 2
        return parts

    def blocks(self) -> Iterator[Block]:
        """The plan, cut into blocks of work."""
        sizes = [(cell, 0, count) for cell, count in self.counts.items()]
        sizes += [(cell, number, len(rows)) for (cell, number), rows in self._retries.items()]
        for (task, name), number, count in sizes:
            index = [cell.name for cell in self.cells[task]].index(name)
            for start in range(0, count, BLOCK_ROWS):
                yield Block(task, index, start, min(start + BLOCK_ROWS, count), number)

    def _draws(self, block: Block) -> list[tuple[int, int, int]]:
        """Number, attempt and round of each row of a block."""
        cell = (block.task, self.cells[block.task][block.index].name)
        if block.round:
            return [(*row, block.round) for row in self._retries[cell, block.round][block.start : block.stop]]
        ends = [self.first_counts.get(cell, block.stop)]
        for item in self.topup.rounds:
            ends.append(ends[-1] + item.extra.get(cell, 0))
        return [(number, 0, bisect_right(ends, number)) for number in range(block.start, block.stop)]

    def rows(self, block: Block) -> list[tuple[Any, ...]]:
        """Draw a block: tuples of `id`, `turn` and the columns of `schema.PLAN`, in that order; a row per turn."""
        cell = self.cells[block.task][block.index]
        draws = self._draws(block)
        units, seeds, pairs, contrasts, others = self._units(block.task, cell.name, draws)
        splits = self._draw_splits(units)
        scenario_of, voice_of = self._draw_words_and_voices(units, splits, cell)
        fills = mix64(units ^ salt("fill")).tolist()
        low, high = self.manifest.plan.intensity
        strength = (mix64(seeds.astype(np.uint64) ^ salt("intensity")) >> np.uint64(11)).astype(float) / 2.0**53
        intensity = np.round(low + (high - low) * strength, 2).tolist()
        labels = dict(cell.cues)
        cues = list(labels)
        num_turns = self._turns.counts(units)
        said = self._turns.said(units, num_turns, scenario_of)
        names = ["id", "turn", *PLAN.names]
        out = []
        for n, (scenario, voice, seed) in enumerate(zip(scenario_of, voice_of, seeds.tolist(), strict=True)):
            emotion = labels.get("emotion", "neutral")
            row = {
                "turn": 0,
                "num_turns": 1,
                "split": SPLITS[splits[n]],
                "task": block.task,
                "language": self.manifest.language,
                "source": "synthetic",
                "query_language": self.manifest.language,
                "recording": "",
                "transcript": "",
                "scenario": scenario.id,
                "scenario_hash": self._scenario_hashes[scenario.id],
                "topic": scenario.topic,
                "slots": canonical_json(scenario.fill(fills[n] % scenario.num_queries)).decode(),
                "followup": "",
                "earlier": "[]",
                "contrast": contrasts[n],
                "pair": pairs[n],
                "cues": cues,
                "age": labels.get("age", voice.age),
                "gender": labels.get("gender", voice.gender),
                "emotion": emotion,
                "event": labels.get("event", NONE),
                "intensity": 0.0 if emotion == "neutral" else intensity[n],
                "query_voice": voice.voice,
                "query_recipe": voice.recipe,
                "query_speaker": voice.speaker,
                "reply_voice": self._reply_voice,
                "seed": seed,
                "number": draws[n][0],
                "attempt": draws[n][1],
                "round": draws[n][2],
            }
            recording = self._recording(cell, draws[n][0])
            if recording:
                turns = [row | recording.columns()]  # a recording is one turn
            else:
                turns = self._turns.later(row, int(units[n]), said[n], others[n]) if num_turns[n] > 1 else [row]
            name = {"id": dialogue_id(turns)}
            out += [tuple(map((turn | name).__getitem__, names)) for turn in turns]
        return out

    def _units(
        self, task: str, name: str, draws: list[tuple[int, int, int]]
    ) -> tuple[np.ndarray, np.ndarray, list[str], list[str], list[dict[str, str] | None]]:
        """Per row: the seed that a contrastive pair shares, the row's own seed, the pair's name and the other row's
        cues as JSON if both are in, and those cues even if it is not.

        A retry shares all but its own seed with the row of its number: scenario, slots, voice, split and pair. Where no
        row of that pair was kept, the pair is a new one of the retries of that round, so that other words may be found.
        """
        rivals, counts = self.rivals(task), self.counts
        place = rivals.index(name)
        # With an odd number of labels one of them has no partner in each round.
        odd = len(rivals) / (len(rivals) - 1) if len(rivals) > 1 and len(rivals) % 2 else 1.0
        share = min(1.0, self.manifest.plan.contrastive * odd)
        cues = {cell.name: dict(cell.cues) for cell in self.cells[task]}
        shown = {name: canonical_json(values).decode() for name, values in cues.items()}
        units, seeds, pairs, contrasts, others = [], [], [], [], []
        for number, attempt, _ in draws:
            other = None
            if int((number + 1) * share + 0.5) > int(number * share + 0.5):
                other = partner(place, number, len(rivals))
            if other is None:
                unit = (self.manifest.seed, "single", task, name, number)
            else:
                both = sorted((name, rivals[other]))
                unit = (self.manifest.seed, "pair", task, *both, number)
            present = other is not None and number < counts.get((task, rivals[other]), 0)
            if present and other is not None:  # a recording has no counterpart that says the same
                present = self._recording(self._cell(task, rivals[other]), number) is None
            born = self.topup.born((task, name), number, attempt)
            if born and present and other is not None:
                present = self.topup.bears((task, rivals[other]), number, born)
            again = ("retry", attempt) if attempt else ()
            units.append(seed_of(*unit))
            seeds.append(seed_of(self.manifest.seed, task, name, number, *again))
            anew = ("anew", born) if born else ()
            pairs.append(content_hash([*unit, *anew], 12) if present else "")
            contrasts.append(shown[rivals[other]] if present and other is not None else "{}")
            others.append(None if other is None else cues[rivals[other]])
        return np.array(units, np.uint64), np.array(seeds, np.int64), pairs, contrasts, others

    def _draw_words_and_voices(
        self, units: np.ndarray, splits: np.ndarray, cell: LabelCell
    ) -> tuple[list[Scenario], list[Voice]]:
        """The scenario and the query voice of each row, drawn within its split."""
        scenario_of: list[Scenario] = [None] * len(units)  # type: ignore[list-item]
        voice_of: list[Voice] = [None] * len(units)  # type: ignore[list-item]
        for number, split in enumerate(SPLITS):
            where = np.flatnonzero(splits == number)
            if where.size:
                scenarios, voices = self._scenarios[split], self._voices(split, cell)
                # A scenario's content is in the hash of the plan row; its name alone decides the draw.
                drawn = rendezvous(units[where], [scenario.id for scenario in scenarios], "scenario")
                spoken = rendezvous(units[where], [voice.voice for voice in voices], "voice")
                for place, s, v in zip(where.tolist(), drawn.tolist(), spoken.tolist(), strict=True):
                    scenario_of[place], voice_of[place] = scenarios[s], voices[v]
        return scenario_of, voice_of

    def _draw_splits(self, units: np.ndarray) -> np.ndarray:
        shares = np.cumsum([self.manifest.plan.splits.get(split, 0.0) for split in SPLITS])
        draw = (mix64(units ^ salt("split")) >> np.uint64(11)).astype(float) / 2.0**53
        return np.minimum(np.searchsorted(shares, draw, side="right"), last_share(shares))

    @cached_property
    def _turns(self) -> Turns:
        return Turns(self.manifest.plan, self.bank, self.capabilities)

    @cached_property
    def _scenarios(self) -> dict[str, list[Scenario]]:
        return {split: list(self.bank.of_split(split)) for split in SPLITS}

    @cached_property
    def _scenario_hashes(self) -> dict[str, str]:
        return {scenario.id: scenario.content_hash() for scenario in self.bank.scenarios}

    def _voices(self, split: str, cell: LabelCell) -> list[Voice]:
        labels = dict(cell.cues)
        age = labels.get("age", "adult")
        return self.voices.queries(split, self.manifest.language, age, labels.get("gender"))
