"""`echat publish`: a finished run as a dataset of others."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import Folder, Json, Quiet, Verbose, sentences, show, show_json, show_table


def publish(
    run: Folder,
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="Folder or URL: s3://bucket/name, hf://datasets/OWNER/NAME.")
    ],
    licence: Annotated[str, typer.Option("--licence", help="Of the dataset, as an SPDX name: CC-BY-4.0.")],
    version: Annotated[str, typer.Option("--version", help="Of the release.")] = "1.0.0",
    citation: Annotated[Path | None, typer.Option("--citation", help="A BibTeX file.")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Files sent at once.")] = 8,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Make the release and send nothing.")] = False,
    anyway: Annotated[bool, typer.Option("--anyway", help="Also what may not be passed on; the card warns.")] = False,
    private: Annotated[
        bool | None, typer.Option("--private/--public", help="On the Hub: who sees it; by default the account's way.")
    ] = None,
    gated: Annotated[str, typer.Option("--gated", help="On the Hub: auto, manual or off.")] = "",
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Publish a finished run: shards, index, card, Croissant, checksums. Run it again to go on or to update."""
    with sentences(verbose):
        from manifests.errors import UserError
        from pipeline.lock import releases_held
        from pipeline.publish.hub import PREFIX, Access, publish_hub
        from pipeline.publish.release import Terms, make_release
        from pipeline.publish.upload import shown, upload

        hub = target.startswith(PREFIX)
        if (private is not None or gated) and not hub:
            raise UserError(f"--private, --public and --gated are of hf:// targets, and {shown(target)} is none")
        if gated not in ("", "auto", "manual", "off"):
            raise UserError(f"--gated: {gated!r} is none of auto, manual, off")
        if not licence.strip():
            raise UserError("--licence: is empty; name the licence under which the dataset is published")
        try:
            text = citation.read_text() if citation else ""
        except (OSError, UnicodeError) as error:
            raise UserError(f"{citation}: cannot be read as text ({error})") from error
        with releases_held(run, alone=False):  # until it is sent, nobody removes it
            release = make_release(run, Terms(licence.strip(), version, text, anyway))
            if dry_run:
                _list(release, shown(target), as_json)
                return
            said = (lambda name: None) if quiet or as_json else (lambda name: show(f"sent {name}"))
            if hub:
                done = publish_hub(release, target, run / "publish", Access(private, gated), said)  # type: ignore[arg-type]
            else:
                done = upload(release, target, run / "publish", workers, said)
        if as_json:
            show_json({"release": str(release), "target": shown(target), **vars(done)})
            return
        rest = f"; {done.there} were there" if done.there else ""
        gone = f"; {done.removed} of an earlier release removed" if done.removed else ""
        show(f"{done.sent} files sent and read back, {done.sent_bytes / 1e6:,.1f} MB{rest}{gone}")
        show(f"check it anywhere with: echat verify {shown(target)}")


def _list(release: Path, target: str, as_json: bool) -> None:
    files = sorted(path for path in release.rglob("*") if path.is_file())
    rows = [(str(path.relative_to(release)), path.stat().st_size) for path in files]
    if as_json:
        show_json({"release": str(release), "files": dict(rows)})
    else:
        show_table(f"would be sent to {target}", ["file", "bytes"], rows)
