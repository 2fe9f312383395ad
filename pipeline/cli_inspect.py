"""`echat inspect`: a quick look into shards."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console import Json, Verbose, sentences, show, show_json, show_table


def inspect(
    shards: Annotated[Path, typer.Argument(metavar="SHARDS", help="A tar, a folder of tars, or a run folder.")],
    rows: Annotated[int, typer.Option("--rows", "-n", min=1, max=1_000_000, help="Dialogues in the table.")] = 10,
    row: Annotated[str, typer.Option("--id", help="Show this dialogue in full (a prefix is enough).")] = "",
    where: Annotated[
        list[str] | None,
        typer.Option("--where", help="Only dialogues with a turn like this: emotion=sad, query_wer>0.3; repeatable."),
    ] = None,
    histogram: Annotated[str, typer.Option("--histogram", metavar="COLUMN", help="Of a column of numbers.")] = "",
    play: Annotated[str, typer.Option("--play", metavar="ID", help="Play this dialogue (a prefix is enough).")] = "",
    wavs: Annotated[Path | None, typer.Option("--wavs", metavar="FOLDER", help="With --play: keep WAV files.")] = None,
    as_json: Json = False,
    verbose: Verbose = False,
) -> None:
    """Look into shards: a table of rows, one row in full, a histogram; or listen to one."""
    with sentences(verbose):
        from manifests.errors import UserError
        from pipeline import inspect as look

        conditions = [look.Condition.parse(text) for text in where or ()]
        if sum(map(bool, (row, histogram, play))) > 1 or (wavs and not play):
            raise UserError("--id, --histogram and --play exclude each other, and --wavs goes with --play; name one")
        if row:
            show_json(look.find_document(shards, row)[1])
        elif play:
            _play(shards, play, wavs)
        elif histogram:
            for line in look.histogram(shards, histogram, conditions):
                show(line)
        else:
            documents = list(islice(look.find_documents(shards, conditions), rows))
            if as_json:
                show_json([document for _, document in documents])
            else:
                _table(shards, documents, bool(conditions))


def _table(shards: Path, documents: Iterable[tuple[Path, dict[str, Any]]], filtered: bool) -> None:
    lines, first = [], ""
    for tar, document in documents:
        first = first or document["id"][:8]
        for turn in document["turns"]:
            asked = ", ".join(turn["query"]["requested"][family] for family in turn["cues"]) or "neutral"
            wer = f"{turn['query']['wer']:.2f}"
            lines.append((document["id"][:8], tar.name, asked, wer, turn["query"]["text"], turn["reply"]["text"]))
    if not lines:
        show(f"{shards}: no dialogue is like this" if filtered else f"{shards}: holds no dialogue")
        return
    show_table("", ["id", "shard", "cues", "WER", "query", "reply"], lines)
    show(f"one row in full: echat inspect {shards} --id {first}; to hear it: --play {first}")


def _play(shards: Path, prefix: str, wavs: Path | None) -> None:
    """Play a dialogue; its WAV files stay where a player is missing or a folder is named."""
    import shutil
    import tempfile

    from pipeline.inspect import find_document, play, write_wavs

    shard, document = find_document(shards, prefix)
    folder = wavs or Path(tempfile.mkdtemp(prefix="echat-"))
    paths = write_wavs(shard, document, folder)
    for turn in document["turns"]:
        show(f"query: {turn['query']['text']}")
        show(f"reply: {turn['reply']['text']}")
    if not play(paths):
        show(f"no player is installed (apt-get install ffmpeg, alsa-utils or sox); WAV files: {folder}")
    elif wavs is None:
        shutil.rmtree(folder)
    else:
        show(f"WAV files: {folder}")
