"""What a model makes of each item of a dataset: one record an item, from which every number and its interval is made.

A record is `{"item", "speaker", "source", "task", "labels": {family: truth}, "said": {family: label},
"odds": {family: {label: probability}}, "values": {metric: [value, weight]}}`, and `"reply"` where replies were made.
Every metric of a dataset is the mean of its items' values, weighted by their weights. Items come in the order of the
dataset; a record does not depend on its neighbours but for the last bits of floating-point sums.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Literal

import torch
from torch import Tensor

from manifests.labels import NONE, heard_labels
from model.assemble import Assembler
from model.classify import label_prompt, label_scores
from model.datasets import Dataset
from model.echat import EChat
from model.evaluate.replies import ReplyScorer
from model.features import N_FFT, log_mel
from model.sample import Sample
from model.tasks import TASKS, Words
from model.text import TextTokenizer

Record = dict[str, Any]

Given = Literal["audio", "silence", "transcript"]
"""What the model gets of a query: its audio; silence of the same length; that silence and, where it can be given, its
transcript."""


def answers_to(given: Given, task: str) -> bool:
    """Whether replies of a layout are made to what is given: to the audio, and to one baseline beside it.

    That is the words, where the thought can begin with them (`think_tag`); no other layout can be told them, so there
    it is silence, and is called so.
    """
    told = any(isinstance(piece, Words) and piece.field == "think_tag" for piece in TASKS[task].assistant)
    return given == "audio" or given == ("transcript" if told else "silence")


def evaluate_items(
    model: EChat,
    tokenizer: TextTokenizer,
    dataset: Dataset,
    families: Sequence[str],
    replies: bool = False,
    batch: int = 16,
    task: str = "think_tag",
    given: Given = "audio",
) -> Iterator[Record]:
    """Evaluate a model on a dataset, `batch` items at a time; nothing else is held.

    Args:
        model: On any device; it is put into evaluation mode.
        families: Cue families to ask for; an item whose label is not known has no values of that family.
        replies: Generate replies and score them; the dataset must have them.
        task: Layout in which replies are generated; one that listens.
        given: What the model gets of the query; anything but `audio` makes a baseline.

    Raises:
        ValueError: An item cannot be read; names it.
    """
    model.eval()
    assembler = Assembler(tokenizer, model.vocabulary)
    scorer = ReplyScorer(model, assembler, task, given) if replies else None
    for first in range(0, len(dataset), batch):
        samples = [dataset.load(item) for item in range(first, min(first + batch, len(dataset)))]
        if given != "audio":
            samples = [_silent(sample) for sample in samples]
        records = [_record(sample) for sample in samples]
        for family in families:
            _classify(model, assembler, samples, records, family, given)
        if scorer is not None:
            for record, (values, reply) in zip(records, scorer.score(samples), strict=True):
                record["values"] |= values
                record["reply"] = reply
        yield from records


def _record(sample: Sample) -> Record:
    return {
        "item": sample.id, "speaker": sample.speaker, "source": sample.source, "task": sample.task, "labels": {},
        "said": {}, "odds": {}, "values": {},
    }  # fmt: skip


def _classify(
    model: EChat,
    assembler: Assembler,
    samples: Sequence[Sample],
    records: Sequence[Record],
    family: str,
    given: Given,
) -> None:
    """Add what the model answers when asked for one family: `<family>.correct` and `<family>.nll`."""
    asked = [
        (sample, record)
        for sample, record in zip(samples, records, strict=True)
        if sample.current.frames and sample.current.knows(family)
    ]
    if not asked:
        return
    values = heard_labels(family)
    prompts = [label_prompt(assembler, sample, family, given == "transcript") for sample, _ in asked]
    scores_BC = label_scores(model, assembler.text, prompts, family)
    for (sample, record), scores_C in zip(asked, scores_BC, strict=True):
        truth = sample.current.label(family)
        assert truth != NONE or family == "event", "no label is one of events alone"
        said = values[int(scores_C.argmax())]
        odds_C = scores_C.exp().tolist()
        record["labels"][family] = truth
        record["said"][family] = said
        record["odds"][family] = {value: round(odds, 6) for value, odds in zip(values, odds_C, strict=True)}
        record["values"][f"{family}.correct"] = [float(said == truth), 1.0]
        record["values"][f"{family}.nll"] = [round(-float(scores_C[values.index(truth)]), 6), 1.0]


def silence(frames: int) -> Tensor:
    """Log-mel (frames, 80) of digital silence."""
    return log_mel(torch.zeros(N_FFT))[:1].repeat(frames, 1)


def _silent(sample: Sample) -> Sample:
    """A dialogue whose queries, earlier ones included, are silent."""
    turns = [turn if turn.mel is None else replace(turn, mel=silence(len(turn.mel))) for turn in sample.turns]
    return replace(sample, turns=tuple(turns))
