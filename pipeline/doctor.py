"""`echat doctor`: what can run here, and the fix for what cannot."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import shutil
from dataclasses import dataclass
from pathlib import Path

from manifests.engine import EngineConfig
from pipeline.dag import Dag
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
    """One line of the report; `fix` is empty when all is well."""

    what: str
    state: str
    fix: str = ""

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
            checks.append(Check(name, "missing", f"pip install {name}"))
    return checks


def engine_checks(dag: Dag | None = None) -> list[Check]:
    """Every engine that is known, or those of one run."""
    if dag is not None:
        engines = [(f"{stage.name}: {engine.engine}", engine) for stage in dag.stages for engine in stage.engines]
        return [_engine_check(name, engine) for name, engine in engines]
    checks = []
    for role, name in all_engines():
        checks.append(_engine_check(f"{role}: {name}", engine_class(role, name).model_construct(engine=name)))
    return checks


def _engine_check(name: str, engine: EngineConfig) -> Check:
    problems = engine.problems()
    if problems:
        return Check(name, "; ".join(problem.what for problem in problems), "; ".join(p.fix for p in problems))
    return Check(name, f"ready ({engine.revision()}; {engine.licence})")
