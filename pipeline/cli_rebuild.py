"""`echat rebuild --check`: is the dataset what its manifest makes?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import Json, Quiet, Verbose, sentences, show, show_json


def rebuild(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Run folder, or a copy of a published release.")],
    check: Annotated[bool, typer.Option("--check", help="Make again and compare; nothing of DIR is changed.")] = False,
    sample: Annotated[int, typer.Option("--sample", min=1, max=100_000, help="Dialogues to make again.")] = 8,
    seed: Annotated[int, typer.Option("--seed", help="Decides which.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Make a sample of a dataset again from its manifest and compare texts, scores, sound and tokens; exit 1 if any
    differs."""
    with sentences(verbose):
        from manifests.errors import UserError
        from pipeline.rebuild import check_rebuild

        if not check:
            raise UserError("rebuild only checks: add --check; a dataset is built with echat build")
        done = check_rebuild(folder, sample, seed, quiet or as_json)
        if as_json:
            show_json({**vars(done), "findings": [vars(finding) for finding in done.findings]})
        else:
            for finding in done.findings:
                show(f"finding: {finding}")
            if done.absent:
                show(f"{done.absent:,} shards are listed and not here: their dialogues could not be drawn")
            taken = f"; taken from the shards: {', '.join(done.taken)}" if done.taken else ""
            result = f"{len(done.findings):,} differences" if done.findings else "all as published"
            show(f"{done.made:,} of {done.rows:,} dialogues made again, {done.waveforms:,} waveforms{taken}: {result}")
        if done.findings:
            raise typer.Exit(1)
