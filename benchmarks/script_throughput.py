"""Throughput of LLM-written scripts: the stage `script` against a server that answers after 200 ms, 32 at once.

Claims: 2,000 rows take less than 1.2 x the ideal time, and memory is flat: 2,000 rows peak at no more than 1.1 x what
500 take. Ideal is requests x 0.2 s / 32: a client that costs nothing, and always has 32 requests on their way. The
server is a process of its own that shares the cores. Cells are made and committed as in a build, inline: importing the
client, connecting, the cache's files, checks of the answers and commits are counted, planning is not.

    python benchmarks/script_throughput.py [--rows 500 2000] [--latency 0.2] [--concurrency 32]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parent.parent
RESULTS = Path(__file__).parent / "results" / "script_throughput.json"
PART_ROWS = 250


def measure(url: str, rows: int, concurrency: int, latency: float) -> dict[str, Any]:
    """Make the script cells of so many rows in this process."""
    from manifests.ledger import Ledger
    from manifests.run import dump_run, load_run
    from pipeline.dag import build_dag
    from pipeline.grid import Grid
    from pipeline.llm.spent import asked_llm
    from pipeline.runner import Runner
    from pipeline.stages.plan import run_plan

    document = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())
    document["plan"] |= {"quotas": {"emotion": rows}, "part_rows": PART_ROWS}
    document["script"] = {"engine": "openai", "base_url": url, "model": "stub", "concurrency": concurrency}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        run.mkdir()
        file = run / "run.yaml"
        file.write_text(yaml.safe_dump(document))
        manifest = load_run(file)
        file.write_text(dump_run(manifest))
        dag, ledger = build_dag(manifest, file), Ledger(run)
        grid = Grid(dag, ledger, run_plan(dag.plan, ledger))
        runner = Runner(run, manifest)
        before = resource.getrusage(resource.RUSAGE_SELF)
        started = time.perf_counter()
        records = [runner.do(grid.job(("script", part), {"script": set()})) for part in grid.records]
        wall = time.perf_counter() - started
        after = resource.getrusage(resource.RUSAGE_SELF)
        runner.close()
        failed = sum(len(record.failures) for record in records)  # type: ignore[union-attr]
        spent = asked_llm(records)  # type: ignore[arg-type]
    assert not failed, f"{failed} rows failed"
    ideal = spent["asked"] * latency / concurrency
    return {
        "rows": rows,
        "cells": len(records),
        "requests": spent["asked"],
        "wall_s": round(wall, 2),
        "ideal_s": round(ideal, 2),
        "ratio": round(wall / ideal, 3),
        "cpu_s": round(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, 2),
        "peak_rss_mb": round(after.ru_maxrss / 1024, 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[500, 2000])
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--concurrency", type=int, default=32)
    parser.add_argument("--url", default="", help="Measure in this process, against this server.")
    options = parser.parse_args()
    if options.url:
        print(json.dumps(measure(options.url, options.rows[0], options.concurrency, options.latency)))
        return
    command = [sys.executable, Path(__file__).parent / "stub_server.py", "--latency", options.latency]
    load = os.getloadavg()[0]
    with subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            found = []
            print(f"{'rows':>6} {'requests':>9} {'wall s':>8} {'ideal s':>8} {'ratio':>6} {'CPU s':>7} {'peak MB':>8}")
            for rows in options.rows:  # each in a process of its own, for its own peak
                more = ["--latency", options.latency, "--concurrency", options.concurrency, "--url", url]
                own = [sys.executable, __file__, "--rows", rows, *more]
                out = subprocess.run(list(map(str, own)), capture_output=True, text=True, check=True).stdout
                item = json.loads(out.splitlines()[-1])
                found.append(item)
                print(
                    f"{rows:>6} {item['requests']:>9} {item['wall_s']:>8} {item['ideal_s']:>8} {item['ratio']:>6}"
                    f" {item['cpu_s']:>7} {item['peak_rss_mb']:>8}",
                    flush=True,
                )
        finally:
            server.terminate()
            assert server.stdout is not None
            served = json.loads(server.stdout.read())
    asked = sum(item["requests"] for item in found)
    assert served["served"] == asked, f"{asked} requests were counted, and {served['served']} served"
    growth = round(found[-1]["peak_rss_mb"] / found[0]["peak_rss_mb"], 3)
    result = {
        "claim": "2,000 scripted rows in less than 1.2 x the ideal time; peak memory at most 1.1 x that of 500 rows",
        "ratio": found[-1]["ratio"],
        "memory_growth": growth,
        "latency_s": options.latency,
        "concurrency": options.concurrency,
        "runs": found,
        "server": served,
        "load_before": round(load, 2),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")
    print(f"ratio {found[-1]['ratio']} (claim: below 1.2), memory x{growth} (claim: at most 1.1) -> {RESULTS}")


if __name__ == "__main__":
    main()
