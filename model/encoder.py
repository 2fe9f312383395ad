"""Whisper's encoder for audio of any length: mel frames in, one state of every 20 ms out.

Layer names are those of `transformers.WhisperEncoder`, so its weights load as they are. Batches are padded on the
right; padded frames change nothing in the others (zeroed before each convolution, masked in attention).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from model.attention import can_pack, rounded
from model.features import N_MELS

Activation = Callable[[Tensor], Tensor]
Count = TypeVar("Count", int, np.ndarray)


@dataclass(frozen=True)
class EncoderConfig:
    """Sizes of the encoder; the defaults are Whisper-medium's, as in the paper."""

    dim: int = 1024
    """Width of the states."""
    layers: int = 24
    heads: int = 16
    ffn_dim: int = 4096
    """Inner width of the feed-forward layers."""
    dropout: float = 0.1
    """On the outputs of attention and feed-forward layers."""
    normalise: bool = False
    """Bring each recording's features to a mean of 0 and a deviation of 1. Whisper does not; an encoder trained from
    nothing on few voices hears more in new ones with it (EMO-DB, two new speakers: gender from about .85 to .95)."""
    max_positions: int = 30_000
    """Longest input in states (of 20 ms); Whisper's own table ends at 1,500."""

    def __post_init__(self) -> None:
        if self.dim % self.heads:
            raise ValueError(f"encoder.dim ({self.dim}) must be a multiple of encoder.heads ({self.heads})")


def sinusoids(length: int, dim: int) -> Tensor:
    """Whisper's sinusoidal positions, float32 (length, dim): sines in the first half, cosines in the second."""
    step = math.log(10_000) / (dim // 2 - 1)
    rates = torch.exp(-step * torch.arange(dim // 2, dtype=torch.float32))
    angles = torch.arange(length, dtype=torch.float32)[:, None] * rates[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def num_states(num_frames: Count) -> Count:
    """Encoder states of so many mel frames; a number or an array of them."""
    return (num_frames + 1) // 2


def length_mask(lengths_B: Tensor, size: int) -> Tensor:
    """bool (batch, size): which places of each row hold something."""
    return torch.arange(size, device=lengths_B.device)[None, :] < lengths_B[:, None]


def normalised(x_BDT: Tensor, frames_B1T: Tensor) -> Tensor:
    """Each recording with mean 0 and deviation 1 over all its features; padding stays 0."""
    size_B11 = frames_B1T.sum(2, keepdim=True) * x_BDT.shape[1]
    mean_B11 = x_BDT.sum((1, 2), keepdim=True) / size_B11
    centred_BDT = (x_BDT - mean_B11) * frames_B1T
    deviation_B11 = (centred_BDT.square().sum((1, 2), keepdim=True) / size_B11).sqrt()
    return centred_BDT / (deviation_B11 + 1e-3)


class Attention(nn.Module):
    """Self-attention over the whole input."""

    def __init__(self, dim: int, heads: int, key_bias: bool) -> None:
        super().__init__()
        self.heads = heads
        self.q_proj = nn.Linear(dim, dim)
        self.k_proj = nn.Linear(dim, dim, bias=key_bias)
        self.v_proj = nn.Linear(dim, dim)
        self.out_proj = nn.Linear(dim, dim)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor, edges_S: Tensor | None = None, longest: int = 0) -> Tensor:
        """Over each row, or with `edges_S` over the parts of a packed row that they divide it into."""
        batch, length, dim = x_BTD.shape

        def split(y_BTD: Tensor) -> Tensor:
            return y_BTD.view(batch, length, self.heads, -1).transpose(1, 2)

        if edges_S is not None:
            from torch.nn.attention.varlen import varlen_attn

            q_THd, k_THd, v_THd = (
                proj(x_BTD).view(length, self.heads, -1) for proj in (self.q_proj, self.k_proj, self.v_proj)
            )
            out_THd: Any = varlen_attn(q_THd, k_THd, v_THd, edges_S, edges_S, longest, longest)
            return self.out_proj(out_THd.view(1, length, dim))
        q_BHTd, k_BHTd, v_BHTd = split(self.q_proj(x_BTD)), split(self.k_proj(x_BTD)), split(self.v_proj(x_BTD))
        out_BHTd = F.scaled_dot_product_attention(q_BHTd, k_BHTd, v_BHTd, attn_mask=mask_B11T)
        return self.out_proj(out_BHTd.transpose(1, 2).reshape(batch, length, dim))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer: as Whisper's, or as WeNet's with `key_bias` and `activation=F.relu`."""

    def __init__(
        self,
        dim: int,
        heads: int,
        ffn_dim: int,
        dropout: float,
        key_bias: bool = False,
        activation: Activation = F.gelu,
    ) -> None:
        super().__init__()
        self.activation = activation
        self.self_attn = Attention(dim, heads, key_bias)
        self.self_attn_layer_norm = nn.LayerNorm(dim)
        self.fc1 = nn.Linear(dim, ffn_dim)
        self.fc2 = nn.Linear(ffn_dim, dim)
        self.final_layer_norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x_BTD: Tensor, mask_B11T: Tensor, edges_S: Tensor | None = None, longest: int = 0) -> Tensor:
        heard_BTD = self.self_attn(self.self_attn_layer_norm(x_BTD), mask_B11T, edges_S, longest)
        x_BTD = x_BTD + self.dropout(heard_BTD)
        hidden_BTF = self.activation(self.fc1(self.final_layer_norm(x_BTD)))
        return x_BTD + self.dropout(self.fc2(hidden_BTF))


class WhisperEncoder(nn.Module):
    """Two convolutions, the second halving the rate, then transformer layers."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.conv1 = nn.Conv1d(N_MELS, config.dim, 3, padding=1)
        self.conv2 = nn.Conv1d(config.dim, config.dim, 3, stride=2, padding=1)
        for conv, gain in ((self.conv1, 1.0), (self.conv2, 2.0)):
            # As loud as the positions that are added, or a model trained from nothing hears those first.
            nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
            with torch.no_grad():
                conv.weight.mul_(gain)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.layers = nn.ModuleList(
            EncoderLayer(config.dim, config.heads, config.ffn_dim, config.dropout) for _ in range(config.layers)
        )
        self.layer_norm = nn.LayerNorm(config.dim)
        self.dropout = nn.Dropout(config.dropout)
        self.checkpointing = False
        """Whether activations are computed again in the backward pass instead of kept."""
        self.positions: Tensor
        self.register_buffer("positions", torch.zeros(0, config.dim), persistent=False)

    def forward(self, mel_BTM: Tensor, lengths_B: Tensor) -> tuple[Tensor, Tensor]:
        """Encode a batch.

        Args:
            mel_BTM: float (batch, frames, 80), padded on the right with anything.
            lengths_B: int (batch,), frames of each row.

        Returns:
            States (batch, ceil(frames / 2), dim) and their number in each row (batch,).

        Raises:
            ValueError: An input longer than `max_positions`.
        """
        frames_B1T = length_mask(lengths_B, mel_BTM.shape[1])[:, None, :]
        x_BDT = mel_BTM.transpose(1, 2) * frames_B1T
        if self.config.normalise:
            x_BDT = normalised(x_BDT, frames_B1T)
        x_BDT = F.gelu(self.conv1(x_BDT)) * frames_B1T
        x_BTD = F.gelu(self.conv2(x_BDT)).transpose(1, 2)
        out_B = (lengths_B + 1) // 2
        x_BTD = self.dropout(x_BTD + self._positions(x_BTD.shape[1]).to(x_BTD.dtype))
        mask_B11T = length_mask(out_B, x_BTD.shape[1])[:, None, None, :]
        if can_pack(x_BTD, self.config.heads):
            return self._packed(x_BTD, mask_B11T, out_B), out_B
        return self.layer_norm(self._through(x_BTD, mask_B11T)), out_B

    def _through(self, x_BTD: Tensor, *how: Any) -> Tensor:
        for layer in self.layers:
            if self.checkpointing and self.training:
                x_BTD = checkpoint(layer, x_BTD, *how, use_reentrant=False)
            else:
                x_BTD = layer(x_BTD, *how)
        return x_BTD

    def _packed(self, x_BTD: Tensor, mask_B11T: Tensor, lengths_B: Tensor) -> Tensor:
        """All recordings behind each other in one row: no work on padding, which is often half of it."""
        places_S = mask_B11T.flatten().nonzero()[:, 0]
        edges_S = F.pad(lengths_B.cumsum(0), (1, 0)).int()
        rows_SD = x_BTD.flatten(0, 1).index_select(0, places_S)
        out_SD = self.layer_norm(self._through(rows_SD[None], mask_B11T, edges_S, rounded(x_BTD.shape[1])))[0]
        return torch.zeros_like(x_BTD).flatten(0, 1).index_copy(0, places_S, out_SD.to(x_BTD.dtype)).view_as(x_BTD)

    def _positions(self, length: int) -> Tensor:
        if length > self.config.max_positions:
            raise ValueError(
                f"{length} states of audio are more than encoder.max_positions={self.config.max_positions}"
            )
        if self.positions.shape[0] < length:
            grown = max(length, 2 * self.positions.shape[0])
            self.positions = sinusoids(grown, self.config.dim).to(self.positions.device)
        return self.positions[:length]


def load_whisper(encoder: WhisperEncoder, state: dict[str, Tensor]) -> None:
    """Load the weights of a Whisper model of transformers, whole or of its encoder.

    Args:
        state: Names to tensors, as in `model.safetensors`; those of a decoder are passed over.

    Raises:
        ValueError: A weight is missing or has another shape; names it.
    """
    own = encoder.state_dict()
    prefixes = ("model.encoder.", "encoder.", "")
    prefix = next((p for p in prefixes if f"{p}conv1.weight" in state), None)
    if prefix is None:
        raise ValueError("holds no Whisper encoder: there is no weight named conv1.weight")
    for name in own:
        if f"{prefix}{name}" not in state:
            raise ValueError(f"lacks the encoder's weight {prefix}{name}")
        if state[f"{prefix}{name}"].shape != own[name].shape:
            have, want = tuple(state[f"{prefix}{name}"].shape), tuple(own[name].shape)
            raise ValueError(f"{prefix}{name} has the shape {have}; this encoder's is {want}")
    encoder.load_state_dict({name: state[f"{prefix}{name}"] for name in own})
