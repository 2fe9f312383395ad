"""`echat gc`: giving back the disk of what nothing leans on any more."""

from __future__ import annotations

from typing import Annotated

import typer

from pipeline.console import Folder, Json, Verbose, sentences, show, show_json, show_table

_LISTED = 20


def gc(
    run: Folder,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Remove; without it the command only lists.")] = False,
    releases: Annotated[bool, typer.Option("--releases", help="Also releases of earlier sets of shards.")] = False,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """List what earlier builds left and the current dataset does not need; --yes removes it."""
    with sentences(verbose):
        from pipeline.gc import collect

        done = collect(run, yes, releases)
        if as_json:
            items = [{"path": item.path, "kind": item.kind, "bytes": item.size} for item in done.waste]
            show_json({"removed": done.removed, "bytes_freed": done.freed, "items": items})
            return
        if not done.waste:
            show(f"{run}: nothing to remove")
            return
        show_table("", ["what", "items", "bytes"], done.by_kind())
        if not yes:
            for item in done.waste[:_LISTED]:
                show(f"  {item.path.relative_to(run)}")
            if len(done.waste) > _LISTED:
                show(f"  and {len(done.waste) - _LISTED:,} more; all of them with --json")
        what = f"{done.freed:,} bytes ({done.freed / 1e6:,.1f} MB)"
        also = " --releases" if releases else ""
        show(f"{what} freed" if yes else f"{what} would be freed; remove with: echat gc {run}{also} --yes")
