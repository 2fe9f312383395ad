"""Follow-ups: what users say after the first turn, and how replies to them begin.

They stand in `scenarios/followups.<language>.yaml`: a list `followups`, and `openers` by cue family and value, those
for a cue that is `still` there and those for one that is there `now`. Openers of a later turn are never those of the
first, so that a dialogue repeats none.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import UserError, from_pydantic
from manifests.labels import CUES, NONE, SPLITS
from manifests.texts import REPLY_KINDS, Kebab, PlainText, PlainTexts, digest, mentions_any, one_of
from manifests.yamlfile import load_yaml

STAGES = ("early", "middle", "closing")
"""Where in a dialogue a follow-up fits: early ones in the second turn, closing ones in the last, middle ones in all."""


class FollowUp(BaseModel):
    """One thing that a user may say next, neutral as to the cue.

    Attributes:
        id: Unique name in kebab-case.
        stage: One of `STAGES`.
        split: The data split in which it is said.
        topics: Topics of scenarios that it fits; empty for any.
        query: What the user says.
        replies: The reply cores by kind (`REPLY_KINDS`); kinds left out fall back to `neutral`.
        scenario: The one scenario that it belongs to, or empty; not written in files.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: Kebab
    stage: Annotated[str, one_of(STAGES)]
    split: Annotated[str, one_of(SPLITS)]
    topics: tuple[Kebab, ...] = ()
    query: PlainText
    replies: dict[Annotated[str, one_of(REPLY_KINDS)], PlainText]
    scenario: str = Field(default="", pattern="^$")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if "neutral" not in self.replies:
            raise ValueError("replies.neutral is missing: add it, as other kinds fall back to it")
        return self

    def fits(self, split: str, scenario: str, topic: str) -> bool:
        """Whether it may follow in dialogues of a scenario."""
        return self.split == split and self.scenario in ("", scenario) and (not self.topics or topic in self.topics)

    def fits_turn(self, turn: int, num_turns: int) -> bool:
        """Whether it may be said in a turn, counted from 0, of so many."""
        return {"early": turn == 1, "middle": turn >= 1, "closing": turn == num_turns - 1}[self.stage]

    def reply_text(self, kind: str) -> str:
        """The reply core of a kind, or else of `neutral`."""
        return self.replies.get(kind, self.replies["neutral"])

    def content_hash(self) -> str:
        """16 hex characters that change with anything in it."""
        return digest(self.model_dump(mode="json"))


class Continuing(BaseModel):
    """How replies of later turns begin, to one value of a cue.

    Attributes:
        still: Sentences for a cue that the turn before had too (an event: any turn before).
        now: For one that is new; the `still` ones where there are none, as of a voice's age and gender.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    still: PlainTexts
    now: tuple[PlainText, ...] = ()


class FollowUps(BaseModel):
    """All follow-ups of a bank, those of its scenarios included; made by `load_followups`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    followups: tuple[FollowUp, ...]
    openers: dict[str, dict[str, Continuing]]

    @property
    def by_id(self) -> dict[str, FollowUp]:
        """The follow-ups by their names."""
        return {item.id: item for item in self.followups}

    def continuing(self, family: str, value: str, earlier: Sequence[Mapping[str, str]]) -> tuple[str, ...]:
        """The openers of a cue after turns with these cues."""
        before = [cues.get(family, NONE) for cues in earlier]
        if family == "emotion":
            before = ["neutral" if name == NONE else name for name in before[-1:]]
        item = self.openers[family][value]
        return item.still if value in before or not item.now else item.now


def load_followups(
    file: Path,
    keywords: Mapping[str, Mapping[str, Sequence[str]]],
    said: Iterable[str],
    own: tuple[FollowUp, ...] = (),
) -> FollowUps:
    """Read a file of follow-ups and check all of it.

    Args:
        file: The shipped file of a language or the user's own.
        keywords: Keywords by cue family and value: every opener names its cue by one of its own, and no other's.
        said: Openers of first turns, which must not be said again.
        own: Follow-ups that scenarios carry.

    Raises:
        UserError: The file cannot be read or breaks a rule; the message names file, follow-up and field.
    """
    content = load_yaml(file)
    if not isinstance(content, dict) or not isinstance(content.get("followups"), list):
        raise UserError(f"{file}: is not a mapping with a list of followups: begin it with 'followups:'")
    unknown = sorted(map(str, content.keys() - {"followups", "openers"}))
    if unknown:
        raise UserError(f"{file}: {unknown[0]} is not a key: use followups and openers")
    items = []
    for index, item in enumerate(content["followups"]):
        name = item.get("id") if isinstance(item, dict) else None
        try:
            items.append(FollowUp.model_validate(item))
        except ValidationError as error:
            raise from_pydantic(file, error, (name,) if isinstance(name, str) and name else (index,)) from None
    for name, count in Counter(item.id for item in (*items, *own)).items():
        if count > 1:
            raise UserError(f"{file}: {name}.id: {count} follow-ups have this id: rename all but one")
    openers = _load_continuing(file, content.get("openers"))
    try:
        _check_continuing(openers, keywords, set(said))
    except ValueError as error:
        raise UserError(f"{file}: openers.{error}") from None
    return FollowUps(followups=(*items, *own), openers=openers)


def _load_continuing(file: Path, content: object) -> dict[str, dict[str, Continuing]]:
    if not isinstance(content, dict) or not all(isinstance(values, dict) for values in content.values()):
        raise UserError(f"{file}: openers is not a mapping of cue families to values: begin it with 'emotion:'")
    openers: dict[str, dict[str, Continuing]] = {}
    for family, values in content.items():
        openers[str(family)] = {}
        for value, item in values.items():
            try:
                openers[str(family)][str(value)] = Continuing.model_validate(item)
            except ValidationError as error:
                raise from_pydantic(file, error, ("openers", family, value)) from None
    return openers


def _check_continuing(
    openers: Mapping[str, Mapping[str, Continuing]],
    keywords: Mapping[str, Mapping[str, Sequence[str]]],
    said: set[str],
) -> None:
    """Refuse openers that leave out a cue, are for none, name another cue than theirs, or were said before."""
    known = {(family, value) for family, values in CUES.items() for value in values}
    given = {(family, value) for family, values in openers.items() for value in values}
    for family, value in sorted(known - given):
        raise ValueError(f"{family}.{value} is missing: add openers for a cue that is still there")
    for family, value in sorted(given - known):
        raise ValueError(f"{family}.{value} is not a cue: remove it")
    for family, value in sorted(given):
        item = openers[family][value]
        if family == "emotion" and not item.now:
            raise ValueError(f"{family}.{value}.now is missing: emotions change, so add openers for a new one")
        for text in (*item.still, *item.now):
            if text in said:
                raise ValueError(f"{family}.{value}: {text!r} is an opener of first turns: reword it")
            if not mentions_any(text, keywords[family][value]):
                raise ValueError(f"{family}.{value}: {text!r} has none of the keywords of {value}")
            for other in CUES[family]:
                if other != value and mentions_any(text, keywords[family][other]):
                    raise ValueError(f"{family}.{value}: {text!r} has a keyword of {other}")
