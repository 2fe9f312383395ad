"""`echat doctor`: what can run here, and the fix for what cannot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pipeline.dag import Dag
from pipeline.environments import Found, about, look
from pipeline.estimate import count_gpus
from pipeline.registry import all_engines, engine_class

_PACKAGES = (
    "torch",
    "ray",
    "apache-beam",
    "pyarrow",
    "numpy",
    "webdataset",
    "onnxruntime",
    "soundfile",
    "soxr",
)


@dataclass(frozen=True)
class Check:
    """One line of the report; `fix` is empty when all is well. Of an engine also its licence, weights and device."""

    what: str
    state: str
    fix: str = ""
    licence: str = ""
    weights: str = ""
    device: str = ""

    @property
    def ok(self) -> bool:
        return not self.fix


def machine_checks(folder: Path) -> list[Check]:
    """Python, cores, memory, GPUs, disk and the packages that everything needs."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(folder).free / 1e9
    checks = [
        Check("python", platform.python_version()),
        Check("machine", f"{os.cpu_count()} cores, {memory:.0f} GiB memory, {count_gpus()} GPU"),
        Check(f"disk at {folder}", f"{free:.1f} GB free", "" if free > 1 else "free at least 1 GB"),
    ]
    for name in _PACKAGES:
        try:
            checks.append(Check(name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            checks.append(_instead(name))
    return checks


def _instead(name: str) -> Check:
    """A package that is not there under its name: ONNX Runtime has another one for GPUs, and the same module."""
    with suppress(importlib.metadata.PackageNotFoundError):
        return Check(name, f"{importlib.metadata.version(f'{name}-gpu')} (for GPUs)")
    return Check(name, "missing", f"pip install {name}")


def engine_checks(dag: Dag | None = None, file: Path | str = "run.yaml") -> list[Check]:
    """Every engine that is known, or those of one run, each in the environment that would run it."""
    if dag is not None:
        return [_engine_check(found) for found in look(dag, file)]
    return [
        _engine_check(about(role, engine_class(role, name).model_construct(engine=name)))
        for role, name in all_engines()
    ]


def _engine_check(found: Found) -> Check:
    name = f"{found.stage}: {found.engine}{f' in {found.python}' if found.python else ''}"
    ready = f"ready ({found.revision})"
    state = "; ".join(problem.what for problem in found.problems) or ready
    fix = "; ".join(problem.fix for problem in found.problems)
    return Check(name, state, fix, found.licence, found.where, found.device)
