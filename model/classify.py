"""What a model says of a cue: the answer that it would give in text, with the probability of every label."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from manifests.labels import CUES, NONE
from model.assemble import Assembler
from model.batch import collate
from model.datasets import Dataset
from model.echat import EChat
from model.text import label_tag


@torch.inference_mode()
def probabilities(
    model: EChat, assembler: Assembler, dataset: Dataset, family: str, batch: int = 16
) -> Iterator[tuple[dict[str, float], str]]:
    """Probability of each label as the next word after the question for one family, and the true label, per item.

    Items whose label is not known are passed over. The likeliest label is what greedy generation would answer, were it
    held to the family's labels.
    """
    model.eval()
    values = CUES[family]
    tags = [assembler.text.encode(label_tag(value)) for value in values]
    assert all(len(ids) == 1 for ids in tags) or len({ids[0] for ids in tags}) == len(tags), "first tokens differ"
    firsts = [ids[0] for ids in tags]
    device = model.speech_head.weight.device
    group = []

    def answer() -> Iterator[tuple[dict[str, float], str]]:
        packed = collate([sequence for sequence, _ in group], packed=False).to(device)
        hidden_BLD = model.hidden(packed)
        ends_B = torch.tensor([len(sequence) - 1 for sequence, _ in group], device=device)
        last_BD = hidden_BLD[torch.arange(len(group), device=device), ends_B]
        odds_BC = model.logits(last_BD)[:, firsts].float().softmax(-1).cpu()
        for odds_C, (_, truth) in zip(odds_BC, group, strict=True):
            yield dict(zip(values, odds_C.tolist(), strict=True)), truth

    for item in range(len(dataset)):
        sample = dataset.load(item)
        truth = sample.current.label(family)
        if truth == NONE or not sample.current.frames:
            continue
        group.append((assembler.assemble(sample, "understand", (family,), answer=False), truth))
        if len(group) == batch:
            yield from answer()
            group.clear()
    if group:
        yield from answer()


def classify(model: EChat, assembler: Assembler, dataset: Dataset, family: str) -> tuple[list[str], list[str]]:
    """The likeliest label and the true one of every item whose label is known."""
    pairs = [
        (max(odds, key=odds.__getitem__), truth) for odds, truth in probabilities(model, assembler, dataset, family)
    ]
    return [said for said, _ in pairs], [truth for _, truth in pairs]
