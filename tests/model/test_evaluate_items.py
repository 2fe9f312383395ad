"""Records of an evaluation: what they hold, that they are right by another way, and that batches change nothing."""

import math

import pytest
import torch

from manifests.labels import heard_labels
from model.classify import label_scores, token_nll
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
    """The quick way, by the first token, equals teacher forcing of every answer where one token tells them apart."""
    model, samples = tiny_model(), [dialogue(n) for n in range(3)]
    builder = assembler(model)
    for column, value in enumerate(heard_labels("gender")):
        said = [Sample(s.id, (Turn(**{**vars(s.current), "labels": {"gender": value}}),)) for s in samples]
        forced = [builder.assemble(sample, "understand", ("gender",)) for sample in said]
        for sequence in forced:
            sequence.is_target[-1] = False  # the end mark follows any answer
        sums_B, counts_B = token_nll(model, forced)
        assert counts_B.tolist() == [1, 1, 1]
        scores = label_scores(model, builder, samples, "gender")
        other = label_scores(model, builder, [samples[0]], "gender")
        assert torch.allclose(scores[0], other[0], atol=1e-5)
        if column == 0:
            first_B = sums_B
        else:
            assert torch.allclose(scores[:, 0] - scores[:, 1], sums_B - first_B, atol=1e-4)


def test_batches_change_nothing():
    data = Dialogues([dialogue(n, seconds=0.5 + n / 4) for n in range(5)])
    model = tiny_model()
    one, other = (list(evaluate_items(model, tokenizer(), data, FAMILIES, batch=size)) for size in (1, 4))
    for a, b in zip(one, other, strict=True):
        assert a["said"] == b["said"]
        for name in a["values"]:
            assert a["values"][name] == pytest.approx(b["values"][name], abs=1e-4)
