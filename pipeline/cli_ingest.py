"""`echat ingest`: material of your own, checked once and kept in the form that runs and engines take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console import Json, Verbose, sentences, show, show_json, show_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring in recordings of your own.")

Source = Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the corpus, as its publisher lays it out.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make.")]
Licence = Annotated[str, typer.Option("--licence", help="Of the recordings, as their publisher states it.")]

_LAYOUTS = {
    "csv": "A table of your own (labels.csv, .tsv or .jsonl) beside audio files.",
    "emodb": "Berlin Database of Emotional Speech: 03a01Fa.wav.",
    "ravdess": "RAVDESS: Actor_12/03-01-06-01-02-01-12.wav.",
    "cremad": "CREMA-D: 1001_DFA_ANG_XX.wav and VideoDemographics.csv.",
    "esd": "Emotional Speech Dataset: 0001/Angry/0001_000351.wav and 0001/0001.txt.",
    "commonvoice": "Common Voice: validated.tsv and clips/.",
    "vocalsound": "VocalSound: audio_44k/f0003_0_cough.wav and meta/.",
    "esc50": "ESC-50: meta/esc50.csv and audio/.",
    "lhotse": "Lhotse manifests: recordings and supervisions as JSON lines.",
    "osum": "OSUM raw lists: JSON lines with key, wav, txt and extra.",
}


@app.callback()
def _group() -> None:
    """Bring in recordings of your own."""


def _command(name: str) -> Callable[..., None]:
    """The command of an adapter; all take the same options."""

    def command(
        source: Source,
        out: Out,
        licence: Licence,
        consent: Annotated[str, typer.Option("--consent", help="What the speakers have agreed to.")],
        corpus: Annotated[str, typer.Option("--name", help="Of the corpus, if not the usual one.")] = "",
        language: Annotated[str, typer.Option("--language", help="Of texts that do not say theirs: de.")] = "",
        rate: Annotated[int | None, typer.Option("--rate", metavar="HZ", help="Resample; else as it is.")] = None,
        publish: Annotated[
            bool, typer.Option("--publish/--no-publish", help="May the recordings be passed on?")
        ] = True,
        as_json: Json = False,
        verbose: Verbose = False,
    ) -> None:
        with sentences(verbose):
            from pipeline.ingest.writer import Request, adapter_of, ingest

            request = Request(source, out, licence, consent, corpus, language, rate, publish)
            report = ingest(adapter_of(name), request)
            if as_json:
                show_json(report)
            else:
                _print_report(report, out)

    command.__doc__ = _LAYOUTS[name]
    return command


for _name in _LAYOUTS:
    app.command(_name)(_command(_name))


def _print_report(report: dict[str, Any], out: Path) -> None:
    rows = [(family, label, count) for family, labels in report["labels"].items() for label, count in labels.items()]
    title = f"{report['name']}: {report['recordings']:,} recordings of {len(report['speakers']):,} speakers"
    show_table(f"{title}, {report['seconds'] / 60:,.1f} minutes", ["family", "label", "recordings"], rows)
    for family, spelled in report["unmapped"].items():
        said = ", ".join(f"{label} ({count:,})" for label, count in spelled.items())
        show(f"  {family}: none of our labels, kept without one: {said}")
    for change, count in report["changed"].items():
        show(f"  {count:,} changed: {change}")
    if report["without_text"]:
        show(f"  {report['without_text']:,} have no text and cannot be queries of a run")
    for reason, left in report["rejected"].items():
        show(f"  {left['rows']:,} left out: {reason} ({', '.join(left['first'][:3])})")
    if not report["publish"]:
        show(f"  not to be published: {report['note'] or report['licence']}")
    show(f"use it with plan: {{real: {{corpora: [{out}]}}}}")


@app.command()
def events(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="Folder laid out as ESC-50, VocalSound or by event.")],
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make, for speak_query.events.")],
    licence: Licence,
    collection: Annotated[str, typer.Option("--source", help="Name or address of the collection.")] = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Vocal sound events for the synthetic queries: kept by event, split by speaker."""
    with sentences(verbose):
        from manifests.labels import SPLITS
        from pipeline.ingest.events import ingest_events

        report = ingest_events(source, out, licence, collection)
        if as_json:
            show_json(report)
            return
        rows = [
            (label, *(counts[split] for split in SPLITS), sum(counts.values()))
            for label, counts in report["kept"].items()
        ]
        show_table(
            f"{report['recordings']:,} recordings of {report['origins']:,} sources", ["event", *SPLITS, "all"], rows
        )
        for reason, left in report["rejected"].items():
            show(f"  {left['files']} left out: {reason}")
        show(f"use them with speak_query: {{engine: kokoro, events: {out}}}")
