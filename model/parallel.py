"""A model over several processes: whole copies (DDP) or shares of every layer (FSDP2), and its whole state back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from model.echat import EChat
from model.setup import weights_of


def wrapped(model: EChat, kind: str, device: torch.device, compiled: bool) -> Any:
    """The model as one of many processes trains it; itself when there is one."""
    if compiled:
        model.compile_parts()
    if not dist.is_initialized() or dist.get_world_size() == 1:
        return model
    if kind == "ddp":
        devices = [device.index] if device.type == "cuda" else None
        # Parts that a batch's tasks do not touch have no gradient; position tables grow with what each process sees.
        return nn.parallel.DistributedDataParallel(model, devices, find_unused_parameters=True, broadcast_buffers=False)
    if not isinstance(next(model.parameters()), _sharded()):
        from torch.distributed.fsdp import fully_shard

        for layer in (*model.decoder.layers, *model.encoder.layers, *model.adapter.layers):
            fully_shard(layer)
        fully_shard(model)
    return model


def _sharded() -> Any:
    from torch.distributed.tensor import DTensor

    return DTensor


def _inner(model: Any) -> EChat:
    return model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model


def _options() -> Any:
    from torch.distributed.checkpoint.state_dict import StateDictOptions

    return StateDictOptions(full_state_dict=True, cpu_offload=dist.is_initialized() and dist.get_world_size() > 1)


def full_weights(model: Any) -> dict[str, Tensor]:
    """All weights, on the first process; every process must ask."""
    inner = _inner(model)
    if not isinstance(next(inner.parameters()), _sharded()):
        return weights_of(inner)
    from torch.distributed.checkpoint.state_dict import get_model_state_dict

    state = get_model_state_dict(inner, options=_options())
    names = set(weights_of(inner))
    out: Any = {name: tensor for name, tensor in state.items() if name in names}
    return out


def load_full_weights(model: EChat, weights: Mapping[str, Tensor]) -> None:
    """Load weights into a model that is not wrapped yet."""
    model.load_state_dict(dict(weights), strict=False)


def full_optimizer_state(model: Any, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """AdamW's state by the names of the weights, whatever the number of processes."""
    from torch.distributed.checkpoint.state_dict import get_optimizer_state_dict

    state: Any = get_optimizer_state_dict(_inner(model), optimizer, options=_options())
    return dict(state)


def load_full_optimizer(model: Any, optimizer: torch.optim.Optimizer, state: Mapping[str, Any]) -> None:
    """Put AdamW's state back."""
    from torch.distributed.checkpoint.state_dict import set_optimizer_state_dict

    set_optimizer_state_dict(_inner(model), optimizer, dict(state), options=_options())
