"""Writes an export: a folder that appears whole, or not at all.

out/export.json         what it is: format, options, counts by split, what was left out, whether it may be published
out/NOTICE.txt          licences of what went in, for people
out/checksums.sha256    `sha256sum -c`

Everything is written in a folder beside it, whose flock keeps others away; that gets the final name when all is on
disk. What a killed export left is begun anew by the next.
"""

from __future__ import annotations

import fcntl
import importlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import zip_longest
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import fsync, sha256, writing
from manifests.labels import SPLITS
from pipeline.export.base import FORMATS, Request, SplitWriter
from pipeline.export.files import DiskTable, files_of, one_line
from pipeline.export.source import Dialogue, Source, open_source

ABOUT, NOTICE, CHECKSUMS = "export.json", "NOTICE.txt", "checksums.sha256"
FORMAT = "echat-export"
OSUM = ("osum-raw", "osum-shard", "osum-combine")
TOKENS_NOTE = (
    "The released OSUM-EChat checkpoint knows the tokens of its own tokenizer alone, not these: train it on them."
)
_ROOTED = (*OSUM, "kaldi")
_SINGLE = ("osum-raw", "kaldi")
"""Formats with a file for every sound."""


def export(request: Request, progress: Callable[[str], None] = lambda line: None) -> dict[str, Any]:
    """Export a set; an earlier export of the same name is replaced as a whole.

    Args:
        progress: Called with a line for every tar that was read.

    Returns:
        What is written to `export.json`.

    Raises:
        UserError: The set is not whole, a dialogue is not as it must be, nothing is to be exported, or `out` is in the
            way or cannot be written.
    """
    request.check()
    source = open_source(request.source)
    _check_place(request.out, source)
    with _claimed(request.out) as folder:
        writers = _write_splits(request, source, folder, progress)
        about = _about(request, source, writers)
        with writing(request.out):
            (folder / NOTICE).write_text(_notice(source, about), encoding="utf-8")
            (folder / ABOUT).write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
            _write_checksums(folder)
            os.sync()  # of all files at once, before the folder gets its name
            _check_place(request.out, source)
            _put_in_place(folder, request.out)
    return about


def _write_splits(
    request: Request, source: Source, folder: Path, progress: Callable[[str], None]
) -> dict[str, SplitWriter]:
    module, _, name = FORMATS[request.format].partition(":")
    kind = getattr(importlib.import_module(module), name)
    writers: dict[str, SplitWriter] = {}
    with writing(request.out), ExitStack() as stack:
        seen = DiskTable(folder / ".seen", ["id"])
        stack.callback(seen.close)
        for tar in source.tars:
            if request.splits and tar.split and tar.split not in request.splits:
                continue
            done = writers[tar.split].counts.dialogues if tar.split in writers else 0
            most = None if request.limit is None or not tar.split else request.limit - done
            if most == 0:
                continue
            number = 0
            for dialogue in tar.dialogues(most):
                split = dialogue.document.split
                if request.splits and split not in request.splits:
                    continue
                if split not in writers:
                    writers[split] = kind(request, folder, split, source.name)
                    stack.callback(writers[split].close)
                if writers[split].counts.dialogues == request.limit:
                    continue
                if not seen.add(dialogue.id):
                    raise UserError(f"{tar.path}: {dialogue.id!r} stands twice in the set; run echat verify on it")
                _write_dialogue(writers[split], dialogue, tar.path)
                number += 1
            progress(f"{tar.path.name}: {number:,} dialogues")
    if not writers:
        wanted = f" of the split {' or '.join(request.splits)}" if request.splits else ""
        raise UserError(f"{request.source}: has no dialogue{wanted} to export")
    return {split: writers[split] for split in SPLITS if split in writers}


def _write_dialogue(writer: SplitWriter, dialogue: Dialogue, tar: Path) -> None:
    try:
        writer.counts.dialogues += 1
        writer.write(dialogue)
    except UserError:
        raise
    except ValueError as error:
        raise UserError(f"{tar}: {dialogue.id!r}: {error}; run echat verify on its folder") from error


def _about(request: Request, source: Source, writers: Mapping[str, SplitWriter]) -> dict[str, Any]:
    options: dict[str, Any] = {"limit": request.limit}
    if request.format not in _SINGLE:
        options["rows"] = request.rows
    if request.format in OSUM:
        options |= {"task": request.task, "think": request.think}
    if request.format in _ROOTED:
        options["root"] = request.root
    return {
        "format": FORMAT,
        "version": 1,
        "of": request.format,
        "name": source.name,
        "options": {name: value for name, value in options.items() if value is not None},
        "splits": {
            split: {
                "dialogues": writer.counts.dialogues,
                "samples": writer.counts.samples,
                "left_out": dict(sorted(writer.counts.left_out.items())),
            }
            for split, writer in writers.items()
        },
        "may_be_published": {None: "unknown", True: "yes", False: "no"}[source.publishable],
        "speech_tokens": source.engines.get("tokenize", []),
        "licences": source.licences,
    }


def _notice(source: Source, about: Mapping[str, Any]) -> str:
    """What whoever finds the folder must know before passing it on."""
    says = {
        "yes": "Its licences are below; the publisher's own, if it has one, is in the README.md of the set.",
        "no": "IT MAY NOT BE PUBLISHED: its speech is made by a test engine, or recordings or voices in it may not be"
        " passed on.",
        "unknown": "It was exported from a tar by itself, which does not say whether it may be published: see the set.",
    }[about["may_be_published"]]
    lines = [f"Spoken dialogues exported from the set {source.name!r} as {about['of']}.", says, ""]
    for name, value in sorted(source.licences.items()):
        pairs = value.items() if isinstance(value, dict) else [("", item) for item in value]
        if pairs:
            stated = dict.fromkeys(one_line(f"{key}: {item}" if key else str(item)) for key, item in pairs)
            lines.append(f"{one_line(name)}: {', '.join(stated)}")
    lines.append(f"speech tokens: {', '.join(about['speech_tokens']) or 'see the set'}")
    if about["of"] in OSUM:
        lines.append(f"  {TOKENS_NOTE}")
    return "\n".join(lines) + "\n"


def _write_checksums(folder: Path) -> None:
    with (folder / CHECKSUMS).open("x", encoding="utf-8") as lines:
        for name in files_of(folder):
            if name != CHECKSUMS:
                lines.write(f"{sha256(folder / name)}  {name}\n")


def _check_place(out: Path, source: Source) -> None:
    """Refuse a place that is not ours to fill."""
    place, there = out.resolve(), source.folder.resolve()
    if place == there or place in there.parents or there in place.parents:
        raise UserError(f"{out}: --out and the shards must be apart: name another folder")
    if not out.exists() and not out.is_symlink():
        return
    if not out.is_dir() or out.is_symlink():
        raise UserError(f"{out}: is there and no folder; name another --out")
    if not any(out.iterdir()):
        return
    try:
        ours = json.loads((out / ABOUT).read_bytes())["format"] == FORMAT
    except (OSError, ValueError, TypeError, KeyError):
        ours = False
    if not ours:
        raise UserError(f"{out}: is there and no export of ours; name another --out or remove it")
    try:
        with (out / CHECKSUMS).open(encoding="utf-8") as lines:
            listed = (line.rstrip("\n").split("  ", 1)[1] for line in lines)
            for wanted, name in zip_longest(listed, (name for name in files_of(out) if name != CHECKSUMS)):
                if wanted != name:
                    raise UserError(f"{out}: {name or wanted} is not as the export there was; name another --out")
    except (OSError, ValueError, IndexError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{out}: its {CHECKSUMS} cannot be read; name another --out or remove it") from None


@contextmanager
def _claimed(out: Path) -> Iterator[Path]:
    """An empty folder beside `out` that is nobody else's; gone at the end unless it was put in place."""
    spare = out.absolute().parent / f".{out.absolute().name}.exporting"
    with writing(out):
        spare.mkdir(parents=True, exist_ok=True)
        handle = os.open(spare, os.O_RDONLY | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            ours = os.path.samestat(os.fstat(handle), os.stat(spare))
        except (BlockingIOError, FileNotFoundError):
            ours = False
        if not ours:
            raise UserError(f"{out}: is being written by another export; wait for it, then run the same command again")
        try:
            with writing(out):
                for path in spare.iterdir():
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            yield spare
        finally:
            if spare.exists() and os.path.samestat(os.fstat(handle), os.stat(spare)):
                shutil.rmtree(spare, ignore_errors=True)
    finally:
        os.close(handle)


def _put_in_place(folder: Path, out: Path) -> None:
    """Give a finished folder its name; an earlier export is gone only when the new one is there."""
    old = out.absolute().parent / f".{out.absolute().name}.replaced"
    if old.exists():
        shutil.rmtree(old)
    if out.exists():
        os.rename(out, old)
    os.rename(folder, out)
    fsync(out.absolute().parent)
    shutil.rmtree(old, ignore_errors=True)
