"""What a cell took of its GPUs: memory and utilisation, sampled beside the work into the cell's record.

Needs NVIDIA's management library (`pip install "echat-pipeline[gpu]"`) and its driver; without either nothing is
sampled, and the record says nothing of a GPU.
"""

from __future__ import annotations

import gc
import logging
import os
import sys
import threading
from typing import Any

_EVERY_S = 0.5
_LOG = logging.getLogger(__name__)


class GpuMeter:
    """Samples the GPUs that this process may use, from `__enter__` to `__exit__`.

    Figures are of the whole GPU: with fractions of one in a pool, neighbours on it are counted too.
    """

    def __init__(self, every_s: float = _EVERY_S) -> None:
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._memory: dict[str, int] = {}
        self._total: dict[str, int] = {}
        self._busy: list[float] = []

    def __enter__(self) -> GpuMeter:
        found = _devices()
        if found is not None:
            self._thread = threading.Thread(target=self._watch, args=found, daemon=True, name="gpu-meter")
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def _watch(self, nvml: Any, handles: list[Any]) -> None:
        try:
            while True:
                for handle in handles:
                    name = _text(nvml.nvmlDeviceGetName(handle))
                    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
                    self._memory[name] = max(self._memory.get(name, 0), int(memory.used))
                    self._total[name] = int(memory.total)
                    self._busy.append(float(nvml.nvmlDeviceGetUtilizationRates(handle).gpu))
                if self._stop.wait(self._every_s):
                    break
        except nvml.NVMLError as error:  # a GPU that fell off its bus is the work's to notice
            _LOG.warning("the GPU is not sampled any more: %s", error)
        finally:
            nvml.nvmlShutdown()

    @property
    def metrics(self) -> dict[str, Any]:
        """For the cell's record: peak memory in MiB, mean utilisation in percent; empty where there is no GPU."""
        if not self._busy:
            return {}
        return {
            "gpu": " + ".join(self._memory),
            "gpu_peak_mib": max(self._memory.values()) >> 20,
            "gpu_total_mib": max(self._total.values()) >> 20,
            "gpu_busy_percent": round(sum(self._busy) / len(self._busy), 1),
        }


def _devices() -> tuple[Any, list[Any]] | None:
    """The library and the GPUs that this process may use; None where there is no library or no driver."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return None
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    try:
        if visible is None:
            names = list(range(pynvml.nvmlDeviceGetCount()))
        else:
            names = [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1", "NoDevFiles")]
        handles = [_handle(pynvml, name) for name in names]
    except pynvml.NVMLError as error:
        _LOG.warning("the GPUs %s cannot be sampled: %s", visible, error)
        handles = []
    if not handles:
        pynvml.nvmlShutdown()
        return None
    return pynvml, handles


def _handle(nvml: Any, name: int | str) -> Any:
    """A GPU by number, or by the UUID that `CUDA_VISIBLE_DEVICES` may hold instead."""
    if isinstance(name, int) or name.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(name))
    return nvml.nvmlDeviceGetHandleByUUID(name)


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value


def out_of_memory(error: BaseException) -> bool:
    """Whether an engine ran out of memory: PyTorch's own error, or ONNX Runtime's, CTranslate2's or Python's."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    # ONNX Runtime's errors are of its own classes, which are no RuntimeError.
    of_engine = isinstance(error, RuntimeError) or type(error).__module__.startswith("onnxruntime.")
    text = str(error).lower()
    return of_engine and ("out of memory" in text or "failed to allocate memory" in text)


def free_memory() -> None:
    """Give back what PyTorch keeps for later, so that a smaller batch finds it whole."""
    gc.collect()
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        torch.cuda.empty_cache()
