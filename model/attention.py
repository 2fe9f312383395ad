"""Attention of packed sequences: each sees its own past, at the cost of its own length, not of the whole row's.

Registered with transformers under `NAME`. Where a call brings the edges of sequences (names as for its flash attention)
PyTorch's variable-length kernel is used; otherwise, as on a CPU and in generation, this is its `sdpa`.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

NAME = "packed"


def can_pack(x: Tensor, heads: int) -> bool:
    """Whether the kernel takes this (..., width): on GPUs of compute capability 8 and more, in half precision."""
    if x.device.type != "cuda" or x.dtype not in (torch.bfloat16, torch.float16) or x.shape[-1] // heads % 8:
        return False
    return torch.cuda.get_device_capability(x.device)[0] >= 8


def is_full(config: Any) -> bool:
    """Whether a language model of transformers attends to all that is past, in every layer, without dropout."""
    kinds = set(getattr(config, "layer_types", None) or ())
    return not (getattr(config, "attention_dropout", 0.0) or kinds - {"full_attention"})


def rounded(longest: int) -> int:
    """A bound of the longest sequence with few distinct values, or compiled code is made for each."""
    return 1 << max(4, (longest - 1).bit_length())


def edges_of(edges_S: Tensor, longest: int) -> dict[str, Any]:
    """Arguments that tell a language model where the sequences of its one row begin.

    Args:
        edges_S: int32 (sequences + 1,), first place of each and the end of the last.
        longest: Places of the longest one.
    """
    longest = rounded(longest)
    return {
        "cu_seq_lens_q": edges_S, "cu_seq_lens_k": edges_S, "max_length_q": longest, "max_length_k": longest,
        # A mask with four axes is passed on as it is; without one, transformers would make one of the whole row.
        "attention_mask": torch.ones(1, 1, 1, 1, dtype=torch.bool, device=edges_S.device),
    }  # fmt: skip


def attend(
    module: torch.nn.Module,
    query_BHLd: Tensor,
    key_BKLd: Tensor,
    value_BKLd: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """Attention as transformers calls it; (batch, length, heads, width) back."""
    from torch.nn.attention.varlen import varlen_attn

    edges_S = kwargs.get("cu_seq_lens_q")
    if edges_S is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(
            module, query_BHLd, key_BKLd, value_BKLd, attention_mask, scaling=scaling, **kwargs
        )  # fmt: skip
    # Rotation leaves queries and keys in float32; the kernel wants one type, and here as many heads of each.
    groups = query_BHLd.shape[1] // key_BKLd.shape[1]
    query_LHd, key_LKd, value_LKd = (
        x.squeeze(0).transpose(0, 1).to(value_BKLd.dtype) for x in (query_BHLd, key_BKLd, value_BKLd)
    )
    key_LHd, value_LHd = (x.repeat_interleave(groups, dim=1) if groups > 1 else x for x in (key_LKd, value_LKd))
    longest, past = kwargs["max_length_q"], (-1, 0)
    out_LHd: Any = varlen_attn(
        query_LHd, key_LHd, value_LHd, edges_S, edges_S, longest, longest, scale=scaling, window_size=past
    )
    return out_LHd.unsqueeze(0), None


def register() -> str:
    """Make `NAME` known to transformers; returns it."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    AttentionInterface.register(NAME, attend)
    AttentionMaskInterface.register(NAME, sdpa_mask)
    return NAME
