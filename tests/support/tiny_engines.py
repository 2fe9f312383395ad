"""Folders of tiny random weights in the layouts that the engines of a cluster read: they run, and mean nothing.

Each function writes into an empty folder and returns the settings of the engine's config. All are written through the
real libraries, so they need those (`make engines`).
"""

from __future__ import annotations

import json
import shutil
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml

from manifests.torchaudio_cpu import import_torchaudio

LETTERS = "ETAONIHSRDLUMWCFGYPBVK'XJQZ"
CHARACTERS = "今天气很好你们我一二三四五"
_EMOTION_TOKENS = (
    "生气/angry", "厌恶/disgusted", "恐惧/fearful", "开心/happy", "中立/neutral", "其他/other", "难过/sad",
    "吃惊/surprised", "<unk>",
)  # fmt: skip


def wav2vec2_config(**changes: Any) -> Any:
    """Of a network of two layers."""
    from transformers import Wav2Vec2Config

    sizes: dict[str, Any] = {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
        "conv_dim": (32,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 2, "pad_token_id": 0,
    }  # fmt: skip
    return Wav2Vec2Config(**sizes, **changes)


def aligner(folder: Path, letters: str = LETTERS) -> str:
    """A CTC model of some letters for forced alignment; its times mean nothing."""
    from transformers import Wav2Vec2CTCTokenizer, Wav2Vec2FeatureExtractor, Wav2Vec2ForCTC, Wav2Vec2Processor

    folder.mkdir(parents=True)
    symbols = ["<pad>", "<s>", "</s>", "<unk>", "|", *letters]
    (folder / "vocab.json").write_text(json.dumps({symbol: place for place, symbol in enumerate(symbols)}))
    tokenizer = Wav2Vec2CTCTokenizer(str(folder / "vocab.json"))
    extractor = Wav2Vec2FeatureExtractor(feature_size=1, sampling_rate=16000, padding_value=0.0, do_normalize=True)
    Wav2Vec2Processor(feature_extractor=extractor, tokenizer=tokenizer).save_pretrained(folder)
    extractor.save_pretrained(folder)  # transformers 5 writes it into processor_config.json alone
    torch.manual_seed(0)
    Wav2Vec2ForCTC(wav2vec2_config(vocab_size=len(symbols))).save_pretrained(folder)
    return str(folder)


def whisper(folder: Path) -> dict[str, Any]:
    """Whisper of two small layers, converted by CTranslate2 as a published model is."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, WhisperConfig, WhisperForConditionalGeneration

    source, out = folder / "hf", folder / "ct2"
    source.mkdir(parents=True)
    letters = [*pre_tokenizers.ByteLevel.alphabet()]
    special = [
        "<|endoftext|>", "<|startoftranscript|>", "<|en|>", "<|zh|>", "<|translate|>", "<|transcribe|>",
        "<|startoflm|>", "<|startofprev|>", "<|nospeech|>", "<|notimestamps|>",
        *(f"<|{number * 0.02:.2f}|>" for number in range(1501)),
    ]  # fmt: skip
    words = {symbol: place for place, symbol in enumerate(sorted(letters))}
    tokenizer = Tokenizer(models.BPE(vocab=words, merges=[], unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = import_module("tokenizers.decoders").ByteLevel()
    tokenizer.add_special_tokens(special)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(source)
    size, first = tokenizer.get_vocab_size(), len(letters)
    torch.manual_seed(0)
    config = WhisperConfig(
        vocab_size=size, num_mel_bins=80, d_model=32, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=64, decoder_ffn_dim=64, bos_token_id=first, eos_token_id=first,
        pad_token_id=first, decoder_start_token_id=first + 1,
    )  # fmt: skip
    network = WhisperForConditionalGeneration(config)
    network.generation_config.update(
        alignment_heads=[[0, 0]], lang_to_id={"<|en|>": first + 2, "<|zh|>": first + 3}, suppress_tokens=[],
        begin_suppress_tokens=[first], no_timestamps_token_id=first + 9,
    )  # fmt: skip
    network.save_pretrained(source)
    converter = import_module("ctranslate2.converters").TransformersConverter
    converter(str(source), copy_files=["tokenizer.json"]).convert(str(out))
    align = {"en": aligner(folder / "aligner"), "zh": aligner(folder / "aligner_zh", CHARACTERS)}
    return {"model": str(out), "align": align, "beam": 1}


def emotion2vec(folder: Path) -> dict[str, Any]:
    """emotion2vec of two blocks in the layout of the published model."""
    import_torchaudio()
    network = import_module("funasr.models.emotion2vec.model").Emotion2vec
    folder.mkdir(parents=True)
    settings = yaml.safe_load((Path(__file__).parent / "tiny_emotion2vec.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    (folder / "tokens.txt").write_text("\n".join(_EMOTION_TOKENS) + "\n", encoding="utf-8")
    paths = {"init_param": "model.pt", "tokenizer_conf": {"token_list": "tokens.txt"}, "config": "config.yaml"}
    about = {"framework": "pytorch", "task": "emotion-recognition", "pipeline": {"type": "funasr-pipeline"}}
    document = {**about, "model": {"type": "funasr"}, "file_path_metas": paths}
    (folder / "configuration.json").write_text(json.dumps(document))
    torch.manual_seed(0)
    model = network(model_conf=settings["model_conf"], vocab_size=len(_EMOTION_TOKENS))
    names = {name if name.startswith("proj") else f"d2v_model.{name}": v for name, v in model.state_dict().items()}
    torch.save({"model": names}, folder / "model.pt")
    return {"model": str(folder), "embedding": True}


def age_gender(folder: Path) -> dict[str, Any]:
    """wav2vec2 with the heads for age and gender."""
    from annotators.wav2vec2_network import AgeGenderModel

    torch.manual_seed(0)
    AgeGenderModel(wav2vec2_config()).save_pretrained(folder)
    return {"model": str(folder)}


def segmentation() -> Path:
    """The segmentation model in the wheel of whisperx: real weights."""
    spec = find_spec("whisperx")
    assert spec is not None
    assert spec.origin
    return Path(spec.origin).parent / "assets" / "pytorch_model.bin"


def diarization(folder: Path) -> dict[str, Any]:
    """A pipeline in the layout of community-1: real segmentation, random embeddings of voices."""
    import_torchaudio()
    audio = import_module("pyannote.audio")
    task = import_module("pyannote.audio.core.task")
    for name in ("segmentation", "embedding", "plda"):
        (folder / name).mkdir(parents=True)
    shutil.copy(segmentation(), folder / "segmentation" / "pytorch_model.bin")
    torch.manual_seed(0)
    size, small = 256, 128
    embedder = import_module("pyannote.audio.models.embedding").XVectorSincNet(dimension=size)
    embedder.specifications = task.Specifications(
        problem=task.Problem.REPRESENTATION, resolution=task.Resolution.CHUNK, duration=5.0, classes=None
    )
    trainer = import_module("lightning.pytorch").Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False
    )
    trainer.strategy.connect(embedder)
    trainer.save_checkpoint(folder / "embedding" / "pytorch_model.bin")
    rng = np.random.default_rng(0)
    basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
    plda = folder / "plda"
    np.savez(plda / "xvec_transform.npz", mean1=np.zeros(size), mean2=np.zeros(small), lda=basis[:, :small])
    turn = np.linalg.qr(rng.standard_normal((small, small)))[0]
    np.savez(plda / "plda.npz", mu=np.zeros(small), tr=turn, psi=np.linspace(5, 0.1, small))
    parts = {name: f"$model/{name}" for name in ("segmentation", "embedding", "plda")}
    params = {**parts, "clustering": "VBxClustering", "embedding_exclude_overlap": True}
    document = {
        "version": audio.__version__,
        "pipeline": {"name": "pyannote.audio.pipelines.SpeakerDiarization", "params": params},
        "params": {
            "clustering": {"threshold": 0.6, "Fa": 0.07, "Fb": 0.8},
            "segmentation": {"min_duration_off": 0.0, "threshold": 0.5},
        },
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(document))
    return {"model": str(folder), "embedding": True}


def shipped_segmentation(folder: Path) -> dict[str, Any]:
    """The detector in the wheel of whisperx, which is the default; nothing is written."""
    return {"model": "whisperx"}
