"""Real-time factors: CPU seconds for a second of audio, of every engine and annotator, on one core and one thread.

Claim: to annotate and rate a dialogue, with its share of opinion scores, costs less than a third of speaking its query
and reply. All stages do the work that they do in a run, on the same rows of the demo's plan, and `annotate` asks every
embedded annotator, not only those of one run. CPU time is of this process; each stage has seen one row before.
A reference of each voice is made once a run and not counted here.

    python benchmarks/real_time_factor.py [--run demo] [--rows 12] [--annotators gender=voice,...]
"""

# ruff: noqa: E402
from __future__ import annotations

import os

for _library in ("OMP", "OPENBLAS", "MKL"):
    os.environ[f"{_library}_NUM_THREADS"] = "1"  # before numpy is imported

import argparse
import json
import platform
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from annotators.clip import Clip, Reference
from annotators.mos import DnsmosConfig
from manifests.labels import HEARD
from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.audio import decode_flac
from pipeline.calibrate import choose_annotators
from pipeline.dag import Dag, build_dag
from pipeline.stage import REFERENCE
from pipeline.stages.listen import Annotate
from pipeline.stages.mos import Mos
from pipeline.stages.plan import run_plan
from pipeline.stages.voices import fold

RESULTS = Path(__file__).parent / "results" / "real_time_factor.json"
CLAIM = 1 / 3
SPEECH = ("speak_query", "speak_reply")


@dataclass(frozen=True)
class Cost:
    """CPU seconds over all rows, and the seconds of audio that they were spent on."""

    cpu_s: float
    audio_s: float

    @property
    def factor(self) -> float:
        return self.cpu_s / self.audio_s


def planned(dag: Dag, number: int) -> list[dict[str, Any]]:
    """Rows of the plan with their texts, from every task in turn."""
    with tempfile.TemporaryDirectory() as folder:
        ledger = Ledger(Path(folder))
        plans = [row for record in run_plan(dag.plan, ledger) for row in ledger.load(record).to_pylist()]
    tasks: dict[str, list[dict[str, Any]]] = {}
    for row in sorted(plans, key=lambda row: row["id"]):
        tasks.setdefault(row["task"], []).append(row)
    longest = max(map(len, tasks.values()))
    turns = [rows[place] for place in range(longest) for _, rows in sorted(tasks.items()) if place < len(rows)]
    script = dag.by_name["script"].open()
    chosen = []
    for plan in turns[:number]:
        row = {"id": plan["id"], "turn": plan["turn"], **{f"plan.{name}": value for name, value in plan.items()}}
        chosen.append(_with(row, "script", script.process([row])[0]))
    return chosen


def _with(row: dict[str, Any], stage: str, made: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{f"{stage}.{name}": value for name, value in made.items()}}


def timed(work: Callable[[Any], Any], items: list[Any]) -> tuple[float, list[Any]]:
    """CPU seconds of the work on all items, and what came of them; the first item is done once before."""
    work(items[0])
    started = time.process_time()
    made = [work(item) for item in items]
    return time.process_time() - started, made


def hears(stage: Any) -> list[str]:
    """The stages whose audio a stage makes or reads."""
    if stage.name in SPEECH:
        return [stage.name]
    return [name for name in SPEECH if f"{name}.audio" in stage.reads]


def measure(dag: Dag, number: int, asked: str | None) -> dict[str, Any]:
    """Everything, as it is written."""
    rows = [{**row, REFERENCE: ""} for row in planned(dag, number)]
    annotators, skipped = choose_annotators(asked, tuple(HEARD))
    mos = DnsmosConfig.model_validate(dag.manifest.mos or {"engine": "dnsmos"})
    stages: list[Any] = [dag.by_name[name] for name in (*SPEECH, "transcribe")]
    stages += [Annotate(tuple(annotators.items())), dag.by_name["rate"]]
    stages += [Mos(mos.model_copy(update={"share": 1.0})), dag.by_name["tokenize"]]
    workers = [stage.open() for stage in stages]  # all now, so that what is missing is told before any work
    costs: dict[str, Cost] = {}
    for stage, worker in zip(stages, workers, strict=True):
        cpu_s, made = timed(lambda row, worker=worker: worker.process([row])[0], rows)
        rows = [_with(row, stage.name, columns) for row, columns in zip(rows, made, strict=True)]
        costs[stage.name] = Cost(cpu_s, sum(row[f"{name}.seconds"] for row in rows for name in hears(stage)))
        print(f"{stage.name}: {cpu_s:.2f} s of CPU for {costs[stage.name].audio_s:.2f} s of audio", flush=True)
    query, reply = (costs[name].audio_s for name in SPEECH)
    alone = {slot: Cost(cpu_s, query) for slot, cpu_s in annotators_alone(annotators, rows).items()}
    spoken = sum(costs[name].cpu_s for name in SPEECH)
    heard = costs["annotate"].cpu_s + costs["rate"].cpu_s + mos.share * costs["mos"].cpu_s
    return {
        "claim": "annotate + rate + sampled mos below a third of the synthesis of query and reply, in CPU time",
        "ratio": round(heard / spoken, 3),
        "rows": len(rows),
        "mos_share": mos.share,
        "query_s": round(query / len(rows), 2),
        "reply_s": round(reply / len(rows), 2),
        "stages": {name: _document(cost, len(rows)) for name, cost in costs.items()},
        "annotators": {
            slot: {**_document(cost, len(rows)), "engine": _engine(annotators, slot)} for slot, cost in alone.items()
        },
        "left_out": skipped,
        "cpu": _cpu(),
        "python": platform.python_version(),
    }


def annotators_alone(annotators: dict[str, Any], rows: list[dict[str, Any]]) -> dict[str, float]:
    """CPU seconds of each annotator by itself, and of the measurements that they share."""
    audio = [decode_flac(row["speak_query.audio"]) for row in rows]
    cpu = {}
    cpu["cues (shared)"], cues = timed(lambda one: Clip(*one).cues, audio)
    cpu["embedding (shared)"], embeddings = timed(lambda one: Clip(*one).embedding, audio)
    known = [{name: value for name, value in one.items() if value == value} for one in cues]
    reference = Reference.from_json(fold(list(zip(known, [list(map(float, e)) for e in embeddings], strict=True))))
    for slot, config in annotators.items():
        annotator = config.open()
        cpu[slot], _ = timed(lambda one, annotator=annotator: annotator.annotate(Clip(*one, reference)), audio)
    return cpu


def _engine(annotators: dict[str, Any], slot: str) -> str:
    return annotators[slot].engine if slot in annotators else ""


def _document(cost: Cost, rows: int) -> dict[str, float]:
    return {
        "factor": round(cost.factor, 4),
        "times_real_time": round(1 / cost.factor, 2),
        "cpu_s_a_row": round(cost.cpu_s / rows, 4),
        "audio_s": round(cost.audio_s, 2),
    }


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", default="demo", help="run manifest whose engines and plan are used")
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--annotators", metavar="FAMILY=ENGINE,...", help="these alone; else every one")
    options = parser.parse_args()
    result = measure(build_dag(load_run(Path(options.run)), options.run), options.rows, options.annotators)
    print(f"\n{'':24}{'RTF':>9}{'x real time':>13}{'CPU s a row':>13}")
    for kind in ("stages", "annotators"):
        for name, cost in result[kind].items():
            title = f"{name}={cost['engine']}" if cost.get("engine") else name
            print(f"{title:24}{cost['factor']:9.4f}{cost['times_real_time']:13.1f}{cost['cpu_s_a_row']:13.3f}")
    for pair, why in result["left_out"].items():
        print(f"left out {pair}: {why}")
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(f"\n(annotate + rate + {result['mos_share']:g} of mos) / synthesis = {result['ratio']:.3f}, claimed below"
          f" {CLAIM:.3f} -> {RESULTS}")  # fmt: skip


if __name__ == "__main__":
    main()
