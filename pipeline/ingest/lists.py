"""Adapters of lists: a table of one's own, Lhotse manifests, the raw lists of OSUM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from pipeline.ingest.base import Adapter, Item, Items, Left, Unread
from pipeline.ingest.tables import EXTRA, csv_rows, json_rows, number_of, text_of, unreadable

FAMILIES = ("gender", "age", "emotion", "event", "speakers")
_READ = {"file", "speaker", *FAMILIES, "text", "translation", "language", "split", "start", "end"}


def table_items(source: Path) -> Items:
    """A table of one's own: `labels.csv`, `labels.tsv` or `labels.jsonl` in the folder, or its only such file.

    Columns (or keys): `file`, relative to the folder, and `speaker` must be there; `gender`, `age` (a label, years or
    a decade), `emotion`, `event`, `speakers`, `text`, `translation` (in English), `language`, `split`, `start` and
    `end` (seconds) may be. Others are told and not read.
    """
    table = _table(source)
    number, unread = 0, set()
    for number, row in enumerate(_table_rows(table), 1):
        if row is None:
            yield Left(f"{table.name} row {number}", "the row is no JSON object")
            continue
        if number == 1 and "file" not in row:
            have = ", ".join(row)[:200]
            raise UserError(f"{table}: has no column file, which must name the audio file of each row; it has {have}")
        if new := row.keys() - _READ - unread - {EXTRA, ""}:
            unread |= new
            yield Unread(tuple(sorted(new)))
        if EXTRA in row:
            yield Left(text_of(row.get("file")), "its row has more cells than the table has columns (quote its commas)")
            continue
        if reason := unreadable(row, "start", "end"):
            yield Left(text_of(row.get("file")), reason)
            continue
        yield Item(
            file=text_of(row.get("file")),
            speaker=text_of(row.get("speaker")),
            labels={family: text_of(row.get(family)) for family in FAMILIES},
            text=text_of(row.get("text")),
            translation=text_of(row.get("translation")),
            language=text_of(row.get("language")),
            split=text_of(row.get("split")),
            start=number_of(row.get("start"), 0.0) or 0.0,
            end=number_of(row.get("end")),
        )
    if not number:
        raise UserError(f"{table}: lists no recording: add a row for each")


def _table(source: Path) -> Path:
    found = [path for path in sorted(source.iterdir()) if path.suffix.lower() in (".csv", ".tsv", ".jsonl")]
    named = [path for path in found if path.stem == "labels"]
    if len(named or found) != 1:
        have = ", ".join(path.name for path in found) or "none"
        raise UserError(f"{source}: must hold one table labels.csv, labels.tsv or labels.jsonl; it has {have}")
    return (named or found)[0]


def _table_rows(table: Path) -> Iterator[Mapping[str, Any] | None]:
    if table.suffix.lower() == ".jsonl":
        return json_rows(table)
    return csv_rows(table, "\t" if table.suffix.lower() == ".tsv" else ",")


def lhotse_items(source: Path) -> Items:
    """Lhotse manifests: `*recordings*.jsonl[.gz]` and `*supervisions*.jsonl[.gz]`, one pair or several.

    Read by their format, without Lhotse. Of a recording the one source of type `file` is taken, its path relative to
    the folder; of a supervision `recording_id`, `start`, `duration`, `text`, `language`, `speaker`, `gender`, and
    from `custom` what is called `age`, `emotion` or `event`. A recording of several sources is left out, as is a
    supervision of another channel than the first.
    """
    recordings = _manifests(source, "recordings")
    known: dict[str, str | None] = {}
    for path in recordings:
        for row in json_rows(path):
            if row is not None:
                known[text_of(row.get("id"))] = _source(row)
    for path in _manifests(source, "supervisions"):
        for number, row in enumerate(json_rows(path), 1):
            name = text_of((row or {}).get("id")) or f"{path.name} row {number}"
            yield Left(name, "the row is no JSON object") if row is None else _supervision(name, row, known)


def _manifests(source: Path, kind: str) -> list[Path]:
    found = [path for path in sorted(source.glob(f"*{kind}*")) if path.name.endswith((".jsonl", ".jsonl.gz"))]
    if not found:
        raise UserError(f"{source}: has no *{kind}*.jsonl or .jsonl.gz; name the folder with the Lhotse manifests")
    return found


def _source(row: Mapping[str, Any]) -> str | None:
    """The file of a recording, or None when it is not just one."""
    sources = row.get("sources")
    if not isinstance(sources, list) or len(sources) != 1 or not isinstance(sources[0], dict):
        return None
    return text_of(sources[0].get("source")) if sources[0].get("type") == "file" else None


def _supervision(name: str, row: Mapping[str, Any], known: Mapping[str, str | None]) -> Item | Left:
    recording = text_of(row.get("recording_id"))
    if recording not in known:
        return Left(name, "no recording has its recording_id")
    file = known[recording]
    if file is None:
        return Left(name, "its recording is not one file")
    if row.get("channel", 0) not in (0, [0]):
        return Left(name, "it is of another channel than the first")
    if reason := unreadable(row, "start", "duration"):
        return Left(name, reason)
    start, seconds = number_of(row.get("start"), 0.0) or 0.0, number_of(row.get("duration"))
    custom = row.get("custom") if isinstance(row.get("custom"), dict) else {}
    return Item(
        file=file,
        speaker=text_of(row.get("speaker")),
        labels={
            "gender": text_of(row.get("gender")),
            **{family: text_of((custom or {}).get(family)) for family in ("age", "emotion", "event")},
        },
        text=text_of(row.get("text")),
        language=text_of(row.get("language")),
        start=start,
        end=None if seconds is None else start + seconds,
    )


def osum_items(source: Path) -> Items:
    """OSUM raw lists: `*.jsonl` with `key`, `wav`, `txt`, and perhaps `start`, `end`, `lang`, `speaker`, `emotion`,
    `gender` and `extra`; paths are relative to the folder.

    The words of the recording are `extra.q_txt` or `extra.question`; else `txt`, but not where `extra` has an answer
    (`a_wav_path`, `speech_token`), whose words `txt` then holds. `extra` also has `age`, `gender`, `caption` (the
    event) and `q_emotion`. A dialogue of several turns (`wav_1`) is left out: its `wav` is its last turn alone.
    """
    paths = sorted(source.glob("*.jsonl"))
    if not paths:
        raise UserError(f"{source}: has no list (*.jsonl); name the folder that does")
    for path in paths:
        for number, row in enumerate(json_rows(path), 1):
            name = text_of((row or {}).get("key")) or f"{path.name} row {number}"
            if row is None:
                yield Left(name, "the row is no JSON object")
            elif "wav_1" in row:
                yield Left(name, "it is a dialogue of several turns")
            elif reason := unreadable(row, "start", "end"):
                yield Left(name, reason)
            else:
                yield _osum(row)


def _osum(row: Mapping[str, Any]) -> Item:
    stated = row.get("extra")
    extra: Mapping[str, Any] = stated if isinstance(stated, dict) else {}
    answered = any(extra.get(key) for key in ("a_wav_path", "speech_token"))
    words = text_of(extra.get("q_txt")) or text_of(extra.get("question"))
    return Item(
        file=text_of(row.get("wav")),
        speaker=text_of(row.get("speaker")) or text_of(extra.get("speaker")),
        labels={
            "gender": text_of(row.get("gender")) or text_of(extra.get("gender")),
            "age": text_of(extra.get("age")),
            "emotion": text_of(extra.get("q_emotion")) or ("" if answered else text_of(row.get("emotion"))),
            "event": text_of(extra.get("caption")),
        },
        text=words or ("" if answered else text_of(row.get("txt"))),
        language=text_of(row.get("lang")),
        start=number_of(row.get("start"), 0.0) or 0.0,
        end=number_of(row.get("end")),
    )


CSV = Adapter("csv", table_items)
LHOTSE = Adapter("lhotse", lhotse_items)
OSUM = Adapter("osum", osum_items)
