"""`echat ingest`: material of your own, checked once and kept in the form that the engines take."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring in recordings of your own.")


@app.callback()
def _group() -> None:
    """Bring in recordings of your own."""


@app.command()
def events(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder laid out as ESC-50, VocalSound or by event.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make, for speak_query.events.")],
    licence: Annotated[str, typer.Option("--licence", help="Of the recordings, as their publisher states it.")],
    collection: Annotated[str, typer.Option("--source", help="Name or address of the collection.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for machines.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")] = False,
) -> None:
    """Check recordings of vocal sound events and keep the usable ones, split by speaker."""
    from pipeline.cli import _print, _print_json, _sentences, _table

    with _sentences(verbose):
        from manifests.labels import SPLITS
        from pipeline.ingest import ingest_events

        report = ingest_events(source, out, licence, collection)
        if as_json:
            _print_json(report)
            return
        rows = [
            (label, *(counts[split] for split in SPLITS), sum(counts.values()))
            for label, counts in report["kept"].items()
        ]
        _table(f"{report['recordings']:,} recordings of {report['origins']:,} sources", ["event", *SPLITS, "all"], rows)
        for reason, left in report["rejected"].items():
            _print(f"  {left['files']} left out: {reason}")
        _print(f"use them with speak_query: {{engine: kokoro, events: {out}}}")
