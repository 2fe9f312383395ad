"""`echat replay`: set the records of cells with quarantined rows aside, so that the next build tries them again."""

from __future__ import annotations

from pathlib import Path

from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.build import BuildResult, Grid, build
from pipeline.dag import build_dag
from pipeline.events import Events
from pipeline.lock import RunLock
from pipeline.stages.plan import run_plan


def replay(run: Path, quiet: bool = False) -> tuple[int, BuildResult]:
    """Try every quarantined row again; all other rows are copied, not made again.

    Returns:
        The number of rows that were tried, and the result of the build.
    """
    file = run / "run.yaml"
    manifest = load_run(file)
    dag = build_dag(manifest, file)
    tried = 0
    with RunLock(run):
        ledger = Ledger(run)
        grid = Grid(dag, ledger, run_plan(dag.plan, ledger, manifest.executor.beam))
        for cells in grid.records.values():
            for record in cells.values():
                if record.failures:
                    tried += len(record.failures)
                    ledger.retire(record)
        Events(run)("replay", rows=tried)
    return tried, build(manifest, file, run, quiet)
