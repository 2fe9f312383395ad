"""One assembler for all tasks: what is seen, what is asked for, and none of the release's defects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import CODEBOOK, assembler, dialogue, tiny_model, tokenizer

from model.assemble import AUDIO, Assembled, audio_length
from model.batch import collate
from model.tasks import TASKS, WANTED
from model.text import TextTokenizer

MODEL = tiny_model()
ASSEMBLER = assembler(MODEL)
VOCABULARY = MODEL.vocabulary


def said(ids: np.ndarray) -> str:
    """A sequence in words: speech as `S`, edges as `|`, audio as `A`."""
    out, text = [], []
    for joint in [*ids.tolist(), -9]:
        if 0 <= joint < VOCABULARY.text_size:
            text.append(joint)
            continue
        out.append(tokenizer().decode(text) if text else "")
        text = []
        if joint == AUDIO:
            out.append("A")
        elif joint in (VOCABULARY.audio_open, VOCABULARY.audio_close):
            out.append("[" if joint == VOCABULARY.audio_open else "]")
        elif joint == VOCABULARY.edge:
            out.append("|")
        elif joint >= VOCABULARY.text_size:
            out.append("S")
    return "".join(out)


def asked(sequence: Assembled) -> str:
    return said(sequence.ids[sequence.is_target])


@pytest.mark.parametrize("task", TASKS)
def test_the_loss_is_of_the_assistants_part_alone(task: str) -> None:
    sample = dialogue(3, turns=3)
    whole = ASSEMBLER.assemble(sample, task)
    prompt = ASSEMBLER.assemble(sample, task, answer=False)
    assert whole.ids[: len(prompt)].tolist() == prompt.ids.tolist()
    assert not whole.is_target[: len(prompt)].any()
    assert (~whole.is_target[len(prompt) :]).sum() == (task == "think_tag"), "but for what follows an unknown label"
    assert (whole.ids[whole.is_target] < VOCABULARY.num_targets).all()


def test_layouts_of_the_tasks() -> None:
    turn = dialogue(1).current
    speech = "|" + "S" * 60 + "|"
    end = "<|im_end|>"
    expected = {
        "understand": f"{turn.query_text}<MALE><SAD><OTHER>{end}",
        "tts": speech,
        "t2t": turn.reply_text + end,
        "s2t": turn.reply_text + end,
        "s2s": turn.reply_text + end + speech,
        "think_tag": turn.think_tag.replace("<&&>", "") + turn.reply_text + end + speech,
        "think": f"<think>{turn.think_text}<think end>{turn.reply_text}{end}{speech}",
    }
    for task, text in expected.items():
        if task != "think_tag":
            assert asked(ASSEMBLER.assemble(dialogue(1), task)) == text, task
    whole = ASSEMBLER.assemble(dialogue(1), "think_tag")
    assert said(whole.ids).endswith(expected["think_tag"])


def test_streaming_takes_turns_of_6_and_18() -> None:
    sequence = ASSEMBLER.assemble(dialogue(1), "s2s_stream")
    ids = sequence.ids[sequence.is_target]
    kinds = "".join("t" if joint < VOCABULARY.text_size else "s" for joint in ids.tolist())
    words = len(tokenizer().encode(dialogue(1).current.reply_text)) + 1
    blocks, rest = divmod(words, 6)
    text = ["t" * 6] * blocks + (["t" * rest] if rest else [])
    assert kinds == "".join(f"{block}{'s' * 18}" for block in text) + "s" * (62 - 18 * len(text))
    assert ids[-1] == VOCABULARY.edge


def test_a_reply_too_short_to_stream_is_refused_by_name_and_not_by_a_crash() -> None:
    turn = replace(dialogue(1).current, reply_tokens=np.zeros(4, np.int32))
    with pytest.raises(ValueError, match="too few to stream"):
        ASSEMBLER.assemble(replace(dialogue(1), turns=(turn,)), "s2s_stream")


def test_history_keeps_its_speech_and_the_layout_of_the_current_turn() -> None:
    """The release drops every sample with a history, and lays it out otherwise in training than in use."""
    two = dialogue(2, turns=2)
    text = said(ASSEMBLER.assemble(two, "s2s").ids)
    first = f"<|im_start|>user\n[{'A' * audio_length(two.turns[0])}]<|im_end|>\n<|im_start|>assistant\n"
    first += f"{two.turns[0].reply_text}<|im_end|>|{'S' * 60}|\n"
    second = f"<|im_start|>user\n[{'A' * audio_length(two.turns[1])}]<|im_end|>\n<|im_start|>assistant\n"
    assert first + second in text
    only = ASSEMBLER.assemble(dialogue(2), "s2s")
    assert first.removesuffix("\n") in said(only.ids), "the first turn is written alike where it is the current one"


def test_unknown_labels_are_neither_seen_nor_asked_for() -> None:
    sequence = ASSEMBLER.assemble(dialogue(1), "think_tag", draw=0.5)
    assert "&&" not in said(sequence.ids) and "age= |" in said(sequence.ids)
    text = asked(sequence)
    assert "age=" in text and "gender=<MALE>" in text
    ids = sequence.ids.tolist()
    masked = [
        n for n in range(len(ids)) if not sequence.is_target[n] and n > ids.index(tokenizer().encode("<think>")[0])
    ]
    assert len(masked) == 1, "the one token after the label that nobody knows"


def test_a_share_of_unknown_labels_is_written_as_the_default() -> None:
    assert "age=<ADULT>" in asked(ASSEMBLER.assemble(dialogue(1), "think_tag", draw=0.1))


@pytest.mark.parametrize("wanted", [("emotion",), ("transcript",), WANTED])
def test_the_answer_is_no_part_of_the_prompt(wanted: tuple[str, ...]) -> None:
    """In the release a question of an understanding sample becomes the prompt, and gives the answer away."""
    prompt = said(ASSEMBLER.assemble(dialogue(1), "understand", wanted, answer=False).ids)
    assert dialogue(1).current.query_text not in prompt and "SAD" not in prompt


def test_what_a_task_lacks_is_said() -> None:
    bare = replace(
        dialogue(1), turns=(replace(dialogue(1).current, think_text="", labels={}, reply_tokens=np.zeros(0)),)
    )
    for task, message in (("think", "think_text"), ("tts", "no reply tokens"), ("s2s", "no reply tokens")):
        with pytest.raises(ValueError, match=message):
            ASSEMBLER.assemble(bare, task)
    with pytest.raises(ValueError, match="nothing of emotion"):
        ASSEMBLER.assemble(bare, "understand", ("emotion",))


@torch.no_grad()
def test_packed_and_padded_batches_give_the_same_loss() -> None:
    sequences = [ASSEMBLER.assemble(dialogue(n, 1 + n % 3), task) for n, task in enumerate(TASKS)]
    packed, padded = collate(sequences, True), collate(sequences, False)
    assert packed.ids_BL.shape[0] == 1 and packed.padding == 0
    (a, n), (b, m) = MODEL(packed), MODEL(padded)
    assert n == m == sum(int(s.is_target.sum()) for s in sequences)
    torch.testing.assert_close(a / n, b / m, atol=1e-5, rtol=0)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=80))
def test_any_text_comes_back_from_its_tokens(text: str) -> None:
    text = text.encode("utf-8", "ignore").decode()
    assert tokenizer().decode(tokenizer().encode(text)) == text


def test_every_label_and_mark_is_one_token() -> None:
    for mark in ("<HAPPY>", "<THROAT_CLEAR>", "<OTHER>", "<comforting>", "<think>", "<think end>", "<|im_start|>"):
        assert len(tokenizer().encode(mark)) == 1, mark


def test_the_shipped_tokenizer_is_what_its_script_makes() -> None:
    from model.text import SHIPPED, train_tokenizer

    assert SHIPPED.read_text(encoding="utf-8") == train_tokenizer()


def test_a_tokenizer_without_chatml_is_refused(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast

    from manifests.errors import UserError

    Tokenizer(models.WordLevel({"a": 0, "[UNK]": 1}, unk_token="[UNK]")).save(str(tmp_path / "t.json"))
    with pytest.raises(UserError, match="no token <\\|im_end\\|>"):
        TextTokenizer(PreTrainedTokenizerFast(tokenizer_file=str(tmp_path / "t.json"), unk_token="[UNK]"))


def test_sizes_of_the_joint_vocabulary() -> None:
    assert VOCABULARY.num_targets == len(tokenizer()) + CODEBOOK + 1
    assert VOCABULARY.num_speech == CODEBOOK + 3
