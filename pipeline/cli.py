"""The `echat` command. Heavy libraries are imported by the commands that need them, so that --help is quick."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manifests.errors import UserError
from pipeline import (
    cli_ablate,
    cli_calibrate,
    cli_evaluate,
    cli_export,
    cli_gc,
    cli_ingest,
    cli_inspect,
    cli_model,
    cli_plan,
    cli_publish,
    cli_rebuild,
    cli_release,
    cli_report,
    cli_review,
)
from pipeline.console import (
    Folder,
    Json,
    Quiet,
    Run,
    Verbose,
    complain,
    load_dag,
    need_run,
    sentences,
    show,
    show_json,
    show_table,
)

if TYPE_CHECKING:
    from pipeline.build import BuildResult
    from pipeline.profile import Profile

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
app.add_typer(cli_review.app, name="review")
app.command()(cli_plan.plan)
app.command()(cli_report.report)
app.command()(cli_publish.publish)
app.command()(cli_export.export)
app.command()(cli_gc.gc)
app.command()(cli_inspect.inspect)
app.command()(cli_rebuild.rebuild)
app.command()(cli_release.diff)
app.command()(cli_release.takedown)
app.command()(cli_model.train)
app.command()(cli_model.generate)
app.command()(cli_ablate.ablate)
app.command()(cli_evaluate.evaluate)


@app.command()
def doctor(
    run: Annotated[
        Path | None, typer.Argument(metavar="[RUN.yaml]", help="Check the engines of this run only.")
    ] = None,
    licences: Annotated[
        bool, typer.Option("--licences", help="List the licences of all that is installed with echat instead.")
    ] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Say what can run here, and the fix for what cannot. Exit 1 if the named run cannot."""
    with sentences(verbose):
        if licences:
            _show_licences(as_json)
            return
        from pipeline.build import check_pools
        from pipeline.doctor import engine_checks, machine_checks

        dag = load_dag(run) if run else None
        if dag is not None:
            check_pools(dag, run or Path())
        machine, engines = machine_checks(Path.cwd()), engine_checks(dag, run or "")
        if as_json:
            show_json([{**vars(check), "ok": check.ok} for check in (*machine, *engines)])
        else:
            rows = [(_mark(check.ok), check.what, check.state, check.fix) for check in machine]
            show_table("", ["", "machine", "state", "fix"], rows)
            rows = [(_mark(c.ok), c.what, c.state, c.weights, c.device, c.licence, c.fix) for c in engines]
            show_table("", ["", "engine", "state", "weights", "device", "licence", "fix"], rows)
        bad = [check for check in (*machine, *(engines if run else ())) if not check.ok]
        if bad:
            raise typer.Exit(1)


def _mark(ok: bool) -> str:
    return "ok" if ok else "MISSING"


def _show_licences(as_json: bool) -> None:
    from pipeline.licences import licences

    found = licences()
    if as_json:
        show_json([vars(item) for item in found])
        return
    show_table("", ["package", "version", "licence"], [(item.package, item.version, item.licence) for item in found])
    show(f"{len(found)} packages, {sum(not item.stated for item in found)} of which do not state a licence")


@app.command()
def build(
    run: Run,
    out: Annotated[Path, typer.Option("--out", help="Run folder; made, or gone on with.")],
    top_up: Annotated[
        bool, typer.Option("--top-up", help="Plan more until the quotas are kept; exit 1 if they are not.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Make so few dialogues, in the proportions of the quotas, to try a run.")
    ] = None,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="Most rounds of top-up, earlier ones included.")] = 3,
    profile: Annotated[
        bool, typer.Option("--profile", help="Say where the time went, and write it to profile.json.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Run or resume a manifest into a folder of verified shards."""
    with sentences(verbose):
        from pipeline.build import build as run_build
        from pipeline.estimate import check_placement
        from pipeline.limit import limited
        from pipeline.profile import Profile

        if limit and top_up:
            raise UserError("--limit tries a run and --top-up fills it: use one of them")
        dag = load_dag(run)
        check_placement(dag)
        manifest = dag.manifest
        if limit:
            labels = {task: dag.planner.rivals(task) for task in manifest.plan.quotas}
            manifest = limited(manifest, dag.planner.quotas, labels, limit)
        spent = Profile(sum(pool.count for pool in manifest.workers))
        result = run_build(manifest, run, out, quiet, rounds if top_up else None, spent)
        if profile:
            _show_profile(spent, spent.write(out), as_json)
        _finish(out, result, as_json, rounds if top_up else None)


def _show_profile(profile: Profile, path: Path, as_json: bool) -> None:
    """Tables for people; machines read the file."""
    from pipeline.profile import HEADERS, outside, table

    if as_json:
        return
    total = max(sum(profile.steps.values()), 1e-9)
    steps = [(name, f"{seconds:,.1f} s", f"{seconds / total:.0%}") for name, seconds in profile.steps.items()]
    show_table("", ["step", "wall time", "share"], steps)
    if profile.stages:
        show_table("", HEADERS, table(profile))
        show(outside(profile))
    show(f"{profile.bound()} ({path})")


@app.command()
def replay(run: Folder, as_json: Json = False, quiet: Quiet = False, verbose: Verbose = False) -> None:
    """Try the quarantined rows again; only they are made anew."""
    with sentences(verbose):
        from pipeline.replay import replay as run_replay

        need_run(run)
        tried, result = run_replay(run, quiet)
        if not as_json:
            show(f"{tried} quarantined dialogues tried again")
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
        show_json({**document, "shards": result.shards, "findings": findings})
    else:
        parts = [f"{counts.get(name, 0)} {name}" for name in ("kept", "rejected", "quarantined")]
        show(f"{result.planned} planned = {' + '.join(parts)}")
        for kind in ("reason", "error"):
            for name, number in sorted(result.statistics[kind].items(), key=lambda item: -item[1]):
                show(f"  {number} {'rejected for' if kind == 'reason' else 'quarantined by'} {name}")
        _print_quotas(result, rounds)
        if result.asked_llm:
            show(spent_line(result.asked_llm))
        if counts.get("quarantined"):
            show(f"try the quarantined rows again with: echat replay {out}")
        show(f"shards: {out / 'shards' / 'current'}")
    for finding in result.findings[:20]:
        complain(f"finding: {finding}")
    if result.short and rounds is not None:
        labels = ", ".join(map(str, result.short))
        cause = (
            f"the rounds of top-up (--rounds {rounds}) are used up; allow more"
            if result.rounds >= rounds
            else "nothing more is to be had; add scenarios, voices or plan.retries, or loosen select"
        )
        complain(f"error: the dataset is built, but its quotas are not filled ({labels}): {cause}")
    if result.findings or (result.short and rounds is not None):
        raise typer.Exit(1)


def _print_quotas(result: BuildResult, rounds: int | None) -> None:
    """How many of the dialogues that the quotas ask for were kept."""
    kept = result.statistics["verdict"].get("kept", 0)
    if result.short:
        rest = "" if rounds is not None else "; --top-up fills the rest"
        show(f"kept {result.filled} of {result.asked} asked{rest}")
    elif kept > result.asked:
        show(f"kept {kept}, more than the {result.asked} asked: quotas are minimums")


@app.command()
def status(run: Folder, as_json: Json = False, verbose: Verbose = False) -> None:
    """What is done, failing, stalled, and why."""
    with sentences(verbose):
        from pipeline.llm.spent import spent_line
        from pipeline.status import status as read_status

        state = read_status(run)
        if as_json:
            show_json(vars(state))
            return
        show(f"{run}: {state.state}{f' ({state.why})' if state.why else ''}")
        show_table("", ["stage", "cells", "of", "quarantined rows"], list(state.stages))
        if state.asked_llm:
            show(spent_line(state.asked_llm))
        for failure, number in state.failures.items():
            show(f"  {number} x {failure}")
        if state.funnel:
            parts = " + ".join(f"{state.funnel.get(name, 0)} {name}" for name in ("kept", "rejected", "quarantined"))
            show(f"{sum(state.funnel.values())} planned = {parts}; shards: {state.shards}")
        for language, shares in state.texts.items():
            show(f"texts in {language}: {', '.join(f'{name} {share:g}' for name, share in shares.items())}")
        if state.short:
            show(f"fewer kept than asked: {', '.join(state.short)}; build --top-up fills the rest")


@app.command()
def verify(
    folder: Annotated[
        str, typer.Argument(metavar="DIR|URL", help="Run folder, folder of shards, or where a set was published.")
    ],
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Check sums, ids, checksums, schemas, split disjointness and audio. Exit 1 on any finding."""
    with sentences(verbose):
        from pipeline.verify import verify as run_verify

        if "://" in folder:
            from pipeline.publish.upload import shown, verify_remote

            findings, folder = list(verify_remote(folder)), shown(folder)
        else:
            findings = run_verify(Path(folder))
        if as_json:
            show_json([vars(finding) for finding in findings])
        else:
            for finding in findings:
                show(f"finding: {finding}")
            show(f"{folder}: {f'{len(findings)} findings' if findings else 'verified'}")
        if findings:
            raise typer.Exit(1)


def main() -> None:
    """Entry point of the console script."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # Before torch is loaded: threads that spin while they wait for each other slow whatever runs beside them, and
    # themselves most of all.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    app()


if __name__ == "__main__":
    main()
