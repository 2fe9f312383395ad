"""A blind listening sheet: for each rater a page with the sounds and a table to fill in, in an order of his own.

FOLDER/rater-1.html rater-1.csv ...    for the raters; neither labels nor verdicts are in them
FOLDER/sheet.json                      which clip is which dialogue; for `echat review read` alone
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import temporary, write_atomic, writing
from manifests.ids import canonical_json
from manifests.labels import display, heard_labels
from pipeline.audio import decode_flac
from pipeline.grid import Grid
from pipeline.join import join_rows
from pipeline.report.clips import opus
from pipeline.review.draw import Judged, draw, families, order
from pipeline.verify import open_finished

FORMAT = 1
USABLE, NOTE, UNSURE = "usable", "note", "unsure"
YES_NO = ("yes", "no")


@dataclass(frozen=True)
class Sheet:
    """What was written: raters, clips, and how many of them the gate rejected."""

    raters: int
    clips: int
    rejected: int


def write_sheet(run: Path, folder: Path, raters: int, number: int, seed: int) -> Sheet:
    """Draw dialogues of a finished run and write a sheet for each rater.

    Raises:
        UserError: The run is not finished or has nothing to hear; the folder holds something.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UserError(f"{folder}: exists and is not an empty folder; name another in --out")
    grid = open_finished(run, "review sheet")
    drawn, population = draw(grid, run / "select" / "current", number, seed)
    if not drawn:
        raise UserError(f"{run}: no dialogue was kept or audibly rejected, so there is nothing to hear")
    sounds = _sounds(grid, drawn)
    asked = families(grid)
    document: dict[str, Any] = {
        "format": FORMAT, "run": grid.dag.manifest.name, "seed": seed, "families": list(asked),
        "population": vars(population), "raters": [],
    }  # fmt: skip
    spare = temporary(folder)
    try:
        with writing(folder):
            spare.mkdir(parents=True)
            for rater in range(1, raters + 1):
                names = sorted((item.id for item in drawn), key=lambda name: order(seed, f"{rater}", name))
                # After a letter no spreadsheet takes a name such as 123456e123 for a number.
                clips = {f"c{order(seed, f'{rater}', name):016x}"[:11]: name for name in names}
                document["raters"].append(clips)
                write_atomic(spare / f"rater-{rater}.csv", _table(list(clips), asked))
                page = _page(rater, clips, sounds, asked)
                write_atomic(spare / f"rater-{rater}.html", page)
            write_atomic(spare / "sheet.json", canonical_json(document))
            if folder.exists():
                folder.rmdir()
            os.rename(spare, folder)
    finally:
        shutil.rmtree(spare, ignore_errors=True)
    return Sheet(raters, len(drawn), sum(item.verdict != "kept" for item in drawn))


def options(family: str) -> tuple[str, ...]:
    """What a rater can answer of a family."""
    return (*heard_labels(family), UNSURE)


def columns(asked: Sequence[str]) -> list[str]:
    """Of a rater's table."""
    return ["number", "clip", *asked, USABLE, NOTE]


def _sounds(grid: Grid, drawn: Sequence[Judged]) -> dict[str, tuple[str, bytes]]:
    """Text and Opus of the first query of each dialogue, read part by part."""
    found = {}
    wanted = {item.id for item in drawn}
    for part in sorted({item.part for item in drawn}):
        cells = grid.cells(part)
        rows, _ = join_rows(
            grid.ledger, [cells["script"], cells["speak_query"]], ["script.query_text", "speak_query.audio"]
        )
        for row in rows:
            if row["turn"] == 0 and row["id"] in wanted:
                found[row["id"]] = (row["script.query_text"], opus(*decode_flac(row["speak_query.audio"])))
    return found


def _table(clips: Sequence[str], asked: Sequence[str]) -> bytes:
    """An empty table; the words are not in it, since a spreadsheet would take some of them for formulas."""
    lines = io.StringIO()
    writer = csv.writer(lines, lineterminator="\n")
    names = columns(asked)
    writer.writerow(names)
    for number, clip in enumerate(clips, 1):
        writer.writerow([number, clip, *[""] * (len(names) - 2)])
    return lines.getvalue().encode()


def _page(rater: int, clips: dict[str, str], sounds: dict[str, tuple[str, bytes]], asked: Sequence[str]) -> bytes:
    from markupsafe import Markup

    here = Path(__file__).parent
    style, script = ((here / name).read_text() for name in ("sheet.css", "sheet.js"))
    items = [
        (number, clip, sounds[name][0], base64.b64encode(sounds[name][1]).decode())
        for number, (clip, name) in enumerate(clips.items(), 1)
    ]
    questions = [(family, [(value, display(family, value)) for value in options(family)]) for family in asked]
    return (
        _template()
        .render(
            rater=rater,
            items=items,
            questions=questions,
            columns=",".join(columns(asked)),
            style=Markup(style),  # of this package, not of the data
            script=Markup(script),
            style_hash=_hash(style),
            script_hash=_hash(script),
        )
        .encode()
    )


@cache
def _template() -> Any:
    import jinja2

    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    env = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return env.get_template("sheet.html.j2")


def _hash(text: str) -> str:
    """Of an inline element's content, as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
