"""CosyVoice's own speech tokens (S3, 25 a second) through the package s3tokenizer, batched by length.

Version 1 has 4,096 codes, as the paper of OSUM-EChat; 2 and 3 have 6,561. A clip's tokens depend on that clip alone:
padding is masked in the encoder. Tokens are one way; a decoder is CosyVoice's flow and vocoder, which need a voice.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import numpy as np
import soxr

from manifests.engine import Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.torchaudio_cpu import import_torchaudio
from manifests.weights import Weights, digest
from synthesis.base import CodecConfig, Speech, SpeechCodec

SAMPLE_RATE, TOKEN_RATE = 16000, 25
MAX_SECONDS = 30.0
_VERSION = 1  # part of the revision
_MODELS = {
    1: ("iic/CosyVoice-300M-25Hz", "speech_tokenizer_v1.onnx", "speech_tokenizer_v1_25hz", 4096),
    2: ("FunAudioLLM/CosyVoice2-0.5B", "speech_tokenizer_v2.onnx", "speech_tokenizer_v2_25hz", 6561),
    3: ("FunAudioLLM/Fun-CosyVoice3-0.5B-2512", "speech_tokenizer_v3.onnx", "speech_tokenizer_v3_25hz", 6561),
}  # version -> model on the hub (version 1: on ModelScope alone), file in it, the package's name for it, codes


class S3Config(CodecConfig):
    """Config of the S3 codec."""

    throughput: ClassVar[Throughput] = Throughput(300.0, "gpu", "an estimate: not measured with real weights")
    licence: ClassVar[str] = "Apache-2.0 (code and weights)"

    engine: Literal["s3"] = "s3"
    version: Literal[1, 2, 3] = 2
    weights: str = unkeyed(
        "", "The .onnx of CosyVoice, a .pt of the package, or the CosyVoice model that has it; else that of the version"
    )
    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto", "cpu, cuda, or auto: cuda where there is one")
    batch: int = unkeyed(32, "Most clips at once", ge=1, le=1024)
    seconds: float = unkeyed(240.0, "Most seconds of audio at once, padding included", gt=0)

    @property
    def batch_rows(self) -> int:
        return self.batch

    @property
    def model(self) -> Weights:
        """The file, or the model whose folder has it."""
        model, name, _, _ = _MODELS[self.version]
        return Weights(self.weights or model, (name,))

    def file(self) -> Path | None:
        """The weights, if they are there."""
        place = self.model.place()
        return place / _MODELS[self.version][1] if place and place.is_dir() else place

    @property
    def where(self) -> str:
        return str(self.file() or "not found")

    def revision(self) -> str:
        file = self.file()
        weights = digest([file]) if file and self.model.hub is None else self.model.revision()
        try:
            package = importlib.metadata.version("s3tokenizer")
        except importlib.metadata.PackageNotFoundError:
            package = "none"
        return f"s3-v{self.version}/{_VERSION}/{package}/{weights}"

    def problems(self) -> list[Problem]:
        found = []
        if importlib.util.find_spec("s3tokenizer") is None:
            found.append(Problem("s3tokenizer is not installed", "make engines"))
        if self.file() is None and self.version == 1 and not self.weights:
            model, name, _, _ = _MODELS[1]
            fix = f"modelscope download --model {model} {name} --local_dir DIR, and weights: DIR/{name}"
            return [*found, Problem("no weights of version 1 are named", fix)]
        return found + self.model.problems()

    def open(self) -> SpeechCodec:
        """Load the model.

        Raises:
            UserError: The package or the weights are missing, or the weights are of another version.
        """
        for problem in self.problems():
            raise UserError(f"the engine s3: {problem.what}: {problem.fix}")
        file = self.file()
        assert file is not None
        return S3Codec(_load(file, self.version), _MODELS[self.version][3], self.device, self.batch, self.seconds)


class S3Codec:
    """The loaded tokenizer.

    Args:
        model: Of s3tokenizer.
        codebook_size: How many codes it has.
        batch: Most clips at once.
        seconds: Most seconds at once, padding included.
    """

    token_rate = TOKEN_RATE

    def __init__(self, model: Any, codebook_size: int, device: str, batch: int, seconds: float) -> None:
        import torch

        self.codebook_size = codebook_size
        cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self._device = torch.device("cuda" if cuda else "cpu")
        self._model = model.to(self._device).eval()
        self._batch, self._seconds = batch, seconds

    def encode(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Tokens of one waveform; see `SpeechCodec.encode`.

        Raises:
            ValueError: The samples are not mono, not finite or longer than 30 s.
        """
        (tokens,) = self.encode_all([(samples, sample_rate)])
        if isinstance(tokens, Exception):
            raise tokens
        return tokens

    def encode_all(self, clips: Sequence[tuple[np.ndarray, int]]) -> list[np.ndarray | Exception]:
        """Tokens of many waveforms; see `BatchCodec`. Clips of like length are encoded together."""
        out: list[np.ndarray | Exception] = [np.zeros(0, np.int32)] * len(clips)
        waves: dict[int, np.ndarray] = {}
        for place, (samples, rate) in enumerate(clips):
            try:
                wave = _prepare(samples, rate)
            except ValueError as error:
                out[place] = error
            else:
                if len(wave):
                    waves[place] = wave
        for places in self._buckets({place: len(wave) / SAMPLE_RATE for place, wave in waves.items()}):
            for place, tokens in zip(places, self._quantize([waves[place] for place in places]), strict=True):
                samples, rate = clips[place]
                out[place] = _fit(tokens, -(-len(samples) * TOKEN_RATE // rate))
        return out

    def decode(self, tokens: np.ndarray) -> Speech:
        """Not to be had: these tokens say what is said, and sound only in a voice that CosyVoice's flow gives them."""
        raise ValueError("S3 tokens have no sound of their own: decode them with CosyVoice")

    def _buckets(self, seconds: dict[int, float]) -> Iterator[list[int]]:
        """Places of clips of like length, within the limits of a batch."""
        bucket: list[int] = []
        for place in sorted(seconds, key=lambda place: (seconds[place], place)):
            if bucket and (len(bucket) == self._batch or (len(bucket) + 1) * seconds[place] > self._seconds):
                yield bucket
                bucket = []
            bucket.append(place)
        if bucket:
            yield bucket

    def _quantize(self, waves: Sequence[np.ndarray]) -> list[np.ndarray]:
        import s3tokenizer  # pyright: ignore[reportMissingImports]
        import torch

        mels = [s3tokenizer.log_mel_spectrogram(torch.from_numpy(wave)) for wave in waves]
        padded, lengths = s3tokenizer.padding(mels)
        with torch.inference_mode():
            codes, sizes = self._model.quantize(padded.to(self._device), lengths.to(self._device))
        rows = codes.cpu().numpy().astype(np.int32)
        return [row[:size] for row, size in zip(rows, sizes.tolist(), strict=True)]


def _prepare(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """At 16 kHz, float32; at least one token long where there is any sound.

    Raises:
        ValueError: The samples are not mono, not finite or longer than 30 s.
    """
    if samples.ndim != 1:
        raise ValueError(f"expected mono samples of shape (num_samples,), not {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("the samples are not finite")
    if len(samples) > MAX_SECONDS * sample_rate:
        raise ValueError(f"the waveform has {len(samples) / sample_rate:.1f} s; the tokenizer takes {MAX_SECONDS:g} s")
    wave = np.asarray(samples, np.float32)
    if len(wave) and sample_rate != SAMPLE_RATE:
        wave = np.asarray(soxr.resample(wave, sample_rate, SAMPLE_RATE), np.float32)
    shortest = 2 * SAMPLE_RATE // TOKEN_RATE  # the front end reflects the signal at its ends
    return np.pad(wave, (0, shortest - len(wave))) if 0 < len(wave) < shortest else wave


def _fit(tokens: np.ndarray, num: int) -> np.ndarray:
    """Exactly ceil(seconds * 25) tokens: the encoder's strides may give one more or fewer than the clip is long."""
    if len(tokens) >= num:
        return tokens[:num]
    return np.concatenate([tokens, np.repeat(tokens[-1:], num - len(tokens))])


def _load(file: Path, version: int) -> Any:
    """The model in `file`: CosyVoice's own ONNX graph, or a state dict that the package saved.

    Raises:
        UserError: It is neither, or of another version.
    """
    os.environ.setdefault("TQDM_DISABLE", "1")
    import_torchaudio()
    import s3tokenizer  # pyright: ignore[reportMissingImports]
    from s3tokenizer.model import S3Tokenizer  # pyright: ignore[reportMissingImports]

    classes = {1: S3Tokenizer, 2: s3tokenizer.S3TokenizerV2, 3: s3tokenizer.S3TokenizerV3}
    name = _MODELS[version][2]
    try:
        if file.suffix == ".pt":
            import torch

            state = torch.load(file, map_location="cpu", weights_only=True)
            model = classes[version](name, _dimensions(state, version))
            model.load_state_dict(state, strict=True)
        else:
            model = classes[version](name)
            model.init_from_onnx(str(file))
    except Exception as error:  # the package asserts, indexes and unpickles
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
        raise UserError(f"{file}: is no S3 tokenizer of version {version} ({reason})") from error
    return model


def _dimensions(state: dict[str, Any], version: int) -> Any:
    """The package's config for a state dict, read off the shapes in it; heads are of 64, as Whisper's."""
    from s3tokenizer import model, model_v2, model_v3  # pyright: ignore[reportMissingImports]

    config = {1: model.ModelConfig, 2: model_v2.ModelConfig, 3: model_v3.ModelConfigV3}[version]()
    width, mels, _ = state["encoder.conv1.weight"].shape
    config.n_mels, config.n_audio_state, config.n_audio_head = mels, width, width // 64
    config.n_audio_layer = 1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.blocks."))
    return config
