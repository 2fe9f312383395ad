"""One assembler for all tasks: a layout and a dialogue to one sequence of joint ids with a loss mask.

Joint ids: text tokens as they are, speech token s as `text_size + s`, then the edge of speech and the two marks around
input audio; places of audio embeddings hold `AUDIO`. Only text and speech tokens and the edge are ever predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from manifests.think import THINK_END, THINK_START, UNKNOWN
from model.adapter import num_embeddings
from model.encoder import num_states
from model.sample import Sample, Turn
from model.tasks import SYSTEM, TASKS, WANTED, Answer, Audio, Interleaved, Piece, Prompt, Speech, Words, instruction
from model.text import TURN_END, TURN_START, TextTokenizer, answer_tag

AUDIO, PAD = -1, -2
_DEFAULTS = {"age": "ADULT", "gender": "MALE", "emotion": "NEUTRAL", "sound": "OTHER"}
"""Written for an unknown label in a share of the samples, as the release does."""
DEFAULT_SHARE = 0.15


@dataclass(frozen=True)
class Vocabulary:
    """The joint vocabulary.

    Attributes:
        text_size: Rows of the language model's embedding.
        codebook_size: Number of distinct speech tokens.
    """

    text_size: int
    codebook_size: int

    @property
    def edge(self) -> int:
        """Begins and ends a reply's speech."""
        return self.text_size + self.codebook_size

    @property
    def audio_open(self) -> int:
        """Stands before input audio; never predicted."""
        return self.edge + 1

    @property
    def audio_close(self) -> int:
        """Stands after input audio; never predicted."""
        return self.edge + 2

    @property
    def num_targets(self) -> int:
        """Ids that can be predicted: all text, all speech and the edge."""
        return self.edge + 1

    @property
    def num_speech(self) -> int:
        """Rows of the speech embedding: speech tokens, edge, two marks."""
        return self.codebook_size + 3


@dataclass(frozen=True)
class Assembled:
    """One assembled sequence.

    Attributes:
        ids: int64 (length,), joint ids and `AUDIO`.
        is_target: bool (length,), whether the loss asks for this id.
        turns: Turns whose audio fills the `AUDIO` places, in order.
    """

    ids: np.ndarray
    is_target: np.ndarray
    turns: tuple[Turn, ...]

    def __len__(self) -> int:
        return len(self.ids)

    def then(self, ids: Sequence[int], asked: bool = False) -> Assembled:
        """The sequence with some ids behind it, which the loss asks for or not."""
        more = np.array(ids, np.int64)
        masks = [self.is_target, np.full(len(more), asked)]
        return Assembled(np.concatenate([self.ids, more]), np.concatenate(masks), self.turns)


def audio_length(turn: Turn) -> int:
    """Embeddings of a turn's query."""
    return num_embeddings(num_states(turn.frames))


class Assembler:
    """Builds sequences for one tokenizer and one codebook."""

    def __init__(self, text: TextTokenizer, vocabulary: Vocabulary) -> None:
        self.text = text
        self.vocabulary = vocabulary

    def assemble(
        self, sample: Sample, task: str, wanted: Sequence[str] = WANTED, draw: float = 1.0, answer: bool = True
    ) -> Assembled:
        """The sequence of a dialogue for one task.

        Args:
            task: A key of `TASKS`.
            wanted: What an understanding task asks for; labels that the sample does not have are left out.
            draw: A number in [0, 1) for the sample: below `DEFAULT_SHARE`, unknown labels of the think tags are
                written as defaults, as in the release; otherwise they are left out, and so is their loss.
            answer: False for a prompt to generate from, which ends where the assistant begins.

        Raises:
            ValueError: The sample lacks what the task needs; says what.
        """
        layout = TASKS[task]
        builder = _Builder(self, tuple(wanted), draw)
        builder.words(f"{TURN_START}system\n{SYSTEM[layout.system]}{TURN_END}\n")
        for turn in sample.history if layout.history else ():
            builder.turn(turn, layout.user, layout.assistant, False)
        builder.turn(sample.current, layout.user, layout.assistant if answer else (), True)
        return builder.done()


class _Builder:
    def __init__(self, assembler: Assembler, wanted: tuple[str, ...], draw: float) -> None:
        self.text, self.vocabulary = assembler.text, assembler.vocabulary
        self.wanted, self.draw = wanted, draw
        self.ids: list[int] = []
        self.is_target: list[bool] = []
        self.turns: list[Turn] = []

    def done(self) -> Assembled:
        return Assembled(np.array(self.ids, np.int64), np.array(self.is_target, bool), tuple(self.turns))

    def turn(self, turn: Turn, user: Sequence[Piece], assistant: Sequence[Piece], loss: bool) -> None:
        self.words(f"{TURN_START}user\n")
        for piece in user:
            self.piece(piece, turn, False)
        self.words(f"{TURN_END}\n{TURN_START}assistant\n")
        for piece in assistant:
            self.piece(piece, turn, loss)
        if not loss:
            self.words("\n")

    def piece(self, piece: Piece, turn: Turn, loss: bool) -> None:
        match piece:
            case Words():
                self.field(piece, turn, loss)
            case Prompt():
                self.words(instruction(self.known(turn)) + "\n")
            case Answer():
                self.words(self.answer(turn), loss)
                self.add([self.text.end], loss)
            case Audio():
                self.audio(turn)
            case Speech():
                self.add([self.vocabulary.edge, *self.speech(turn), self.vocabulary.edge], loss)
            case Interleaved():
                self.add(self.interleaved(piece, turn), loss)

    def add(self, ids: Sequence[int], loss: bool) -> None:
        self.ids += ids
        self.is_target += [loss] * len(ids)

    def words(self, text: str, loss: bool = False) -> None:
        self.add(self.text.encode(text), loss)

    def known(self, turn: Turn) -> tuple[str, ...]:
        """Of what is wanted, what the turn can tell."""
        have = tuple(name for name in WANTED if name in self.wanted and turn.knows(name))
        if not have:
            raise ValueError(f"has nothing of {', '.join(self.wanted)} for an understanding task")
        return have

    def answer(self, turn: Turn) -> str:
        return "".join(
            turn.query_text if name == "transcript" else answer_tag(turn.label(name)) for name in self.known(turn)
        )

    def field(self, piece: Words, turn: Turn, loss: bool) -> None:
        text = getattr(turn, piece.field)
        if not text.strip():
            raise ValueError(f"has no {piece.field}")
        if piece.field == "think_tag":
            self.think_tag(text, loss)
        elif piece.field == "think_text":
            self.words(f"{THINK_START}{text}{THINK_END}", loss)
        else:
            self.words(text, loss)
        if piece.end:
            self.add([self.text.end], loss)

    def think_tag(self, text: str, loss: bool) -> None:
        """Tags with their unknown labels masked: neither seen nor asked for."""
        if self.draw < DEFAULT_SHARE:
            for name, value in _DEFAULTS.items():
                text = text.replace(f"{name}={UNKNOWN}", f"{name}=<{value}>")
        known, *rest = text.split(UNKNOWN)
        self.words(known, loss)
        for part in rest:
            start = len(self.ids)
            self.words(part, loss)
            self.is_target[start : start + 1] = [False]  # what follows a label that nobody knows cannot be foreseen

    def audio(self, turn: Turn) -> None:
        if not turn.frames:
            raise ValueError("has no query audio")
        self.add([self.vocabulary.audio_open, *[AUDIO] * audio_length(turn), self.vocabulary.audio_close], False)
        self.turns.append(turn)

    def speech(self, turn: Turn) -> list[int]:
        if not len(turn.reply_tokens):
            raise ValueError("has no reply tokens")
        return (turn.reply_tokens.astype(np.int64) + self.vocabulary.text_size).tolist()

    def interleaved(self, piece: Interleaved, turn: Turn) -> list[int]:
        words = [*self.text.encode(turn.reply_text), self.text.end]
        speech = [self.vocabulary.edge, *self.speech(turn), self.vocabulary.edge]
        if piece.speech * len(words) > piece.text * len(speech):
            raise ValueError(
                f"has {len(speech)} speech tokens to {len(words)} text tokens, too few to stream"
                f" {piece.text}:{piece.speech}"
            )
        return list(_by_turns(words, speech, piece))


def _by_turns(words: list[int], speech: list[int], piece: Interleaved) -> Iterator[int]:
    blocks = -(-len(words) // piece.text)
    for block in range(blocks):
        yield from words[block * piece.text : (block + 1) * piece.text]
        yield from speech[block * piece.speech : (block + 1) * piece.speech]
    yield from speech[blocks * piece.speech :]
