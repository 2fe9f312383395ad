"""What a model says of a cue: the answer that it would give in text, as the likelihood of every label of the family."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from manifests.labels import NONE, heard_labels
from model.assemble import Assembled, Assembler
from model.batch import collate
from model.echat import EChat
from model.sample import Sample
from model.text import answer_tag


@torch.inference_mode()
def label_scores(model: EChat, assembler: Assembler, samples: Sequence[Sample], family: str) -> Tensor:
    """Log-likelihood of each label as the answer to the question for one family alone.

    The likeliest label is what greedy generation would answer, were it held to the family's labels. No event is a label
    of its own, as training answers it with `<OTHER>`.

    Args:
        samples: At least one; each with its audio loaded and its label known (`Turn.knows`).
        family: A key of `CUES`; the labels are those of `heard_labels`, in that order.

    Returns:
        float32 (samples, labels) on the CPU, normalised over the labels: the exponentials of a row sum to 1.
    """
    tags = [assembler.text.encode(answer_tag(value)) for value in heard_labels(family)]
    prompts = [assembler.assemble(sample, "understand", (family,), answer=False) for sample in samples]
    if len({ids[0] for ids in tags}) == len(tags):  # the first token tells the labels apart, as the shipped ones do
        batch = collate(prompts, packed=False).to(model.speech_head.weight.device)
        hidden_BLD = model.hidden(batch)
        ends_B = torch.tensor([len(prompt) - 1 for prompt in prompts], device=hidden_BLD.device)
        last_BD = hidden_BLD[torch.arange(len(prompts), device=hidden_BLD.device), ends_B]
        scores_BC = model.logits(last_BD)[:, [ids[0] for ids in tags]]
        return scores_BC.float().log_softmax(-1).cpu()
    columns = [token_nll(model, [_with(prompt, ids) for prompt in prompts])[0] for ids in tags]
    return (-torch.stack(columns, dim=1)).log_softmax(-1)


def _with(prompt: Assembled, answer: Sequence[int]) -> Assembled:
    """A prompt with an answer behind it that is asked for."""
    asked = np.concatenate([np.zeros(len(prompt), bool), np.ones(len(answer), bool)])
    return Assembled(np.concatenate([prompt.ids, np.array(answer, np.int64)]), asked, prompt.turns)


@torch.inference_mode()
def token_nll(model: EChat, sequences: Sequence[Assembled], text: bool | None = None) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of what each sequence asks for, in nats, and of how many tokens.

    Args:
        sequences: Each with its audio loaded and something that is asked for.
        text: Count only text tokens (True) or only speech tokens (False) among the targets.

    Returns:
        float32 (sequences,) sums and int64 (sequences,) counts, on the CPU.
    """
    batch = collate(sequences, packed=False).to(model.speech_head.weight.device)
    length = batch.ids_BL.shape[1]
    logits_NV = model.logits(model.hidden(batch).flatten(0, 1)[batch.asked_N])
    nll_N = torch.nn.functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="none").cpu()
    rows_N = (batch.asked_N // length).cpu()
    if text is not None:
        kept_N = ((batch.targets_N < model.vocabulary.text_size) == text).cpu()
        nll_N, rows_N = nll_N[kept_N], rows_N[kept_N]
    sums_B = torch.zeros(len(sequences)).index_add_(0, rows_N, nll_N)
    return sums_B, torch.bincount(rows_N, minlength=len(sequences))


def is_known(sample: Sample, family: str) -> bool:
    """Whether the current turn has audio and can tell a family's label."""
    return bool(sample.current.frames) and sample.current.knows(family)


def truth_of(sample: Sample, family: str) -> str:
    """The current turn's label; `none` is a label of events alone."""
    truth = sample.current.label(family)
    assert truth != NONE or family == "event", "asked for a label that is not known"
    return truth
