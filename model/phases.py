"""What may come next while a reply is generated: thinking, text, speech, in the order of the task's layout."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

from manifests.think import THINK_END
from model.assemble import Vocabulary
from model.tasks import TASKS, Answer, Interleaved, Speech, Words
from model.text import TextTokenizer

TEXT, SPEECH, DONE = "text", "speech", "done"


@dataclass(frozen=True)
class Limits:
    """Bounds of one reply."""

    think_tokens: int = 200
    """Budget of thinking; the end mark is forced when it is spent."""
    text_tokens: int = 300
    """Most text tokens after thinking; the end mark is forced then."""
    speech_tokens: int = 750
    """Most speech tokens: 30 s at 25 a second."""
    repeats: int = 5
    """Most equal speech tokens in a row."""
    recent: tuple[int, int] = (5, 8)
    """Most of one speech token among so many last ones."""
    silence: tuple[int, ...] = ()
    """Speech tokens that sound like silence, which may be repeated twice as long."""


class Phases:
    """Follows one reply, token by token."""

    def __init__(self, task: str, text: TextTokenizer, vocabulary: Vocabulary, limits: Limits) -> None:
        pieces = TASKS[task].assistant
        self.text, self.vocabulary, self.limits = text, vocabulary, limits
        self.thinking = any(isinstance(p, Words) and p.field.startswith("think") for p in pieces)
        self.turns = next((p for p in pieces if isinstance(p, Interleaved)), None)
        self.speaks = any(isinstance(p, Speech | Interleaved) for p in pieces)
        self.has_text = any(isinstance(p, Words | Answer | Interleaved) for p in pieces)
        self.think: list[int] = []
        self.words: list[int] = []
        self.speech: list[int] = []
        self._forced: deque[int] = deque()
        self._text_over = not self.has_text
        self._opened = self._closed = False
        self._block = 0  # tokens of the running block, where text and speech take turns
        self._now = TEXT if self.has_text else SPEECH

    @property
    def kind(self) -> str:
        """`text`, `speech` or `done`."""
        if self._text_over and (self._closed or not self.speaks):
            return DONE
        return self._now

    @property
    def forced(self) -> int | None:
        """The only id that may come next, if there is just one."""
        if self._forced:
            return self._forced[0]
        if self._now == SPEECH and not self._opened:
            return self.vocabulary.edge
        if self._now == SPEECH and len(self.speech) >= self.limits.speech_tokens:
            return self.vocabulary.edge
        if self._now == TEXT and not self.thinking and len(self.words) >= self.limits.text_tokens:
            return self.text.end
        return None

    @property
    def banned(self) -> list[int]:
        """Ids that may not come next, by the guard against repetition and the order of things."""
        if self._now == TEXT:
            return [self.text.end] if self.thinking else []
        most, window = self.limits.recent
        out = [self.vocabulary.edge] if self.turns and self._opened and not self._text_over else []
        for token in set(self.speech[-2 * window :]):
            slack = 2 if token in self.limits.silence else 1
            run = 0
            for other in reversed(self.speech):
                if other != token:
                    break
                run += 1
            often = self.speech[-(slack * window - 1) :].count(token)
            if run >= slack * self.limits.repeats or often >= slack * most:
                out.append(token + self.vocabulary.text_size)
        return out

    def add(self, joint: int) -> None:
        """Take the next id."""
        if self._forced:
            self._forced.popleft()
        if self._now == TEXT:
            self._add_text(joint)
        else:
            self._add_speech(joint)

    def _add_text(self, joint: int) -> None:
        if self.thinking:
            self.think.append(joint)
            if THINK_END in self.text.decode(self.think[-16:]):
                self.thinking = False
            elif len(self.think) >= self.limits.think_tokens and not self._forced:
                self._forced.extend(self.text.encode(THINK_END))
            return
        if joint == self.text.end:
            self._text_over = True
        else:
            self.words.append(joint)
        self._block += 1
        if self._text_over or (self.turns and self._block >= self.turns.text):
            self._switch(SPEECH if self.speaks else TEXT)

    def _add_speech(self, joint: int) -> None:
        if joint == self.vocabulary.edge:
            self._closed = self._opened
            self._opened = True
        else:
            self.speech.append(joint - self.vocabulary.text_size)
        self._block += 1
        if self.turns and not self._text_over and self._block >= self.turns.speech:
            self._switch(TEXT)

    def _switch(self, kind: str) -> None:
        self._now, self._block = kind, 0
