"""Text tokens: any Hugging Face tokenizer with ChatML marks; a small one ships for models trained from nothing.

The shipped one is byte-level BPE, trained by `python -m model.text` on the texts of the scenario bank, with the marks
of ChatML and thinking and one token for every label.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import UserError
from manifests.labels import CUES, NONE, REPLY_EMOTIONS
from manifests.think import THINK_END, THINK_START, render_tag

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SHIPPED = Path(__file__).parent / "data" / "tokenizer.json"
TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"
VOCABULARY = 2048
PACKAGE = 'pip install "transformers>=5.24,<6"'


def label_tag(value: str) -> str:
    """The mark of a label in answers and think texts: `<HAPPY>`."""
    return f"<{value.upper()}>"


def answer_tag(value: str) -> str:
    """How a known label is answered; no event is `<OTHER>`, as the paper's label set has it."""
    return "<OTHER>" if value == NONE else label_tag(value)


def label_tags() -> tuple[str, ...]:
    """The marks of all labels, and of what is none of them."""
    values = [value for family in CUES.values() for value in family]
    return tuple(dict.fromkeys([*map(label_tag, values), "<OTHER>", *(f"<{value}>" for value in REPLY_EMOTIONS)]))


class TextTokenizer:
    """A Hugging Face tokenizer and the few ids that layouts need.

    Attributes:
        end: Id of `<|im_end|>`, which ends every text.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer
        self.end = self._mark(TURN_END)
        self.start = self._mark(TURN_START)

    @classmethod
    def load(cls, path: Path | str | None = None) -> TextTokenizer:
        """Load a folder or hub id of a tokenizer; the shipped one unless given.

        Raises:
            UserError: transformers is missing, there is no such tokenizer, or it has no ChatML marks.
        """
        try:
            from transformers import AutoTokenizer, PreTrainedTokenizerFast
        except ImportError:
            raise UserError(f"the model needs transformers: {PACKAGE}") from None
        if path is None:
            return cls(PreTrainedTokenizerFast(tokenizer_file=str(SHIPPED), eos_token=TURN_END, pad_token=TURN_END))
        try:
            return cls(AutoTokenizer.from_pretrained(path))
        except (OSError, ValueError) as error:
            raise UserError(f"{path}: is no tokenizer: {str(error).splitlines()[0]}") from None

    def _mark(self, text: str) -> int:
        ids = self.encode(text)
        if len(ids) != 1 or self.decode(ids) != text:
            raise UserError(f"the tokenizer has no token {text}: use one of a chat model in ChatML, such as Qwen2.5")
        return ids[0]

    def __len__(self) -> int:
        """Number of ids, marks included."""
        return len(self.tokenizer)

    def encode(self, text: str) -> list[int]:
        """Ids of a text; marks in it are one id each."""
        return self.tokenizer.encode(text, add_special_tokens=False)

    def decode(self, ids: list[int]) -> str:
        """The text of some ids, marks included."""
        text = self.tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str), "one list of ids gives one text"
        return text


def bank_texts() -> Iterator[str]:
    """Queries, replies and think texts of the shipped banks, a filling of each."""
    from manifests.bank import REPLY_KINDS, ScenarioBank, shipped_languages

    for language in shipped_languages():
        bank = ScenarioBank.load(language)
        for number, scenario in enumerate(bank.scenarios):
            slots = scenario.fill(number % scenario.num_queries)
            yield scenario.query_text(slots)
            yield from (scenario.reply_text(kind, slots) for kind in REPLY_KINDS)
            for values in scenario.slots.values():
                yield from values
        for values in bank.openers.values():
            for opener in values.values():
                yield from opener.openers
    yield render_tag("", {}, "neutral")


def train_tokenizer(size: int = VOCABULARY) -> str:
    """The shipped tokenizer as JSON; equal banks give equal bytes."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    marks = [TURN_END, TURN_START, THINK_START, THINK_END, *label_tags()]
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[AddedToken(mark, special=True, normalized=False) for mark in marks],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(bank_texts(), trainer)
    return tokenizer.to_str()


if __name__ == "__main__":
    SHIPPED.parent.mkdir(exist_ok=True)
    SHIPPED.write_text(train_tokenizer(), encoding="utf-8")
    sys.stdout.write(f"{SHIPPED}: {len(TextTokenizer.load())} tokens\n")
