"""What an answer must be: one JSON object of a known form, with text that a voice can speak.

Whatever a model returns is data. What does not fit is refused with a reason, which the model gets to read once.
"""

from __future__ import annotations

import json
import re
import unicodedata
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from manifests.errors import UserError, dotted
from manifests.labels import REPLY_EMOTIONS, canonical
from manifests.textconfig import TextConfig
from pipeline.hygiene.base import Said
from pipeline.hygiene.persona import assistants, refusals

MAX_CHARS = {
    "en": {"query": 300, "reply": 420, "think": 1000},
    "zh": {"query": 80, "reply": 120, "think": 300},
}
"""Longest texts in characters by language: what is spoken is to last 30 s at most."""

_MARKUP = frozenset("<>{}[]*`|\\^~_#")
_BAD_CATEGORIES = {
    "Cc": "control character", "Cf": "invisible mark", "Cs": "half character", "Co": "private character",
    "Cn": "unknown character", "Zl": "line break", "Zp": "line break", "So": "symbol that nobody can speak",
}  # fmt: skip
_SCALE = re.compile(
    r"(?<!\d)1 ?(?:to|and|[-–—~到至]) ?5(?![\d.])|(?:/|\bout of) ?(?:5|five)(?![\d.])|满分 ?5", re.IGNORECASE
)
_NUMBER = re.compile(r"[-+]?\d[\d.,]*\d|[-+]?\d")
_BRACES = 32  # tried in an answer, so that one full of them takes no time
_CHINESE = re.compile(r"[\u4e00-\u9fff]")


class BadAnswerError(ValueError):
    """An answer that no row can use; the message says why."""


def speakable(text: str) -> str:
    """A text without blanks around it, if a voice can speak it.

    Raises:
        ValueError: It has no letters, or something that is no plain text.
    """
    text = text.strip()
    if not any(char.isalpha() for char in text):
        raise ValueError("has no letters to speak")
    for char in text:
        kind = _BAD_CATEGORIES.get(unicodedata.category(char))
        if kind:
            raise ValueError(f"has the {kind} U+{ord(char):04X}; keep to plain words on one line")
        if char in _MARKUP:
            raise ValueError(f"has the mark {char!r}; keep to plain words without tags, markup or stage directions")
    if "://" in text or "www." in text.lower():
        raise ValueError("has a web address")
    return text


def _of_assistant(text: str) -> str:
    """A reply that selection would not drop for whom it speaks as."""
    said, config = Said("reply", text, ""), TextConfig()
    found = next(assistants(said, config), None)
    if found:
        raise ValueError(f"speaks of {found!r}; speak as yourself")
    if next(refusals(said, config), None):
        raise ValueError("refuses to answer; reply kindly instead")
    return text


def _emotion(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    try:
        found = canonical("reply_emotion", value[:40])
    except UserError:
        found = ""
    if found not in REPLY_EMOTIONS:
        raise ValueError(f"is none of {', '.join(REPLY_EMOTIONS)}")
    return found


Speakable = Annotated[str, AfterValidator(speakable)]


class Form(BaseModel):
    """Base of the forms; what else stands in an answer is dropped."""

    model_config = ConfigDict(frozen=True, extra="ignore", strict=True)

    @classmethod
    def of_words(cls, text: str, finish: str) -> dict[str, Any] | None:
        """The object that an answer without one means beyond doubt, or None."""
        return None


class QueryForm(Form):
    """What the user says."""

    query: Speakable


class ReplyForm(Form):
    """The reply and how it is spoken."""

    reply: Annotated[Speakable, AfterValidator(_of_assistant)]
    reply_emotion: Annotated[str, BeforeValidator(_emotion)]


class ThinkForm(Form):
    """The think text."""

    think: Speakable


class ScoreForm(Form):
    """A judge's score."""

    score: int = Field(ge=1, le=5)
    reason: str = ""

    @classmethod
    def of_words(cls, text: str, finish: str) -> dict[str, Any] | None:
        """Small models say `4`, or `The score is 4 out of 5.`: fine if there is no other number to choose from."""
        found = [*_NUMBER.finditer(text := _SCALE.sub(" ", text).strip())]
        if len({number[0] for number in found}) != 1 or len(found[0][0]) > 1:
            return None
        cut = finish == "length" and found[0].end() == len(text)  # there may be more of it
        return None if cut else {"score": int(found[0][0])}

    @property
    def share(self) -> float:
        """The score from 0 to 1."""
        return (self.score - 1) / 4


T = TypeVar("T", bound=Form)


def in_language(text: str, language: str) -> None:
    """Refuse a text that is plainly in another language.

    Raises:
        BadAnswerError: As said.
    """
    letters = [char for char in text if char.isalpha()]
    chinese = len(_CHINESE.findall(text))
    if language == "zh" and not chinese:
        raise BadAnswerError("has no Chinese characters; write in Chinese")
    if language == "en" and sum(char.isascii() for char in letters) < 0.8 * len(letters):
        raise BadAnswerError("is not in English; write in English")


def read_answer(form: type[T], text: str, finish: str) -> T:
    """Check an answer.

    Raises:
        BadAnswerError: It is no object of the form; the message says why in a sentence that a model can mend it by.
    """
    problem, found = "", list[T]()
    meant = None if "{" in text else form.of_words(text.rpartition("</think>")[2], finish)
    for document in [meant] if meant else _objects(text, finish):
        try:
            found.append(form.model_validate(document))
        except ValidationError as error:
            problems = [f"{dotted(item['loc']) or 'the object'} {_reason(item)}" for item in error.errors()]
            problem = problem or "; ".join(problems)[:400]
    if not found:
        raise BadAnswerError(problem)
    if len({answer.score for answer in found if isinstance(answer, ScoreForm)}) > 1:
        raise BadAnswerError("the answer holds several scores; give one")  # the judged text may be one of them, quoted
    return found[0]


def _reason(item: Any) -> str:
    if item["type"] == "missing":
        return "is missing"
    message = item["msg"].removeprefix("Value error, ")
    return message[:1].lower() + message[1:]


def _objects(text: str, finish: str) -> list[dict[str, Any]]:
    """The JSON objects of an answer, which models like to wrap in words or fences, from the first brace that opens one.

    Raises:
        BadAnswerError: There are none.
    """
    text = text.rpartition("</think>")[2]  # of models that reason aloud
    start, found, reason = text.find("{"), [], ""
    if start < 0:
        raise BadAnswerError("the answer holds no JSON object" if text.strip() else "the answer is empty")
    # What stands within an object that was cut off is a part of it, and no answer.
    for _ in range(1 if finish == "length" else _BRACES):
        try:
            document, end = json.JSONDecoder().raw_decode(text, start)
            found.append(document)
        except (ValueError, RecursionError) as error:
            reason, end = reason or getattr(error, "msg", "too deeply nested"), start + 1
        start = text.find("{", end)
        if start < 0:
            break
    if not found:
        cut = "; it was cut off at max_tokens, so be brief" if finish == "length" else ""
        raise BadAnswerError(f"the answer is not valid JSON ({reason}){cut}")
    return found
