"""Sequences to tensors: packed into one row, or padded to one row each; both give the same loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch import Tensor

from model.assemble import PAD, Assembled


@dataclass(frozen=True)
class Batch:
    """What the model reads.

    Attributes:
        ids_BL: int64, joint ids, `AUDIO` and `PAD`.
        segments_BL: int32, which sequence a place belongs to; -1 for padding.
        positions_BL: int64, place within its sequence.
        asked_N: int64, flat places (in B * L) whose next id the loss asks for.
        targets_N: int64, those ids.
        mel_ATM: float (recordings, frames, 80), in the order of their places in `ids_BL`.
        frames_A: int64, frames of each recording.
        edges_S: int32 (sequences + 1,), where each sequence of a packed row begins, and its end; empty for padded rows.
        longest: Places of the longest sequence.
        num_sequences: Sequences in the batch.
    """

    ids_BL: Tensor
    segments_BL: Tensor
    positions_BL: Tensor
    asked_N: Tensor
    targets_N: Tensor
    mel_ATM: Tensor
    frames_A: Tensor
    edges_S: Tensor
    longest: int
    num_sequences: int
    skipped: tuple[str, ...] = ()
    """Items that were planned for the batch and cannot be used, each with the reason."""

    def to(self, device: torch.device | str) -> Batch:
        """The same on another device."""
        tensors = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)}
        return replace(self, **{name: tensor.to(device, non_blocking=True) for name, tensor in tensors.items()})

    @property
    def padding(self) -> float:
        """Share of the places that hold nothing."""
        return float((self.segments_BL < 0).float().mean())


def collate(sequences: Sequence[Assembled], packed: bool = True) -> Batch:
    """Make a batch.

    Args:
        sequences: At least one; each turn with audio must have its mel loaded.
        packed: One row of all sequences behind each other, else a row each.
    """
    rows = [list(range(len(sequences)))] if packed else [[number] for number in range(len(sequences))]
    length = max(sum(len(sequences[number]) for number in row) for row in rows)
    ids = np.full((len(rows), length), PAD, np.int64)
    segments = np.full((len(rows), length), -1, np.int32)
    positions = np.zeros((len(rows), length), np.int64)
    asked: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    for place, row in enumerate(rows):
        start = 0
        for number in row:
            sequence = sequences[number]
            stop = start + len(sequence)
            ids[place, start:stop] = sequence.ids
            segments[place, start:stop] = number
            positions[place, start:stop] = np.arange(len(sequence))
            wanted = np.flatnonzero(sequence.is_target[1:])
            asked.append(place * length + start + wanted)
            targets.append(sequence.ids[wanted + 1])
            start = stop
    sizes = [len(sequence) for sequence in sequences]
    mels = [turn.mel for sequence in sequences for turn in sequence.turns]
    assert all(mel is not None for mel in mels), "a turn's audio was not loaded"
    return Batch(
        torch.from_numpy(ids),
        torch.from_numpy(segments),
        torch.from_numpy(positions),
        torch.from_numpy(np.concatenate(asked)),
        torch.from_numpy(np.concatenate(targets)),
        *pad_mels([mel for mel in mels if mel is not None]),
        torch.from_numpy(np.cumsum([0, *sizes], dtype=np.int32)) if packed else torch.zeros(0, dtype=torch.int32),
        max(sizes),
        len(sequences),
    )


def pad_mels(mels: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Log-mels (frames, 80) of any lengths as one tensor (recordings, frames, 80), zeros behind, and their lengths."""
    if not mels:
        return torch.zeros(0, 0, 80), torch.zeros(0, dtype=torch.int64)
    padded = torch.nn.utils.rnn.pad_sequence(list(mels), batch_first=True)
    return padded, torch.tensor([mel.shape[0] for mel in mels])
