"""The grid of an ablation: variants x seeds as tasks of Ray, each done once, whatever interrupts it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from manifests.errors import UserError, WorkFailedError
from manifests.ray_start import start_ray
from model.ablation.checks import check
from model.ablation.design import Ablation, WorkerConfig, training_of
from model.ablation.job import Job, done, job_of, run_job
from model.recipe import TrainManifest

Reselect = Callable[[str, Mapping[str, Any]], Path]
"""Makes the shards of a variant with a selection of its own, of its name and its `select`; gives their folder."""


class Watch(Protocol):
    """Is told of each job as it ends, with an error or none."""

    def __call__(self, finished: int, total: int, job: Job, error: str) -> None: ...


def silent(finished: int, total: int, job: Job, error: str) -> None:
    """Tells nobody."""


def plan(ablation: Ablation, reselect: Reselect | None = None) -> dict[str, list[Job]]:
    """The jobs of each variant, by seed; equal ones are the same job.

    Raises:
        UserError: The design cannot give a fair verdict.
    """
    trainings: dict[str, list[TrainManifest]] = {}
    for name, variant in ablation.variants.items():
        shards = None
        if variant.select is not None:
            if reselect is None:
                raise UserError(f"variants.{name}.select: nothing here can select anew")
            shards = reselect(name, variant.select)
        trainings[name] = [training_of(ablation, name, number, shards) for number in range(ablation.seeds)]
    check(ablation, {name: of_seeds[0] for name, of_seeds in trainings.items()})
    return {
        name: [
            job_of(train, ablation.evaluate, _map_of(ablation, name), ablation.keep_checkpoints) for train in of_seeds
        ]
        for name, of_seeds in trainings.items()
    }


def _map_of(ablation: Ablation, variant: str) -> Any:
    return ablation.map if ablation.map and ablation.map.variant == variant else None


def run(jobs: Mapping[str, Sequence[Job]], out: Path, workers: WorkerConfig, watch: Watch = silent) -> dict[str, str]:
    """Do what is not done yet; the errors of the jobs that failed, by key. The others go on."""
    unique = {job.key: job for of_variant in jobs.values() for job in of_variant}
    waiting = [job for job in unique.values() if done(job, out) is None]
    errors: dict[str, str] = {}
    finished = len(unique) - len(waiting)
    ends = _inline(waiting, out) if workers.address == "inline" else _on_ray(waiting, out, workers)
    for job, error in ends if waiting else ():
        finished += 1
        if error:
            errors[job.key] = error
        watch(finished, len(unique), job, error)
    return errors


def _inline(jobs: Sequence[Job], out: Path) -> Iterator[tuple[Job, str]]:
    for job in jobs:
        try:
            run_job(job, out)
        except (UserError, WorkFailedError, ValueError, RuntimeError) as error:
            yield job, _sentence(error)
        else:
            yield job, ""


def _on_ray(jobs: Sequence[Job], out: Path, workers: WorkerConfig) -> Iterator[tuple[Job, str]]:
    import ray
    from ray.exceptions import RayError

    started = not ray.is_initialized()
    if started:
        cpus = workers.count * workers.cpus if workers.address == "local" else None
        start_ray(workers.address, num_cpus=cpus)
    try:
        task: Any = ray.remote(num_cpus=workers.cpus, num_gpus=workers.gpus, max_retries=2)(_task)
        waiting, running = list(jobs), {}
        while waiting or running:
            while waiting and len(running) < workers.count:
                job = waiting.pop(0)
                running[task.remote(job, out.resolve())] = job
            (ready,), _ = ray.wait(list(running), num_returns=1)
            job = running.pop(ready)
            try:
                yield job, ray.get(ready)
            except RayError as error:
                yield job, _sentence(error)  # its worker died, three times
    finally:
        if started:
            ray.shutdown()


def _task(job: Job, out: Path) -> str:
    """Run a job in a worker; errors of the work come back as words."""
    try:
        run_job(job, out)
    except (UserError, WorkFailedError, ValueError, RuntimeError) as error:
        return _sentence(error)
    return ""


def _sentence(error: Exception) -> str:
    return " ".join(f"{error}".split())[:500] or type(error).__name__
