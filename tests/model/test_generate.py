"""Generation: the cache changes nothing, phases follow the layout, limits and guards hold."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CODEBOOK, assembler, dialogue, tiny_model, tokenizer

from model.batch import collate
from model.generate import Generator, Sampling, pick
from model.phases import DONE, TEXT, Limits, Phases
from model.tasks import TASKS

MODEL = tiny_model(5)
ASSEMBLER = assembler(MODEL)
VOCABULARY = MODEL.vocabulary
SHORT = Limits(think_tokens=12, text_tokens=9, speech_tokens=25)
SPEAKING = [name for name in TASKS if name not in ("understand", "t2t", "s2t")]


def prompts(task: str, count: int = 3) -> list:
    return [ASSEMBLER.assemble(dialogue(n, 1 + n % 2), task, answer=False) for n in range(count)]


def emitted(prompt, task: str, sampling: Sampling) -> tuple[list[int], list[torch.Tensor]]:
    """The ids of one generated answer and the scores that each was chosen by."""
    generator = Generator(MODEL, tokenizer())
    ids: list[int] = []
    scores: list[torch.Tensor] = []
    choose = generator._choose

    def spy(logits_V: torch.Tensor, phases: Phases, *rest) -> int:
        scores.append(logits_V)
        ids.append(choose(logits_V, phases, *rest))
        return ids[-1]

    generator._choose = spy
    generator.generate([prompt], task, sampling, SHORT)
    return ids, scores


@torch.no_grad()
@pytest.mark.parametrize("task", ["think_tag", "s2s_stream", "understand"])
def test_generation_step_by_step_equals_one_pass_over_the_whole(task: str) -> None:
    prompt = prompts(task, 2)[1]
    ids, scores = emitted(prompt, task, Sampling(1.0, seed=3))
    whole = type(prompt)(np.array([*prompt.ids, *ids]), np.zeros(len(prompt) + len(ids), bool), prompt.turns)
    hidden = MODEL.hidden(collate([whole]))[0, len(prompt) - 1 : -1]
    torch.testing.assert_close(MODEL.logits(hidden), torch.stack(scores), atol=1e-4, rtol=0)


@pytest.mark.parametrize("task", TASKS)
def test_a_reply_in_a_batch_is_as_it_is_alone(task: str) -> None:
    generator = Generator(MODEL, tokenizer())
    together = generator.generate(prompts(task), task, Sampling(), SHORT)
    for prompt, reply in zip(prompts(task), together, strict=True):
        (alone,) = generator.generate([prompt], task, Sampling(), SHORT)
        assert (alone.think, alone.text) == (reply.think, reply.text)
        assert alone.speech.tolist() == reply.speech.tolist()


def test_equal_seeds_give_equal_replies_and_other_seeds_others() -> None:
    generator = Generator(MODEL, tokenizer())
    first, again, other = (
        generator.generate(prompts("s2s", 1), "s2s", Sampling(1.2, 10, 0.9, seed), SHORT)[0] for seed in (1, 1, 2)
    )
    assert (first.text, first.speech.tolist()) == (again.text, again.speech.tolist())
    assert (first.text, first.speech.tolist()) != (other.text, other.speech.tolist())


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(sorted(TASKS)), st.integers(0, 2**32 - 1))
def test_phases_hold_their_order_and_limits_whatever_is_drawn(task: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    phases = Phases(task, tokenizer(), VOCABULARY, SHORT)
    ids = []
    for _ in range(500):
        if phases.kind == DONE:
            break
        joint = phases.forced
        if joint is None:
            span = range(len(tokenizer())) if phases.kind == TEXT else range(VOCABULARY.text_size, VOCABULARY.edge + 1)
            banned = set(phases.banned)
            joint = next(j for j in rng.permutation(np.array(span)).tolist() if j not in banned)
        ids.append(joint)
        phases.add(joint)
    assert phases.kind == DONE
    assert len(phases.think) <= SHORT.think_tokens + 1 and len(phases.words) <= SHORT.text_tokens
    assert len(phases.speech) <= SHORT.speech_tokens
    assert all(0 <= token < CODEBOOK for token in phases.speech)
    assert ids.count(VOCABULARY.edge) == (2 if task in SPEAKING else 0)
    assert (tokenizer().end in ids) == (task != "tts")
    for start in range(len(phases.speech)):
        assert max(Counter(phases.speech[start : start + 8]).values()) <= SHORT.recent[0]


def test_streaming_takes_turns_as_training_does() -> None:
    phases = Phases("s2s_stream", tokenizer(), VOCABULARY, Limits())
    sequence = ASSEMBLER.assemble(dialogue(1), "s2s_stream")
    for joint in sequence.ids[sequence.is_target].tolist():
        assert phases.kind == (TEXT if joint < VOCABULARY.text_size else "speech")
        assert phases.forced in (None, joint)
        phases.add(joint)
    assert phases.kind == DONE
    assert tokenizer().decode(phases.words) == dialogue(1).current.reply_text
    assert phases.speech == dialogue(1).current.reply_tokens.tolist()


@pytest.mark.parametrize("task", ["think", "think_tag", "s2s", "tts", "think_stream"])
def test_phases_follow_what_the_assembler_writes(task: str) -> None:
    phases = Phases(task, tokenizer(), VOCABULARY, Limits())
    prompt, whole = (ASSEMBLER.assemble(dialogue(2), task, answer=answer) for answer in (False, True))
    for joint in whole.ids[len(prompt) :].tolist():
        assert phases.kind != DONE and phases.forced in (None, joint) and joint not in phases.banned
        phases.add(joint)
    assert phases.kind == DONE


def test_a_stream_is_the_reply_in_pieces() -> None:
    generator = Generator(MODEL, tokenizer())
    (prompt,) = prompts("think_stream", 1)
    (reply,) = generator.generate([prompt], "think_stream", Sampling(1.0, seed=4), SHORT)
    chunks = list(generator.stream(prompt, "think_stream", Sampling(1.0, seed=4), SHORT))
    assert "".join(chunk.text for chunk in chunks if chunk.kind == "text").strip().startswith(reply.text[:5])
    assert [token for chunk in chunks for token in chunk.speech.tolist()] == reply.speech.tolist()
    assert {chunk.kind for chunk in chunks} == {"think", "text", "speech"}


def test_streamed_speech_is_sound_in_pieces() -> None:
    from model.speak import stream_speech
    from synthesis.base import Speech

    class Codec:
        codebook_size = CODEBOOK

        def decode(self, tokens: np.ndarray) -> Speech:
            return Speech(np.repeat(tokens.astype(np.float32) / CODEBOOK, 640), 16_000)

    generator = Generator(MODEL, tokenizer())
    (prompt,) = prompts("s2s_stream", 1)
    sampling = Sampling(1.0, seed=4)
    pieces = list(stream_speech(generator, Codec(), prompt, "s2s_stream", sampling, SHORT))
    (reply,) = generator.generate([prompt], "s2s_stream", sampling, SHORT)
    sound = np.concatenate([samples for kind, _, samples in pieces if kind == "speech"])
    assert len(sound) == 640 * len(reply.speech)
    assert "".join(words for kind, words, _ in pieces if kind == "text").strip() == reply.text


def test_draws_respect_top_k_and_top_p() -> None:
    scores = torch.tensor([3.0, 2.9, 0.0, -torch.inf])
    draw = torch.Generator().manual_seed(0)
    assert {pick(scores, Sampling(1.0, top_k=2), draw) for _ in range(100)} == {0, 1}
    assert {pick(scores, Sampling(1.0, top_p=0.5), draw) for _ in range(100)} == {0}
    assert {pick(scores, Sampling(5.0), draw) for _ in range(300)} == {0, 1, 2}
    assert pick(scores, Sampling(), draw) == 0
    with pytest.raises(ValueError, match="top_p"):
        Sampling(top_p=0)
