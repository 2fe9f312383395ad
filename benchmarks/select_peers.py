"""Selection: rows a second and memory of `select` against DuckDB and pandas that apply the same thresholds.

All read the same Parquet cells of a planned run (benchmarks/fake_cells.py), judge every row by the same limits and
labels, count and write the verdicts. What SQL has no words for is switched off: checks of texts and duplicates, which
ours does by default and which is timed beside. Each side is a process of its own; its greatest memory is the kernel's.

    python benchmarks/select_peers.py [--rows 10000]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from scale import manifest

from manifests.labels import CUES
from manifests.ledger import Ledger
from manifests.run import RunManifest, load_run
from manifests.textconfig import without_text_checks
from pipeline.dag import build_dag
from pipeline.grid import Grid
from pipeline.select import load_statistics, run_select
from pipeline.stages.plan import run_plan
from pipeline.thresholds import thresholds_of
from pipeline.verdict import _LIMITS

RESULTS = Path(__file__).parent / "results" / "select_peers.json"
SIDES = ("ours", "ours, texts and duplicates too", "duckdb", "pandas")
PACKAGES = ("duckdb", "pandas", "pyarrow", "apache-beam")
STAGES = ("plan", "speak_query", "speak_reply", "transcribe", "annotate", "rate")


def loaded(file: Path, texts: bool) -> RunManifest:
    """The run, with an empty text section unless `texts`."""
    found = load_run(file)
    return found if texts else found.model_copy(
        update={"select": found.select.model_copy(update={"text": without_text_checks()})}
    )  # fmt: skip


def ours(file: Path, run: Path, texts: bool) -> int:
    """Kept rows by `select`, in this process alone."""
    found = loaded(file, texts)
    dag, ledger = build_dag(found, file), Ledger(run)
    records = Grid.open(dag, run).all_cells
    folder = run_select(ledger, found, thresholds_of(dag, ledger, records.values()), records)
    return load_statistics(folder)["verdict"]["kept"]


def passing(file: Path) -> list[str]:
    """Conditions of a row to keep, as SQL that pandas' `eval` reads too."""
    config = load_run(file).select.model_dump()
    out = [f"heard_{family} == {family} or {family} == 'none'" for family in CUES if family != "event"]
    out.append("heard_event == event")
    for _, column, relation, key, _ in _LIMITS:
        name, limit = column.replace(".", "_") if column.endswith(".seconds") else column.split(".")[1], config[key]
        if limit is None or name.endswith("_mismatch"):
            continue
        if relation == "in":
            out.append(f"{name} >= {limit[0]} and {name} <= {limit[1]}")
        else:
            out.append(f"{name} {relation} {limit}")
    return [f"({item})" for item in out]


def duckdb_(file: Path, run: Path) -> int:
    """Kept rows by one query."""
    import duckdb

    parts = []
    for stage in STAGES:
        renamed = f"RENAME (seconds AS {stage}_seconds)" if stage.startswith("speak") else ""
        joined = "" if stage == "plan" else " USING (id, turn)"
        parts.append(f"(SELECT * {renamed} FROM read_parquet('{run}/stages/{stage}/*.parquet')) {stage}{joined}")
    source = " JOIN ".join(parts)
    keep = " and ".join(passing(file)).replace("==", "=")
    out = run / "duckdb.parquet"
    duckdb.sql("SET threads = 1")
    duckdb.sql(f"COPY (SELECT id, split, task, {keep} AS kept FROM {source}) TO '{out}' (FORMAT parquet)")
    return duckdb.sql(f"SELECT count(*) FROM '{out}' WHERE kept").fetchall()[0][0]


def pandas_(file: Path, run: Path) -> int:
    """Kept rows by data frames in memory."""
    import pandas as pd

    table: Any = None
    for stage in STAGES:
        drop = ["audio", "row_key", "error"]
        frames = [pd.read_parquet(path) for path in sorted((run / "stages" / stage).glob("*.parquet"))]
        frame = pd.concat(frames).drop(columns=drop, errors="ignore")
        if stage.startswith("speak"):
            frame = frame.rename(columns={"seconds": f"{stage}_seconds"}).drop(columns=["audio_sha256", "sample_rate"])
        table = frame if table is None else table.merge(frame, on=["id", "turn"])
    table["kept"] = table.eval(" and ".join(passing(file)))
    table[["id", "split", "task", "kept"]].to_parquet(run / "pandas.parquet")
    return int(table["kept"].sum())


def side(name: str, file: Path, run: Path) -> dict[str, Any]:
    """Run one side in this process, which then ends."""
    started = time.perf_counter()
    if name.startswith("ours"):
        kept = ours(file, run, name != "ours")
    else:
        kept = duckdb_(file, run) if name == "duckdb" else pandas_(file, run)
    seconds = time.perf_counter() - started
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"kept": kept, "seconds": round(seconds, 2), "mb": round(memory)}


def main() -> int:
    """Plan, fill, and let every side judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--side", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.side:
        name, file, run = args.side
        print(json.dumps(side(name, Path(file), Path(run))))
        return 0
    from fake_cells import fill

    load, lines = os.getloadavg()[0], {}
    with tempfile.TemporaryDirectory() as folder:
        file, run = manifest(Path(folder), args.rows, []), Path(folder) / "run"
        dag, ledger = build_dag(load_run(file), file), Ledger(run)
        fill(Grid(dag, ledger, run_plan(dag.plan, ledger)), file)
        for name in SIDES:
            command = [sys.executable, __file__, "--side", name, str(file), str(run)]
            said = subprocess.run(command, capture_output=True, text=True, check=False)
            assert said.returncode == 0, said.stderr[-2000:]
            line = json.loads(said.stdout.splitlines()[-1])
            lines[name] = {**line, "rows_s": round(dag.planner.num_dialogues / line["seconds"])}
            print(f"{name:32s} {json.dumps(lines[name])}", flush=True)
        rows = dag.planner.num_dialogues
    same = len({line["kept"] for name, line in lines.items() if "texts" not in name}) == 1
    result = {"rows": rows, "sides": lines, "same_verdicts": same, "load_before": round(load, 1)}
    result |= {"cores": os.cpu_count(), "versions": {name: version(name) for name in PACKAGES}}
    args.out.write_text(json.dumps(result, indent=2) + "\n")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main())
