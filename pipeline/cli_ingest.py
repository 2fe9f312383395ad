"""`echat ingest`: material of your own, checked once and kept in the form that runs and engines take."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.cli_calibrate import progress
from pipeline.console import Json, Verbose, sentences, show, show_json, show_table

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Bring in recordings of your own.")

Source = Annotated[Path, typer.Argument(metavar="SRC", help="Folder of the corpus, as its publisher lays it out.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to make.")]
Licence = Annotated[str, typer.Option("--licence", help="Of the recordings, as their publisher states it.")]
Consent = Annotated[str, typer.Option("--consent", help="What the speakers have agreed to.")]
Publish = Annotated[
    bool | None, typer.Option("--publish/--no-publish", help="May they be passed on? [if the licence is open]")
]

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
        consent: Consent,
        corpus: Annotated[str, typer.Option("--name", help="Of the corpus, if not the usual one.")] = "",
        language: Annotated[str, typer.Option("--language", help="Of texts that do not say theirs: de.")] = "",
        rate: Annotated[int | None, typer.Option("--rate", metavar="HZ", help="Resample; else as it is.")] = None,
        publish: Publish = None,
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
    show(f"{title}, {report['seconds'] / 60:,.1f} minutes")
    show_table("", ["family", "label", "recordings"], rows)
    for family, spelled in report["unmapped"].items():
        said = ", ".join(f"{label} ({count:,})" for label, count in spelled.items())
        show(f"  {family}: none of our labels, kept without one: {said}")
    for change, count in report["changed"].items():
        show(f"  {count:,} changed: {change}")
    if report["unread_columns"]:
        show(f"  columns that are not read: {', '.join(report['unread_columns'])}")
    if report["without_text"]:
        show(f"  {report['without_text']:,} have no text and cannot be queries of a run")
    if report["more_text_than_time"]:
        show(f"  {report['more_text_than_time']:,} have more text than can be said in their time: is their sound cut?")
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
    consent: Consent,
    collection: Annotated[str, typer.Option("--source", help="Name or address of the collection.")] = "",
    publish: Publish = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Vocal sound events for the synthetic queries: kept by event, split by speaker."""

    with sentences(verbose):
        from manifests.labels import SPLITS
        from pipeline.ingest.events import ingest_events

        report = ingest_events(source, out, licence, collection, consent, publish)
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
        if not report["publish"]:
            show(f"  not to be published: {report['licence']}")
        show(f"use them with speak_query: {{engine: kokoro, events: {out}}}")


@app.command()
def voices(
    corpora: Annotated[list[Path], typer.Argument(metavar="CORPUS...", help="Folders that echat ingest made.")],
    out: Out,
    gates: Annotated[Path | None, typer.Option("--gates", metavar="FILE", help="YAML with gates of your own.")] = None,
    seconds: Annotated[str | None, typer.Option(metavar="MIN,MAX", help="Shortest and longest prompt [3,12].")] = None,
    snr: Annotated[float | None, typer.Option(metavar="DB", help="Least signal-to-noise ratio [20].")] = None,
    mos: Annotated[float | None, typer.Option(metavar="SCORE", help="Least overall DNSMOS [2.8].")] = None,
    one_speaker: Annotated[
        float | None, typer.Option(metavar="P", help="Least probability of one voice [0.5].")
    ] = None,
    wer: Annotated[float | None, typer.Option(metavar="RATE", help="Most word errors of the transcript [0.3].")] = None,
    off: Annotated[str, typer.Option(metavar="GATE,...", help="Gates to switch off: mos,emotion.")] = "",
    require: Annotated[str, typer.Option(metavar="GATE,...", help="Leave out clips that these cannot ask.")] = "",
    retrain: Annotated[
        str, typer.Option(metavar="FAMILY,...", help="Train these annotators on the corpus first.")
    ] = "",
    per_label: Annotated[int | None, typer.Option(metavar="N", help="Prompts a speaker and emotion [3].")] = None,
    language: Annotated[str | None, typer.Option(help="That the voices are to speak; else the prompt's.")] = None,
    age: Annotated[str | None, typer.Option(help="Of speakers of whom the corpus does not say it.")] = None,
    alone: Annotated[
        bool, typer.Option("--alone/--first", help="Ask every gate, or stop at the first failure.")
    ] = True,
    memory: Annotated[Path | None, typer.Option(metavar="FILE", help="Remembers what was heard: quick again.")] = None,
    plugin: Annotated[list[str] | None, typer.Option(metavar="MODULE", help="Registers engines of your own.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Reference prompts for zero-shot speakers: a bank of voices, and a page to listen to it."""

    with sentences(verbose):
        from pipeline.voicebank.config import changes_of, load_config
        from pipeline.voicebank.make import make_bank
        from pipeline.voicebank.memory import Memory

        stated = {
            "seconds": seconds, "snr_db_min": snr, "mos_min": mos, "one_speaker_min": one_speaker, "wer_max": wer,
            "per_label": per_label, "language": language, "age": age, "require": require, "retrain": retrain,
            "plugins": plugin, "alone": None if alone else False,
        }  # fmt: skip
        config = load_config(gates, changes_of(stated, off))
        report = make_bank(corpora, out, config, gates or "ingest voices", Memory(memory), progress)
        if as_json:
            show_json(report)
        else:
            _print_bank(report, out)


def _print_bank(report: dict[str, Any], out: Path) -> None:
    alone = report["config"]["alone"]
    keys = ("passed", "not_applicable", "failed")
    rows = [
        (name, gate["entered"], *(gate[key] for key in keys), *(gate["alone"][key] if alone else "-" for key in keys))
        for name, gate in report["gates"].items()
    ]
    headers = ["gate", "entered", "passed", "not applicable", "failed", "alone: passed", "not applicable", "failed"]
    show(f"{report['through']:,} of {report['clips']:,} clips passed all gates")
    show_table("", headers, rows)
    for name, gate in report["gates"].items():
        for reason, lost in gate["failed_for"].items():
            show(f"  {name}: {lost['clips']:,} failed: {reason}")
        for reason, count in gate["not_applicable_for"].items():
            show(f"  {name}: {count:,} not asked: {reason}")
    if report["off"]:
        show(f"  switched off: {', '.join(report['off'])}")
    show(f"  {report['beyond_per_label']:,} left out for better ones of the same speaker and emotion")
    splits = ", ".join(f"{count:,} {split}" for split, count in report["splits"].items())
    show(f"{report['prompts']:,} prompts of {report['voices']:,} voices ({splits}): {out}, listen to {out}/listen.html")
    if not report["publish"]:
        show("  not to be published: it holds recordings that may not be passed on")
