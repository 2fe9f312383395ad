"""`echat replay`: set the records of cells with quarantined rows aside, so that the next build tries them again."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import UserError
from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.build import BuildResult, build_locked, check_engines
from pipeline.dag import build_dag
from pipeline.events import Events
from pipeline.grid import Grid
from pipeline.lock import RunLock
from pipeline.stages.plan import run_plan
from pipeline.topup import with_topup


def replay(run: Path, quiet: bool = False) -> tuple[int, BuildResult]:
    """Try every quarantined row again; all other rows are copied, not made again.

    Returns:
        The number of dialogues that were tried, and the result of the build.
    """
    file = run / "run.yaml"
    manifest = load_run(file)
    dag = with_topup(build_dag(manifest, file), run)
    if check_engines(dag, file).workers != manifest.workers:
        raise UserError(
            f"{file}: an engine of another environment has changed since the run was built; run echat build"
        )
    tried: set[str] = set()
    with RunLock(run):
        ledger = Ledger(run)
        grid = Grid(dag, ledger, run_plan(dag.plan, ledger, manifest.executor.beam))
        for cells in grid.records.values():
            for record in cells.values():
                if record.failures:
                    tried |= {item["id"] for item in record.failures}
                    ledger.retire(record)
        for record in grid.references.records.values() if grid.references else ():
            if record.failures:
                ledger.retire(record)
        Events(run)("replay", dialogues=len(tried))
        return len(tried), build_locked(dag, run, quiet)
