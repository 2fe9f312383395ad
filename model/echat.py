"""OSUM-EChat: a Whisper encoder, an adapter, any causal language model, and speech tokens beside its text tokens."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from manifests.errors import UserError
from model import attention
from model.adapter import Adapter, AdapterConfig
from model.assemble import AUDIO, Vocabulary
from model.batch import Batch
from model.encoder import EncoderConfig, WhisperEncoder, length_mask
from model.text import PACKAGE

PARTS = ("encoder", "adapter", "llm", "speech")
"""What a stage of training may move: `speech` is the speech embedding and head."""


@dataclass(frozen=True)
class ModelConfig:
    """Sizes and sources of the parts."""

    codebook_size: int = 4096
    """Distinct speech tokens: 4096 of CosyVoice 1, 1024 of the embedded codebook."""
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    adapter: AdapterConfig = field(default_factory=AdapterConfig)
    llm: dict[str, Any] = field(default_factory=dict)
    """Config of the language model, as transformers writes it (`model_type` and sizes)."""
    lora: dict[str, Any] = field(default_factory=dict)
    """Options of `peft.LoraConfig` (r, lora_alpha, target_modules ...); empty to train the whole language model."""

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ModelConfig:
        """From what `dataclasses.asdict` gave."""
        return cls(
            values["codebook_size"], EncoderConfig(**values["encoder"]), AdapterConfig(**values["adapter"]),
            values["llm"], values.get("lora", {}),
        )  # fmt: skip

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def qwen2(
    hidden: int, layers: int, heads: int, kv_heads: int, ffn: int, vocabulary: int, **more: Any
) -> dict[str, Any]:
    """A config of the Qwen2 family."""
    return {
        "model_type": "qwen2", "hidden_size": hidden, "num_hidden_layers": layers, "num_attention_heads": heads,
        "num_key_value_heads": kv_heads, "intermediate_size": ffn, "vocab_size": vocabulary,
        "tie_word_embeddings": True, "max_position_embeddings": 32_768, **more,
    }  # fmt: skip


def preset(name: str, codebook_size: int | None = None) -> ModelConfig:
    """A config by name: `nano` trains from nothing on two cores, `0.5b` and `3b` (the paper's) start from Qwen2.5."""
    rope = {"rope_theta": 1_000_000.0}
    if name == "nano":
        return ModelConfig(
            codebook_size or 1024,
            EncoderConfig(dim=96, layers=2, heads=4, ffn_dim=192, dropout=0.1, normalise=True),
            AdapterConfig(layers=1, heads=4, ffn_dim=192, dropout=0.1),
            # The usual 0.02 is for wide models; at this width it would hush every layer.
            qwen2(128, 2, 4, 2, 256, 2048, initializer_range=0.08),
        )
    if name == "0.5b":
        return ModelConfig(
            codebook_size or 4096, EncoderConfig(), AdapterConfig(),
            qwen2(896, 24, 14, 2, 4864, 151_936, **rope),
        )  # fmt: skip
    if name == "3b":
        return ModelConfig(
            codebook_size or 4096, EncoderConfig(), AdapterConfig(),
            qwen2(2048, 36, 16, 2, 11_008, 151_936, **rope),
        )  # fmt: skip
    raise UserError(f"{name!r} is not a preset: use nano, 0.5b or 3b")


class EChat(nn.Module):
    """The model.

    Args:
        llm: A causal language model of transformers; made from `config.llm` with random weights unless given.
    """

    def __init__(self, config: ModelConfig, llm: nn.Module | None = None) -> None:
        super().__init__()
        self.config = config
        self.llm: Any = llm if llm is not None else random_llm(config.llm)
        width = self.llm.config.hidden_size
        self.vocabulary = Vocabulary(self.llm.config.vocab_size, config.codebook_size)
        if config.lora:
            self.llm = with_lora(self.llm, config.lora)
        self.encoder = WhisperEncoder(config.encoder)
        self.adapter = Adapter(config.adapter, config.encoder.dim, width)
        self.speech_embedding = nn.Embedding(self.vocabulary.num_speech, width)
        self.speech_head = nn.Linear(width, config.codebook_size + 1)
        nn.init.normal_(self.speech_embedding.weight, std=0.02)
        nn.init.normal_(self.speech_head.weight, std=0.02)
        nn.init.zeros_(self.speech_head.bias)

    def part(self, name: str) -> Iterator[nn.Parameter]:
        """Parameters of one of `PARTS`."""
        modules = {
            "encoder": (self.encoder,), "adapter": (self.adapter,), "llm": (self.llm,),
            "speech": (self.speech_embedding, self.speech_head),
        }  # fmt: skip
        for module in modules[name]:
            yield from module.parameters()

    def set_trainable(self, parts: tuple[str, ...]) -> None:
        """Freeze all other parts. With LoRA the language model's own weights stay frozen.

        Raises:
            ValueError: A name is none of `PARTS`.
        """
        unknown = [name for name in parts if name not in PARTS]
        if unknown:
            raise ValueError(f"{unknown[0]!r} is not a part: use {', '.join(PARTS)}")
        for name in PARTS:
            for parameter in self.part(name):
                parameter.requires_grad_(name in parts)
        if self.config.lora and "llm" in parts:
            for name, parameter in self.llm.named_parameters():
                parameter.requires_grad_("lora_" in name)

    def set_checkpointing(self) -> None:
        """Compute activations of encoder and language model again in the backward pass: less memory, a third slower."""
        self.encoder.checkpointing = True
        self.llm.gradient_checkpointing_enable({"use_reentrant": False})

    def listen(self, mel_ATM: Tensor, frames_A: Tensor) -> Tensor:
        """Embeddings of recordings, (total embeddings, width), one recording after the other."""
        states_ASD, lengths_A = self.encoder(mel_ATM.to(self.speech_head.weight.dtype), frames_A)
        heard_AED, lengths_A = self.adapter(states_ASD, lengths_A)
        return heard_AED[length_mask(lengths_A, heard_AED.shape[1])]

    def embed(self, ids_BL: Tensor, heard_ED: Tensor | None) -> Tensor:
        """Embeddings (batch, length, width) of joint ids; `AUDIO` places take `heard_ED` in order, padding zeros."""
        text_size = self.vocabulary.text_size
        text_BLD = self.llm.get_input_embeddings()(ids_BL.clamp(0, text_size - 1))
        speech_BLD = self.speech_embedding((ids_BL - text_size).clamp(min=0))
        x_BLD = torch.where((ids_BL >= text_size)[..., None], speech_BLD, text_BLD)
        x_BLD = x_BLD.masked_fill((ids_BL < 0)[..., None], 0.0)
        if heard_ED is not None and heard_ED.shape[0]:
            x_BLD = x_BLD.masked_scatter((ids_BL == AUDIO)[..., None], heard_ED.to(x_BLD.dtype))
        return x_BLD

    def logits(self, hidden_ND: Tensor) -> Tensor:
        """Scores (N, text + speech + edge) of the joint ids that can be predicted."""
        return torch.cat([self.llm.get_output_embeddings()(hidden_ND), self.speech_head(hidden_ND)], dim=-1)

    def hidden(self, batch: Batch) -> Tensor:
        """Last states (batch, length, width); a place sees its own sequence's past alone."""
        heard_ED = self.listen(batch.mel_ATM, batch.frames_A) if len(batch.frames_A) else None
        x_BLD = self.embed(batch.ids_BL, heard_ED)
        if torch.is_autocast_enabled(x_BLD.device.type):
            x_BLD = x_BLD.to(torch.get_autocast_dtype(x_BLD.device.type))
        config = self.llm.config
        if len(batch.edges_S) and attention.can_pack(x_BLD, config.num_attention_heads) and attention.is_full(config):
            seen: dict[str, Any] = attention.edges_of(batch.edges_S, batch.longest)
        else:
            seen = {"attention_mask": causal_mask(batch.segments_BL)}
        return self.decoder(
            inputs_embeds=x_BLD, position_ids=batch.positions_BL, use_cache=False, **seen
        ).last_hidden_state

    @property
    def decoder(self) -> Any:
        """The language model without its head."""
        model = self.llm.get_base_model() if self.config.lora else self.llm
        return model.model

    def forward(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Cross-entropy over the joint vocabulary at the places that the batch asks for.

        One loss over text and speech together, unweighted, as in the release. Logits are made of those places alone.

        Returns:
            Sum of the losses, a scalar, and the number of targets: the mean of several batches or processes is the
            ratio of their sums.
        """
        hidden_ND = self.hidden(batch).flatten(0, 1)[batch.asked_N]
        loss = self.loss_of(hidden_ND, batch.targets_N)
        return loss, torch.tensor(len(batch.targets_N), device=loss.device)

    def loss_of(self, hidden_ND: Tensor, targets_N: Tensor) -> Tensor:
        """Sum of the losses of some places, over text and speech without joining their scores.

        Joined, the scores of one place would be an odd number, for which GPUs have slow products alone.
        """
        size, head = self.vocabulary.text_size, self.speech_head
        rest = -head.out_features % 8
        text_NV = self.llm.get_output_embeddings()(hidden_ND).float()
        bias_C = F.pad(head.bias, (0, rest), value=-torch.inf)
        speech_NC = F.linear(hidden_ND, F.pad(head.weight, (0, 0, 0, rest)), bias_C).float()
        total_N = torch.logaddexp(text_NV.logsumexp(1), speech_NC.logsumexp(1))
        as_text_N = text_NV.gather(1, targets_N.clamp(max=size - 1)[:, None])[:, 0]
        as_speech_N = speech_NC.gather(1, (targets_N - size).clamp(min=0)[:, None])[:, 0]
        return (total_N - torch.where(targets_N < size, as_text_N, as_speech_N)).sum()

    def compile_parts(self) -> None:
        """torch.compile the layers, which share their code, and the loss; lengths stay free.

        The whole model would take minutes and gain no more.
        """
        layers: Any = (*self.decoder.layers, *self.encoder.layers, *self.adapter.layers)
        for layer in layers:
            layer.compile(dynamic=True)
        self.loss_of = torch.compile(self.loss_of, dynamic=True)


def causal_mask(segments_BL: Tensor) -> Tensor:
    """bool (batch, 1, length, length): what each place sees. Padding sees itself, lest its softmax be of nothing."""
    length = segments_BL.shape[1]
    same_BLL = segments_BL[:, :, None] == segments_BL[:, None, :]
    past_LL = torch.ones(length, length, dtype=torch.bool, device=segments_BL.device).tril()
    return (same_BLL & past_LL)[:, None]


def random_llm(config: dict[str, Any]) -> nn.Module:
    """A language model with random weights."""
    try:
        from transformers import AutoConfig, AutoModelForCausalLM
    except ImportError:
        raise UserError(f"the model needs transformers: {PACKAGE}") from None
    values = dict(config)
    return AutoModelForCausalLM.from_config(
        AutoConfig.for_model(values.pop("model_type"), **values),
        attn_implementation=attention.register(),
        dtype=torch.float32,
    )


def pretrained_llm(path: Path | str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """A language model from a folder or the hub; `UserError` if it cannot be had."""
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        raise UserError(f"the model needs transformers: {PACKAGE}") from None
    try:
        return AutoModelForCausalLM.from_pretrained(path, attn_implementation=attention.register(), dtype=dtype)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: is no language model: {str(error).splitlines()[0]}") from None


def with_lora(llm: Any, options: dict[str, Any]) -> nn.Module:
    """The language model with LoRA adapters on it."""
    try:
        from peft import LoraConfig, get_peft_model
    except ImportError:
        raise UserError('model.lora needs peft: pip install "echat-pipeline[train]"') from None
    defaults = {"r": 64, "lora_alpha": 32, "lora_dropout": 0.1, "task_type": "CAUSAL_LM"}
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "down_proj"]
    return get_peft_model(llm, LoraConfig(**{**defaults, "target_modules": targets, **options}))
