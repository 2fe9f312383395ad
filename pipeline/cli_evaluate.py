"""`echat evaluate`: what a trained model gets right on data that it never saw."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any

import typer

from pipeline.console import Json, Quiet, Verbose, bars, complain, sentences, show, show_json, show_table

_EVERY_S = 10.0


def evaluate(
    checkpoint: Annotated[Path, typer.Argument(metavar="CHECKPOINT", help="A step-... folder of `echat train`.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the records and the summary.")],
    shards: Annotated[
        Path | None, typer.Option("--shards", help="Folder of shards, or the run that made them.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of the shards.")] = "test",
    corpus: Annotated[Path | None, typer.Option("--corpus", help="Folder of recordings with labels.csv.")] = None,
    speakers: Annotated[str, typer.Option(help="Of the corpus, with commas between; all by default.")] = "",
    suite: Annotated[str, typer.Option(help="echat-eval: the shards of runs/echat_eval.")] = "",
    families: Annotated[str, typer.Option(help="Cues to ask for, with commas between.")] = "age,gender,emotion,event",
    task: Annotated[str, typer.Option(help="Layout to reply in: think_tag, think, s2s, s2t ...")] = "think_tag",
    replies: Annotated[
        bool | None,
        typer.Option("--replies/--no-replies", help="Generate replies; by default where the data has some."),
    ] = None,
    baselines: Annotated[
        bool, typer.Option("--baselines/--no-baselines", help="Run the model on silence, and on the transcript, too.")
    ] = True,
    limit: Annotated[int, typer.Option(min=0, help="At most so many items, spread evenly; 0: all.")] = 0,
    batch: Annotated[int, typer.Option(min=1, max=1024, help="Items at once.")] = 16,
    device: Annotated[str, typer.Option(help="Of torch; the first GPU or the CPU by default.")] = "",
    allow_overlap: Annotated[
        bool, typer.Option("--allow-overlap", help="Evaluate even on speakers or scenarios of the training.")
    ] = False,
    judge: Annotated[
        Path | None, typer.Option("--judge", help="JUDGE.yaml: a language model that scores replies.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Evaluate a checkpoint on held-out shards or recordings, beside baselines, with 95 % intervals."""
    with sentences(verbose):
        from manifests.errors import UserError
        from model.evaluate.run import Data, write_summary
        from model.evaluate.run import evaluate as run_evaluate
        from pipeline.lock import RunLock

        data = Data(shards, split, corpus, _names(speakers), suite, limit)
        if judge is not None:
            from pipeline.judge import judge_folder, load_judge

            load_judge(judge)  # what is wrong with it is told before the work
            if corpus is not None or replies is False:
                raise UserError("--judge: there are no replies to judge; evaluate shards, without --no-replies")
        with ExitStack() as held, _Progress(quiet or as_json) as progress:
            head = run_evaluate(
                checkpoint, data, out, _names(families), task, replies, baselines, batch, device, allow_overlap,
                progress, lambda: held.enter_context(RunLock(out)),
            )  # fmt: skip
            judged = judge_folder(judge, out, progress) if judge is not None else (None, None)
            summary = write_summary(out, head, *judged)
        if as_json:
            show_json(summary)
        else:
            _show(summary, out)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _show(summary: dict[str, Any], out: Path) -> None:
    from pipeline.evaluate_tables import FEW, HEADERS, PAPER_NOTE, PAPER_TASKS, metric_rows, paper_rows, part_rows

    groups = summary["groups"]
    replies = f", replies as {summary['task']}" if summary["replies"] else ""
    title = f"{summary['items']} items of {summary['data']['folder']}{replies}"
    show_table(title, HEADERS, metric_rows(groups[0]))
    parts = list(part_rows(groups))
    if parts:
        show_table("by source and task", HEADERS, parts)
    if summary["replies"]:
        show_table("OSUM-EChat, table 1", ["model", *PAPER_TASKS], paper_rows(groups))
        show(PAPER_NOTE)
    if summary["judge"]:
        from pipeline.llm.spent import spent_line

        judge = summary["judge"]
        show(
            f"judge: {judge['model']} {' '.join(judge['served'])}: {judge['scored']} scores, {judge['unreadable']}"
            f" unreadable, {judge['refused']} refused, {judge['no_reply']} without a reply (score 1)"
        )
        show(spent_line(judge["spent"]))
    if summary["items"] < FEW:
        show(f"{summary['items']} items: intervals over so few are too narrow; evaluate on {FEW} or more")
    show(summary["overlap"]["sentence"])
    show(f"records: {out}, summary: {out / 'summary.json'}")


class _Progress:
    """A bar on a terminal, a line every so often elsewhere."""

    def __init__(self, quiet: bool) -> None:
        self.quiet = quiet
        self._bars: Any = None
        self._rows: dict[str, Any] = {}
        self._last = time.monotonic()

    def __enter__(self) -> _Progress:
        self._bars = bars(self.quiet)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bars is not None:
            self._bars.stop()

    def __call__(self, what: str, done: int, total: int) -> None:
        if self._bars is not None:
            if what not in self._rows:
                self._rows[what] = self._bars.add_task(what, total=total)
            self._bars.update(self._rows[what], completed=done)
        elif not self.quiet and (done == total or time.monotonic() - self._last > _EVERY_S):
            self._last = time.monotonic()
            complain(f"{what} {done}/{total}")
