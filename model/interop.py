"""The released OSUM-EChat checkpoint: its parameter names to ours and back.

The release names its parts `encoder` (WeNet's Whisper encoder), `down_sample_2`, `speech_transformer`,
`speech_llama_proj`, `llama_model`, `speech_token_emded` and `speech_head`. Values are taken as they are: both sides
have the same layers in the same order.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor

from manifests.errors import UserError
from model.echat import EChat

_UNUSED = re.compile(r"^(ln_speech\.|encoder\.global_cmvn\.|.*\.pos_enc\.pe$|llama_model\.lm_head\.weight$)")
"""Of the release: read by nothing there, computed, or tied to another."""

_LAYER = {
    "self_attn.linear_q": "self_attn.q_proj",
    "self_attn.linear_k": "self_attn.k_proj",
    "self_attn.linear_v": "self_attn.v_proj",
    "self_attn.linear_out": "self_attn.out_proj",
    "norm1": "self_attn_layer_norm",
    "feed_forward.w_1": "fc1",
    "feed_forward.w_2": "fc2",
    "norm2": "final_layer_norm",
}
_PLACES = {
    "encoder.embed.conv.0": "encoder.conv1",
    "encoder.embed.conv.2": "encoder.conv2",
    "encoder.after_norm": "encoder.layer_norm",
    "down_sample_2.1": "adapter.downsample.0",
    "down_sample_2.4": "adapter.downsample.1",
    "down_sample_2.7": "adapter.downsample.2",
    "speech_transformer.embed.out.0": "adapter.input",
    "speech_transformer.embed.out.1": "adapter.input_norm",
    "speech_transformer.after_norm": "adapter.norm",
    "speech_llama_proj": "adapter.project",
    "speech_token_emded": "speech_embedding",
    "speech_head": "speech_head",
}


def our_name(released: str) -> str | None:
    """Our name of a released parameter; None for one that is of no use.

    Raises:
        UserError: A name that the release does not have.
    """
    if _UNUSED.match(released):
        return None
    if released.startswith("llama_model."):
        return "llm." + released.removeprefix("llama_model.")
    place, _, kind = released.rpartition(".")
    if place in _PLACES:
        return f"{_PLACES[place]}.{kind}"
    match = re.fullmatch(r"(encoder|speech_transformer)\.encoders\.(\d+)\.(.+)", place)
    if match and match[3] in _LAYER:
        part = "encoder" if match[1] == "encoder" else "adapter"
        return f"{part}.layers.{match[2]}.{_LAYER[match[3]]}.{kind}"
    raise UserError(f"{released!r} is no parameter of the released OSUM-EChat checkpoint")


def released_names(model: EChat) -> Iterator[tuple[str, str]]:
    """(our name, released name) of every weight of a model."""
    places = {ours: theirs for theirs, ours in _PLACES.items()}
    layer = {ours: theirs for theirs, ours in _LAYER.items()}
    for name in model.state_dict():
        place, _, kind = name.rpartition(".")
        match = re.fullmatch(r"(encoder|adapter)\.layers\.(\d+)\.(.+)", place)
        if name.startswith("llm."):
            yield name, "llama_model." + name.removeprefix("llm.")
        elif place in places:
            yield name, f"{places[place]}.{kind}"
        elif match:
            part = "encoder" if match[1] == "encoder" else "speech_transformer"
            yield name, f"{part}.encoders.{match[2]}.{layer[match[3]]}.{kind}"


def load_released(model: EChat, state: Mapping[str, Tensor], where: str = "the checkpoint") -> None:
    """Load a released state dict.

    Raises:
        UserError: A parameter is missing, unknown or of another shape; names it.
    """
    own = model.state_dict()
    found: dict[str, Tensor] = {}
    for released, tensor in state.items():
        name = our_name(released)
        if name is None:
            continue
        if name not in own:
            raise UserError(f"{where}: {released} has no place in this model: choose the preset that it is of")
        if own[name].shape != tensor.shape:
            raise UserError(
                f"{where}: {released} has the shape {tuple(tensor.shape)}, this model's is {tuple(own[name].shape)}:"
                " choose the preset that it is of"
            )
        found[name] = tensor
    missing = [name for name in own if name not in found and not name.endswith("lm_head.weight")]
    if missing:
        raise UserError(f"{where}: lacks {missing[0]} and {len(missing) - 1} others")
    model.load_state_dict(found, strict=False)


def read_released(path: Path) -> dict[str, Tensor]:
    """The state dict of a released file (`.pt`), loaded without running anything in it.

    Raises:
        UserError: It cannot be read, or holds other things than tensors.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]})") from error
    except Exception as error:  # pickle.UnpicklingError: it holds more than weights
        raise UserError(f"{path}: holds other things than weights, and is not loaded") from error
    inner = state.get("module", state.get("model", state)) if isinstance(state, dict) else None
    if not isinstance(inner, dict) or not all(isinstance(value, Tensor) for value in inner.values()):
        raise UserError(f"{path}: is no state dict")
    return inner


def export_released(model: EChat) -> dict[str, Tensor]:
    """A model's weights under the released names."""
    state = model.state_dict()
    return {theirs: state[ours] for ours, theirs in released_names(model)}
