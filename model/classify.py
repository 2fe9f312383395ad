"""What a model says of a cue: the answer that it would give in text, as the likelihood of every label of the family."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from manifests.labels import heard_labels
from model.assemble import Assembled, Assembler
from model.batch import collate
from model.echat import EChat
from model.sample import Sample
from model.text import TextTokenizer, answer_tag


def label_prompt(assembler: Assembler, sample: Sample, family: str, transcript: bool = False) -> Assembled:
    """The question for a family's label alone; with the transcript asked for too, and answered, if that is wanted."""
    if not (transcript and sample.current.knows("transcript")):
        return assembler.assemble(sample, "understand", (family,), answer=False)
    prompt = assembler.assemble(sample, "understand", ("transcript", family), answer=False)
    return prompt.then(assembler.text.encode(sample.current.query_text))


@torch.inference_mode()
def label_scores(model: EChat, text: TextTokenizer, prompts: Sequence[Assembled], family: str) -> Tensor:
    """Log-likelihood of each label as the answer to the question for a family.

    The likeliest label is what greedy generation would answer, were it held to the family's labels. No event is a label
    of its own, as training answers it with `<OTHER>`.

    Args:
        prompts: At least one, of `label_prompt`, with the audio loaded.
        family: A key of `CUES`; the labels are those of `heard_labels`, in that order.

    Returns:
        float32 (prompts, labels) on the CPU, normalised over the labels: the exponentials of a row sum to 1.
    """
    tags = [text.encode(answer_tag(value)) for value in heard_labels(family)]
    if len({ids[0] for ids in tags}) == len(tags):  # the first token tells the labels apart, as the shipped ones do
        batch = collate(prompts, packed=False).to(model.speech_head.weight.device)
        hidden_BLD = model.hidden(batch)
        ends_B = torch.tensor([len(prompt) - 1 for prompt in prompts], device=hidden_BLD.device)
        last_BD = hidden_BLD[torch.arange(len(prompts), device=hidden_BLD.device), ends_B]
        scores_BC = model.logits(last_BD)[:, [ids[0] for ids in tags]]
        return scores_BC.float().log_softmax(-1).cpu()
    columns = [token_nll(model, [prompt.then(ids, asked=True) for prompt in prompts])[0].sum(1) for ids in tags]
    return (-torch.stack(columns, dim=1)).log_softmax(-1)


@torch.inference_mode()
def token_nll(model: EChat, sequences: Sequence[Assembled]) -> tuple[Tensor, Tensor]:
    """Negative log-likelihood of what each sequence asks for, in nats, and of how many tokens.

    Args:
        sequences: At least one; each with its audio loaded.

    Returns:
        float32 (sequences, 2) sums and float32 (sequences, 2) counts on the CPU; the columns are text and speech.
    """
    batch = collate(sequences, packed=False).to(model.speech_head.weight.device)
    logits_NV = model.logits(model.hidden(batch).flatten(0, 1)[batch.asked_N])
    nll_N = torch.nn.functional.cross_entropy(logits_NV.float(), batch.targets_N, reduction="none").cpu()
    rows_N = (batch.asked_N // batch.ids_BL.shape[1]).cpu()
    cells_N = 2 * rows_N + (batch.targets_N >= model.vocabulary.text_size).cpu()
    shape = (len(sequences), 2)
    sums = torch.zeros(2 * len(sequences)).index_add_(0, cells_N, nll_N).reshape(shape)
    return sums, torch.bincount(cells_N, minlength=2 * len(sequences)).reshape(shape).float()
