"""`echat report`: a run, or an ablation, as a page that people read and hear."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import Json, Verbose, sentences, show, show_json


def report(
    run: Annotated[
        Path, typer.Argument(metavar="DIR", help="Run folder (of build --out), or an ablation's (of ablate --out).")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", help="The page; by default DIR/report/index.html (--full: a folder).")
    ] = None,
    per_label: Annotated[
        int, typer.Option(min=1, max=1000, help="Dialogues of every label and verdict on the page.")
    ] = 2,
    budget: Annotated[float, typer.Option(min=1, metavar="MB", help="Size that the page may have.")] = 15.0,
    full: Annotated[
        bool, typer.Option("--full", help="Every dialogue, as a folder with a page for each label.")
    ] = False,
    project: Annotated[int, typer.Option(min=0, metavar="N", help="Project the cost to N dialogues.")] = 0,
    price: Annotated[float | None, typer.Option(min=0, help="Of a worker's hour, in any currency.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write one self-contained page: of a run its funnel, plots and samples to hear; of an ablation its verdicts."""
    with sentences(verbose):
        if (run / "ablation.yaml").exists() and not (run / "run.yaml").exists():
            if full or project or price is not None or per_label != 2:
                from manifests.errors import UserError

                raise UserError(f"{run}: is an ablation: of the options, --out and --budget are for its page")
            _of_ablation(run, out or run / "report" / "index.html", budget, as_json)
            return
        from pipeline.report.write import Request, write_report

        place = out or (run / "report" / "full" if full else run / "report" / "index.html")
        written = write_report(Request(run, place, per_label, budget, full, project, price))
        if as_json:
            show_json({**vars(written), "page": str(written.page)})
            return
        show(f"{written.shown:,} dialogues to hear, {written.size / 1e6:,.1f} MB: {written.page}")
        if written.silent:
            show(f"{written.silent:,} clips did not fit: allow more with --budget, or take --full")


def _of_ablation(folder: Path, out: Path, budget: float, as_json: bool) -> None:
    from pipeline.report.ablation import write_ablation_report

    written, why = write_ablation_report(folder, out, budget)
    if as_json:
        show_json({**vars(written), "page": str(written.page), "not_found": why})
        return
    show(f"{written.shown:,} rows to hear, {written.size / 1e6:,.1f} MB: {written.page}")
    if written.silent:
        show(f"{written.silent:,} clips did not fit: allow more with --budget")
    if why:
        show(why)
