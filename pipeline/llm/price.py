"""What a run's texts will cost, by going through the requests of a sample of its rows with answers of usual length."""

from __future__ import annotations

import json
from collections.abc import Sequence

from pipeline.llm.cache import Answer, Request

_WORDS = {
    "en": "This is a line of usual words that stands in for the one to be written, and then it goes on a little.",
    "zh": "这是一句长短平常的话，用来代替将要写出的那一句，然后再说一点。",
}
_THOUGHTS = 3  # times as long as a reply
_OF_A_MESSAGE = 6  # tokens around each message


def tokens(text: str) -> float:
    """About how many tokens a text has: four letters each, or two of three Chinese characters."""
    ascii_ = sum(char.isascii() for char in text)
    return ascii_ / 4 + (len(text) - ascii_) * 0.67


class Pricer:
    """Answers every request with usual words, and counts; equal requests count once, as the cache has it."""

    def __init__(self, language: str) -> None:
        words = _WORDS.get(language, _WORDS["en"])
        self._answers = {
            "query": {"query": words[: len(words) * 2 // 3]},
            "reply": {"reply": words, "reply_emotion": "comforting"},
            "think": {"think": words * _THOUGHTS},
            "judge": {"score": 4, "reason": words[: len(words) // 2]},
        }
        self._answers["contrast"] = self._answers["reply"]
        self._seen: set[str] = set()
        self.weight = 1.0
        self.requests = self.prompt_tokens = self.completion_tokens = 0.0

    async def ask(self, request: Request) -> Answer:
        """See `Asker.ask`."""
        text = json.dumps(self._answers.get(request.what, self._answers["judge"]), ensure_ascii=False)
        if request.key not in self._seen:
            self._seen.add(request.key)
            self.requests += self.weight
            self.prompt_tokens += self.weight * sum(tokens(m["content"]) + _OF_A_MESSAGE for m in request.messages)
            self.completion_tokens += self.weight * tokens(text)
        return Answer(text, "stop", "", 0, 0)

    def repaired(self) -> None:
        """Usual words need no repair."""

    def reject(self, requests: Sequence[tuple[Request, Answer]], reason: str) -> str:
        raise AssertionError(f"the words that stand in are refused: {reason}")
