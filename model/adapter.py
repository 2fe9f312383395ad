"""The adapter between encoder and language model: 50 states a second to 12.5 embeddings.

Three causal convolutions (strides 1, 2, 2), a small transformer, a projection to the language model's width
(as in the OSUM-EChat release). The transformer is WeNet's, whose weights the release holds: ReLU,
keys with a bias, inputs scaled by the root of the width before positions are added.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from model.encoder import Count, EncoderLayer, length_mask

STRIDES = (1, 2, 2)
_KERNEL = 3


@dataclass(frozen=True)
class AdapterConfig:
    """Sizes of the adapter; the defaults are the paper's."""

    layers: int = 4
    heads: int = 4
    ffn_dim: int = 2560
    dropout: float = 0.1


def num_embeddings(num_states: Count) -> Count:
    """Embeddings of so many encoder states, a number or an array: causal convolutions round up at each halving."""
    for stride in STRIDES:
        num_states = (num_states + stride - 1) // stride
    return num_states


def interleaved_positions(length: int, dim: int) -> Tensor:
    """WeNet's sinusoidal positions, float32 (length, dim): a sine and a cosine of each rate in turn."""
    rates = torch.exp(torch.arange(0, dim, 2, dtype=torch.float32) * -(math.log(10_000.0) / dim))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates[None, :]
    return torch.stack([angles.sin(), angles.cos()], dim=2).flatten(1)


class Adapter(nn.Module):
    """See the module. Padded states change nothing in the others: the convolutions see only the past."""

    def __init__(self, config: AdapterConfig, in_dim: int, out_dim: int) -> None:
        super().__init__()
        self.downsample = nn.ModuleList(nn.Conv1d(in_dim, in_dim, _KERNEL, stride=stride) for stride in STRIDES)
        self.input = nn.Linear(in_dim, in_dim)
        self.input_norm = nn.LayerNorm(in_dim)
        self.layers = nn.ModuleList(
            EncoderLayer(in_dim, config.heads, config.ffn_dim, config.dropout, key_bias=True, activation=F.relu)
            for _ in range(config.layers)
        )
        self.norm = nn.LayerNorm(in_dim)
        self.project = nn.Linear(in_dim, out_dim)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x_BTD: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Embed a batch of encoder states.

        Args:
            x_BTD: (batch, states, encoder dim).
            lengths_B: int (batch,), states of each row.

        Returns:
            Embeddings (batch, ceil(states / 4), model dim) and their number in each row (batch,).
        """
        y_BDT = x_BTD.transpose(1, 2)
        for conv, stride in zip(self.downsample, STRIDES, strict=True):
            y_BDT = F.gelu(conv(F.pad(y_BDT, (_KERNEL - 1, 0))))
            lengths_B = torch.div(lengths_B + stride - 1, stride, rounding_mode="floor")
        y_BTD = self.input_norm(self.input(y_BDT.transpose(1, 2)))
        y_BTD = self.dropout(y_BTD) * math.sqrt(y_BTD.shape[2])
        y_BTD = self.dropout(y_BTD + interleaved_positions(y_BTD.shape[1], y_BTD.shape[2]).to(y_BTD))
        mask_B11T = length_mask(lengths_B, y_BTD.shape[1])[:, None, None, :]
        for layer in self.layers:
            y_BTD = layer(y_BTD, mask_B11T)
        return self.project(self.norm(y_BTD)), lengths_B
