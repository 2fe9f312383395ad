"""The released checkpoint's names and shapes, on a synthetic state dict; and the adapter against WeNet's arithmetic."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from tiny import tiny_config

from manifests.errors import UserError
from model.adapter import AdapterConfig
from model.assemble import Vocabulary
from model.echat import EChat, preset
from model.encoder import EncoderConfig
from model.interop import export_released, load_released, our_name, read_released


def released(dim: int, layers: int, adapter: int, width: int, codebook: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes as the release has them, but for the language model's own."""
    out: dict[str, tuple[int, ...]] = {
        "encoder.embed.conv.0.weight": (dim, 80, 3), "encoder.embed.conv.0.bias": (dim,),
        "encoder.embed.conv.2.weight": (dim, dim, 3), "encoder.embed.conv.2.bias": (dim,),
        "encoder.after_norm.weight": (dim,), "encoder.after_norm.bias": (dim,), "ln_speech.weight": (dim,),
        "ln_speech.bias": (dim,), "speech_transformer.embed.out.0.weight": (dim, dim),
        "speech_transformer.embed.out.0.bias": (dim,), "speech_transformer.embed.out.1.weight": (dim,),
        "speech_transformer.embed.out.1.bias": (dim,), "speech_transformer.after_norm.weight": (dim,),
        "speech_transformer.after_norm.bias": (dim,), "speech_llama_proj.weight": (width, dim),
        "speech_llama_proj.bias": (width,), "speech_token_emded.weight": (codebook + 3, width),
        "speech_head.weight": (codebook + 1, width), "speech_head.bias": (codebook + 1,),
    }  # fmt: skip
    for number in (1, 4, 7):
        out |= {f"down_sample_2.{number}.weight": (dim, dim, 3), f"down_sample_2.{number}.bias": (dim,)}
    for part, count, ffn in (("encoder", layers, 64), ("speech_transformer", adapter, 64)):
        for n in range(count):
            base = f"{part}.encoders.{n}"
            for name in ("q", "k", "v", "out"):
                out[f"{base}.self_attn.linear_{name}.weight"] = (dim, dim)
                if name != "k" or part == "speech_transformer":
                    out[f"{base}.self_attn.linear_{name}.bias"] = (dim,)
            out |= {f"{base}.feed_forward.w_1.weight": (ffn, dim), f"{base}.feed_forward.w_1.bias": (ffn,),
                    f"{base}.feed_forward.w_2.weight": (dim, ffn), f"{base}.feed_forward.w_2.bias": (dim,)}  # fmt: skip
            for norm in ("norm1", "norm2"):
                out |= {f"{base}.{norm}.weight": (dim,), f"{base}.{norm}.bias": (dim,)}
    return out


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    llm = EChat(tiny_config()).llm.state_dict()
    shapes = released(32, 1, 1, 48, 32)
    return {
        **{name: torch.randn(shape) for name, shape in shapes.items()},
        **{f"llama_model.{name}": torch.randn(tensor.shape) for name, tensor in llm.items()},
    }


def test_every_released_weight_finds_its_place(state: dict[str, torch.Tensor]) -> None:
    model = EChat(tiny_config())
    load_released(model, state)
    back = export_released(model)
    unused = {"ln_speech.weight", "ln_speech.bias", "llama_model.lm_head.weight"}
    for name, tensor in state.items():
        if name not in unused:
            assert torch.equal(back[name], tensor), name


def test_wrong_state_dicts_are_refused_by_name(state: dict[str, torch.Tensor]) -> None:
    model = EChat(tiny_config())
    with pytest.raises(UserError, match=r"'decoder\.x' is no parameter"):
        load_released(model, {**state, "decoder.x": torch.zeros(1)})
    with pytest.raises(UserError, match=r"speech_head\.bias has the shape \(7,\), this model's is \(33,\)"):
        load_released(model, {**state, "speech_head.bias": torch.zeros(7)})
    del state["speech_llama_proj.bias"]
    with pytest.raises(UserError, match=r"lacks adapter\.project\.bias"):
        load_released(model, state)


def test_released_files_hold_weights_or_are_not_loaded(tmp_path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"module": {"a": torch.ones(2)}}, path)
    assert read_released(path)["a"].tolist() == [1, 1]
    torch.save({"a": tmp_path}, path)
    with pytest.raises(UserError, match="other things than weights"):
        read_released(path)
    path.write_bytes(b"no")
    with pytest.raises(UserError):
        read_released(path)


def test_sizes_are_those_of_the_paper() -> None:
    """Whisper-medium encoder, 12.5 Hz adapter of about 50 M, 4,099 speech embeddings and a head of 4,097."""
    config = preset("3b")
    small = replace(config, encoder=EncoderConfig(layers=1), adapter=config.adapter, llm={**config.llm, "vocab_size": 9,
                    "num_hidden_layers": 1})  # fmt: skip
    with torch.device("meta"):
        model = EChat(small)
    one = sum(p.numel() for p in model.encoder.layers[0].parameters())
    rest = sum(p.numel() for p in model.encoder.parameters()) - one
    assert abs(24 * one + rest - 305.7e6) / 305.7e6 < 0.02
    assert abs(sum(p.numel() for p in model.adapter.parameters()) - 50.4e6) / 50.4e6 < 0.02
    assert model.speech_embedding.weight.shape == (4099, 2048) and model.speech_head.weight.shape == (4097, 2048)
    vocabulary = Vocabulary(151_936, 4096)
    assert vocabulary.num_targets == 156_033
    assert (vocabulary.edge, vocabulary.audio_open, vocabulary.audio_close) == (
        151_936 + 4096, 151_936 + 4097, 151_936 + 4098,
    )  # fmt: skip


def test_names_of_layers() -> None:
    assert our_name("encoder.encoders.3.self_attn.linear_k.weight") == "encoder.layers.3.self_attn.k_proj.weight"
    assert our_name("speech_transformer.encoders.0.norm2.bias") == "adapter.layers.0.final_layer_norm.bias"
    assert our_name("llama_model.model.norm.weight") == "llm.model.norm.weight"
    assert our_name("ln_speech.bias") is None


@torch.no_grad()
def test_the_adapters_transformer_computes_as_wenets() -> None:
    """Written out: linear, norm, times the root of the width, interleaved positions, pre-norm layers with ReLU."""
    from model.adapter import Adapter

    torch.manual_seed(0)
    adapter = Adapter(AdapterConfig(1, 2, 24, 0.0), 8, 6).eval()
    x = torch.randn(1, 5, 8)
    got, _ = adapter(x, torch.tensor([5]))
    y = x.transpose(1, 2)
    for conv, stride in zip(adapter.downsample, (1, 2, 2), strict=True):
        y = torch.nn.functional.conv1d(torch.nn.functional.pad(y, (2, 0)), conv.weight, conv.bias, stride)
        y = torch.nn.functional.gelu(y)
    y = adapter.input_norm(adapter.input(y.transpose(1, 2)))[0] * math.sqrt(8)
    for t in range(y.shape[0]):
        for pair in range(4):
            angle = t / 10_000 ** (2 * pair / 8)
            y[t, 2 * pair] += math.sin(angle)
            y[t, 2 * pair + 1] += math.cos(angle)
    layer = adapter.layers[0]
    z = layer.self_attn_layer_norm(y)
    attention = layer.self_attn
    q, k, v = attention.q_proj(z), attention.k_proj(z), attention.v_proj(z)
    heads = []
    for head in range(2):
        part = slice(4 * head, 4 * head + 4)
        heads.append((q[:, part] @ k[:, part].T / 2).softmax(-1) @ v[:, part])
    y = y + attention.out_proj(torch.cat(heads, 1))
    y = y + layer.fc2(torch.relu(layer.fc1(layer.final_layer_norm(y))))
    torch.testing.assert_close(got[0], adapter.project(adapter.norm(y)), atol=1e-5, rtol=0)
