"""The `echat` command. Heavy libraries are imported by the commands that need them, so that --help is quick."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipeline import cli_calibrate, cli_ingest, cli_model

if TYPE_CHECKING:
    from pipeline.build import BuildResult

app = typer.Typer(
    name="echat",
    help="Make empathetic spoken-dialogue datasets that can be trusted: from a run manifest to verified shards.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

app.add_typer(cli_calibrate.app, name="calibrate")
app.add_typer(cli_ingest.app, name="ingest")
app.command()(cli_model.train)
app.command()(cli_model.generate)

Run = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="Run manifest: a file, or the name of a shipped one.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Run folder: the one given to build --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]


@contextmanager
def _sentences(verbose: bool) -> Iterator[None]:
    """Errors as one sentence: exit code 2 for wrong input, 1 for failed work, 130 when interrupted."""
    from manifests.errors import UserError, WorkFailedError

    logging.getLogger().setLevel(logging.WARNING if verbose else logging.ERROR)
    code = 1
    try:
        yield
        return
    except UserError as error:
        if verbose:
            raise
        _say(f"error: {error}")
        code = 2
    except WorkFailedError as error:
        if verbose:
            raise
        _say(f"error: {' '.join(str(error).split())[:1000]}")
    except KeyboardInterrupt:
        _say("interrupted: what is committed stays; run the same command to go on")
        code = 130
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if verbose:
            raise
        message = " ".join(str(error).split())[:500]
        _say(f"error: {type(error).__name__}: {message} (run again with -v for the traceback)")
    raise typer.Exit(code)


def _load(run: Path) -> Any:
    """The DAG of a run manifest, checked."""
    from manifests.run import load_run
    from pipeline.build import check_pools
    from pipeline.dag import build_dag

    dag = build_dag(load_run(run), run)
    check_pools(dag, run)
    return dag


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _print(text: str = "") -> None:
    sys.stdout.write(text + "\n")


def _print_json(value: Any) -> None:
    _print(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def _table(title: str, headers: list[str], rows: list[tuple[Any, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for place, header in enumerate(headers):
        numeric = place > 0 and all(isinstance(row[place], int | float) or _number(str(row[place])) for row in rows)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, not markup: a label or a path may hold brackets.
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else str(cell)) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)


def _number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").rstrip("x%").isdigit()


@app.command()
def doctor(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN.yaml]", help="Check the engines of this run only.")
    ] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what can run here, and the fix for what cannot. Exit 1 if the named run cannot."""
    with _sentences(verbose):
        from pipeline.doctor import engine_checks, machine_checks

        dag = _load(run) if run else None
        machine, engines = machine_checks(Path.cwd()), engine_checks(dag)
        if as_json:
            _print_json([{**vars(check), "ok": check.ok} for check in (*machine, *engines)])
        else:
            for title, checks in (("machine", machine), ("engines", engines)):
                rows = [("ok" if check.ok else "MISSING", check.what, check.state, check.fix) for check in checks]
                _table("", ["", title, "state", "fix"], rows)
        bad = [check for check in (*machine, *(engines if run else ())) if not check.ok]
        if bad:
            raise typer.Exit(1)


@app.command()
def plan(
    run: Run,
    out: Annotated[Path | None, typer.Option("--out", help="A run folder; says what of it is reused.")] = None,
    assume_cluster: Annotated[bool, typer.Option(help="Do not ask whether this machine can hold the workers.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Count the dialogues, estimate audio, disk and core-hours, and refuse what cannot be placed (exit 2)."""
    with _sentences(verbose):
        from pipeline.build import check_engines
        from pipeline.estimate import as_json as to_json
        from pipeline.estimate import check_placement, estimate
        from pipeline.stages.plan import count_plan
        from pipeline.thresholds import check_thresholds
        from pipeline.topup import with_topup

        dag = with_topup(_load(run), out) if out is not None else _load(run)
        check_thresholds(dag)
        counts = count_plan(dag.planner, dag.manifest.executor.beam)
        figures = estimate(dag)
        if as_json:
            quotas = [{"task": task, "label": label, "keep": n} for (task, label), n in dag.planner.quotas.items()]
            real = [{"task": task, "label": label, "real": n} for (task, label), n in dag.planner.real_counts.items()]
            _print_json({**to_json(figures, counts), "quotas": quotas, "real": real})
        else:
            _print_plan(figures, counts, dag.planner.quotas, dag.planner.real_counts)
            _print_real(dag)
        if out is not None and (out / "stages").exists():
            _print_reuse(dag, out)
        if not assume_cluster:
            check_engines(dag, run)
            check_placement(dag)


def _print_real(dag: Any) -> None:
    real = dag.planner.real
    if real.folders:
        _print(
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
    _table(f"{figures.dialogues:,} dialogues, parts: {figures.parts:,}", headers, rows)
    if any(number > 1 for number, _ in turns):
        rows = []
        for number in sorted({number for number, _ in turns}):
            splits = [turns[number, split] for split in SPLITS]
            rows.append((number, *splits, sum(splits)))
        _table(f"{round(figures.turns):,} turns", ["turns", *SPLITS, "dialogues"], rows)
    costs = [
        (
            cost.stage,
            f"{cost.audio_hours:,.2f}",
            f"{cost.realtime:,.2f}x per {cost.unit}",
            f"{cost.unit_hours:,.2f} {cost.unit}-hours",
            f"{cost.wall_hours:,.2f} h on {cost.workers}",
        )
        for cost in figures.stages
    ]
    _table("", ["stage", "audio hours", "throughput", "work", "wall time"], costs)
    for source in dict.fromkeys(f"{cost.stage}: {cost.source}" for cost in figures.stages):
        _print(f"throughput of {source}")
    _print(
        f"about {figures.query_hours:,.2f} hours of queries and {figures.reply_hours:,.2f} hours of replies,"
        f" {figures.disk_gb:,.2f} GB on disk,"
        f" {figures.texts:,} different query texts, {figures.wall_hours:,.2f} hours in all on the manifest's workers"
    )
    if figures.asks:
        asks = figures.asks
        _print(
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
        _print(
            f"{out}: the plan changed; rows that it shares with the folder's earlier plan are copied, not made again"
        )
        return
    for stage, have, left in reuse(Grid(dag, ledger, [record for record in found if record])):
        _print(f"{out}: {stage}: {have} of {have + left} cells reused, {left} to make")


@app.command()
def build(
    run: Run,
    out: Annotated[Path, typer.Option("--out", help="Run folder; made, or gone on with.")],
    top_up: Annotated[
        bool, typer.Option("--top-up", help="Plan more until the quotas are kept; exit 1 if they are not.")
    ] = False,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Most rounds of top-up, earlier ones included.")] = 3,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run or resume a manifest into a folder of verified shards."""
    with _sentences(verbose):
        from pipeline.build import build as run_build
        from pipeline.estimate import check_placement

        dag = _load(run)
        check_placement(dag)
        result = run_build(dag.manifest, run, out, quiet, rounds if top_up else None)
        _finish(out, result, as_json, rounds if top_up else None)


@app.command()
def replay(run: Folder, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Try the quarantined rows again; only they are made anew."""
    with _sentences(verbose):
        from pipeline.replay import replay as run_replay

        _need_run(run)
        tried, result = run_replay(run, quiet)
        if not as_json:
            _print(f"{tried} quarantined dialogues tried again")
        _finish(run, result, as_json)


def _finish(out: Path, result: BuildResult, as_json: bool, rounds: int | None = None) -> None:
    """Print the funnel and where the shards are; exit 1 when they do not verify, or a top-up could not fill them."""
    from pipeline.llm.spent import spent_line

    counts = result.statistics["verdict"]
    if as_json:
        findings = [str(finding) for finding in result.findings]
        quotas = {"asked": result.asked, "filled": result.filled, "short": [vars(item) for item in result.short]}
        document = {"planned": result.planned, **quotas, "rounds": result.rounds, **result.statistics}
        document["asked_llm"] = result.asked_llm
        _print_json({**document, "shards": result.shards, "findings": findings})
    else:
        parts = [f"{counts.get(name, 0)} {name}" for name in ("kept", "rejected", "quarantined")]
        _print(f"{result.planned} planned = {' + '.join(parts)}")
        for kind in ("reason", "error"):
            for name, number in sorted(result.statistics[kind].items(), key=lambda item: -item[1]):
                _print(f"  {number} {'rejected for' if kind == 'reason' else 'quarantined by'} {name}")
        _print_quotas(result, rounds)
        if result.asked_llm:
            _print(spent_line(result.asked_llm))
        if counts.get("quarantined"):
            _print(f"try the quarantined rows again with: echat replay {out}")
        _print(f"shards: {out / 'shards' / 'current'}")
    for finding in result.findings[:20]:
        _say(f"finding: {finding}")
    if result.short and rounds is not None:
        labels = ", ".join(map(str, result.short))
        cause = (
            f"the rounds of top-up (--rounds {rounds}) are used up; allow more"
            if result.rounds >= rounds
            else "nothing more is to be had; add scenarios, voices or plan.retries, or loosen select"
        )
        _say(f"error: the dataset is built, but its quotas are not filled ({labels}): {cause}")
    if result.findings or (result.short and rounds is not None):
        raise typer.Exit(1)


def _print_quotas(result: BuildResult, rounds: int | None) -> None:
    """How many of the dialogues that the quotas ask for were kept."""
    kept = result.statistics["verdict"].get("kept", 0)
    if result.short:
        rest = "" if rounds is not None else "; --top-up fills the rest"
        _print(f"kept {result.filled} of {result.asked} asked{rest}")
    elif kept > result.asked:
        _print(f"kept {kept}, more than the {result.asked} asked: quotas are minimums")


def _need_run(run: Path) -> None:
    from manifests.errors import UserError

    if not (run / "run.yaml").exists():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml); name the folder given to build --out")


@app.command()
def status(run: Folder, as_json: Json = False, verbose: Verbose = False) -> None:
    """What is done, failing, stalled, and why."""
    with _sentences(verbose):
        from pipeline.llm.spent import spent_line
        from pipeline.status import status as read_status

        state = read_status(run)
        if as_json:
            _print_json(vars(state))
            return
        _print(f"{run}: {state.state}{f' ({state.why})' if state.why else ''}")
        _table("", ["stage", "cells", "of", "quarantined rows"], list(state.stages))
        if state.asked_llm:
            _print(spent_line(state.asked_llm))
        for failure, number in state.failures.items():
            _print(f"  {number} x {failure}")
        if state.funnel:
            parts = " + ".join(f"{state.funnel.get(name, 0)} {name}" for name in ("kept", "rejected", "quarantined"))
            _print(f"{sum(state.funnel.values())} planned = {parts}; shards: {state.shards}")
        if state.short:
            _print(f"fewer kept than asked: {', '.join(state.short)}; build --top-up fills the rest")


@app.command()
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder, or a folder of shards.")],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check sums, ids, checksums, schemas, split disjointness and audio. Exit 1 on any finding."""
    with _sentences(verbose):
        from pipeline.verify import verify as run_verify

        findings = run_verify(folder)
        if as_json:
            _print_json([vars(finding) for finding in findings])
        else:
            for finding in findings:
                _print(f"finding: {finding}")
            _print(f"{folder}: {f'{len(findings)} findings' if findings else 'verified'}")
        if findings:
            raise typer.Exit(1)


@app.command()
def inspect(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="A tar, a folder of tars, or a run folder.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=1_000_000, help="Dialogues in the table.")] = 10,
    row: Annotated[str, typer.Option("--id", help="Show this dialogue in full (a prefix is enough).")] = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Look into shards: a table of rows, and one row in full."""
    with _sentences(verbose):
        from manifests.errors import UserError
        from pipeline.inspect import find_shards, first_documents, read_documents

        if row:
            for shard in find_shards(shards):
                for document in read_documents(shard):
                    if document["id"].startswith(row):
                        _print_json(document)
                        return
            raise UserError(f"{shards}: holds no dialogue whose id begins with {row!r}")
        documents = first_documents(shards, rows)
        if as_json:
            _print_json([document for _, document in documents])
            return
        lines = []
        for tar, document in documents:
            for turn in document["turns"]:
                asked = ", ".join(turn["query"]["requested"][family] for family in turn["cues"]) or "neutral"
                wer = f"{turn['query']['wer']:.2f}"
                lines.append((document["id"][:8], tar, asked, wer, turn["query"]["text"], turn["reply"]["text"]))
        _table("", ["id", "shard", "cues", "WER", "query", "reply"], lines)
        if documents:
            _print(f"one row in full: echat inspect {shards} --id {documents[0][1]['id'][:8]}")


def main() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    app()
