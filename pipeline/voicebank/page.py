"""The page of a bank: its yield, and its prompts to listen to, in one file that needs no other."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifests.files import fsync
from pipeline.voicebank.choose import Bank

EMBEDDED_BYTES = 64_000_000
"""Audio that is put into the page; prompts beyond it are played from their files, which lie beside it."""


def write_page(folder: Path, name: str, bank: Bank, report: dict[str, Any]) -> None:
    """Write the page of a bank whose prompts are in `folder` already; one of them is in memory at a time."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("pipeline.voicebank", ""), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["thousands"] = "{:,}".format
    template = environment.get_template("page.html")
    voices = {voice["voice"]: voice for voice in bank.voices}
    stream = template.stream(report=report, voices=voices, prompts=_prompts(folder, bank))
    path = folder / name
    with path.open("w", encoding="utf-8") as lines:
        lines.writelines(stream)
    fsync(path)


def _prompts(folder: Path, bank: Bank) -> Iterator[dict[str, Any]]:
    """Rows with the source of their sound."""
    embedded = 0
    for prompt in bank.prompts:
        path = folder / prompt.row["file"]
        embedded += path.stat().st_size
        inside = embedded <= EMBEDDED_BYTES
        sound = (
            f"data:audio/flac;base64,{base64.b64encode(path.read_bytes()).decode()}" if inside else prompt.row["file"]
        )
        yield {**prompt.row, "sound": sound}
