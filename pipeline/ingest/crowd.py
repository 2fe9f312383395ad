"""Adapters of collected recordings: Common Voice, VocalSound, ESC-50."""

from __future__ import annotations

import csv
import re
from pathlib import Path

from pipeline.ingest.base import Adapter, Item, Items, Left, audio_files, has_label, relative
from pipeline.ingest.tables import csv_cells, csv_rows


def commonvoice_items(source: Path) -> Items:
    """Common Voice: `validated.tsv` (client_id, path, sentence, age, gender, locale) and `clips/` beside it.

    `age` is a decade: twenties to fifties are adult, sixties to nineties old, and teens have no label of ours.
    """
    # Sentences hold quotes as they come; the file has no quoting of its own.
    for row in csv_rows(source / "validated.tsv", "\t", csv.QUOTE_NONE):
        yield Item(
            file=f"clips/{row.get('path', '')}" if row.get("path") else "",
            speaker=row.get("client_id", "").strip(),
            labels={"gender": row.get("gender", ""), "age": row.get("age", "")},
            text=row.get("sentence", ""),
            language=row.get("locale", "").strip(),
        )


_VOCALSOUND_NAME = re.compile(r"(?P<speaker>(?P<gender>[fm])\d+)_\d+_(?P<event>[a-z_]+)")
_VOCALSOUND_SPLITS = {"tr": "train", "val": "validation", "te": "test"}


def vocalsound_items(source: Path) -> Items:
    """VocalSound: `audio_44k/f0003_0_cough.wav` (or `audio_16k`), and `meta/{tr,val,te}_meta.csv` where it is.

    A name is speaker (f or m and a number), collection and event. The tables give speaker, gender, age, country,
    native language and health, without a header; which of them a speaker is in is his split. Of two folders with the
    same sounds at two rates, the one at the higher rate is read. Sniffs are none of our labels.
    """
    people: dict[str, tuple[str, str]] = {}
    for table in sorted(source.rglob("*_meta.csv")):
        split = _VOCALSOUND_SPLITS.get(table.stem.removesuffix("_meta"), "")
        for cells in csv_cells(table):
            if len(cells) >= 3 and re.fullmatch(r"[fm]\d+", cells[0].strip()):
                people[cells[0].strip()] = (cells[2].strip(), split)
    folders = [source / name for name in ("audio_44k", "audio_16k")]
    root = next((folder for folder in folders if folder.is_dir()), source)
    for path in audio_files(root):
        name, match = relative(path, source), _VOCALSOUND_NAME.fullmatch(path.stem)
        if not match:
            yield Left(name, "its name is not one of the corpus")
        elif not has_label("event", match["event"]):
            yield Left(name, f"{match['event']!r} is not one of the events")
        else:
            age, split = people.get(match["speaker"], ("", ""))
            labels = {"event": match["event"], "gender": match["gender"], "age": age}
            yield Item(name, match["speaker"], labels, split=split)


def esc50_items(source: Path) -> Items:
    """ESC-50: `meta/esc50.csv` (filename, category, src_file) and `audio/`.

    Nobody says who is heard; what was cut from one original recording counts as one speaker. Categories that are none
    of our events are left out.
    """
    for row in csv_rows(source / "meta" / "esc50.csv"):
        name, category = f"audio/{row.get('filename', '')}", row.get("category", "")
        if not has_label("event", category):
            yield Left(name, f"{category!r} is not one of the events")
            continue
        origin = row.get("src_file", "").strip()
        yield Item(name, f"freesound-{origin}" if origin else "", {"event": category})


COMMONVOICE = Adapter(
    "commonvoice", commonvoice_items, licence="CC0 1.0", source="https://commonvoice.mozilla.org",
    citation="R. Ardila et al., Common Voice: A Massively-Multilingual Speech Corpus, LREC 2020",
    note="whoever has the corpus has agreed not to find out who the speakers are",
)  # fmt: skip
VOCALSOUND = Adapter(
    "vocalsound", vocalsound_items, title="vocalsound", licence="CC BY-SA 4.0",
    source="https://github.com/YuanGongND/vocalsound",
    citation="Y. Gong, J. Yu and J. Glass, VocalSound: A Dataset for Improving Human Vocal Sounds Recognition,"
    " ICASSP 2022", note="sounds without words: they serve as events and to calibrate, not as queries",
)  # fmt: skip
ESC50 = Adapter(
    "esc50", esc50_items, title="esc50", licence="CC BY-NC 3.0", source="https://github.com/karolpiczak/ESC-50",
    citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM MM 2015",
    publish=False, note="not for commercial use; sounds without words: they serve as events and to calibrate",
)  # fmt: skip
