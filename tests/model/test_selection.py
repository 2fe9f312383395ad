"""Parts of a dataset and wrong labels: drawn by seed and id, nested in their shares."""

from __future__ import annotations

from pathlib import Path

import pytest
from tiny import Dialogues, assembler, dialogue, tiny_model

from manifests.errors import UserError
from model.loader import Loader, LoaderConfig
from model.recipe import DataRecipe
from model.sample import Sample
from model.selection import MOST_OFTEN, BalancedDataset, SelectedDataset


class Described(Dialogues):
    def about(self, item: int) -> dict[str, str]:
        sample: Sample = self.samples[item]
        source = "real" if item % 7 < 3 else "synthetic"
        return {"id": sample.id, "source": source, "task": "emotion", **sample.current.labels}


DATA = Described([dialogue(number, turns=1 + number % 3 % 2) for number in range(120)])


def selected(seed: int = 1, **values: object) -> SelectedDataset:
    return SelectedDataset(DATA, DataRecipe.model_validate({"shards": "somewhere", **values}), seed)


def ids(data: SelectedDataset) -> set[str]:
    return {data.about(item)["id"] for item in range(len(data))}


def test_what_is_kept_is_what_was_named() -> None:
    data = selected(keep={"source": ["real"], "emotion": ["happy", "fear"]})
    abouts = [data.about(item) for item in range(len(data))]
    assert {(about["source"], about["emotion"]) for about in abouts} == {("real", "happy"), ("real", "fear")}
    assert [data.load(item).id for item in range(len(data))] == [about["id"] for about in abouts]
    assert data.lengths.frames.tolist() == [
        sum(turn.frames for turn in data.load(item).turns) for item in range(len(data))
    ]


def test_a_smaller_share_is_part_of_a_larger_one() -> None:
    small, large = ids(selected(share=0.25)), ids(selected(share=0.6))
    assert small < large
    assert 15 < len(small) < 45 and 55 < len(large) < 90
    assert ids(selected(seed=2, share=0.25)) != small


def test_wrong_labels_are_wrong_and_nested() -> None:
    few, many = selected(corrupt={"emotion": 0.1}), selected(corrupt={"emotion": 0.4})
    assert set(few.wrong) < set(many.wrong)
    assert 4 <= len(few.wrong) <= 22 and 35 <= len(many.wrong) <= 62
    for item, truth in many.wrong.items():
        told, real = many.load(item), DATA.load(item)
        label = told.current.label("emotion")
        assert label != truth["emotion"] == real.current.label("emotion")
        assert f"emotion=<{label.upper()}>" in told.current.think_tag
        assert many.about(item)["emotion"] == label
        assert told.history == real.history and told.current.reply_text == real.current.reply_text
    clean = next(item for item in range(len(DATA)) if item not in many.wrong)
    assert many.load(clean) is DATA.load(clean)


def test_a_loader_reads_the_wrong_labels() -> None:
    data = selected(corrupt={"emotion": 1.0})
    loader = Loader(data, assembler(tiny_model()), LoaderConfig({"understand": 1}, ("emotion",), items=4))
    sequence = loader.sequence(0, 3)
    asked = loader.assembler.text.decode(sequence.ids[sequence.is_target].tolist())
    assert data.about(3)["emotion"].upper() in asked and DATA.about(3)["emotion"].upper() not in asked


def test_batches_of_items_are_full_and_leave_nobody_out_for_good() -> None:
    loader = Loader(DATA, assembler(tiny_model()), LoaderConfig({"tts": 1}, items=50, window=64))
    plan = loader.plan(0)
    assert [len(batch) for batch in plan] == [50, 50]
    seen = {item for epoch in range(8) for batch in loader.plan(epoch) for item in batch.tolist()}
    assert seen == set(range(120))


def test_rarer_labels_are_shown_as_often_within_limits() -> None:
    rare = [sample for sample in DATA.samples if sample.current.label("emotion") == "happy"][:10]
    rarest = [sample for sample in DATA.samples if sample.current.label("emotion") == "fear"][:2]
    often = [sample for sample in DATA.samples if sample.current.label("emotion") == "angry"][:25]
    data = BalancedDataset(Described([*rare, *rarest, *often]), "emotion")
    shown = [data.load(item).current.label("emotion") for item in range(len(data))]
    assert {name: shown.count(name) for name in set(shown)} == {"happy": 25, "angry": 25, "fear": 2 * MOST_OFTEN}
    assert {data.load(item).id for item in range(len(data))} == {s.id for s in (*rare, *rarest, *often)}
    assert len(data.lengths.frames) == len(data)
    with pytest.raises(UserError, match=r"data\.balance: the items have 0 labels of age"):
        BalancedDataset(DATA, "age")


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"keep": {"emotion": ["surprise"]}}, "none of 120 items is left"),
        ({"corrupt": {"age": 0.5}}, "data.corrupt.age: the items have 0 labels"),
    ],
)
def test_what_cannot_be_is_said(values: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        selected(**values)


@pytest.mark.parametrize("values", [{"keep": {"colour": ["red"]}}, {"corrupt": {"speaker": 0.1}}, {"share": 0}])
def test_unknown_fields_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"use one or more of|greater than 0"):
        DataRecipe.model_validate({"shards": Path("somewhere"), **values})
