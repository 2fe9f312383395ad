"""`echat calibrate`: annotators against recordings that people labelled, thresholds of a run for reuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console import Verbose, need_run, sentences, show, show_json, show_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Calibrate what the gate trusts.")


@app.command()
def thresholds(
    run: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder: the one given to build --out.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="File for select.thresholds of other runs.")],
    verbose: Verbose = False,
) -> None:
    """Freeze the thresholds of a built run into a file."""
    with sentences(verbose):
        from pipeline.thresholds import freeze, report

        need_run(run)
        frozen = freeze(run, out)
        show(report(frozen, False))
        show(f"wrote {out} ({frozen.content_hash()})")


class Retraining(StrEnum):
    """How heads are trained anew: `loso` leaves one speaker out at a time."""

    LOSO = "loso"


@app.command()
def annotators(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of recordings with labels.csv.")],
    chosen: Annotated[
        str | None,
        typer.Option(
            "--annotators", metavar="FAMILY=ENGINE,...", help="These alone; else all the corpus has labels for."
        ),
    ] = None,
    retrain: Annotated[
        Retraining | None,
        typer.Option(help="Train the heads on the corpus itself, without the speaker that is scored."),
    ] = None,
    enrol: Annotated[int, typer.Option(min=0, help="Clips of each speaker that make his reference; 0 for none.")] = 12,
    speakers: Annotated[str | None, typer.Option(metavar="A,B,...", help="The clips of these speakers alone.")] = None,
    corpus: Annotated[str | None, typer.Option(metavar="NAME", help="Name of the corpus, if not the folder's.")] = None,
    seed: Annotated[int, typer.Option(help="Draws the clips of the references.")] = 0,
    plugin: Annotated[list[str] | None, typer.Option(metavar="MODULE", help="Registers engines of your own.")] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Writes JSON and pictures there.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    verbose: Verbose = False,
) -> None:
    """Run annotators over recordings that people labelled: recall, UAR, confusion, calibration error."""
    with sentences(verbose):
        from pipeline.calibrate import Request, calibrate
        from pipeline.registry import load_plugins

        load_plugins(tuple(plugin or ()), "--plugin")
        names = [name.strip() for name in speakers.split(",") if name.strip()] if speakers is not None else None
        request = Request(data, corpus, names, chosen, enrol, seed, retrain is not None)
        document, slots = calibrate(request, progress)
        if as_json:
            show_json(document)
        else:
            _print_calibration(document, slots)
        if out is not None:
            _write_calibration(document, slots, out, as_json)


def _print_calibration(document: dict[str, Any], slots: Sequence[str]) -> None:
    from pipeline.calibrate_report import confusion, remarks, summary

    name, number = document["corpus"]["name"], document["corpus"]["scored"]
    show_table(f"{name}: {number:,} clips of {len(document['corpus']['speakers'])} speakers", *summary(document, slots))
    for slot in slots:
        if document[slot]["clips"]:
            show_table(slot, *confusion(document[slot]))
    for sentence in remarks(document, slots):
        show(sentence)


def _write_calibration(document: dict[str, Any], slots: Sequence[str], out: Path, quiet: bool) -> None:
    from manifests.files import write_atomic
    from pipeline.calibrate_report import draw

    out.mkdir(parents=True, exist_ok=True)
    write_atomic(out / "calibration.json", (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    for slot in slots:
        if document[slot]["clips"]:
            draw(slot, document[slot], document["corpus"]["name"], out / f"{slot}.png")
    if not quiet:
        show(f"wrote {out / 'calibration.json'} and a PNG for each annotator")


def progress(what: str, items: Sequence[Any]) -> Iterable[Any]:
    """Passes items on, with a bar on standard error where that is a terminal."""
    if not sys.stderr.isatty():
        return items
    from rich.console import Console
    from rich.progress import track

    return track(items, description=what, console=Console(stderr=True), transient=True)
