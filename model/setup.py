"""From a training manifest or a checkpoint to model, tokenizer and data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from manifests.errors import UserError
from model.assemble import Assembler
from model.checkpoint import read_about, read_weights
from model.datasets import CorpusDataset, Dataset, Described, ShardDataset
from model.echat import EChat, ModelConfig, preset, pretrained_llm
from model.encoder import load_whisper
from model.interop import load_released, read_released
from model.recipe import DataRecipe, ModelRecipe
from model.selection import SelectedDataset
from model.text import TextTokenizer


def tokenizer_of(recipe: ModelRecipe) -> TextTokenizer:
    """The tokenizer that a manifest names."""
    return TextTokenizer.load(recipe.tokenizer or recipe.llm)


def model_of(recipe: ModelRecipe, text: TextTokenizer, seed: int) -> EChat:
    """The model that a training starts from; random weights are drawn by the seed.

    Raises:
        UserError: A source is missing or does not fit.
    """
    torch.manual_seed(seed)
    if recipe.checkpoint is not None and recipe.checkpoint.is_dir():
        return load_model(recipe.checkpoint)[0]
    config = preset(recipe.preset, recipe.codebook_size)
    if recipe.dropout is not None:
        config = replace(
            config,
            encoder=replace(config.encoder, dropout=recipe.dropout),
            adapter=replace(config.adapter, dropout=recipe.dropout),
        )
    llm = pretrained_llm(recipe.llm) if recipe.llm else None
    if llm is not None:
        known: Any = llm.config
        config = replace(config, llm=known.to_dict())
    config = replace(config, lora=dict(recipe.lora))
    if len(text) > config.llm["vocab_size"]:
        raise UserError(
            f"model.tokenizer has {len(text)} tokens, the language model {config.llm['vocab_size']}: name those of one"
            " family"
        )
    model = EChat(config, llm)
    if recipe.encoder is not None:
        _load_encoder(model, recipe.encoder)
    if recipe.checkpoint is not None:
        load_released(model, read_released(recipe.checkpoint), str(recipe.checkpoint))
    return model


def _load_encoder(model: EChat, folder: Path) -> None:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        load_whisper(model.encoder, load_file(folder / "model.safetensors"))
    except (OSError, SafetensorError, ValueError) as error:
        raise UserError(f"model.encoder: {folder / 'model.safetensors'}: {error}") from error


def load_model(checkpoint: Path) -> tuple[EChat, TextTokenizer]:
    """The model and tokenizer of a checkpoint.

    Raises:
        UserError: It is none, or its weights are not those of its config.
    """
    about = read_about(checkpoint)
    config = ModelConfig.from_dict(about["config"])
    model = EChat(config)
    weights = read_weights(checkpoint)
    for tied in set(dict(model.state_dict())) - set(weights):
        if not tied.endswith("lm_head.weight"):
            raise UserError(f"{checkpoint}: lacks the weight {tied}: take another checkpoint")
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise UserError(f"{checkpoint}: {str(error).splitlines()[-1].strip()}") from error
    return model, TextTokenizer.load(about["tokenizer"])


def weights_of(model: EChat) -> dict[str, torch.Tensor]:
    """Weights as they are saved: tied ones once."""
    state = model.state_dict()
    tied = bool(getattr(model.llm.config, "tie_word_embeddings", False))
    return {name: tensor for name, tensor in state.items() if not (tied and name.endswith("lm_head.weight"))}


def datasets_of(recipe: DataRecipe, seed: int) -> tuple[Described, Dataset | None]:
    """Training and validation data; what the recipe draws of the first is drawn by the seed."""
    train, validation = _whole(recipe)
    if recipe.keep or recipe.share < 1 or recipe.corrupt:
        train = SelectedDataset(train, recipe, seed if recipe.seed is None else recipe.seed)
    return train, validation


def _whole(recipe: DataRecipe) -> tuple[Described, Dataset | None]:
    if recipe.corpus is not None:
        everything = CorpusDataset(recipe.corpus, None, recipe.require, recipe.texts)
        speakers = {speaker for _, speaker, *_ in everything.rows}
        unknown = [speaker for speaker in recipe.hold_out if speaker not in speakers]
        if unknown:
            raise UserError(f"data.hold_out: {recipe.corpus} has no speaker {unknown[0]!r}")
        kept = sorted(speakers - set(recipe.hold_out))
        train = CorpusDataset(recipe.corpus, kept, recipe.require, recipe.texts)
        if not recipe.hold_out:
            return train, None
        return train, CorpusDataset(recipe.corpus, recipe.hold_out, recipe.require, recipe.texts)
    assert recipe.shards is not None, "checked by the manifest"
    train = ShardDataset(recipe.shards, recipe.split)
    try:
        return train, ShardDataset(recipe.shards, recipe.validation)
    except UserError:
        return train, None  # a small run may have kept nothing there


def check_codebook(recipe: DataRecipe, model: EChat) -> None:
    """Refuse shards whose speech tokens are not the model's.

    Raises:
        UserError: As said.
    """
    if recipe.shards is None:
        return
    sample = ShardDataset(recipe.shards, recipe.split)
    document = json.loads(sample.document(0))
    size = document["turns"][0]["reply"]["codebook_size"]
    if size != model.config.codebook_size:
        raise UserError(
            f"{recipe.shards}: its speech tokens are of a codebook of {size}, the model's of"
            f" {model.config.codebook_size}: set model.codebook_size: {size}"
        )


def assembler_of(model: EChat, text: TextTokenizer) -> Assembler:
    """The assembler of a model's sequences."""
    return Assembler(text, model.vocabulary)
