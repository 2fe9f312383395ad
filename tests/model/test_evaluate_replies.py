"""Scores of replies: a reply as planned gets them all, a bad one none, and likelihoods are those of training."""

from dataclasses import replace

import numpy as np
import pytest

from manifests.think import THINK_END, THINK_START
from model.batch import collate
from model.evaluate.items import evaluate_items, silence
from model.evaluate.replies import ReplyScorer, addresses, is_sane, loops
from model.generate import Reply
from model.sample import Sample
from tests.support.tiny import CODEBOOK, SHORT, Dialogues, assembler, dialogue, tiny_model, tokenizer


def planned(number: int, turns: int = 1) -> Sample:
    """A dialogue whose reply speaks to its one cue."""
    sample = dialogue(number, turns)
    last = replace(sample.current, cues=("emotion",))
    return replace(sample, turns=(*sample.history, last))


class Said:
    """A generator that says what it is told to."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def generate(self, prompts, task, sampling=None, limits=None):
        assert len(prompts) == len(self.replies)
        return self.replies


def as_planned(sample: Sample) -> Reply:
    turn = sample.current
    think = turn.think_tag.removeprefix(THINK_START).removesuffix(THINK_END)
    return Reply(think, turn.reply_text, turn.reply_tokens, True)


def scorer(*replies: Reply, task: str = "think_tag") -> ReplyScorer:
    model = tiny_model()
    made = ReplyScorer(model, assembler(model), task)
    made.generator = Said(*replies)  # type: ignore[assignment]
    return made


def test_a_reply_as_planned_gets_every_score() -> None:
    samples = [planned(0), planned(1, turns=2)]
    for values, told in scorer(*map(as_planned, samples)).score(samples):
        for name in ("think.gender", "think.emotion", "think.event", "think.well_formed", "reply.emotion",
                     "reply.addresses_cue", "speech.sane"):  # fmt: skip
            assert values[name] == [1.0, 1.0], name
        assert values["transcript.wer"] == [0.0, 4.0]
        assert "think.age" not in values, "nobody knows the age"
        assert told["finished"]


def test_a_broken_reply_gets_none() -> None:
    bad = Reply("age=<OLD> emotion=<SURPRISE>", "", np.zeros(0, np.int32), False, False, False)
    ((values, _),) = scorer(bad).score([planned(0)])
    for name in ("think.gender", "think.emotion", "think.well_formed", "reply.emotion", "reply.addresses_cue",
                 "speech.sane"):  # fmt: skip
        assert values[name] == [0.0, 1.0], name
    assert values["transcript.wer"][0] == 1.0


def test_likelihoods_are_those_of_training_behind_the_models_own_thought() -> None:
    sample = planned(2)
    made = scorer(as_planned(sample))
    ((values, _),) = made.score([sample])
    sequence = made.assembler.assemble(sample, "think_tag")
    loss, count = made.model(collate([sequence]))
    thought = made.assembler.assemble(sample, "think_tag")
    thought.is_target[-(int(values["reply.nll"][1] + values["speech.nll"][1])) :] = False
    before, fewer = made.model(collate([thought]))
    text, speech = (values[name][0] * values[name][1] for name in ("reply.nll", "speech.nll"))
    assert text + speech == pytest.approx(float((loss - before).detach()), rel=1e-4)
    assert values["speech.nll"][1] == len(sample.current.reply_tokens) + 2
    assert values["reply.nll"][1] + values["speech.nll"][1] == int(count - fewer)


def test_speech_must_fit_its_text_and_not_be_stuck() -> None:
    rng = np.random.default_rng(0)

    def reply(tokens: np.ndarray, spoken: bool = True) -> Reply:
        return Reply("", "a" * 100, tokens, spoken, True, spoken)

    fine = rng.integers(0, CODEBOOK, 200)
    assert is_sane(reply(fine), "b" * 50, 100)
    assert not is_sane(reply(fine[:20]), "b" * 50, 100)
    assert not is_sane(reply(np.tile(fine, 3)), "b" * 50, 100)
    assert not is_sane(reply(fine, spoken=False), "b" * 50, 100)
    assert not is_sane(reply(np.tile(fine[:7], 28)), "b" * 50, 100)
    assert loops(np.array([1] * 51))
    assert not loops(np.array([1] * 50))
    assert not loops(fine)
    assert not loops(fine[:0])


def test_a_reply_that_names_every_emotion_speaks_to_none() -> None:
    assert addresses("You sound sad.", "en")["emotion"] == "sad"
    assert addresses("You sound sad or angry.", "en")["emotion"] == "none"


def test_a_baseline_hears_silence_and_goes_on_from_the_transcript(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("model.evaluate.replies.Limits", SHORT)
    model, data = tiny_model(), Dialogues([planned(n, seconds) for n, seconds in ((0, 1), (1, 2))])
    families = ("emotion",)
    runs = {
        given: list(evaluate_items(model, tokenizer(), data, families, given != "silence", given=given))
        for given in ("audio", "silence", "transcript")
    }
    for heard, unheard, read in zip(*runs.values(), strict=True):
        assert heard["odds"] != unheard["odds"] != read["odds"]
        assert "reply" not in unheard
        assert read["reply"]["think"].startswith("heard: Where is box")
        assert "transcript.wer" not in read["values"]
        assert {"reply.nll", "speech.nll"} <= read["values"].keys()
    assert silence(7).shape == (7, 80)
