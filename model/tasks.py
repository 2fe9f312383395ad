"""Tasks as data: what the user part of a sequence holds, and what the assistant must say.

A task is a layout of pieces in ChatML; `model/assemble.py` turns any layout and any dialogue into one sequence. Layouts
follow the OSUM-EChat release; where its training and inference differ (history), ours are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from manifests.labels import CUES

Field = Literal["query_text", "reply_text", "think_tag", "think_text"]


@dataclass(frozen=True)
class Words:
    """A text of the turn; `end` closes it with the end mark, after which a model that speaks goes on in speech."""

    field: Field
    end: bool = True


@dataclass(frozen=True)
class Prompt:
    """The instruction of an understanding task, worded for what is wanted."""


@dataclass(frozen=True)
class Answer:
    """What an understanding task wants: the transcript and the tags of labels, in a fixed order."""


@dataclass(frozen=True)
class Audio:
    """The query's voice: embeddings of the encoder between two marks."""


@dataclass(frozen=True)
class Speech:
    """The reply's speech tokens between two edges."""


@dataclass(frozen=True)
class Interleaved:
    """The reply by turns: so many text tokens, so many speech tokens, at last the rest of the speech."""

    text: int = 6
    speech: int = 18


Piece = Words | Prompt | Answer | Audio | Speech | Interleaved


@dataclass(frozen=True)
class Task:
    """A layout.

    Attributes:
        system: Key of `SYSTEM`.
        user: What the model is given in the current turn.
        assistant: What it must produce; the loss is of these alone.
        history: Whether earlier turns come first, each as given and produced, without loss.
    """

    system: str
    user: tuple[Piece, ...]
    assistant: tuple[Piece, ...]
    history: bool = False


SYSTEM = {
    "understand": "You are a listener.",
    "chat": "You are a kind voice assistant. Answer in text to what the user says and how.",
    "speak": "You are a kind voice assistant. Answer in text and then in speech to what the user says and how.",
    "stream": "You are a kind voice assistant. Answer in text and speech by turns to what the user says and how.",
    "think": "You are a kind voice assistant. First think about what the user says and how, then answer in text and"
    " in speech.",
    "think_stream": "You are a kind voice assistant. First think about what the user says and how, then answer in text"
    " and speech by turns.",
    "read": "You are a speaker. Say the text aloud.",
    "text": "You are a kind assistant. Answer the user.",
}

_AUDIO, _REPLY, _SPEECH = Audio(), Words("reply_text"), Speech()
_TAG, _NATURAL = Words("think_tag", end=False), Words("think_text", end=False)

TASKS: dict[str, Task] = {
    "understand": Task("understand", (Prompt(), _AUDIO), (Answer(),)),
    "tts": Task("read", (Words("reply_text", end=False),), (_SPEECH,)),
    "t2t": Task("text", (Words("query_text", end=False),), (_REPLY,)),
    "s2t": Task("chat", (_AUDIO,), (_REPLY,), history=True),
    "s2s": Task("speak", (_AUDIO,), (_REPLY, _SPEECH), history=True),
    "s2s_stream": Task("stream", (_AUDIO,), (Interleaved(),), history=True),
    "think_tag": Task("think", (_AUDIO,), (_TAG, _REPLY, _SPEECH), history=True),
    "think": Task("think", (_AUDIO,), (_NATURAL, _REPLY, _SPEECH), history=True),
    "think_stream": Task("think_stream", (_AUDIO,), (_NATURAL, Interleaved()), history=True),
}
"""Every task that a stage of training may mix."""

WANTED = ("transcript", *CUES)
"""What an understanding task may want, in the order of its answer."""

_QUESTIONS: Mapping[str, str] = {
    "transcript": "write down what is said",
    "age": "name the speaker's age",
    "gender": "name the speaker's gender",
    "emotion": "name the emotion of the voice",
    "event": "name the sound beside the words",
}


def instruction(wanted: tuple[str, ...]) -> str:
    """The prompt of an understanding task: `Write down what is said and name the emotion of the voice.`"""
    parts = [_QUESTIONS[name] for name in WANTED if name in wanted]
    text = ", ".join(parts[:-1]) + (" and " if len(parts) > 1 else "") + parts[-1]
    return text[:1].upper() + text[1:] + "."
