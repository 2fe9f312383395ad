"""Reply cores that fit whatever was said: for recorded queries, of which no scenario knows the words.

They stand in `scenarios/general.<language>.yaml`, some for each kind of reply (`manifests.bank.REPLY_KINDS`).
"""

from __future__ import annotations

from functools import cached_property, lru_cache

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from manifests.bank import FOLDER, REPLY_KINDS, PlainTexts, Scenario, ScenarioBank
from manifests.errors import UserError, from_pydantic
from manifests.ids import content_hash, seed_of
from manifests.yamlfile import load_yaml


class General(BaseModel):
    """The cores of one language, by kind of reply."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    cores: dict[str, PlainTexts]

    @model_validator(mode="after")
    def _check(self) -> General:
        if set(self.cores) != set(REPLY_KINDS):
            raise ValueError(f"must have the kinds {', '.join(REPLY_KINDS)}")
        return self

    def revision(self) -> str:
        """Changes with any of the texts."""
        return self.content_digest

    @cached_property
    def content_digest(self) -> str:
        """`revision`, taken once."""
        return content_hash(self.model_dump(mode="json"))

    def reply(self, bank: ScenarioBank, cues: dict[str, str], draw: int) -> tuple[str, str]:
        """The reply to a recording: openers of the bank that name the cues, then a core.

        Args:
            cues: The cues that the dialogue is about, by family.
            draw: Any number from 0 up; it alone picks among openers and cores.

        Returns:
            The text, and the emotion in which it is spoken.
        """
        chosen = {kind: texts[seed_of("core", draw, kind) % len(texts)] for kind, texts in self.cores.items()}
        stand_in = Scenario(id="recording", topic="recording", split="train", query="Recording", replies=chosen)
        return bank.compose(stand_in, {}, cues, draw)


@lru_cache(maxsize=4)
def load_general(language: str) -> General:
    """The shipped cores of a language.

    Raises:
        UserError: None ship, or the file breaks a rule.
    """
    file = FOLDER / f"general.{language}.yaml"
    if not file.is_file():
        raise UserError(f"no general replies ship for {language!r}, which recorded queries need: add {file.name}")
    try:
        return General.model_validate({"cores": load_yaml(file)})
    except ValidationError as error:
        raise from_pydantic(file, error) from None
