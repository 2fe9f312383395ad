"""`echat review`: people against the gate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import Folder, Json, Verbose, sentences, show, show_json, show_table

app = typer.Typer(help="Let people hear kept and rejected dialogues blind, and measure the gate against them.")


@app.command()
def sheet(
    run: Folder,
    out: Annotated[Path, typer.Option("--out", help="A new folder for the sheets.")],
    raters: Annotated[int, typer.Option(min=1, max=20, help="People who listen, each in an order of his own.")] = 2,
    number: Annotated[int, typer.Option("--n", min=2, max=2000, help="Dialogues, half of them rejected ones.")] = 50,
    seed: Annotated[int, typer.Option(help="Decides which, and in which order.")] = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Write a page to listen to and a table to fill in for each rater; neither shows labels or verdicts."""
    with sentences(verbose):
        from pipeline.review.sheet import write_sheet

        done = write_sheet(run, out, raters, number, seed)
        if as_json:
            show_json({**vars(done), "folder": out})
            return
        rejected = f"{done.rejected} of them rejected by the gate"
        show(f"{done.clips} clips, {rejected}, for each of {done.raters} raters: {out}")
        show("give each rater his rater-N.html alone, and put the rater-N.csv that it saves in its place")
        show(f"then: echat review read {out} {run}")


@app.command()
def read(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Of the sheets, filled in.")],
    run: Folder,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Read the raters' tables: kappa between them, and the gate's precision and recall; `echat report` shows them."""
    with sentences(verbose):
        from pipeline.review.read import agreement_rows, gate_rows, read_review

        found = read_review(folder, run)
        if as_json:
            show_json(found)
            return
        show_table("the gate, by ear", ["judged by", "clips", "precision", "recall"], gate_rows(found))
        show_table("agreement of raters", ["family", "raters", "clips", "kappa"], agreement_rows(found))
        if found["gone"]:
            show(f"{found['gone']} clips are no dialogues of the run any more, and count for nothing")
        show(f"shown by: echat report {run}")
