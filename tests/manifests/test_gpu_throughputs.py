"""What the engines of a GPU state of their speed is what was measured on one."""

from __future__ import annotations

import json

import pytest
from conftest import ROOT

from annotators.emotion2vec import Emotion2vecConfig
from annotators.wav2vec2_age_gender import Wav2vec2AgeConfig
from annotators.whisperx import WhisperxConfig
from manifests.engine import EngineConfig
from synthesis.cosyvoice import CosyVoiceConfig

RESULTS = ROOT / "benchmarks" / "results" / "engines_gpu-nvidia-h200.json"


def measured(network: str, strategy: str, batch: int | None = None) -> float:
    for line in json.loads(RESULTS.read_text())["results"]:
        if (line["network"], line["strategy"]) == (network, strategy) and batch in (None, line["batch"]):
            return line["rate"]
    raise AssertionError(f"{network}, {strategy} was not measured")


def one_after_the_other(*rates: float) -> float:
    return 1 / sum(1 / rate for rate in rates)


def speaker(llm: float) -> float:
    alone = (measured(name, "batch 1") for name in ("cosyvoice2 flow", "HiFi-GAN (in place of HiFT)"))
    return one_after_the_other(llm, *alone)


def recognizer() -> float:
    parts = (f"whisper-large-v3 {part}" for part in ("encoder", "decoder"))
    return one_after_the_other(*(measured(part, "bucketed by length") for part in parts))


@pytest.mark.parametrize(
    ("config", "rate"),
    [
        (CosyVoiceConfig(), speaker(measured("cosyvoice2 language model", "batch 1"))),
        (CosyVoiceConfig(vllm=True), speaker(measured("cosyvoice2 language model", "bucketed by length", 8))),
        (
            CosyVoiceConfig(vllm=True, concurrency=32),
            speaker(measured("cosyvoice2 language model", "bucketed by length", 32)),
        ),
        (WhisperxConfig(device="cuda"), recognizer()),
        (Emotion2vecConfig(family="emotion"), measured("emotion2vec-large shape", "batch 1")),
        (Wav2vec2AgeConfig(family="age"), measured("emotion2vec-large shape", "batch 1")),
    ],
    ids=["cosyvoice", "cosyvoice-vllm", "cosyvoice-vllm-32", "whisperx", "emotion2vec", "age-gender"],
)
def test_a_stated_throughput_is_the_measured_one(config: EngineConfig, rate: float) -> None:
    assert config.throughput.unit == "gpu"
    assert config.throughput.realtime == pytest.approx(rate, rel=0.05)


def test_whisperx_is_priced_by_the_core_where_no_gpu_is_asked_for() -> None:
    file = RESULTS.with_name("whisperx_batching_cpu.json")
    rate = json.loads(file.read_text())["ours_short_windows"]["realtime"]
    assert WhisperxConfig().throughput.unit == "core"
    assert WhisperxConfig().throughput.realtime == pytest.approx(rate, rel=0.05)
