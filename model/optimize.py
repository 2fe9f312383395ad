"""Learning rate, gradient norm, random numbers, speed: the arithmetic of a training step."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.batch import Batch
from model.echat import EChat
from model.encoder import num_states
from model.recipe import OptimizerRecipe, StageRecipe


def rate(stage: StageRecipe, step: int) -> float:
    """Learning rate of a step, from 0: a linear warm-up to the peak, then the stage's schedule."""
    done = step + 1
    if done < stage.warmup:
        return stage.lr * done / stage.warmup
    if stage.schedule == "inverse_sqrt":
        return stage.lr * math.sqrt(stage.warmup / done)
    if stage.schedule == "cosine":
        left = (done - stage.warmup) / max(1, stage.steps - stage.warmup)
        return stage.lr * (0.05 + 0.95 * 0.5 * (1 + math.cos(math.pi * min(1.0, left))))
    return stage.lr


def optimizer_of(model: nn.Module, recipe: OptimizerRecipe, lr: float) -> torch.optim.AdamW:
    """AdamW over what learns; norms and biases do not decay."""
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in learning if p.ndim > 1], "weight_decay": recipe.weight_decay},
        {"params": [p for p in learning if p.ndim <= 1], "weight_decay": 0.0},
    ]
    fused = all(parameter.device.type == "cuda" for parameter in learning)
    return torch.optim.AdamW(
        [group for group in groups if group["params"]], lr, recipe.betas, recipe.eps, fused=fused or None
    )  # fmt: skip


def clip(parameters: Iterable[nn.Parameter], most: float) -> float:
    """Scale gradients to a norm of at most so much; the norm before."""
    norm = nn.utils.clip_grad_norm_(list(parameters), most)
    full: Any = norm
    return float(full.full_tensor() if hasattr(full, "full_tensor") else full)


def random_state(device: torch.device) -> dict[str, Tensor]:
    """State of torch's random numbers, for dropout."""
    state = {"cpu": torch.get_rng_state()}
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Tensor], device: torch.device) -> None:
    """Put the random numbers back where they were."""
    torch.set_rng_state(state["cpu"])
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"], device)


_PEAK_TFLOPS = {"H100": 989.0, "H200": 989.0, "A100": 312.0, "L40": 181.0, "4090": 165.0}
"""Dense bf16 peaks by name, from the vendor's data sheets."""


def peak_flops(device: torch.device) -> float | None:
    """Peak bf16 rate of a GPU in FLOP/s, or None where it is not known."""
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    return next((tera * 1e12 for known, tera in _PEAK_TFLOPS.items() if known in name), None)


@dataclass(frozen=True)
class Cost:
    """FLOPs of a training step, by what it sees: 6 for each weight that learns, 4 for each other.

    As in torchtitan, but without attention's share; padding costs nothing here, so wasted work lowers what is reached.
    """

    place: float
    """Of a place of the language model."""
    target: float
    """Of a place whose next id is asked for: text and speech heads."""
    state: float
    """Of an encoder state, 50 a second; the adapter is left out."""

    @classmethod
    def of(cls, model: EChat) -> Cost:
        """The cost of a model, with what it learns now."""

        def cost(*parameters: Tensor) -> float:
            return float(sum(p.numel() * (6 if p.requires_grad else 4) for p in parameters))

        tables = (model.llm.get_input_embeddings().weight, model.llm.get_output_embeddings().weight)
        body = (p for p in model.part("llm") if all(p is not table for table in tables))
        return cls(
            cost(*body), cost(tables[1], model.speech_head.weight), cost(*model.encoder.layers.parameters())
        )  # fmt: skip

    def __call__(self, batch: Batch) -> float:
        """FLOPs of a step on a batch."""
        places = int((batch.segments_BL >= 0).sum())
        states = int(num_states(batch.frames_A.numpy()).sum())
        return self.place * places + self.target * len(batch.targets_N) + self.state * states
