"""Dialogues as samples of OSUM-EChat's loader: task tags, the answer as `txt`, everything else in `extra`.

As the released loader reads it (github.com/ASLP-lab/OSUM, OSUM-EChat/wenet/dataset, 2025-11): a sample is one line of a
raw list, or the members of one key of a shard. The loader itself puts `<think>` and `<think end>` around
`extra.think_str`, splits a leading tag off `txt`, and makes `extra.question` the prompt, so `question` stands only
where it gives no answer away.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from manifests.labels import CUES, NONE, display
from manifests.think import THINK_END, THINK_START
from pipeline.export.base import Request, SplitCounts
from pipeline.export.files import one_line
from pipeline.export.source import Dialogue, Document, Reply, Turn

CODES = 4096
"""Speech codes that the loader has; its own marks follow."""
TOKEN_RATE = 25
TAGS = {
    "s2s-think": "<S2TCHAT> <TEXT2TOKEN> <THINK>",
    "s2s": "<S2TCHAT> <TEXT2TOKEN>",
    "s2t-think": "<S2TCHAT> <THINKER>",
    "s2t": "<S2TCHAT>",
    "tts": "<TEXT2TOKEN>",
    "t2t": "<TEXT2TEXT>",
    "understand": "<TRANSCRIBE>",
}
HISTORY = "<S2TCHAT> <TEXT2TOKEN> <HISTORY>"
"""Task of every spoken answer with turns before it: the loader knows no think task with a history."""
_FAMILIES = {"age": "AGE", "gender": "GENDER", "emotion": "EMOTION", "event": "CAPTION"}
_EVENTS = {"scream": "screaming", "throat_clear": "throat clearing"}
_LATER = "turns after the first: the task has no history"


@dataclass(frozen=True)
class OsumSample:
    """One sample.

    Attributes:
        audio: FLAC that the model hears, or for `tts` speaks.
        answer: FLAC of the reply, or None where the sample has none.
        history: FLAC of the query and text of the reply of the turns before, the oldest first.
    """

    key: str
    txt: str
    task: str
    audio: bytes
    lang: str
    speaker: str
    emotion: str
    gender: str
    extra: dict[str, Any]
    answer: bytes | None = None
    history: tuple[tuple[bytes, str], ...] = field(default=())


def samples(dialogue: Dialogue, request: Request, dataset: str, counts: SplitCounts) -> Iterator[OsumSample]:
    """The samples of a dialogue; what the task cannot hold is counted in `counts.left_out`.

    A spoken answer is one sample per dialogue, its last turn, with the others as its history; `tts` and
    `understand` are a sample per turn; answers in text are of first turns alone.

    Raises:
        ValueError: The speech tokens are not of a kind that the loader knows.
    """
    document = dialogue.document
    if request.task in ("s2s", "s2s-think"):
        yield _spoken(dialogue, request, dataset)
    elif request.task in ("tts", "understand"):
        for turn in document.turns:
            yield (_read if request.task == "tts" else _heard)(dialogue, turn, dataset)
    else:
        if document.num_turns > 1:
            counts.left_out[_LATER] += document.num_turns - 1
        yield _written(dialogue, request, dataset)


def _spoken(dialogue: Dialogue, request: Request, dataset: str) -> OsumSample:
    document = dialogue.document
    *before, last = document.turns
    extra = _labels(document, last, dataset) | _question(last)
    if request.task == "s2s-think":
        extra["think_str"] = _think(last, request.think)
    extra["speech_token"] = _codes(dialogue, last)
    extra |= {f"speech_token_{turn.turn + 1}": _codes(dialogue, turn) for turn in before}
    tagged = request.task == "s2s-think" and request.think == "tag"
    return OsumSample(
        key=document.id,
        txt=_answer(last.reply, tagged),
        task=HISTORY if before else TAGS[request.task],
        audio=dialogue.queries[last.turn],
        lang=document.language,
        extra=extra,
        answer=dialogue.replies[last.turn],
        history=tuple((dialogue.queries[turn.turn], _answer(turn.reply, False)) for turn in before),
        speaker=_name(last),
        emotion=extra.get("q_emotion", NONE),
        gender=extra.get("gender", NONE),
    )


def _written(dialogue: Dialogue, request: Request, dataset: str) -> OsumSample:
    document, turn = dialogue.document, dialogue.document.turns[0]
    extra = _labels(document, turn, dataset) | _question(turn)
    if request.task == "s2t-think":
        extra["think_str"] = _think(turn, request.think)
    tagged = request.task == "s2t-think" and request.think == "tag"
    return OsumSample(
        key=document.id,
        txt=_answer(turn.reply, tagged),
        task=TAGS[request.task],
        audio=dialogue.queries[0],
        lang=document.language,
        extra=extra,
        speaker=_name(turn),
        emotion=extra.get("q_emotion", NONE),
        gender=extra.get("gender", NONE),
    )


def _read(dialogue: Dialogue, turn: Turn, dataset: str) -> OsumSample:
    return OsumSample(
        key=f"{dialogue.id}_{turn.turn}",
        txt=_answer(turn.reply, False),
        task=TAGS["tts"],
        audio=dialogue.replies[turn.turn],
        lang=dialogue.document.language,
        speaker=one_line(turn.reply.voice),
        emotion=NONE,
        gender=NONE,
        extra={"dataset": dataset, "speech_token": _codes(dialogue, turn)},
    )


def _heard(dialogue: Dialogue, turn: Turn, dataset: str) -> OsumSample:
    """The words of a query, and the label of the first cue that its reply answers to."""
    document = dialogue.document
    extra = _labels(document, turn, dataset) | {"q_txt": _plain(turn.query.text)}
    txt, task = extra["q_txt"], TAGS["understand"]
    for family in turn.cues[:1]:
        label = getattr(turn.query.requested, family)
        if label != NONE:
            txt, task = f"{txt}{_tag(family, label)}", f"{task} <{_FAMILIES[family]}>"
    return OsumSample(
        key=f"{document.id}_{turn.turn}",
        txt=txt,
        task=task,
        audio=dialogue.queries[turn.turn],
        lang=document.query_language,
        extra=extra,
        speaker=_name(turn),
        emotion=extra.get("q_emotion", NONE),
        gender=extra.get("gender", NONE),
    )


def _plain(text: str) -> str:
    """A text that the loader takes for no tag: one line, without angle brackets."""
    return one_line(text.replace("<", " ").replace(">", " "))


def _answer(reply: Reply, tagged: bool) -> str:
    """The reply, for tag-form think texts behind its emotion as the release names it."""
    tag = f"<{display('reply_emotion', reply.emotion, 'zh')}>" if tagged else ""
    return tag + _plain(reply.text)


def _tag(family: str, label: str) -> str:
    return f"<{_EVENTS.get(label, label)}>" if family == "event" else f"<{label.upper()}>"


def _labels(document: Document, turn: Turn, dataset: str) -> dict[str, Any]:
    """Where the query is from, and what its voice carries; a label that is not known has no key."""
    requested = turn.query.requested
    extra: dict[str, Any] = {"dataset": document.corpus.name or dataset}
    names = {"age": "age", "gender": "gender", "emotion": "q_emotion", "event": "caption"}
    for family in CUES:
        label = getattr(requested, family)
        if label != NONE:
            extra[names[family]] = _tag(family, label)
        elif family == "event" and document.source == "synthetic":
            extra["caption"] = "<OTHER>"  # known to have none, which the label set calls so
    return extra


def _question(turn: Turn) -> dict[str, str]:
    words = _plain(turn.query.text)
    return {"question": words, "q_txt": words}


def _think(turn: Turn, form: str) -> str:
    """The think text without its marks, which the loader adds."""
    if form == "natural":
        return _plain(turn.think_text)
    text = one_line(turn.think_tag)
    inner = text.removeprefix(THINK_START).removesuffix(THINK_END)
    if len(text) - len(inner) != len(THINK_START + THINK_END) or THINK_START in inner or THINK_END in inner:
        raise ValueError(f"turns[{turn.turn}].think_tag is not one text from {THINK_START} to {THINK_END}")
    return inner


def _codes(dialogue: Dialogue, turn: Turn) -> list[int]:
    reply = turn.reply
    if reply.codebook_size > CODES or reply.token_rate != TOKEN_RATE:
        raise ValueError(
            f"its speech tokens are of {reply.codebook_size} codes at {reply.token_rate} Hz, OSUM-EChat has {CODES} at"
            f" {TOKEN_RATE} Hz: build the set with another tokenize engine"
        )
    if not reply.num_tokens:
        raise ValueError(f"turns[{turn.turn}].reply has no speech tokens")
    return dialogue.tokens[turn.turn].tolist()


def _name(turn: Turn) -> str:
    return one_line(turn.query.speaker) or NONE
