"""Puts the page together: one file, or a folder with a page for every label cell."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import temporary, write_atomic, writing
from pipeline.grid import Grid
from pipeline.report.clips import Card, Files, Inline, Store, cards
from pipeline.report.figures import clusters, matrices, project, review_figures, speakers, stage_figures
from pipeline.report.gather import NUM_BINS, Gathered, Histogram, Pick, by, gather
from pipeline.report.plots import bars, histogram
from pipeline.report.render import Written, render
from pipeline.select import load_statistics
from pipeline.topup import shortages
from pipeline.verdict import KEPT, VERDICTS
from pipeline.verify import open_finished

_MARK = ".echat-report"
_SPLIT_ROWS = 200
"""Dialogues on one page of the folder form."""


@dataclass(frozen=True)
class Request:
    """What to write.

    Attributes:
        run: A run folder whose build is finished.
        out: The page, or the folder of the folder form.
        per_cell: Dialogues of each task, label and verdict on the one page.
        budget_mb: Size that the one page may have.
        full: Whether to write the folder form, with every dialogue.
        dialogues: Size of the run to project the cost to; 0 for this one's.
        price: Of a worker's hour.
    """

    run: Path
    out: Path
    per_cell: int = 2
    budget_mb: float = 15.0
    full: bool = False
    dialogues: int = 0
    price: float | None = None


def write_report(request: Request) -> Written:
    """Write the report of a finished run; what was there under its name is replaced in one step.

    Raises:
        UserError: The run is not finished, or its cells cannot be read.
    """
    run = request.run
    grid = open_finished(run, "report")
    select = run / "select" / "current"
    found = gather(grid, select, 10**9 if request.full else request.per_cell, num_pairs=6)
    overview = _overview(grid, found, load_statistics(select), request)
    return (
        _write_folder(grid, found, overview, request) if request.full else _write_page(grid, found, overview, request)
    )


def _write_page(grid: Grid, found: Gathered, overview: dict[str, Any], request: Request) -> Written:
    picks = [pick for picks in _fairly(found) for pick in picks]
    pairs = [pick for picks in found.pairs.values() for pick in picks]
    store = Inline()
    by_id = {card.id: card for card in cards(grid, {pick.id: pick for pick in (*picks, *pairs)}.values(), store)}
    shown = [by_id[pick.id] for pick in picks]
    overview["pairs"] = [[by_id[pick.id] for pick in picks] for picks in found.pairs.values()]
    note = (
        f"{len(shown):,} of {overview['planned']:,} dialogues: up to {request.per_cell} of every task, label and"
        " verdict, drawn by the hash of their ids."
    )
    silent = len(_render(grid, shown, overview, note, "data:", store))
    clips = [name for card in (*shown, *(by_id[pick.id] for pick in pairs)) for name in card.clips]
    store.allot(clips, request.budget_mb * 1e6 - silent)
    page = _render(grid, shown, overview, note, "data:", store)
    with writing(request.out):
        request.out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(request.out, page)
    return Written(request.out, len(shown), store.refused, len(page))


def _fairly(found: Gathered) -> list[list[Pick]]:
    """Picks in turns, the first of every cell first, so that a budget that ends leaves every cell a sound."""
    longest = max(map(len, found.cells.values()), default=0)
    return [[picks[place] for picks in found.cells.values() if place < len(picks)] for place in range(longest)]


def _write_folder(grid: Grid, found: Gathered, overview: dict[str, Any], request: Request) -> Written:
    out = request.out
    if out.exists() and not (out / _MARK).exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(f"{out}: exists and is no report in the form of a folder; name another")
    spare = temporary(out)
    shown, links = 0, []
    with writing(spare):
        spare.mkdir(parents=True)
        (spare / _MARK).write_text("Written by echat report --full, which replaces this folder as a whole.\n")
        store = Files(spare)
        for (task, label), picks in _by_label(found).items():
            for number, chunk in enumerate(_chunks(picks, _SPLIT_ROWS), 1):
                name = f"{task}-{label.replace('+', '-')}-{number}.html"
                links.append((f"{task} {label}" + (f" {number}" if len(picks) > _SPLIT_ROWS else ""), name))
                page = list(cards(grid, chunk, store))
                note = f"All {len(picks):,} dialogues of {task} {label}, {len(page):,} of them here."
                back = [("Overview", "index.html")]
                (spare / name).write_bytes(_render(grid, page, None, note, "'self'", store, back))
                shown += len(page)
        pairs = [pick for picks in found.pairs.values() for pick in picks]
        by_id = {card.id: card for card in cards(grid, pairs, store)}
        overview["pairs"] = [[by_id[pick.id] for pick in picks] for picks in found.pairs.values()]
        note = f"All {shown:,} dialogues, a page for every label; see the links above."
        (spare / "index.html").write_bytes(_render(grid, [], overview, note, "'self'", store, links))
        if out.exists():
            shutil.rmtree(out)
        os.rename(spare, out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    return Written(out / "index.html", shown, 0, size)


def _by_label(found: Gathered) -> dict[tuple[str, str], list[Pick]]:
    out: dict[tuple[str, str], list[Pick]] = {}
    for (task, label, _), picks in found.cells.items():
        out.setdefault((task, label), []).extend(picks)
    for picks in out.values():
        picks.sort(key=lambda pick: pick.part)  # so that a page reads few parts
    return out


def _chunks(items: Sequence[Pick], size: int) -> Iterable[list[Pick]]:
    stream = iter(items)
    while chunk := list(islice(stream, size)):
        yield chunk


def _overview(grid: Grid, found: Gathered, statistics: dict[str, Any], request: Request) -> dict[str, Any]:
    planned = sum(statistics["verdict"].values())
    reasons = statistics["reason"] | {f"{name} (quarantined)": number for name, number in statistics["error"].items()}
    stages = stage_figures(grid)
    cost = project(stages, found, _disk(request.run), request.dialogues, request.price)
    price = "" if cost.cost is None else f", {cost.cost:,.2f} at {request.price:g} a worker-hour"
    rows = [
        (item.name, item.cells, item.made, item.copied, f"{item.audio_s / 60:,.1f}", f"{item.wall_s / 60:,.1f}",
         f"{item.realtime:,.1f}" if item.realtime else "", f"{item.share:.0%}", f"{item.busy:.0%}")
        for item in stages
    ]  # fmt: skip
    return {
        "planned": planned,
        "funnel": [(name, statistics["verdict"].get(name, 0), statistics["verdict"].get(name, 0) / planned)
                   for name in VERDICTS],
        "short": [str(item) for item in shortages(grid.dag.planner, statistics)],
        "reasons": sorted(reasons.items(), key=lambda item: -item[1]),
        "reasons_plot": bars(reasons),
        "counts": list(_counts(found)),
        "matrices": matrices(statistics["heard"]),
        "plots": [(data.title, address, _summary(data)) for data in found.histograms.values()
                  if (address := histogram(data))],
        "speakers": speakers(found),
        "clusters": clusters(found.texts),
        "review": review_figures(request.run),
        "stages": rows,
        "projection": (
            f"{cost.dialogues:,} planned dialogues at this rate: {cost.worker_hours:,.2f} worker-hours{price},"
            f" {cost.audio_hours:,.2f} hours of audio, {cost.disk_gb:,.2f} GB on disk."
        ),
    }  # fmt: skip


def _counts(found: Gathered) -> Iterable[tuple[str, list[str], list[tuple[Any, ...]]]]:
    """Tables of planned, kept and hours kept."""
    for caption, places in (
        ("by task and label", (0, 1)),
        ("by split", (4,)),
        ("by language", (2,)),
        ("by source of the query", (3,)),
    ):
        numbers, seconds = by(found.dialogues, *places, 5), by(found.seconds, *places, 5)
        names = list(dict.fromkeys(key[:-1] for key in numbers))
        rows = [
            (
                " ".join(name),
                *(int(numbers.get((*name, verdict), 0)) for verdict in VERDICTS),
                f"{seconds.get((*name, KEPT), 0.0) / 3600:.3f}",
            )
            for name in names
        ]
        yield caption, ["", *VERDICTS, "hours kept"], rows


def _summary(data: Histogram) -> str:
    """The median's bin, for those who do not see the picture."""
    counts = [kept + other for kept, other in zip(data.kept, data.other, strict=True)]
    total, reached = sum(counts), 0
    for place in range(NUM_BINS):
        reached += counts[place]
        if 2 * reached >= total:
            return f"median {data.edges[place]:.3g} to {data.edges[place + 1]:.3g} {data.unit}, {total:,} measured"
    return ""


def _disk(run: Path) -> int:
    return sum(
        path.stat().st_size
        for folder in ("stages", "select", "shards")
        for path in (run / folder).rglob("*")
        if path.is_file() and not path.is_symlink()
    )


def _render(
    grid: Grid,
    shown: Sequence[Card],
    overview: dict[str, Any] | None,
    note: str,
    media: str,
    store: Store,
    links: Sequence[tuple[str, str]] = (),
) -> bytes:
    manifest = grid.dag.manifest
    names = ("verdict", "task", "label", "split", "source")
    engines = ", ".join(dict.fromkeys(name for stage in grid.dag.stages for name in stage.revisions))
    return render(
        "page.html.j2",
        ("page.js", "sound.js"),
        title=f"Run {manifest.name}",
        about=f"language {manifest.language}, seed {manifest.seed}; {len(grid.records):,} parts",
        skip=("samples", "the samples"),
        media=media,
        address=store.address,
        overview=overview,
        links=links,
        samples_note=note,
        filters=[(name, sorted({getattr(card, name) for card in shown})) for name in names],
        cards=shown,
        footer=f"Synthetic speech, except where the source is real. Engines: {engines}.",
    )
