"""What every command shares: options, errors as one sentence, tables. Nothing heavy is imported here."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer

Run = Annotated[Path, typer.Argument(metavar="RUN.yaml", help="Run manifest: a file, or the name of a shipped one.")]
Folder = Annotated[Path, typer.Argument(metavar="DIR", help="Run folder: the one given to build --out.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for machines.")]
Verbose = Annotated[bool, typer.Option("--verbose", "-v", help="Show tracebacks.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print no progress.")]


@contextmanager
def sentences(verbose: bool) -> Iterator[None]:
    """Errors as one sentence: exit code 2 for wrong input, 1 for failed work, 130 when interrupted."""
    from manifests.errors import UserError, WorkFailedError
    from manifests.masking import masked

    logging.getLogger().setLevel(logging.WARNING if verbose else logging.ERROR)
    code = 1
    try:
        yield
        return
    except UserError as error:
        if verbose:
            raise
        complain(f"error: {error}")
        code = 2
    except WorkFailedError as error:
        if verbose:
            raise
        complain(f"error: {' '.join(masked(str(error)).split())[:1000]}")
    except KeyboardInterrupt:
        complain("interrupted: what is committed stays; run the same command to go on")
        code = 130
    except (typer.Exit, BrokenPipeError):
        raise
    except Exception as error:
        if verbose:
            raise
        message = " ".join(masked(str(error)).split())[:500]
        complain(f"error: {type(error).__name__}: {message} (run again with -v for the traceback)")
    raise typer.Exit(code)


def load_dag(run: Path) -> Any:
    """The DAG of a run manifest, checked."""
    from manifests.run import load_run
    from pipeline.build import check_pools
    from pipeline.dag import build_dag

    dag = build_dag(load_run(run), run)
    check_pools(dag, run)
    return dag


def need_run(run: Path) -> None:
    """Refuse a folder that no build made."""
    from manifests.errors import UserError

    if not (run / "run.yaml").exists():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml); name the folder given to build --out")


def complain(text: str) -> None:
    """Write a line to standard error."""
    sys.stderr.write(_writable(text) + "\n")


def show(text: str = "") -> None:
    """Write a line to standard output."""
    sys.stdout.write(_writable(text) + "\n")


def _writable(text: str) -> str:
    """Text of somebody else's files as a terminal takes it: JSON may hold halves of characters, and names any bytes."""
    return text.encode(errors="backslashreplace").decode()


def show_json(value: Any) -> None:
    """Write a value for machines."""
    show(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def bars(quiet: bool, *more: str) -> Any:
    """Progress bars of rich on standard error, begun; None where nobody looks: quiet, or no terminal.

    Args:
        more: Columns behind the usual ones, as rich formats them.
    """
    if quiet or not sys.stderr.isatty():
        return None
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    usual = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    progress = Progress(*usual, *map(TextColumn, more), console=Console(stderr=True))
    progress.start()
    return progress


def show_table(title: str, headers: list[str], rows: list[tuple[Any, ...]]) -> None:
    """Write a table; columns of numbers stand to the right."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title or None, title_justify="left")
    for place, header in enumerate(headers):
        numeric = place > 0 and all(isinstance(row[place], int | float) or _number(str(row[place])) for row in rows)
        table.add_column(header, justify="right" if numeric else "left", overflow="fold")
    for row in rows:
        # Text, not markup: a label or a path may hold brackets.
        table.add_row(*(Text(f"{cell:,}" if isinstance(cell, int) else _writable(str(cell))) for cell in row))
    console = Console() if sys.stdout.isatty() else Console(width=140)
    console.print(table)


def _number(text: str) -> bool:
    return text.replace(",", "").replace(".", "").rstrip("x%").isdigit()
