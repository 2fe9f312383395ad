"""`select.text`: what the words of a dialogue must be like. Every check has its own switch."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field, NonNegativeInt, PositiveInt, model_validator

Ratio = Annotated[float, Field(ge=0, le=1)]
Least = Annotated[float, Field(gt=0)]


class TextConfig(BaseModel, frozen=True, extra="forbid"):
    """Checks of the texts; `false` or `null` switches one off. See docs/hygiene.md."""

    language: bool = True
    """Whether query and reply must be in the language that was planned."""
    language_min: Ratio = 0.1
    """Least confidence of the detector in that language, against six languages with the same letters."""
    language_letters: PositiveInt = 20
    """Shorter texts, in letters, are judged by their script alone: the detector guesses at short ones."""
    length: bool = True
    """Whether a text must have letters or digits, and a length within `characters`."""
    characters: tuple[NonNegativeInt, PositiveInt] = (2, 600)
    """Fewest and most characters of a query and of a reply; 30 s of speech are about 450 English ones."""
    speakable: bool = True
    """Whether the share of characters that no voice speaks is limited."""
    unspeakable_max: Ratio = 0.05
    """Greatest share of symbols, emoji and stacked marks among the characters."""
    controls: bool = True
    """Whether control, invisible, direction and replacement characters are refused."""
    special: bool = True
    """Whether think marks, label tags and tokens of chat templates are refused."""
    markup: bool = True
    """Whether tags (HTML, SSML), entities, Markdown, stage directions and unfilled slots are refused."""
    urls: bool = True
    """Whether web addresses and names of files are refused."""
    code: bool = True
    """Whether program code is refused."""
    assistants: bool = True
    """Whether names of other assistants are refused, and replies that speak of themselves as a language model."""
    refusals: bool = True
    """Whether replies that refuse to answer are refused."""
    personal: bool = True
    """Whether addresses, telephone, card, account and identity numbers are refused."""
    unsafe: bool = True
    """Whether slurs, calls to self-harm and instructions to harm are refused."""
    think: bool = True
    """Whether a think text may not contradict a requested label."""
    judge_min: Ratio | None = 0.5
    """Least score of each judgement of a writer's judge; texts that nobody judged pass."""
    query_oov_max: NonNegativeInt | None = None
    """Most words of the query that the recognizer's dictionary lacks, where it counts them."""
    speech_per_text_min: Least | None = 3.0
    """Least speech tokens per text token of a reply; streaming gives out 18 for every 6."""
    speech_per_label_min: Least | None = 0.8
    """Least speech tokens of a reply per text token of think text and reply; OSUM-EChat's trainer drops others."""
    positions_max: PositiveInt | None = 2000
    """Most positions of a dialogue in OSUM-EChat's trainer: audio, think text, text, speech tokens and template."""
    near_duplicate: Annotated[float, Field(gt=0, le=1)] | None = 0.8
    """Two dialogues of equal labels are near duplicates if the word triples of query and reply overlap so much."""
    near_duplicate_real: bool = False
    """Whether recorded queries count too; read corpora hold few sentences, each said by many people."""
    duplicate_audio: bool = True
    """Whether the same query audio may be in the set only once; a recording once for each set of labels."""

    @model_validator(mode="after")
    def _sense(self) -> TextConfig:
        if self.characters[0] > self.characters[1]:
            raise ValueError("characters needs the smaller number first")
        return self

    @property
    def deduplicates(self) -> bool:
        """Whether dialogues are compared with each other at all."""
        return self.near_duplicate is not None or self.duplicate_audio


def without_text_checks() -> TextConfig:
    """Every check switched off."""
    limits = ("language_min", "language_letters", "characters", "unspeakable_max")
    switches = {name: field for name, field in TextConfig.model_fields.items() if name not in limits}
    off = {name: False if field.annotation is bool else None for name, field in switches.items()}
    return TextConfig.model_validate(off)
