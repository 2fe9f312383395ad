"""`echat build`: plan, make the grid, select, shard, verify; run again, it goes on where it stopped."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from manifests import bank
from manifests.errors import UserError
from manifests.files import is_temporary, remove_debris, write_atomic, writing
from manifests.ledger import CellRecord, Ledger
from manifests.prompts import SUFFIX as PROMPT
from manifests.run import RunManifest, dump_run, load_run
from manifests.topup import write_topup
from pipeline.corpus import ABOUT, LABELS
from pipeline.dag import Dag, build_dag
from pipeline.environments import look, stated
from pipeline.estimate import check_disk
from pipeline.events import Events
from pipeline.executor import Executor, InlineExecutor, RayExecutor
from pipeline.gc import debris_folders
from pipeline.grid import SHARD, Grid, pool_of
from pipeline.join import by_dialogue, join_rows
from pipeline.llm.spent import asked_llm
from pipeline.lock import RunLock, check_held
from pipeline.profile import GRID, Profile
from pipeline.progress import Progress
from pipeline.real import kept_copies
from pipeline.runner import Runner
from pipeline.schedule import Node, Schedule
from pipeline.select import load_statistics, run_select
from pipeline.shards import ShardJob, ShardRecord, finish_layout, lay_out, open_layout, reuse_shards
from pipeline.stages.plan import check_beam, run_plan
from pipeline.stages.voices import VOICES
from pipeline.thresholds import check_thresholds, early_rules, thresholds_of
from pipeline.topup import Shortage, added, next_round, shortages, with_topup
from pipeline.verdict import Rules, judge, judged_columns
from pipeline.verify import verify_run
from pipeline.verify_shards import Finding


@dataclass(frozen=True)
class BuildResult:
    """What a build made.

    Attributes:
        planned: Dialogues, those of top-ups included.
        asked: Dialogues that the quotas ask to keep.
        short: Labels of which fewer were kept.
        rounds: Rounds of top-up so far.
        asked_llm: What a language model was asked for these cells, and what it cost; empty without one.
    """

    shards: Path
    statistics: dict[str, Any]
    findings: list[Finding]
    planned: int
    asked: int
    short: tuple[Shortage, ...]
    rounds: int
    asked_llm: dict[str, float]

    @property
    def filled(self) -> int:
        """Dialogues of the quotas that were kept; those beyond a label's quota do not count."""
        return self.asked - sum(item.missing for item in self.short)


def check_pools(dag: Dag, file: Path) -> None:
    """Refuse pools that name unknown stages or the same name twice, and stages that no pool runs.

    Raises:
        UserError: As said.
    """
    pools = dag.manifest.workers
    stages = [*([VOICES] if dag.voices else []), *(stage.name for stage in dag.stages), SHARD]
    names = [pool.name for pool in pools]
    if len(set(names)) < len(names):
        raise UserError(f"{file}: workers: two pools have the same name; give each its own")
    for pool in pools:
        unknown = [stage for stage in pool.stages if stage not in stages]
        if unknown:
            raise UserError(f"{file}: workers: pool {pool.name} names {unknown[0]!r}: use {', '.join(stages)}")
        if pool.py_executable and dag.manifest.executor.kind != "ray":
            raise UserError(
                f"{file}: workers: pool {pool.name} has a py_executable, which needs workers of their own: set"
                " executor.kind: ray, or remove it"
            )
    idle = [stage for stage in stages if not any(stage in pool.stages or not pool.stages for pool in pools)]
    if idle:
        raise UserError(
            f"{file}: workers: no pool runs the stage {idle[0]}; name it in a pool's stages, or add a pool without any"
        )


def check_engines(dag: Dag, file: Path) -> RunManifest:
    """Refuse to start when an engine cannot run where it should.

    Returns:
        The manifest with what the engines of other environments name themselves now.

    Raises:
        UserError: Names the stage, what is missing and the fix.
    """
    engines = look(dag, file)
    for found in engines:
        for problem in found.problems:
            where = f" in {found.python}" if found.python else ""
            raise UserError(f"{file}: {found.stage}: {found.engine}{where}: {problem.what}; {problem.fix}")
    return stated(dag.manifest, engines)


def check_folder(run: Path, manifest: RunManifest) -> None:
    """Refuse an output that is no folder, is full of other things, or holds another run.

    Raises:
        UserError: As said.
    """
    if not run.exists() and not run.is_symlink():
        return
    if not run.is_dir():
        raise UserError(f"{run}: is not a folder; name a new or a run folder in --out")
    if not (run / "run.yaml").exists():
        ours = ("run.lock", "events.jsonl", "inputs", "stages")
        # A build that is killed while it writes its first run.yaml leaves that under a temporary name.
        if any(path.name not in ours and not is_temporary(path.name) for path in run.iterdir()):
            raise UserError(f"{run}: holds other things and no run.yaml; name a new or empty folder in --out")
        return
    name = load_run(run / "run.yaml").name
    if name != manifest.name:
        raise UserError(f"{run}: holds the run {name!r}, not {manifest.name!r}; name another folder in --out")


def build(
    manifest: RunManifest,
    file: Path,
    run: Path,
    quiet: bool = False,
    rounds: int | None = None,
    profile: Profile | None = None,
) -> BuildResult:
    """Make the dataset of a manifest in a run folder, from nothing or from whatever is there.

    Args:
        rounds: Fill the quotas with kept dialogues in at most so many rounds, those of earlier builds included.
        profile: Told where the time goes.

    Raises:
        UserError: Wrong input, a missing engine, a folder that is being built, a disk that says no.
        WorkFailedError: Workers keep dying.
    """
    dag = build_dag(manifest, file)
    check_pools(dag, file)
    _ = dag.planner.counts  # refuses quotas that cannot be met, before anything is written
    known = check_engines(dag, file)
    if known != dag.manifest:
        dag = build_dag(known, file)
    check_thresholds(dag)
    check_beam(manifest.executor.beam, file)
    check_folder(run, manifest)
    with RunLock(run):
        return build_locked(dag, run, quiet, rounds, profile)


def build_locked(
    dag: Dag, run: Path, quiet: bool, rounds: int | None = None, profile: Profile | None = None
) -> BuildResult:
    """Build in a folder that this process holds; see `build`."""
    dag = with_topup(dag, run)
    _ = dag.planner.counts  # what earlier rounds added must still be to be had
    events = Events(run)
    events("build_started", pid=os.getpid(), manifest=dag.manifest.name)
    check_disk(dag, run)
    removed = remove_debris(debris_folders(run), dag.manifest.executor.deadline_s)
    if removed:
        events("debris_removed", files=removed)
    write_atomic(run / "run.yaml", dump_run(_with_inputs(dag, run)).encode())
    profile = profile or Profile(sum(pool.count for pool in dag.manifest.workers))
    result = _build(dag, run, events, quiet, rounds, profile)
    events("build_finished", shards=result.shards.name, findings=len(result.findings))
    return result


def _with_inputs(dag: Dag, run: Path) -> RunManifest:
    """The manifest with its files copied into the run, which must outlive their next version."""
    plan, select, language = dag.manifest.plan, dag.manifest.select, dag.manifest.language
    sources = {
        "scenarios": plan.scenarios or bank.FOLDER / f"{language}.yaml",
        "openers": plan.openers or bank.FOLDER / f"openers.{language}.yaml",
        **({"followups": plan.followups or bank.FOLDER / f"followups.{language}.yaml"} if plan.max_turns > 1 else {}),
        "voices": dag.planner.voices.path,
        **({"thresholds": select.thresholds} if select.thresholds else {}),
    }
    paths = {key: Path("inputs") / f"{key}{source.suffix}" for key, source in sources.items()}
    for key, source in sources.items():
        data = source.read_bytes()
        with writing(run / paths[key]):
            (run / "inputs").mkdir(exist_ok=True)
        write_atomic(run / paths[key], data)
    select = select.model_copy(update={"thresholds": paths.pop("thresholds", None)})
    script = dag.manifest.script
    if script.get("prompts"):
        script = {**script, "prompts": str(_with_prompts(Path(script["prompts"]), run))}
    if plan.real is not None:
        plan = plan.model_copy(update={"real": plan.real.model_copy(update={"corpora": _with_corpora(dag, run)})})
    plan = plan.model_copy(update=paths)
    return dag.manifest.model_copy(update={"plan": plan, "select": select, "script": script})


def _with_prompts(folder: Path, run: Path) -> Path:
    """A user's own prompts, copied into the run; those of an earlier build go, if they are not these."""
    copies = Path("inputs") / "prompts"
    own = {path.name: path.read_bytes() for path in sorted(folder.glob(f"*{PROMPT}"))}
    with writing(run / copies):
        (run / copies).mkdir(parents=True, exist_ok=True)
        for path in (run / copies).glob(f"*{PROMPT}"):
            if path.name not in own:
                path.unlink()
    for name, data in own.items():
        write_atomic(run / copies / name, data)
    return copies


def _with_corpora(dag: Dag, run: Path) -> tuple[Path, ...]:
    """The tables of the corpora, copied into the run; the recordings that it takes are in its cells."""
    folders = []
    for name, table, about in kept_copies(dag.planner.real):
        folder = Path("inputs") / "corpora" / name
        data = table.read_bytes()
        with writing(run / folder):
            (run / folder).mkdir(parents=True, exist_ok=True)
        write_atomic(run / folder / LABELS, data)
        write_atomic(run / folder / ABOUT, yaml.safe_dump(about, sort_keys=False, allow_unicode=True).encode())
        folders.append(folder)
    return tuple(folders)


def _build(dag: Dag, run: Path, events: Events, quiet: bool, rounds: int | None, profile: Profile) -> BuildResult:
    executor = LazyExecutor(dag, run, events)
    try:
        grid, select, short = _judged(dag, run, executor, events, quiet, profile)
        while short and rounds is not None and len(dag.planner.topup.rounds) < rounds:
            more = next_round(dag, grid.ledger, select, grid.all_cells, short)
            if not more:
                break
            topup = added(dag.planner.topup, more)
            write_topup(run, topup)
            counts = {"extra": sum(more.extra.values()), "retries": sum(map(len, more.retries.values()))}
            events("topup_round", number=len(topup.rounds), short=sum(item.missing for item in short), **counts)
            if not quiet:
                sys.stderr.write(
                    f"top-up round {len(topup.rounds)}: {sum(item.missing for item in short)} dialogues are missing;"
                    f" {counts['retries']} are tried again and {counts['extra']} added\n"
                )
            dag = with_topup(dag, run)
            grid, select, short = _judged(dag, run, executor, events, quiet, profile)
        with profile.step("shard"):
            shards = _make_shards(grid, select, run, executor, events)
    finally:
        executor.close()
    with profile.step("verify"):
        findings = verify_run(run)
    planner, statistics = dag.planner, load_statistics(select)
    asked, done = sum(planner.quotas.values()), len(planner.topup.rounds)
    spent = asked_llm(cells["script"] for cells in grid.records.values())
    return BuildResult(shards, statistics, findings, planner.num_dialogues, asked, short, done, spent)


def _judged(
    dag: Dag, run: Path, executor: LazyExecutor, events: Events, quiet: bool, profile: Profile
) -> tuple[Grid, Path, tuple[Shortage, ...]]:
    """The whole grid of the plan as it is now, its selection, and the labels that are short."""
    ledger = Ledger(run)
    with profile.step("plan"):
        grid = Grid(dag, ledger, run_plan(dag.plan, ledger, dag.manifest.executor.beam))
    if grid.references is not None:
        with profile.step("voices"):
            make_references(grid, executor, events, quiet)
    with profile.step(GRID):
        make_grid(grid, executor, events, quiet, profile)
    with profile.step("select"):
        records = grid.all_cells
        select = run_select(ledger, dag.manifest, thresholds_of(dag, ledger, records.values()), records)
    return grid, select, shortages(dag.planner, load_statistics(select))


def _make_shards(grid: Grid, select: Path, run: Path, executor: LazyExecutor, events: Events) -> Path:
    """Write the shards that no earlier set has, and make the set current."""
    dag = grid.dag
    layout = lay_out(dag, select, grid.all_cells)
    final, building = open_layout(dag, run, layout)
    if not final.exists():
        left = reuse_shards(run / "shards", building, layout)
        jobs = Schedule([Node(SHARD, (), pool_of(dag.manifest.workers, SHARD).name)], left, set())

        def done(_: tuple[str, int], record: ShardRecord) -> None:
            check_held(run)
            events("shard_written", name=record.name, rows=record.rows)

        if left:
            executor.get().run(jobs, lambda cell: ShardJob(str(building), str(select), cell[1]), done)
    check_held(run)
    finish_layout(dag, final, building, layout)
    return final


def make_references(grid: Grid, executor: LazyExecutor, events: Events, quiet: bool) -> None:
    """Make the references of the voices that are not committed, if an annotator wants any."""
    references = grid.references
    if references is None or references.complete:
        return

    def done(cell: tuple[str, int], record: CellRecord) -> None:
        check_held(grid.ledger.run)
        references.add(cell[1], record)
        progress.add(VOICES, record)
        for failure in record.failures:
            events("take_failed", **{key: failure[key] for key in ("stage", "id", "turn", "type", "message")})

    schedule = references.schedule(pool_of(grid.dag.manifest.workers, VOICES).name)
    with Progress({VOICES: (len(references.voices), len(references.records))}, quiet) as progress:
        executor.get().run(schedule, references.job, done)
    grid.find_cells()


def make_grid(grid: Grid, executor: LazyExecutor, events: Events, quiet: bool, profile: Profile | None = None) -> None:
    """Make every cell that is not committed."""
    schedule = grid.schedule()
    rules = early_rules(grid.dag, grid.ledger.run)
    known_parts = {stage.name: grid.ledger.parts(stage.name) for stage in grid.dag.stages}
    before = {
        stage.name: (len(grid.plan), sum((stage.name, part) in schedule.done for part in grid.records))
        for stage in grid.dag.stages
    }

    def done(cell: tuple[str, int], record: CellRecord) -> None:
        check_held(grid.ledger.run)
        grid.records[cell[1]][cell[0]] = record
        progress.add(cell[0], record)
        if profile is not None:
            profile.add(record)
        if len(grid.records[cell[1]]) == len(grid.dag.by_name):
            progress.judge(_verdicts(grid, cell[1], rules))
        for failure in record.failures:
            events("row_quarantined", **{key: failure[key] for key in ("stage", "id", "turn", "type", "message")})

    if not schedule.finished:
        with Progress(before, quiet) as progress:
            executor.get().run(schedule, lambda cell: grid.job(cell, known_parts), done)


def _verdicts(grid: Grid, part: int, rules: Rules) -> Iterator[str]:
    """About what `select` will say of a finished part, whose thresholds are only known when all parts are done.

    Metadata alone, so it costs the driver milliseconds.
    """
    for turns, error in by_dialogue(*join_rows(grid.ledger, list(grid.cells(part).values()), judged_columns(rules))):
        yield judge(turns, error, rules)[0]


class LazyExecutor:
    """Starts the executor when there is work: a build with nothing to do takes no seconds for Ray."""

    def __init__(self, dag: Dag, run: Path, events: Events) -> None:
        self.dag, self.run, self.events = dag, run, events
        self._executor: Executor | None = None

    def get(self) -> Executor:
        """The executor that the manifest names."""
        if self._executor is None:
            config, pools = self.dag.manifest.executor, self.dag.manifest.workers
            if config.kind == "inline":
                self._executor = InlineExecutor(Runner(self.run, self.dag.manifest), pools)
            else:
                self._executor = RayExecutor(self.run, config, pools, self.events)
        return self._executor

    def close(self) -> None:
        """Give back what was started."""
        if self._executor is not None:
            self._executor.close()
