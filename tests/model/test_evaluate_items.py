"""Records of an evaluation: what they hold, that they are right by another way, and that batches change nothing."""

import math

import pytest
import torch

from manifests.labels import heard_labels
from model.classify import label_prompt, label_scores, token_nll
from model.evaluate.items import evaluate_items
from model.sample import Sample, Turn
from tests.support.tiny import Dialogues, assembler, dialogue, tiny_model, tokenizer

FAMILIES = ("gender", "emotion", "event", "age")


def test_a_record_holds_truth_answer_odds_and_values():
    model = tiny_model()
    records = list(evaluate_items(model, tokenizer(), Dialogues([dialogue(n) for n in range(5)]), FAMILIES))
    assert [record["item"] for record in records] == [f"d{n}" for n in range(5)]
    for number, record in enumerate(records):
        truth = dialogue(number).current.labels
        assert record["labels"] == dict(truth), "age is not known and not asked for"
        for family in record["labels"]:
            odds = record["odds"][family]
            assert tuple(odds) == heard_labels(family)
            assert sum(odds.values()) == pytest.approx(1, abs=1e-5)
            assert record["said"][family] == max(odds, key=odds.__getitem__)
            assert record["values"][f"{family}.correct"] == [float(record["said"][family] == truth[family]), 1.0]
            value, weight = record["values"][f"{family}.nll"]
            assert weight == 1.0
            assert value == pytest.approx(-math.log(odds[truth[family]]), abs=1e-3)


def test_scores_are_those_of_the_answers_written_out():
    """The quick way, by the first token, equals teacher forcing of every answer."""
    model, samples = tiny_model(), [dialogue(n) for n in range(3)]
    builder = assembler(model)
    prompts = [label_prompt(builder, sample, "gender") for sample in samples]
    scores = label_scores(model, tokenizer(), prompts, "gender")
    written = []
    for value in heard_labels("gender"):
        said = [Sample(s.id, (Turn(**{**vars(s.current), "labels": {"gender": value}}),)) for s in samples]
        forced = [builder.assemble(sample, "understand", ("gender",)) for sample in said]
        for sequence in forced:
            sequence.is_target[-1] = False  # the end mark follows any answer
        sums, counts = token_nll(model, forced)
        assert counts.tolist() == [[1, 0]] * 3
        written.append(sums[:, 0])
    assert torch.allclose(scores, (-torch.stack(written, 1)).log_softmax(-1), atol=1e-4)


def test_batches_change_nothing():
    data = Dialogues([dialogue(n, seconds=0.5 + n / 4) for n in range(5)])
    model = tiny_model()
    one, other = (list(evaluate_items(model, tokenizer(), data, FAMILIES, batch=size)) for size in (1, 4))
    for a, b in zip(one, other, strict=True):
        assert a["said"] == b["said"]
        for name in a["values"]:
            assert a["values"][name] == pytest.approx(b["values"][name], abs=1e-4)
