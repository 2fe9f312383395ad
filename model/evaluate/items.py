"""What a model makes of each item of a dataset: one record an item, from which every number and its interval is made.

A record is `{"item", "speaker", "source", "task", "labels": {family: truth}, "said": {family: label},
"odds": {family: {label: probability}}, "values": {metric: [value, weight]}}`. Every metric of a dataset is the mean of its
items' values, weighted by their weights. Items come in the order of the dataset; a record does not depend on its
neighbours but for the last bits of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from manifests.labels import heard_labels
from model.assemble import Assembler
from model.classify import is_known, label_scores, truth_of
from model.datasets import Dataset
from model.echat import EChat
from model.sample import Sample
from model.text import TextTokenizer

Record = dict[str, Any]


def evaluate_items(
    model: EChat,
    tokenizer: TextTokenizer,
    dataset: Dataset,
    families: Sequence[str],
    replies: bool = False,
    batch: int = 16,
) -> Iterator[Record]:
    """Evaluate a model on a dataset, `batch` items at a time; nothing else is held.

    Args:
        model: On any device; it is put into evaluation mode.
        families: Cue families to ask for; an item whose label is not known has no values of that family.
        replies: Generate replies and score them; the dataset must have them.

    Raises:
        ValueError: An item cannot be read; names it.
    """
    model.eval()
    assembler = Assembler(tokenizer, model.vocabulary)
    for first in range(0, len(dataset), batch):
        samples = [dataset.load(item) for item in range(first, min(first + batch, len(dataset)))]
        records = [_record(sample) for sample in samples]
        for family in families:
            _classify(model, assembler, samples, records, family)
        yield from records


def _record(sample: Sample) -> Record:
    return {
        "item": sample.id, "speaker": sample.speaker, "source": sample.source, "task": sample.task, "labels": {},
        "said": {}, "odds": {}, "values": {},
    }  # fmt: skip


def _classify(
    model: EChat, assembler: Assembler, samples: Sequence[Sample], records: Sequence[Record], family: str
) -> None:
    """Add what the model answers when asked for one family: `<family>.correct` and `<family>.nll`."""
    asked = [(sample, record) for sample, record in zip(samples, records, strict=True) if is_known(sample, family)]
    if not asked:
        return
    values = heard_labels(family)
    scores_BC = label_scores(model, assembler, [sample for sample, _ in asked], family)
    for (sample, record), scores_C in zip(asked, scores_BC, strict=True):
        truth = truth_of(sample, family)
        said = values[int(scores_C.argmax())]
        record["labels"][family] = truth
        record["said"][family] = said
        record["odds"][family] = {
            value: round(odds, 6) for value, odds in zip(values, scores_C.exp().tolist(), strict=True)
        }
        record["values"][f"{family}.correct"] = [float(said == truth), 1.0]
        record["values"][f"{family}.nll"] = [round(-float(scores_C[values.index(truth)]), 6), 1.0]
