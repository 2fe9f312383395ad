"""How fast a GPU runs the networks of the cluster's engines: batch 1 against clips bucketed by length.

    python benchmarks/engines_gpu.py            # full-size shapes, under three minutes on a data-centre GPU
    python benchmarks/engines_gpu.py --small    # tiny shapes, to see that it runs; figures mean nothing

The weights are random: time depends on shapes, not on values. Shapes are those that the models' authors publish:
Whisper-large-v3 (recognizer), the Qwen2-0.5B language model of CosyVoice 2, a 24-layer, 1024-wide speech encoder
(emotion2vec-plus-large, and the wav2vec2-large of the age-and-gender head), HiFi-GAN as it is in
transformers (in place of CosyVoice's HiFT, which is a HiFi-GAN with an inverse STFT), and CosyVoice 2's own flow where
`cosyvoice` is installed.
Everything runs eagerly: no vLLM, no TensorRT, no compiled graphs, which would be faster.

Needs torch, transformers and numpy, and nothing else of this project, so that it runs on a bare GPU machine.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers

RESULTS = Path(__file__).parent / "results"
TOKEN_RATE = 25  # speech tokens a second that CosyVoice 2's language model writes
WHISPER_RATE = 50  # positions of Whisper's encoder a second
TEXT_RATE = 4  # text tokens a second of English speech, about
PROMPT_TOKENS = 5 * TOKEN_RATE + 40  # a voice prompt of 5 s, its text and the text to say


@dataclass(frozen=True)
class Result:
    """One line: `audio_s` seconds of useful audio took `wall_s` seconds; `rate` is their quotient."""

    network: str
    strategy: str
    batch: int
    clips: int
    audio_s: float
    padded_s: float
    wall_s: float
    rate: float
    peak_gib: float
    note: str = ""


@dataclass(frozen=True)
class Bench:
    """Where and how everything is measured.

    Attributes:
        alone: How many clips are run one by one; their rate does not depend on how many there are.
        clips: Seconds of each clip of the workload.
        seconds: Padded audio in one batch, at most.
    """

    device: torch.device
    dtype: torch.dtype
    small: bool
    alone: int
    clips: tuple[float, ...]
    seconds: float

    def measure(
        self, network: str, strategy: str, batches: Sequence[Sequence[float]], run: Callable[[int, float], None],
        padded_to: float = 0.0, note: str = "", warm_s: float = 60.0,
    ) -> Result:  # fmt: skip
        """Time `run(batch size, seconds of each clip after padding)` over batches of clips.

        Args:
            warm_s: Longest clips of the calls before; one second is enough for a loop over tokens.
        """
        shapes = [(len(batch), padded_to or max(batch)) for batch in batches]
        for shape in sorted(set(shapes), reverse=True)[:2]:  # kernels are chosen at the first call
            run(shape[0], min(shape[1], warm_s))
        self._wait()
        if self.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        started = time.perf_counter()
        for shape in shapes:
            run(*shape)
        self._wait()
        wall = time.perf_counter() - started
        audio = sum(map(sum, batches))
        peak = torch.cuda.max_memory_allocated() / 2**30 if self.device.type == "cuda" else 0.0
        return Result(
            network, strategy, max(size for size, _ in shapes), sum(size for size, _ in shapes), round(audio, 2),
            round(sum(size * seconds for size, seconds in shapes), 2), round(wall, 4), round(audio / wall, 2),
            round(peak, 2), note,
        )  # fmt: skip

    def compare(
        self,
        network: str,
        run: Callable[[int, float], None],
        alone_at: float = 0.0,
        size: int = 10**6,
        warm_s: float = 60.0,
    ) -> Iterator[Result]:
        """Clips one by one, in batches as they come, and in batches of like length.

        Args:
            alone_at: Seconds to which a clip that is run alone is padded (Whisper's window); 0 for its own length.
            size: Most clips in a batch.
        """
        few = [[clip] for clip in self.clips[: self.alone]]
        note = f"each clip padded to {alone_at:g} s" if alone_at else ""
        yield self.measure(network, "batch 1", few, run, alone_at, note, warm_s)
        if alone_at:
            yield self.measure(network, "batch 1, short window", few, run, warm_s=warm_s)
        for name, clips in (("batched as they come", self.clips), ("bucketed by length", sorted(self.clips))):
            yield self.measure(network, name, cut(clips, self.seconds, size), run, warm_s=warm_s)

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize()


def cut(clips: Sequence[float], seconds: float, size: int) -> list[list[float]]:
    """Batches in order, each of at most `seconds` after padding to its longest clip, and of at most `size` clips."""
    batches: list[list[float]] = [[]]
    for clip in clips:
        last = batches[-1]
        if last and (len(last) == size or (len(last) + 1) * max(*last, clip) > seconds):
            batches.append([])
        batches[-1].append(clip)
    return batches


def workload(count: int, longest: float) -> tuple[float, ...]:
    """Lengths of utterances in seconds: log-normal about 4 s, as spoken dialogue turns, from a fixed seed."""
    drawn = np.random.default_rng(0).lognormal(np.log(4.0), 0.5, count)
    return tuple(float(np.clip(np.ceil(value * 2) / 2, 1.0, longest)) for value in drawn)


def on_device(make: Callable[[], Any], bench: Bench) -> Any:
    """A network with random weights, made on the device in its precision."""
    with torch.device(bench.device):
        before = torch.get_default_dtype()
        torch.set_default_dtype(bench.dtype)
        try:
            return make().eval()
        finally:
            torch.set_default_dtype(before)


def whisper_config(bench: Bench, seconds: float = 30.0) -> Any:
    """Whisper-large-v3, over a window of so many seconds."""
    sizes: dict[str, Any] = {
        "d_model": 1280, "encoder_layers": 32, "decoder_layers": 32, "encoder_attention_heads": 20,
        "decoder_attention_heads": 20, "encoder_ffn_dim": 5120, "decoder_ffn_dim": 5120, "vocab_size": 51866,
    }  # fmt: skip
    if bench.small:
        sizes = {
            "d_model": 64, "encoder_layers": 2, "decoder_layers": 2, "encoder_attention_heads": 2,
            "decoder_attention_heads": 2, "encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 256,
        }  # fmt: skip
    ids = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 0)
    places = int(seconds * WHISPER_RATE)
    return transformers.WhisperConfig(
        **sizes, **ids, num_mel_bins=128, max_source_positions=places, attn_implementation="sdpa"
    )


def whisper_encoder(bench: Bench) -> Iterator[Result]:
    """Whisper-large-v3's encoder: 100 log-mel frames a second."""
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    encoder = on_device(lambda: WhisperEncoder(whisper_config(bench)), bench)
    positions = encoder.embed_positions.weight

    def encode(size: int, seconds: float) -> None:
        places = int(seconds * WHISPER_RATE)
        # A shorter window: the same network with fewer positions.
        encoder.config.max_source_positions = places
        encoder.embed_positions = torch.nn.Embedding.from_pretrained(positions[:places])
        encoder(torch.randn(size, 128, 2 * places, device=bench.device, dtype=bench.dtype))

    yield from bench.compare("whisper-large-v3 encoder", encode, alone_at=30.0)


def whisper_decoder(bench: Bench) -> Iterator[Result]:
    """Whisper-large-v3's decoder: greedy, with a cache, about four tokens for every second of speech."""
    from transformers.models.whisper.modeling_whisper import WhisperDecoder

    config = whisper_config(bench)
    decoder = on_device(lambda: WhisperDecoder(config), bench)

    def decode(size: int, seconds: float) -> None:
        shape = (size, int(seconds * WHISPER_RATE), config.d_model)
        states = torch.randn(shape, device=bench.device, dtype=bench.dtype)
        tokens, cache = torch.ones(size, 4, dtype=torch.long, device=bench.device), None
        for _ in range(int(seconds * TEXT_RATE)):
            out = decoder(tokens, encoder_hidden_states=states, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits = out.last_hidden_state[:, -1:] @ decoder.embed_tokens.weight.T
            tokens = logits.argmax(-1)

    yield from bench.compare("whisper-large-v3 decoder", decode, size=64, warm_s=1.0)


def speech_llm(bench: Bench) -> Iterator[Result]:
    """CosyVoice 2's Qwen2-0.5B: a prompt, then 25 sampled speech tokens for every second of audio."""
    sizes: dict[str, Any] = {
        "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14, "num_key_value_heads": 2,
        "intermediate_size": 4864, "vocab_size": 151936,
    }  # fmt: skip
    if bench.small:
        sizes |= {
            "hidden_size": 64,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 128,
            "vocab_size": 256,
        }
    config = transformers.Qwen2Config(**sizes, attn_implementation="sdpa", use_cache=True)
    model = on_device(lambda: transformers.Qwen2Model(config), bench)
    speech = on_device(lambda: torch.nn.Embedding(6564, sizes["hidden_size"]), bench)

    def speak(size: int, seconds: float) -> None:
        generator = torch.Generator(bench.device).manual_seed(0)
        inputs = torch.randn(size, PROMPT_TOKENS, sizes["hidden_size"], device=bench.device, dtype=bench.dtype)
        cache = None
        for _ in range(int(seconds * TOKEN_RATE)):
            out = model(inputs_embeds=inputs, past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits = (out.last_hidden_state[:, -1] @ speech.weight.T).float()
            top = logits.topk(25)
            drawn = torch.multinomial(top.values.softmax(-1), 1, generator=generator)
            inputs = speech(top.indices.gather(-1, drawn))

    clips, name = bench.clips[:128], "cosyvoice2 language model"
    yield bench.measure(name, "batch 1", [[clip] for clip in clips[: min(4, bench.alone)]], speak, warm_s=1.0)
    yield bench.measure(name, "batched as they come", cut(clips, float("inf"), 32), speak, warm_s=1.0)
    for size in (8, 32, 128):
        yield bench.measure(name, "bucketed by length", cut(sorted(clips), float("inf"), size), speak, warm_s=1.0)


def speech_encoder(bench: Bench) -> Iterator[Result]:
    """A data2vec-like encoder of 24 layers, 1024 wide, over waveforms at 16 kHz."""
    sizes: dict[str, Any] = {
        "hidden_size": 1024,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
        "intermediate_size": 4096,
    }
    if bench.small:
        sizes = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 128,
                     "conv_dim": (32,) * 7}  # fmt: skip
    config = transformers.Data2VecAudioConfig(**sizes, attn_implementation="sdpa")
    model = on_device(lambda: transformers.Data2VecAudioModel(config), bench)

    def encode(size: int, seconds: float) -> None:
        model(torch.randn(size, int(16000 * seconds), device=bench.device, dtype=bench.dtype))

    yield from bench.compare("emotion2vec-large shape", encode)


def vocoder(bench: Bench) -> Iterator[Result]:
    """HiFi-GAN, 80 mels at 50 Hz to 24 kHz, with about CosyVoice's upsampling (480 samples a frame)."""
    config = transformers.SpeechT5HifiGanConfig(
        sampling_rate=24000, upsample_initial_channel=32 if bench.small else 512,
        upsample_rates=[8, 5, 4, 3], upsample_kernel_sizes=[16, 11, 8, 7],
    )  # fmt: skip
    model = on_device(lambda: transformers.SpeechT5HifiGan(config), bench)

    def speak(size: int, seconds: float) -> None:
        model(torch.randn(size, int(50 * seconds), 80, device=bench.device, dtype=bench.dtype))

    yield from bench.compare("HiFi-GAN (in place of HiFT)", speak, size=16)


def flow(bench: Bench) -> Iterator[Result]:
    """CosyVoice 2's flow matching estimator: ten steps, each of two passes (classifier-free guidance)."""
    from cosyvoice.flow.decoder import CausalConditionalDecoder

    sizes: dict[str, Any] = {
        "channels": [256],
        "n_blocks": 4,
        "num_mid_blocks": 12,
        "num_heads": 8,
        "attention_head_dim": 64,
    }
    if bench.small:
        sizes = {"channels": [32], "n_blocks": 1, "num_mid_blocks": 1, "num_heads": 2, "attention_head_dim": 16}
    estimator = on_device(
        lambda: CausalConditionalDecoder(
            in_channels=320, out_channels=80, dropout=0.0, act_fn="gelu", static_chunk_size=50,
            num_decoding_left_chunks=-1, **sizes,
        ),
        bench,
    )  # fmt: skip

    def refine(size: int, seconds: float) -> None:
        frames = int(50 * seconds)
        make = partial(torch.randn, device=bench.device, dtype=bench.dtype)
        noise, mu, cond = (make(2 * size, 80, frames) for _ in range(3))
        speaker = make(2 * size, 80)
        mask = torch.ones(2 * size, 1, frames, device=bench.device, dtype=bench.dtype)
        for step in range(10):
            time_ = torch.full((2 * size,), step / 10, device=bench.device, dtype=bench.dtype)
            noise = noise + 0.1 * estimator(noise, mask, mu, time_, speaker, cond)

    yield from bench.compare("cosyvoice2 flow", refine, size=16)


NETWORKS = {
    "whisper_encoder": whisper_encoder,
    "whisper_decoder": whisper_decoder,
    "speech_llm": speech_llm,
    "speech_encoder": speech_encoder,
    "vocoder": vocoder,
    "flow": flow,
}


def device_name(device: torch.device) -> str:
    """What the maker calls it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{platform.processor() or platform.machine()} CPU, {os.cpu_count()} cores"


def run(bench: Bench, names: Sequence[str]) -> dict[str, Any]:
    """All results, and what they were measured on; a network that cannot run is named with its reason."""
    results: list[Result] = []
    absent: dict[str, str] = {}
    for name in names:
        torch.manual_seed(0)
        try:
            with torch.inference_mode():
                for result in NETWORKS[name](bench):
                    results.append(result)
                    print(
                        f"{result.network:46} {result.strategy:22} batch {result.batch:<4} {result.audio_s:8.1f} s in"
                        f" {result.wall_s:8.3f} s  {result.rate:10.1f}x  {result.peak_gib:6.2f} GiB",
                        flush=True,
                    )
        except Exception as error:  # whatever is wrong with one network, the others are still measured
            absent[name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
        if bench.device.type == "cuda":
            torch.cuda.empty_cache()
    for name, reason in absent.items():
        print(f"{name}: absent: {reason}")
    return {
        "device": device_name(bench.device),
        "dtype": str(bench.dtype).removeprefix("torch."),
        "torch": torch.__version__,
        "cuda": torch.version.cuda,
        "transformers": transformers.__version__,
        "small": bench.small,
        "workload": {"clips": len(bench.clips), "audio_s": sum(bench.clips), "batch_seconds": bench.seconds},
        "results": [asdict(result) for result in results],
        "absent": absent,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny shapes, to try the script")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--only", nargs="*", choices=sorted(NETWORKS), default=list(NETWORKS))
    parser.add_argument("--out", type=Path, help="default: benchmarks/results/engines_gpu-DEVICE.json")
    args = parser.parse_args()
    device = torch.device(args.device)
    dtype = torch.float16 if device.type == "cuda" else torch.float32
    if args.small:
        bench = Bench(device, dtype, True, 2, workload(8, 3.0), 6.0)
    else:
        bench = Bench(device, dtype, False, 12, workload(256, 15.0), 240.0)
    warnings.filterwarnings("ignore", category=FutureWarning)
    transformers.logging.set_verbosity_error()
    started = time.perf_counter()
    document = run(bench, args.only)
    document["seconds"] = round(time.perf_counter() - started, 1)
    name = re.sub(r"[^A-Za-z0-9]+", "-", document["device"]).strip("-").lower()
    out = args.out or RESULTS / f"engines_gpu-{name}{'-small' if args.small else ''}.json"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(document, indent=2) + "\n")
    print(f"{document['device']}: {document['seconds']} s; {out}")


if __name__ == "__main__":
    main()
