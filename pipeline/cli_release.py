"""`echat diff` and `echat takedown`: what changes from one release to the next."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pipeline.console import Folder, Json, Verbose, sentences, show, show_json, show_table

_Set = "Release, run folder or folder of shards."


def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help=f"The earlier one: {_Set.lower()}")],
    after: Annotated[Path, typer.Argument(metavar="B", help="The later one, likewise.")],
    ids: Annotated[int, typer.Option("--ids", min=0, max=1_000_000, help="Ids of each kind to list.")] = 0,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Compare two datasets: dialogues added, removed and changed, by label."""
    with sentences(verbose):
        from pipeline.diff import ADDED, CHANGED, REMOVED
        from pipeline.diff import diff as compare

        found = compare(before, after, ids)
        kinds = (ADDED, REMOVED, CHANGED)
        labels = sorted({(task, label) for _, task, label in found.counts})
        if as_json:
            counts = [
                {"task": task, "label": label, **{kind: found.counts[kind, task, label] for kind in kinds}}
                for task, label in labels
            ]
            totals = {kind: found.total(kind) for kind in kinds}
            show_json({"rows": found.rows, "versions": found.versions, "same": found.same, **totals, "labels": counts,
                       "changed_parts": dict(found.parts), "ids": found.ids})  # fmt: skip
            return
        if labels:
            rows = [(task, label, *(found.counts[kind, task, label] for kind in kinds)) for task, label in labels]
            show_table("", ["task", "label", *kinds], rows)
        names = [f"{path}{f' ({version})' if version else ''}" for path, version in
                 zip((before, after), found.versions, strict=True)]  # fmt: skip
        show(f"{names[0]}: {found.rows[0]:,} dialogues; {names[1]}: {found.rows[1]:,}")
        show(f"{found.same:,} equal, {', '.join(f'{found.total(kind):,} {kind}' for kind in kinds)}")
        if found.parts:
            show(f"changed: {', '.join(f'{part} of {number:,}' for part, number in found.parts.most_common())}")
        for kind in kinds:
            for name in found.ids[kind]:
                show(f"  {kind} {name}")


def takedown(
    run: Folder,
    reason: Annotated[str, typer.Option("--reason", help="Why, for those who keep the run; never published.")],
    speaker: Annotated[
        str, typer.Option("--speaker", help="All dialogues of a speaker or voice, planned or not.")
    ] = "",
    dialogue: Annotated[str, typer.Option("--id", help="One dialogue; the beginning of its id is enough.")] = "",
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Withdraw dialogues: the next build rejects them, and the next release lists their ids and no names."""
    with sentences(verbose):
        from pipeline.takedown import take_down

        done = take_down(run, speaker, dialogue, reason)
        if as_json:
            show_json({"dialogues": done.dialogues, "new": done.new, "names": done.names})
            return
        show(f"{len(done.dialogues):,} dialogues withdrawn, {done.new:,} of them for the first time")
        if done.names:
            show(f"withdrawn with every later plan, too: {', '.join(done.names)}")
        show("what is built and published still holds them: run echat build, then echat publish to every place")
        show("make exports, reports and review sheets again, and delete those made before")
        show(f"then remove what earlier builds and releases keep: echat gc {run} --releases --yes")
