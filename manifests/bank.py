"""The scenario bank: what users say, and the words from which replies to a voice's cue are put together.

A scenario is one query template in neutral words, with nine reply cores: one per emotion and one each for a
child's and an old person's voice. A reply is one or two openers that name the cue, then the core. Scenarios
stand in `scenarios/<language>.yaml` beside this module, openers in `scenarios/openers.<language>.yaml`.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import UserError, from_pydantic
from manifests.followups import FollowUp, FollowUps, load_followups
from manifests.ids import seed_of
from manifests.labels import CUES, NONE, REPLY_EMOTIONS, SPLITS
from manifests.texts import (
    MAX_TEXT,
    REPLY_KINDS,
    SLOT,
    Kebab,
    PlainTexts,
    SlotName,
    Text,
    digest,
    mentions_any,
    one_of,
)
from manifests.yamlfile import load_yaml

FOLDER = Path(__file__).parent / "scenarios"
OPENER_ORDER = ("event", "gender", "age", "emotion")
"""The order in which the openers of several cues are spoken."""
MAX_OPENERS = 2
_DROP_ORDER = ("gender", "age")
_REPLY_EMOTION_ORDER = ("emotion", "event", "age", "gender")


class Scenario(BaseModel):
    """One query template with the cores of the replies to it.

    Attributes:
        id: Unique name in kebab-case.
        topic: What it is about, in kebab-case.
        split: The data split in which all of its queries belong.
        query: What the user says, with `{slot}` where values go.
        slots: The values of each slot; every slot stands in the query.
        replies: The reply cores by kind (`REPLY_KINDS`); kinds left out fall back to `neutral`.
        followups: What may be said next in dialogues of this scenario alone, beside the bank's follow-ups.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Kebab
    topic: Kebab
    split: Annotated[str, one_of(SPLITS)]
    query: Text
    slots: dict[SlotName, PlainTexts] = Field(default_factory=dict)
    replies: dict[Annotated[str, one_of(REPLY_KINDS)], Text]
    followups: tuple[FollowUp, ...] = ()

    @model_validator(mode="after")
    def _check(self) -> Self:
        texts = {"query": self.query} | {f"replies.{kind}": text for kind, text in self.replies.items()}
        for field, text in texts.items():
            for name in SLOT.findall(text):
                if name not in self.slots:
                    raise ValueError(f"{field} uses {{{name}}}, which is not defined: add it to slots")
        used = set(SLOT.findall(self.query))
        for name in sorted(set(self.slots) - used):
            raise ValueError(f"slots.{name} is not used: put {{{name}}} into query or remove the slot")
        if "neutral" not in self.replies:
            raise ValueError("replies.neutral is missing: add it, as other kinds fall back to it")
        for item in self.followups:
            if item.split != self.split:
                raise ValueError(f"followups.{item.id}.split is {item.split}: use the scenario's, {self.split}")
        longest = {name: max(values, key=len) for name, values in self.slots.items()}
        if (length := len(self.query_text(longest))) > MAX_TEXT:
            raise ValueError(f"query is up to {length} characters long with its slots: keep it to {MAX_TEXT}")
        return self

    @property
    def num_queries(self) -> int:
        """How many fillings the query has: the product of the slot sizes, 1 without slots."""
        return math.prod(len(values) for values in self.slots.values())

    def fill(self, choice: int) -> dict[str, str]:
        """Choose the slot values of one query.

        Args:
            choice: Index in `range(num_queries)`, read as a mixed-radix number: one digit per slot, slots
                sorted by name, the last of them varying fastest, values in the order of the file.

        Returns:
            One value per slot name; different choices differ in at least one value.

        Raises:
            ValueError: The index is out of range.
        """
        if not 0 <= choice < self.num_queries:
            raise ValueError(f"choice {choice} of {self.id} is not in 0..{self.num_queries - 1}")
        slots: dict[str, str] = {}
        for name in sorted(self.slots, reverse=True):
            choice, digit = divmod(choice, len(self.slots[name]))
            slots[name] = self.slots[name][digit]
        return dict(sorted(slots.items()))

    def query_text(self, slots: Mapping[str, str]) -> str:
        """The query with these slot values, its first letter upper-cased."""
        return _filled(self.query, slots)

    def reply_text(self, kind: str, slots: Mapping[str, str]) -> str:
        """The reply core of a kind, or else of `neutral`, filled; ValueError for an unknown kind."""
        if kind not in REPLY_KINDS:
            raise ValueError(f"{kind!r} is not a kind of reply: use one of {', '.join(REPLY_KINDS)}")
        return _filled(self.replies.get(kind, self.replies["neutral"]), slots)

    def named_followups(self) -> tuple[FollowUp, ...]:
        """The scenario's own follow-ups, named after it so that no other's name is the same."""
        return tuple(
            item.model_copy(update={"id": f"{self.id}/{item.id}", "scenario": self.id}) for item in self.followups
        )

    def content_hash(self) -> str:
        """16 hex characters that change with anything in the scenario but its follow-ups, which have their own."""
        return digest(self.model_dump(mode="json", exclude={"followups"}))


def _filled(template: str, slots: Mapping[str, str]) -> str:
    text = SLOT.sub(lambda match: slots[match[1]], template)
    return text[:1].upper() + text[1:]


class Opener(BaseModel):
    """How replies to one value of a cue begin.

    Attributes:
        reply_emotion: The emotion in which a reply to this cue is spoken.
        keywords: Lower-case words or stems; every opener has a word that begins with one of them.
        openers: Sentences that name the cue.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    reply_emotion: Annotated[str, one_of(REPLY_EMOTIONS)]
    keywords: PlainTexts
    openers: PlainTexts

    @model_validator(mode="after")
    def _check(self) -> Self:
        for text in self.openers:
            if not mentions_any(text, self.keywords):
                raise ValueError(f"the opener {text!r} has none of the keywords {', '.join(self.keywords)}")
        return self


def shipped_languages() -> tuple[str, ...]:
    """Languages of which a bank and its openers ship."""
    have = {path.stem for path in FOLDER.glob("*.yaml")}
    return tuple(sorted(name for name in have if f"openers.{name}" in have))


class ScenarioBank(BaseModel):
    """All scenarios of a language with the openers of their replies; made by `load`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    language: str
    scenarios: tuple[Scenario, ...]
    openers: dict[str, dict[str, Opener]]
    followups: FollowUps | None = None
    """Of dialogues of several turns; None where no run asks for any."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.scenarios:
            raise ValueError("the bank is empty: write at least one scenario")
        for name, count in Counter(scenario.id for scenario in self.scenarios).items():
            if count > 1:
                raise ValueError(f"{name}.id: {count} scenarios have this id: rename all but one")
        _check_openers(self.openers)
        return self

    @classmethod
    def load(
        cls,
        language: str = "en",
        path: Path | None = None,
        openers: Path | None = None,
        followups: Path | None = None,
        several_turns: bool = False,
    ) -> Self:
        """Read a bank and check all of it.

        Args:
            language: Which of the shipped files to read, where the next two do not name others.
            path: The user's own scenarios; these need only the `neutral` reply, the shipped ones all nine.
            openers: The user's own openers.
            followups: The user's own follow-ups.
            several_turns: Whether to read follow-ups at all; without them the bank is that of single turns.

        Raises:
            UserError: A file cannot be read or breaks a rule; the message names file, scenario and field.
        """
        openers_file = openers or FOLDER / f"openers.{language}.yaml"
        file = path or FOLDER / f"{language}.yaml"
        read_openers = _load_openers(openers_file)
        scenarios = _load_scenarios(file, complete=path is None)
        more = None
        if several_turns:
            first = {
                family: {name: item.keywords for name, item in values.items()}
                for family, values in read_openers.items()
            }
            said = {text for values in read_openers.values() for item in values.values() for text in item.openers}
            own = tuple(item for scenario in scenarios for item in scenario.named_followups())
            more = load_followups(followups or FOLDER / f"followups.{language}.yaml", first, said, own)
        try:
            return cls(language=language, scenarios=scenarios, openers=read_openers, followups=more)
        except ValidationError as error:
            raise UserError(f"{file}: {error.errors()[0]['msg'].removeprefix('Value error, ')}") from None

    def of_split(self, split: str) -> tuple[Scenario, ...]:
        """The scenarios of one data split, in the order of the file."""
        return tuple(scenario for scenario in self.scenarios if scenario.split == split)

    def kept(self, cues: Mapping[str, str]) -> tuple[str, ...]:
        """The cue families that a reply names, in the order in which it does.

        Args:
            cues: Values by family (`manifests.labels.CUES`); those that are `none` do not count.

        Raises:
            UserError: A family or value is not known.
        """
        for family, value in cues.items():
            if family not in CUES:
                raise UserError(f"{family!r} is not a family of cues: use one of {', '.join(CUES)}")
            if value != NONE and value not in CUES[family]:
                raise UserError(f"{value!r} is not a label of {family}: use one of {', '.join(CUES[family])}")
        families = [family for family in OPENER_ORDER if cues.get(family, NONE) != NONE]
        if cues.get("age") == "child" and "gender" in families:
            families.remove("gender")  # nobody says "ma'am" to a child
        for family in _DROP_ORDER:
            if len(families) > MAX_OPENERS and family in families:
                families.remove(family)
        return tuple(families)

    def compose(
        self, scenario: Scenario, slots: Mapping[str, str], cues: Mapping[str, str], draw: int
    ) -> tuple[str, str]:
        """Write the reply to a query whose voice carries these cues.

        Args:
            scenario: What the query is an instance of.
            slots: The slot values of the query.
            cues: The cues that the dialogue is about, by family; empty for a plain query.
            draw: Any number from 0 up; it alone picks among the openers, a digit of it for each.

        Returns:
            The text of the reply, and the emotion in which it is spoken (of `REPLY_EMOTIONS`).

        Raises:
            UserError: A cue is not known.
            ValueError: `draw` is negative.
        """
        if draw < 0:
            raise ValueError(f"draw is {draw}: use a number from 0 up")
        sentences = []
        for family, value in self._named(cues):
            openers = self.openers[family][value].openers
            draw, digit = divmod(draw, len(openers))
            sentences.append(openers[digit])
        sentences.append(scenario.reply_text(_core(cues), slots))
        return self._joined(sentences), self._spoken(cues)

    def compose_next(
        self, followup: FollowUp, earlier: Sequence[Mapping[str, str]], cues: Mapping[str, str], draw: int
    ) -> tuple[str, str]:
        """Write the reply to a follow-up.

        Args:
            followup: What the user says.
            earlier: The cues of the turns before, in order; at least one.
            cues: Those of this turn.
            draw: A number of the dialogue, the same in all of its turns, so that no opener of a cue comes twice
                while there are enough, whatever other cues come and go.

        Returns:
            As `compose` does.
        """
        assert self.followups is not None, "the bank was read without follow-ups"
        sentences = []
        for family, value in self._named(cues):
            openers = self.followups.continuing(family, value, earlier)
            sentences.append(openers[(seed_of("continuing", draw, family) + len(earlier)) % len(openers)])
        sentences.append(followup.reply_text(_core(cues)))
        return self._joined(sentences), self._spoken(cues)

    def _named(self, cues: Mapping[str, str]) -> list[tuple[str, str]]:
        """The cues that a reply names; a plain query counts as neutral."""
        return [(family, cues[family]) for family in self.kept(cues)] or [("emotion", "neutral")]

    def _joined(self, sentences: list[str]) -> str:
        return ("" if self.language == "zh" else " ").join(sentences)

    def _spoken(self, cues: Mapping[str, str]) -> str:
        """The emotion in which a reply to these cues is spoken."""
        present = [family for family in _REPLY_EMOTION_ORDER if cues.get(family, NONE) != NONE]
        return self.openers[present[0]][cues[present[0]]].reply_emotion if present else "neutral"

    def mentions(self, reply_text: str, family: str, value: str) -> bool:
        """Whether a word of the reply begins with a keyword of this cue."""
        return mentions_any(reply_text, self.openers[family][value].keywords)

    def content_hash(self) -> str:
        """16 hex characters that change with anything in the bank; with follow-ups only where they were read."""
        return self.content_digest

    @cached_property
    def content_digest(self) -> str:
        """`content_hash`, which every cell's key asks for, taken once."""
        single = {"followups": True, "scenarios": {"__all__": {"followups"}}}
        return digest(self.model_dump(mode="json", exclude=None if self.followups else single))


def _core(cues: Mapping[str, str]) -> str:
    """The kind of reply core that answers these cues."""
    kinds = (cues.get("emotion", NONE), cues.get("age", NONE))
    return next((kind for kind in kinds if kind in REPLY_KINDS and kind != "neutral"), "neutral")


def _check_openers(openers: Mapping[str, Mapping[str, Opener]]) -> None:
    """Refuse openers that leave out a cue, are for none, or name another value of their family too."""
    known = {(family, value) for family, values in CUES.items() for value in values}
    given = {(family, value) for family, values in openers.items() for value in values}
    for family, value in sorted(known - given):
        raise ValueError(f"{family}.{value} is missing: add its reply_emotion, keywords and openers")
    for family, value in sorted(given - known):
        raise ValueError(f"{family}.{value} is not a cue: remove it")
    for family, value in sorted(given):
        for other in CUES[family]:
            for text in openers[family][value].openers:
                if other != value and mentions_any(text, openers[family][other].keywords):
                    raise ValueError(f"{family}.{value}: the opener {text!r} has a keyword of {other}")


def _load_scenarios(file: Path, complete: bool) -> tuple[Scenario, ...]:
    items = load_yaml(file)
    if not items:
        raise UserError(f"{file}: the bank is empty: write at least one scenario")
    if not isinstance(items, list):
        raise UserError(f"{file}: is not a list: begin each scenario with '- id: its-name'")
    scenarios = []
    for index, item in enumerate(items):
        name = item.get("id") if isinstance(item, dict) else None
        prefix = (name,) if isinstance(name, str) and name else (index,)
        try:
            scenario = Scenario.model_validate(item)
        except ValidationError as error:
            raise from_pydantic(file, error, prefix) from None
        missing = [kind for kind in REPLY_KINDS if kind not in scenario.replies]
        if complete and missing:
            raise UserError(f"{file}: {scenario.id}.replies: {', '.join(missing)} missing: write all nine")
        scenarios.append(scenario)
    return tuple(scenarios)


def _load_openers(file: Path) -> dict[str, dict[str, Opener]]:
    content = load_yaml(file)
    if not isinstance(content, dict) or not all(isinstance(values, dict) for values in content.values()):
        raise UserError(f"{file}: is not a mapping of cue families to values: begin it with 'emotion:'")
    openers: dict[str, dict[str, Opener]] = {}
    for family, values in content.items():
        openers[str(family)] = {}
        for value, item in values.items():
            try:
                openers[str(family)][str(value)] = Opener.model_validate(item)
            except ValidationError as error:
                raise from_pydantic(file, error, (family, value)) from None
    try:
        _check_openers(openers)
    except ValueError as error:
        raise UserError(f"{file}: {error}") from None
    return openers
