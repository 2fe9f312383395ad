"""What keeps a GPU busy and a run alive: batches that shrink when memory runs out, and samples of the device."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from bench import TEXTS, Bench, ShoutStage
from bench import bench as bench
from onnxruntime.capi.onnxruntime_pybind11_state import Fail, RuntimeException

from pipeline.gpu import GpuMeter, out_of_memory


def short_of_memory(most: int) -> Any:
    """An engine that cannot hold more than `most` rows."""

    def fault(texts: list[str]) -> None:
        if len(texts) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    return fault


def test_out_of_memory_halves_the_batch_and_keeps_it_small_for_the_rest_of_the_cell(bench: Bench) -> None:
    bench.stage = ShoutStage(size=8)
    record, worker = bench.work(short_of_memory(2))
    assert bench.column(record, "shout") == [text.upper() for text in TEXTS]
    assert [len(batch) for batch in worker.batches] == [8, 4, 2, 2, 4, 2, 2, 2, 1]
    assert record.metrics["batches_halved"] == 3
    assert record.failures == []


def test_another_error_halves_one_batch_alone(bench: Bench) -> None:
    bench.stage = ShoutStage(size=8)

    def fault(texts: list[str]) -> None:
        if "two" in texts and len(texts) > 1:
            raise RuntimeError("shapes do not fit")

    record, worker = bench.work(fault)
    assert len(worker.batches[-1]) == 3  # eleven rows: the second batch is as long as ever
    assert "batches_halved" not in record.metrics


def test_an_engine_that_says_so_row_by_row_is_given_smaller_batches_too(bench: Bench) -> None:
    bench.stage = ShoutStage(size=8)

    def fault(texts: list[str]) -> list[Any] | None:
        return [torch.OutOfMemoryError("CUDA out of memory")] * len(texts) if len(texts) > 4 else None

    record, _ = bench.work(fault)
    assert record.failures == []


def test_a_row_for_which_even_one_is_too_much_is_quarantined_alone(bench: Bench) -> None:
    bench.stage = ShoutStage(size=4)

    def fault(texts: list[str]) -> None:
        if "two" in texts:
            raise torch.OutOfMemoryError("CUDA out of memory")

    record, _ = bench.work(fault)
    assert [failure["type"] for failure in record.failures] == ["OutOfMemoryError"]
    assert bench.column(record, "shout") == [None if text == "two" else text.upper() for text in TEXTS]


@pytest.mark.parametrize(
    ("error", "memory"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), True),
        (RuntimeError("CUDA failed with error out of memory"), True),
        (RuntimeError("Failed to allocate memory for requested buffer of size 1"), True),
        (RuntimeException("[ONNXRuntimeError] : 6 : Failed to allocate memory for requested buffer of size 8"), True),
        (Fail("[ONNXRuntimeError] : 1 : FAIL : CUDA failure 2: out of memory"), True),
        (Fail("[ONNXRuntimeError] : 1 : FAIL : the graph has no such input"), False),
        (MemoryError(), True),
        (RuntimeError("shapes do not fit"), False),
        (ValueError("the text speaks of being out of memory"), False),
    ],
)
def test_errors_of_memory_are_known(error: Exception, memory: bool) -> None:
    assert out_of_memory(error) is memory


class Nvml(types.ModuleType):
    """NVIDIA's library with two GPUs; there is none to ask here."""

    class NVMLError(Exception):
        pass

    def __init__(self) -> None:
        super().__init__("pynvml")
        self.opened = 0

    def nvmlInit(self) -> None:
        self.opened += 1

    def nvmlShutdown(self) -> None:
        self.opened -= 1

    def nvmlDeviceGetCount(self) -> int:
        return 2

    def nvmlDeviceGetHandleByIndex(self, index: int) -> int:
        return index

    def nvmlDeviceGetHandleByUUID(self, name: str) -> int:
        if name != "GPU-one":
            raise self.NVMLError("not found")
        return 1

    def nvmlDeviceGetName(self, handle: int) -> str:
        return f"card {handle}"

    def nvmlDeviceGetMemoryInfo(self, handle: int) -> Any:
        return types.SimpleNamespace(used=(handle + 1) << 30, total=80 << 30)

    def nvmlDeviceGetUtilizationRates(self, handle: int) -> Any:
        return types.SimpleNamespace(gpu=40 + 20 * handle)


@pytest.fixture
def nvml(monkeypatch: pytest.MonkeyPatch) -> Nvml:
    library = Nvml()
    monkeypatch.setitem(sys.modules, "pynvml", library)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return library


@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, {"gpu": "card 0 + card 1", "gpu_peak_mib": 2048, "gpu_total_mib": 80 << 10, "gpu_busy_percent": 50.0}),
        ("1", {"gpu": "card 1", "gpu_peak_mib": 2048, "gpu_total_mib": 80 << 10, "gpu_busy_percent": 60.0}),
        ("GPU-one", {"gpu": "card 1", "gpu_peak_mib": 2048, "gpu_total_mib": 80 << 10, "gpu_busy_percent": 60.0}),
        ("", {}),
        ("GPU-gone", {}),
    ],
)
def test_the_meter_samples_what_the_worker_may_use(
    nvml: Nvml, monkeypatch: pytest.MonkeyPatch, visible: str | None, expected: dict[str, Any]
) -> None:
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    with GpuMeter(0.001) as meter:
        pass
    assert meter.metrics == expected
    assert nvml.opened == 0


def test_samples_are_in_the_record_and_not_in_the_data(nvml: Nvml, tmp_path: Path, bench: Bench) -> None:
    record, _ = bench.work()
    other = Bench(tmp_path / "other")
    other.source(TEXTS)
    sys.modules.pop("pynvml")
    plain, _ = other.work()
    assert record.metrics["gpu_peak_mib"] == 2048
    assert "gpu_peak_mib" not in plain.metrics
    assert record.sha256 == plain.sha256
