"""CosyVoice 2 and S3 with tiny random weights, and a voice bank to go with them: real code paths, noise for speech.

The sizes are written from the signatures of the classes in the wheel `cosyvoice2-eu`. Needs `make engines`.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from manifests.torchaudio_cpu import import_torchaudio
from manifests.voices import VoiceTable

_CODES, _WIDTH = 6561, 64

_YAML = """
qwen_pretrain_path: ''
sample_rate: 24000
allowed_special: all
get_tokenizer: !name:cosyvoice.tokenizer.tokenizer.get_qwen_tokenizer
  token_path: !ref <qwen_pretrain_path>
  skip_special_tokens: true
feat_extractor: !name:matcha.utils.audio.mel_spectrogram
  {n_fft: 1920, num_mels: 80, sampling_rate: 24000, hop_size: 480, win_size: 1920, fmin: 0, fmax: 8000, center: false}
llm: !new:cosyvoice.llm.llm.Qwen2LM
  llm_input_size: 64
  llm_output_size: 64
  speech_token_size: 6561
  llm: !new:cosyvoice.llm.llm.Qwen2Encoder
    pretrain_path: !ref <qwen_pretrain_path>
  sampling: !name:cosyvoice.utils.common.ras_sampling {top_p: 0.8, top_k: 25, win_size: 10, tau_r: 0.1}
flow: !new:cosyvoice.flow.flow.CausalMaskedDiffWithXvec
  input_size: 512
  vocab_size: 6561
  input_frame_rate: 25
  encoder: !new:cosyvoice.transformer.upsample_encoder.UpsampleConformerEncoder
    input_size: 512
    output_size: 512
    attention_heads: 2
    linear_units: 64
    num_blocks: 1
    input_layer: linear
    pos_enc_layer_type: rel_pos_espnet
    macaron_style: false
    use_cnn_module: false
    static_chunk_size: 25
  decoder: !new:cosyvoice.flow.flow_matching.CausalConditionalCFM
    in_channels: 240
    spk_emb_dim: 80
    cfm_params: !new:omegaconf.DictConfig
      content: {sigma_min: 1.0e-6, solver: euler, t_scheduler: cosine, training_cfg_rate: 0.2,
                inference_cfg_rate: 0.7, reg_loss_type: l1}
    estimator: !new:cosyvoice.flow.decoder.CausalConditionalDecoder
      in_channels: 320
      out_channels: 80
      channels: [32]
      dropout: 0.0
      attention_head_dim: 16
      num_mid_blocks: 1
      num_heads: 2
      act_fn: gelu
      num_decoding_left_chunks: -1
hift: !new:cosyvoice.hifigan.generator.HiFTGenerator
  base_channels: 32
  nb_harmonics: 2
  sampling_rate: 24000
  upsample_rates: [8, 5, 3]
  upsample_kernel_sizes: [16, 11, 7]
  resblock_kernel_sizes: [3]
  resblock_dilation_sizes: [[1]]
  source_resblock_kernel_sizes: [7, 7, 11]
  source_resblock_dilation_sizes: [[1], [1], [1]]
  f0_predictor: !new:cosyvoice.hifigan.f0_predictor.ConvRNNF0Predictor {cond_channels: 32}
"""


def make_cosyvoice2(folder: Path) -> Path:
    """A model folder that the wheel loads; the same weights every time."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    import_torchaudio()
    from hyperpyyaml import load_hyperpyyaml  # pyright: ignore[reportMissingImports]

    folder.mkdir(parents=True)
    (folder / "cosyvoice2.yaml").write_text(_YAML)
    torch.manual_seed(0)
    qwen = folder / "CosyVoice-BlankEN"
    sizes = {"hidden_size": _WIDTH, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    Qwen2ForCausalLM(Qwen2Config(vocab_size=320, intermediate_size=128, **sizes)).save_pretrained(qwen)
    _byte_tokenizer(qwen)
    with (folder / "cosyvoice2.yaml").open() as stream, redirect_stdout(sys.stderr):
        made: dict[str, Any] = load_hyperpyyaml(stream, overrides={"qwen_pretrain_path": str(qwen)})
    with torch.no_grad():
        # Random weights would hardly ever end an utterance: here about a third of the drawn tokens would.
        made["llm"].llm_decoder.bias[_CODES] += 2.3
    for name in ("llm", "flow", "hift"):
        torch.save(made[name].state_dict(), folder / f"{name}.pt")
    _campplus(folder / "campplus.onnx")
    _tokenizer_graph(folder / "speech_tokenizer_v2.onnx")
    return folder


def make_s3(path: Path, version: int = 2) -> Path:
    """Weights of the S3 tokenizer, two layers of 64, as a state dict."""
    import torch

    import_torchaudio()
    from s3tokenizer import model, model_v2, model_v3  # pyright: ignore[reportMissingImports]

    torch.manual_seed(version)
    shape, network = {
        1: (model.ModelConfig, model.S3Tokenizer),
        2: (model_v2.ModelConfig, model_v2.S3TokenizerV2),
        3: (model_v3.ModelConfigV3, model_v3.S3TokenizerV3),
    }[version]
    config = shape(n_audio_state=_WIDTH, n_audio_head=1, n_audio_layer=2)
    made = network(f"speech_tokenizer_v{version}_25hz", config)
    for parameter in made.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    if version == 1:  # whose codebook is no parameter, and zero
        torch.nn.init.normal_(made.quantizer._codebook.embed, std=0.01)
    torch.save(made.state_dict(), path)
    return path


def make_bank(folder: Path, voices: Sequence[str] = (), emotions: Sequence[str] = ("neutral",)) -> Path:
    """A bank as `echat ingest voices` lays it out: the query voices of the stand-in table, or some of them."""
    (folder / "prompts").mkdir(parents=True)
    everyone = VoiceTable.load("cosyvoice").voices
    table = [voice for voice in everyone if voice.voice in voices or (not voices and voice.role == "query")]
    prompts = []
    for number, voice in enumerate(table):
        for emotion in emotions:
            name = f"prompts/{voice.voice}.{emotion}.1.flac"
            soundfile.write(folder / name, _buzz(100 + 5 * number), 16000)
            digest = hashlib.sha256((folder / name).read_bytes()).hexdigest()
            prompts.append({
                "file": name, "voice": voice.voice, "emotion": emotion, "language": voice.language,
                "text": "Hi there." if voice.language == "en" else "你好。", "seconds": "1.5000", "sha256": digest,
            })  # fmt: skip
    _table(folder / "prompts.csv", prompts)
    columns = ("voice", "role", "split", "language", "gender", "age", "speaker", "licence")
    _table(folder / "voices.csv", [{name: getattr(voice, name) for name in columns} for voice in table])
    return folder


def _table(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def _buzz(f0: float, seconds: float = 1.5) -> np.ndarray:
    """Something voiced at 16 kHz: harmonics of a falling pitch."""
    time = np.arange(int(16000 * seconds)) / 16000
    phase = 2 * np.pi * np.cumsum(f0 * (1 - 0.1 * time / seconds)) / 16000
    wave = sum(np.sin(k * phase) / k for k in range(1, 12))
    return (0.2 * wave / np.abs(wave).max()).astype(np.float32)


def _byte_tokenizer(folder: Path) -> None:
    """A tokenizer whose tokens are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({letter: number for number, letter in enumerate(letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>").save_pretrained(folder)


def _campplus(path: Path) -> None:
    """Filterbank frames (1, T, 80) to an embedding (1, 192): their mean, projected."""
    from onnx import TensorProto, helper, numpy_helper

    matrix = np.random.default_rng(0).standard_normal((80, 192)).astype(np.float32)
    nodes = [
        helper.make_node("ReduceMean", ["feats"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("MatMul", ["mean", "matrix"], ["embedding"]),
    ]
    inputs = [helper.make_tensor_value_info("feats", TensorProto.FLOAT, [1, None, 80])]
    outputs = [helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [1, 192])]
    _save(path, nodes, inputs, outputs, [numpy_helper.from_array(matrix, "matrix")])


def _tokenizer_graph(path: Path) -> None:
    """Log-mels (1, 128, T) and their length to tokens (1, T / 4): the mean of a frame, as a number."""
    from onnx import TensorProto, helper, numpy_helper

    def const(name: str, value: Any, dtype: Any) -> Any:
        return numpy_helper.from_array(np.array(value, dtype), name)

    nodes = [
        helper.make_node("ReduceMean", ["feats"], ["mean"], axes=[1], keepdims=0),
        helper.make_node("Slice", ["mean", "first", "last", "axis", "step"], ["every"]),
        helper.make_node("Mul", ["every", "scale"], ["scaled"]),
        helper.make_node("Cast", ["length"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "zero"], ["nothing"]),
        helper.make_node("Add", ["scaled", "nothing"], ["sum"]),
        helper.make_node("Abs", ["sum"], ["positive"]),
        helper.make_node("Clip", ["positive", "zero", "top"], ["clipped"]),
        helper.make_node("Cast", ["clipped"], ["tokens"], to=TensorProto.INT32),
    ]
    inputs = [
        helper.make_tensor_value_info("feats", TensorProto.FLOAT, [1, 128, None]),
        helper.make_tensor_value_info("length", TensorProto.INT32, [1]),
    ]
    outputs = [helper.make_tensor_value_info("tokens", TensorProto.INT32, [1, None])]
    numbers = [
        const("first", [0], np.int64), const("last", [1 << 30], np.int64), const("axis", [1], np.int64),
        const("step", [4], np.int64), const("scale", 3000, np.float32), const("zero", 0, np.float32),
        const("top", _CODES - 1, np.float32),
    ]  # fmt: skip
    _save(path, nodes, inputs, outputs, numbers)


def _save(path: Path, nodes: Any, inputs: Any, outputs: Any, numbers: Any) -> None:
    import onnx
    from onnx import helper

    graph = helper.make_graph(nodes, path.stem, inputs, outputs, numbers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.checker.check_model(model)
    onnx.save(model, path)
