"""Draws the planned dialogues: quotas per task and label, contrastive pairs, splits first.

The rows of a (task, label) cell are numbered 0, 1, 2 ... and row n never depends on how many are asked for,
so a larger plan contains the smaller one. Scenario and voice are drawn by rendezvous hashing within the
split, so that a new voice or scenario moves few rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import Any

import numpy as np

from manifests.bank import Scenario, ScenarioBank
from manifests.engine import Capabilities
from manifests.errors import UserError
from manifests.ids import canonical_json, content_hash, dialogue_id, seed_of
from manifests.labels import CUES, NONE, SPLITS
from manifests.run import RunManifest
from manifests.schema import PLAN
from manifests.voices import Voice, VoiceTable

BLOCK_ROWS = 20_000  # rows drawn at once; bounds memory, not the result


@dataclass(frozen=True)
class LabelCell:
    """One label (or combination) of a task: `cues` are what the reply must answer to."""

    task: str
    name: str
    cues: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of one label cell."""

    task: str
    index: int
    start: int
    stop: int


def partner(index: int, turn: int, cells: int) -> int | None:
    """Whom a label is contrasted with in a round (the circle method: over the rounds, with every other label)."""
    if cells < 2:
        return None
    players = cells + cells % 2
    last = players - 1
    if index == last:
        other = turn * (players // 2) % last
    else:
        other = (turn - index) % last
        if other == index:
            other = last
    return other if other < cells else None


def mix64(x: np.ndarray) -> np.ndarray:
    """splitmix64, elementwise on uint64: a draw from a seed."""
    with np.errstate(over="ignore"):
        x = x + np.uint64(0x9E3779B97F4A7C15)
        x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return x ^ (x >> np.uint64(31))


def _salt(*names: Any) -> np.uint64:
    return np.uint64(seed_of(*names))


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

    def identity(self) -> dict[str, Any]:
        """What decides the rows, for the plan's key."""
        plan = self.manifest.plan.model_dump(mode="json", exclude={"scenarios", "openers", "voices"})
        return {
            "plan": plan,
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
        able = self.capabilities
        emotions = tuple(emotion for emotion in able.emotions if emotion != "neutral")
        values = {family: able.of(family) for family in CUES} | {"emotion": emotions}
        cells = {
            family: tuple(LabelCell(family, value, ((family, value),)) for value in values[family]) for family in values
        }
        families = self.manifest.plan.multi
        cells["multi"] = tuple(
            LabelCell("multi", "+".join(labels), tuple(zip(families, labels, strict=True)))
            for labels in product(*(values[family] for family in families))
        )
        cells["neutral"] = (LabelCell("neutral", "neutral", ()),)
        return cells

    @cached_property
    def counts(self) -> dict[tuple[str, str], int]:
        """Planned dialogues per (task, label), after every check.

        Raises:
            UserError: A language or label that the speaker cannot render, or a quota that cannot be met.
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
        counts: dict[tuple[str, str], int] = {}
        for task, quota in sorted(self.manifest.plan.quotas.items()):
            cells = self.cells[task]
            names = [cell.name for cell in cells]
            if isinstance(quota, dict):
                unknown = [label for label in quota if label not in names]
                if unknown:
                    raise UserError(
                        f"{self.file}: plan.quotas.{task}.{unknown[0]}: the speaker {self.speaker} cannot render it;"
                        f" use {', '.join(names) or 'another speaker: it renders no ' + task}"
                    )
                wanted = {name: quota.get(name, 0) for name in names}
            else:
                if quota and not names:
                    raise UserError(f"{self.file}: plan.quotas.{task}: the speaker {self.speaker} renders no {task}")
                share, rest = divmod(quota, len(names)) if names else (0, 0)
                # The rest goes to labels in a fixed order that favours no family, or a small quota of `multi`
                # would be all children, say.
                order = sorted(names, key=lambda name: seed_of("rest", task, name))
                wanted = {name: share + (order.index(name) < rest) for name in names}
            counts |= {(task, name): count for name, count in wanted.items() if count}
        self._check_supply(counts)
        return counts

    def _check_supply(self, counts: dict[tuple[str, str], int]) -> None:
        for (task, name), count in counts.items():
            cell = next(cell for cell in self.cells[task] if cell.name == name)
            for split, share in self.manifest.plan.splits.items():
                if not share:
                    continue
                where = f"{self.file}: plan.quotas.{task}.{name}: cannot be met in split {split}"
                scenarios = self._scenarios[split]
                if not scenarios:
                    raise UserError(f"{where}: the scenario bank has none there; add some, or set splits.{split}: 0")
                voices = self._voices(split, cell)
                if not voices:
                    labels = ", ".join(f"{family} {value}" for family, value in cell.cues) or "any label"
                    raise UserError(f"{where}: {self.voices.path} has no query voice there for {labels}")
                supply = sum(scenario.num_queries for scenario in scenarios) * len(voices)
                if count * share > supply:
                    raise UserError(
                        f"{where}: {count * share:,.0f} asked for, and {supply:,} different queries by different"
                        f" voices are to be had; lower the quota or add scenarios or voices"
                    )

    @cached_property
    def num_dialogues(self) -> int:
        """Planned dialogues."""
        return sum(self.counts.values())

    @cached_property
    def num_parts(self) -> int:
        """A power of two such that parts hold one to two times `part_rows` dialogues on average."""
        parts = 1
        while self.num_dialogues / parts > 2 * self.manifest.plan.part_rows:
            parts *= 2
        return parts

    def blocks(self) -> Iterator[Block]:
        """The plan, cut into blocks of work."""
        for (task, name), count in self.counts.items():
            index = [cell.name for cell in self.cells[task]].index(name)
            for start in range(0, count, BLOCK_ROWS):
                yield Block(task, index, start, min(start + BLOCK_ROWS, count))

    def rows(self, block: Block) -> list[tuple[Any, ...]]:
        """Draw a block: tuples of `id`, `turn` and the columns of `schema.PLAN`, in that order."""
        cell = self.cells[block.task][block.index]
        units, seeds, pairs = self._units(block)
        splits = self._draw_splits(units)
        scenario_of: list[Scenario] = [None] * len(units)  # type: ignore[list-item]
        voice_of: list[Voice] = [None] * len(units)  # type: ignore[list-item]
        for number, split in enumerate(SPLITS):
            where = np.flatnonzero(splits == number)
            if where.size:
                scenarios, voices = self._scenarios[split], self._voices(split, cell)
                # A scenario's content is in the hash of the plan row; its name alone decides the draw.
                drawn = _rendezvous(units[where], [scenario.id for scenario in scenarios], "scenario")
                spoken = _rendezvous(units[where], [voice.voice for voice in voices], "voice")
                for place, s, v in zip(where.tolist(), drawn.tolist(), spoken.tolist(), strict=True):
                    scenario_of[place], voice_of[place] = scenarios[s], voices[v]
        fills = mix64(units ^ _salt("fill")).tolist()
        low, high = self.manifest.plan.intensity
        strength = (mix64(seeds.astype(np.uint64) ^ _salt("intensity")) >> np.uint64(11)).astype(float) / 2.0**53
        intensity = np.round(low + (high - low) * strength, 2).tolist()
        labels = dict(cell.cues)
        cues = list(labels)
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
                "scenario": scenario.id,
                "scenario_hash": self._scenario_hashes[scenario.id],
                "topic": scenario.topic,
                "slots": canonical_json(scenario.fill(fills[n] % scenario.num_queries)).decode(),
                "pair": pairs[n],
                "cues": cues,
                "age": labels.get("age", voice.age),
                "gender": labels.get("gender", voice.gender),
                "emotion": emotion,
                "event": labels.get("event", NONE),
                "intensity": 0.0 if emotion == "neutral" else intensity[n],
                "query_voice": voice.voice,
                "query_speaker": voice.speaker,
                "reply_voice": self._reply_voice,
                "seed": seed,
            }
            row["id"] = dialogue_id([row])
            out.append(tuple(row[name] for name in names))
        return out

    def _units(self, block: Block) -> tuple[np.ndarray, np.ndarray, list[str]]:
        """Per row: the seed that a contrastive pair shares, the row's own seed, and the pair's name if both are in."""
        name, rivals, counts = self.cells[block.task][block.index].name, self.rivals(block.task), self.counts
        place = rivals.index(name)
        # With an odd number of labels one of them has no partner in each round.
        odd = len(rivals) / (len(rivals) - 1) if len(rivals) > 1 and len(rivals) % 2 else 1.0
        share = min(1.0, self.manifest.plan.contrastive * odd)
        units, seeds, pairs = [], [], []
        for number in range(block.start, block.stop):
            other = None
            if int((number + 1) * share + 0.5) > int(number * share + 0.5):
                other = partner(place, number, len(rivals))
            if other is None:
                unit = (self.manifest.seed, "single", block.task, name, number)
            else:
                both = sorted((name, rivals[other]))
                unit = (self.manifest.seed, "pair", block.task, *both, number)
            present = other is not None and number < counts.get((block.task, rivals[other]), 0)
            units.append(seed_of(*unit))
            seeds.append(seed_of(self.manifest.seed, block.task, name, number))
            pairs.append(content_hash(list(unit), 12) if present else "")
        return np.array(units, np.uint64), np.array(seeds, np.int64), pairs

    def _draw_splits(self, units: np.ndarray) -> np.ndarray:
        shares = np.cumsum([self.manifest.plan.splits.get(split, 0.0) for split in SPLITS])
        draw = (mix64(units ^ _salt("split")) >> np.uint64(11)).astype(float) / 2.0**53
        return np.minimum(np.searchsorted(shares, draw, side="right"), _last_share(shares))

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


def _last_share(shares: np.ndarray) -> int:
    """The last split that has a share; a draw of almost 1 must not fall beyond it."""
    steps = np.diff(shares, prepend=0.0)
    return int(np.flatnonzero(steps > 0)[-1])


def _rendezvous(units: np.ndarray, names: list[str], salt: str) -> np.ndarray:
    """Index of the candidate with the highest hash, for each unit; a new candidate wins few of them."""
    candidates = np.array([seed_of(salt, name) for name in names], np.uint64)
    best, choice = np.zeros(len(units), np.uint64), np.zeros(len(units), np.int64)
    for number, candidate in enumerate(candidates):
        score = mix64(units ^ candidate)
        better = score > best
        best[better], choice[better] = score[better], number
    return choice


def label_counts(rows: list[tuple[Any, ...]]) -> Counter[tuple[str, str, str]]:
    """Rows per (task, label, split), for tables."""
    names = ["id", "turn", *PLAN.names]
    task, cues, split = names.index("task"), names.index("cues"), names.index("split")
    values = {family: names.index(family) for family in ("age", "gender", "emotion", "event")}
    return Counter(
        (row[task], "+".join(row[values[family]] for family in row[cues]) or "neutral", row[split]) for row in rows
    )
