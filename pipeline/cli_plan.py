"""`echat plan`: what a run would make, and what it would cost."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console import Json, Run, Verbose, load_dag, need_run, sentences, show, show_json, show_table


def plan(
    run: Run,
    out: Annotated[Path | None, typer.Option("--out", help="A run folder; says what of it is reused.")] = None,
    assume_cluster: Annotated[bool, typer.Option(help="Do not ask whether this machine can hold the workers.")] = False,
    simulate: Annotated[bool, typer.Option(help="Replay the run on a cluster: wall time, idle share, cost.")] = False,
    cluster: Annotated[Path | None, typer.Option(metavar="YAML", help="The cluster to simulate; see docs.")] = None,
    like: Annotated[Path | None, typer.Option(metavar="DIR", help="Run folder that says how long cells take.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count the dialogues, estimate audio, disk and core-hours, and refuse what cannot be placed (exit 2)."""
    with sentences(verbose):
        from manifests.errors import UserError
        from pipeline.build import check_engines
        from pipeline.cluster import lines
        from pipeline.dag import build_dag
        from pipeline.estimate import as_json as to_json
        from pipeline.estimate import check_placement, disk, estimate
        from pipeline.stages.plan import count_plan
        from pipeline.thresholds import check_thresholds
        from pipeline.topup import with_topup

        dag = with_topup(load_dag(run), out) if out is not None else load_dag(run)
        check_thresholds(dag)
        counts = count_plan(dag.planner, dag.manifest.executor.beam)
        figures = estimate(dag)
        space = disk(dag, out or Path.cwd(), figures)
        simulated = _simulate(dag, figures, cluster, like) if simulate or cluster or like else None
        if as_json:
            quotas = [{"task": task, "label": label, "keep": n} for (task, label), n in dag.planner.quotas.items()]
            real = [{"task": task, "label": label, "real": n} for (task, label), n in dag.planner.real_counts.items()]
            room = {"disk_needed_bytes": space.needed, "disk_free_bytes": space.free}
            show_json({**to_json(figures, counts), **room, "quotas": quotas, "real": real, "simulated": simulated})
        else:
            _print_plan(figures, counts, dag.planner.quotas, dag.planner.real_counts)
            _print_real(dag)
            show(str(space))
            for line in lines(simulated) if simulated else ():
                show(line)
        if not assume_cluster:
            # Engines of other environments name themselves, which the keys of their cells need.
            dag = build_dag(check_engines(dag, run), run)
            check_placement(dag)
            if not space.fits:
                raise UserError(f"{space}; free some space, choose another --out, or plan fewer dialogues")
        if out is not None and (out / "stages").exists() and not as_json:
            _print_reuse(with_topup(dag, out), out)


def _simulate(dag: Any, figures: Any, cluster: Path | None, like: Path | None) -> dict[str, Any]:
    from pipeline.cluster import load_cluster, predict

    if like is not None:
        need_run(like)
    return predict(dag, figures, load_cluster(cluster, dag.manifest), like)[1]


def _print_real(dag: Any) -> None:
    real = dag.planner.real
    if real.folders:
        show(
            f"recordings that can be queries: {len(real.recordings):,} of {', '.join(real.abouts)};"
            f" {real.unusable():,} have no text, are twice there, or are in a split without a share"
        )


def _print_plan(figures: Any, drawn: Any, quotas: Any, real: Any) -> None:
    from manifests.labels import SPLITS
    from pipeline.estimate import by_label, by_turns

    counts, turns = by_label(drawn), by_turns(drawn)
    labels = sorted({(task, label) for task, label, _ in counts})
    rows: list[tuple[Any, ...]] = []
    for task, label in labels:
        splits = [counts[task, label, split] for split in SPLITS]
        rows.append((task, label, *splits, sum(splits), real[task, label], quotas[task, label]))
    sums = [sum(n for (_, _, s), n in counts.items() if s == split) for split in SPLITS]
    rows.append(("all", "", *sums, sum(sums), sum(real.values()), sum(quotas.values())))
    headers = ["task", "label", *SPLITS, "planned", "real", "to keep"]
    show_table(f"{figures.dialogues:,} dialogues, parts: {figures.parts:,}", headers, rows)
    if any(number > 1 for number, _ in turns):
        rows = []
        for number in sorted({number for number, _ in turns}):
            splits = [turns[number, split] for split in SPLITS]
            rows.append((number, *splits, sum(splits)))
        show_table(f"{round(figures.turns):,} turns", ["turns", *SPLITS, "dialogues"], rows)
    costs = [
        (
            cost.stage,
            f"{cost.audio_hours:,.2f}",
            f"{cost.realtime:,.2f}x per {cost.unit}",
            f"{cost.unit_hours:,.2f} {cost.unit}-hours",
            f"{cost.wall_hours:,.2f} h on {cost.workers}",
            *([f"{cost.price:,.2f}"] if figures.price else []),
        )
        for cost in figures.stages
    ]
    headers = ["stage", "audio hours", "throughput", "work", "wall time", *(["price"] if figures.price else [])]
    show_table("", headers, costs)
    for source in dict.fromkeys(f"{cost.stage}: {cost.source}" for cost in figures.stages):
        show(f"throughput of {source}")
    show(
        f"about {figures.query_hours:,.2f} hours of queries and {figures.reply_hours:,.2f} hours of replies,"
        f" {figures.disk_gb:,.2f} GB on disk,"
        f" {figures.texts:,} different query texts, {figures.wall_hours:,.2f} hours in all on the manifest's workers"
    )
    price = f", {figures.price:,.2f} at the manifest's hourly prices" if figures.price else ""
    cards = f" on {figures.gpus:,} GPUs" if figures.gpus else ""
    show(f"in all {figures.total('core'):,.2f} core-hours and {figures.total('gpu'):,.2f} GPU-hours{cards}{price}")
    if figures.asks:
        asks = figures.asks
        show(
            f"the language model: about {asks.requests:,.0f} requests, {asks.prompt_tokens:,.0f} tokens in and"
            f" {asks.completion_tokens:,.0f} out, cost {asks.cost:,.2f} at the manifest's prices"
        )


def _print_reuse(dag: Any, out: Path) -> None:
    from manifests.ledger import Ledger
    from pipeline.estimate import reuse
    from pipeline.grid import Grid

    ledger = Ledger(out)
    key = dag.plan.cell_key([])
    found = [ledger.find("plan", part, key) for part in range(dag.planner.num_parts)]
    if not all(found):
        show(f"{out}: the plan changed; rows that it shares with the folder's earlier plan are copied, not made again")
        return
    for stage, have, left in reuse(Grid(dag, ledger, [record for record in found if record])):
        show(f"{out}: {stage}: {have} of {have + left} cells reused, {left} to make")
