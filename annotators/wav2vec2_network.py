"""The network of `annotators.wav2vec2_age_gender`; a module of its own, since its classes need torch to be defined."""

from __future__ import annotations

from pathlib import Path

import torch
from transformers import Wav2Vec2Config, Wav2Vec2Model, Wav2Vec2PreTrainedModel

from manifests.errors import UserError


class Head(torch.nn.Module):
    """Two layers on the mean hidden state, named as in the published checkpoint."""

    def __init__(self, config: Wav2Vec2Config, size: int) -> None:
        """Make the layers."""
        super().__init__()
        self.dense = torch.nn.Linear(config.hidden_size, config.hidden_size)
        self.dropout = torch.nn.Dropout(config.final_dropout)
        self.out_proj = torch.nn.Linear(config.hidden_size, size)

    def forward(self, hidden_BD: torch.Tensor) -> torch.Tensor:
        """Scores (batch, size) of hidden states (batch, hidden)."""
        return self.out_proj(self.dropout(torch.tanh(self.dense(self.dropout(hidden_BD)))))


class AgeGenderModel(Wav2Vec2PreTrainedModel):
    """wav2vec2 with a head for age (in centuries) and one for female, male and child."""

    def __init__(self, config: Wav2Vec2Config) -> None:
        """Make it with random weights."""
        super().__init__(config)
        self.wav2vec2 = Wav2Vec2Model(config)
        self.age = Head(config, 1)
        self.gender = Head(config, len(("female", "male", "child")))
        self.post_init()

    def forward(self, audio_BT: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Of standardised audio at 16 kHz: ages (batch,) and probabilities (batch, 3)."""
        hidden_BD = self.wav2vec2(audio_BT)[0].mean(dim=1)
        return self.age(hidden_BD)[:, 0], self.gender(hidden_BD).softmax(dim=1)


def read_network(folder: Path) -> AgeGenderModel:
    """Read a network in the layout of transformers.

    Raises:
        UserError: A weight of the network is missing or of another shape; the published model has all of them.
    """
    loaded = AgeGenderModel.from_pretrained(folder, output_loading_info=True, local_files_only=True)
    network, info = loaded  # type: ignore[misc]
    faults = sorted(map(str, (*info["missing_keys"], *info["mismatched_keys"])))
    if faults:
        raise UserError(
            f"{folder}: has no {faults[0]} that fits ({len(faults)} such weights): name the folder of an age and gender"
            " model, such as audeering/wav2vec2-large-robust-24-ft-age-gender"
        )
    return network.eval()
