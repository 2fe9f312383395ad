"""Engines that live in another Python environment than the driver: asked there what they are and what they lack.

A pool's `py_executable` names the Python of its workers. It must be of the driver's version, with this package and the
driver's Ray. What engines name themselves there (`revision`) is kept in the run's manifest, so that the driver knows
the keys of their cells without having what they need.

    python -m pipeline.environments < question.json     what the driver runs with that Python
"""

from __future__ import annotations

import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from manifests.engine import EngineConfig, Problem
from manifests.errors import UserError
from manifests.run import RunManifest
from manifests.workers import Pool
from pipeline.dag import Dag, build_dag
from pipeline.estimate import count_gpus
from pipeline.grid import pool_of
from pipeline.stage import Stage

_LONGEST_S = 300  # an environment on a network disk takes its time to import


@dataclass(frozen=True)
class Found:
    """One engine of a stage, as seen by the Python that would run it.

    Attributes:
        where: Its weights, for people.
        device: What it will run on, likewise.
        python: The pool's `py_executable`; empty for the driver's own.
    """

    stage: str
    engine: str
    revision: str
    licence: str
    where: str
    device: str
    problems: tuple[Problem, ...] = field(default=())
    python: str = ""


def look(dag: Dag, file: Path | str) -> list[Found]:
    """Every engine of a run, each asked in the environment of its pool.

    Raises:
        UserError: An environment does not answer, or is of another Python, Ray or code.
    """
    seen: dict[str, list[Found]] = {}
    for stage in _stages(dag):
        python = pool_of(dag.manifest.workers, stage.name).py_executable
        seen.setdefault(python, []).extend(about(stage.name, engine, dag.manifest) for engine in stage.engines)
    found = seen.pop("", [])
    for python, own in seen.items():
        found += _understood(_ask(python, dag.manifest, file, [item.stage for item in own]), python, dag, file)
    order = {stage.name: place for place, stage in enumerate(_stages(dag))}
    return sorted(found, key=lambda item: order[item.stage])


def stated(manifest: RunManifest, found: Iterable[Found]) -> RunManifest:
    """The manifest with what the engines of other environments name themselves."""
    names: dict[str, tuple[str, ...]] = {}
    found = list(found)
    elsewhere = any(item.python for item in found)  # then any environment may have to name the engines of any other
    for item in found:
        if elsewhere:
            names[item.stage] = (*names.get(item.stage, ()), item.revision)
    pools = []
    for pool in manifest.workers:
        mine = {stage: have for stage, have in names.items() if pool_of(manifest.workers, stage) is pool}
        pools.append(pool.model_copy(update={"revisions": mine}))
    return manifest.model_copy(update={"workers": tuple(pools)})


def about(stage: str, engine: EngineConfig, manifest: RunManifest | None = None) -> Found:
    """An engine as this Python sees it; loads no model.

    Args:
        manifest: Of the run that it is for, which says where its workers run; None where it is for none.
    """
    device, lacking = _device(stage, engine, manifest)
    problems = (*engine.problems(), *lacking)
    try:
        revision = engine.revision()
    except UserError as error:
        revision, problems = "", problems or (Problem(str(error), "correct it"),)
    return Found(stage, engine.engine, revision, engine.licence, engine.where, device, problems)


def _device(stage: str, engine: EngineConfig, manifest: RunManifest | None) -> tuple[str, list[Problem]]:
    """What an engine will run on, and why not. A cluster that is joined may have GPUs that this machine lacks."""
    unit = engine.throughput.unit if hasattr(engine, "throughput") else "core"
    asked = getattr(engine, "device", "auto" if unit == "gpu" else "cpu")
    if asked == "cpu":
        return "CPU", []
    by_ray = manifest is not None and manifest.executor.kind == "ray"
    if manifest is not None and by_ray:
        pool = pool_of(manifest.workers, stage)
        if not pool.gpus and asked == "cuda":  # Ray hides every GPU from such workers
            what = f"device is cuda and the workers of its pool {pool.name} get no GPU"
            return "none", [Problem(what, f"set workers.{pool.name}.gpus, or device: cpu")]
        if not pool.gpus:
            return f"CPU, for the pool {pool.name} has no GPU", []
        if manifest.executor.address != "local":
            return "GPU of the cluster", []
    if count_gpus():
        return "GPU", []
    if asked == "cuda":
        return "none", [Problem("device is cuda and this machine has no GPU", "set device: auto, or cpu")]
    return "CPU, for want of a GPU", []


def runtime_env(pool: Pool) -> dict[str, Any]:
    """What Ray must know to start a pool's workers."""
    return {"runtime_env": {"py_executable": pool.py_executable}} if pool.py_executable else {}


def _stages(dag: Dag) -> list[Stage]:
    return [*([dag.voices] if dag.voices else []), *dag.stages]


def _ask(python: str, manifest: RunManifest, file: Path | str, stages: Iterable[str]) -> dict[str, Any]:
    question = json.dumps({"manifest": manifest.model_dump(mode="json"), "file": str(file), "stages": list(stages)})
    command = [python, "-m", "pipeline.environments"]
    try:
        done = subprocess.run(command, input=question, capture_output=True, text=True, timeout=_LONGEST_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise UserError(f"{file}: workers: py_executable {python!r} cannot be run ({error})") from error
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise UserError(
            f"{file}: workers: py_executable {python!r} cannot look at its engines ({last[:300]}); install this package"
            f" there with the Ray that is used here"
        )
    try:
        return dict(json.loads(done.stdout.splitlines()[-1]))
    except (ValueError, TypeError, IndexError):
        raise _no_answer(file, python) from None


def _no_answer(file: Path | str, python: str) -> UserError:
    return UserError(
        f"{file}: workers: py_executable {python!r} gives no answer that this version understands; name a Python that"
        " has this package in this version"
    )


def _understood(answer: dict[str, Any], python: str, dag: Dag, file: Path | str) -> list[Found]:
    """The answer, refused where driver and workers would not understand each other or would make other cells."""
    for what, mine in _versions(dag).items():
        theirs = answer.get("versions", {}).get(what, "none")
        if theirs != mine:
            raise UserError(
                f"{file}: workers: {python!r} has {what} {theirs} and the driver {mine}: both sides need the same"
            )
    try:
        return [
            Found(**{**item, "problems": tuple(Problem(**problem) for problem in item["problems"]), "python": python})
            for item in answer["engines"]
        ]
    except (KeyError, TypeError):
        raise _no_answer(file, python) from None


def _versions(dag: Dag) -> dict[str, str]:
    stages = ", ".join(f"{stage.name} {stage.version}" for stage in _stages(dag))
    return {
        "python": platform.python_version(),
        "ray": importlib.metadata.version("ray"),
        "stages": stages,
    }


def main() -> None:
    """Answer the question on standard input; the last line of standard output is the answer."""
    question = json.load(sys.stdin)
    manifest = RunManifest.model_validate(question["manifest"])
    dag = build_dag(manifest, question["file"])
    wanted = set(question["stages"])
    engines = [
        asdict(about(stage.name, engine, manifest))
        for stage in _stages(dag)
        if stage.name in wanted
        for engine in stage.engines
    ]
    sys.stdout.write(json.dumps({"versions": _versions(dag), "engines": engines}) + "\n")


if __name__ == "__main__":
    main()
