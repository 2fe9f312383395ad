"""Which of the dialogues that nothing else rejects say the same as another one, or hold the same audio.

The rule: a dialogue goes if there is a duplicate of it before it, where test comes before validation, validation before
train, and within a split the smaller id before the greater. It goes even if that duplicate goes for the sake of a third
one, so the result depends on the set of dialogues alone: neither on their order nor on how they are cut into parts.

Texts are compared within equal labels: first by identity, then what is left by MinHash bands, which only name
candidates (the index of each pair is exact). `STEPS` says what becomes of each group of a key; whoever runs them only
has to group: Beam in `select`, a file on disk in `verify`. Neither holds more than one group in memory.
"""

from __future__ import annotations

import json
import pickle
import sqlite3
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

from manifests.ids import canonical_json
from manifests.ledger import CellRecord, Ledger
from pipeline.hygiene.shingles import bands, jaccard, shingles
from pipeline.join import by_dialogue, join_rows
from pipeline.real import SOURCE
from pipeline.verdict import KEPT, Rules, judge, judged_columns

PRIORITY = ("test", "validation", "train")
"""Splits in the order in which their dialogues stay: a copy goes from what is trained on, not from what is measured."""

Owner = bytes
"""A dialogue: place in `PRIORITY`, id and part, packed so that the one that stays is the smaller one."""
Item = tuple[bytes, Any]
"""What is grouped, by its key; the first byte of a key is one of the next six."""
_SOUND, _TEXT, _OWNER, _BAND, _NEAR, _GONE = b"s", b"t", b"o", b"b", b"n", b"g"

Records = Mapping[int, Mapping[str, CellRecord]]


def pack(split: str, name: str, part: int) -> Owner:
    """See `Owner`."""
    return bytes([PRIORITY.index(split)]) + name.encode() + b"\0" + part.to_bytes(4, "big")


def unpack(who: Owner) -> tuple[str, str, int]:
    """Split, id and part of a dialogue."""
    return PRIORITY[who[0]], who[1:-5].decode(), int.from_bytes(who[-4:], "big")


def label_key(turns: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The languages and, turn by turn, the cues that the replies answer to: texts of equal ones may be duplicates.

    So the dialogues of a contrastive pair, which say the same in other cues by design, are never compared.
    """
    cues = [[[family, row[f"plan.{family}"]] for family in sorted(row["plan.cues"])] for row in turns]
    return [turns[0]["plan.language"], turns[0]["plan.query_language"], cues]


def items_of(turns: Sequence[Mapping[str, Any]], part: int, rules: Rules) -> Iterator[Item]:
    """A dialogue under the hash of its labels and triples, and under that of the audio of each of its queries.

    A recording may be planned once in every cell of labels, each time with a reply to other cues.
    """
    config, first = rules.config.text, turns[0]
    who = pack(first["plan.split"], first["id"], part)
    real, labels = first["plan.source"] == SOURCE, label_key(turns)
    if config.near_duplicate is not None and (config.near_duplicate_real or not real):
        hashes = shingles(turns).tobytes()
        yield _TEXT + _digest(labels) + blake2b(hashes, digest_size=12).digest(), (who, hashes)
    for row in turns if config.duplicate_audio else ():
        digest = row["speak_query.audio_sha256"]
        yield _SOUND + _digest([digest, labels if real else []]), (who, row["turn"], digest)


def _digest(value: Any) -> bytes:
    return blake2b(canonical_json(value), digest_size=12).digest()


def _gone(who: Owner, turn: int, *why: Any) -> Item:
    _, name, part = unpack(who)
    return _GONE + part.to_bytes(4, "big"), (name, turn, *why)


def equal(key: bytes, values: Iterable[Any], rules: Rules) -> Iterator[Item]:
    """Of dialogues with equal text or audio the first stays; it goes on under its bands."""
    found = sorted(values)
    first = found[0][0]
    if key[:1] == _SOUND:
        for who, turn, digest in found:
            if who != first:
                yield _gone(who, turn, "duplicate_audio", first, digest[:12])
        return
    for who, _ in found[1:]:
        yield _gone(who, -1, "near_duplicate", first, 1.0)
    hashes = found[0][1]
    yield _OWNER + first, _TEXT + hashes
    for name in bands(np.frombuffer(hashes, np.uint32)):
        yield _BAND + key[1:13] + name, first


def meet(key: bytes, values: Iterable[Any], rules: Rules) -> Iterator[Item]:
    """Dialogues that share a band are to be compared; most are alone in theirs, so their texts do not travel."""
    if key[:1] != _BAND:
        yield from ((key, value) for value in values)
        return
    owners = list(values)
    for who in owners if len(owners) > 1 else ():
        yield _OWNER + who, key


def bring(key: bytes, values: Iterable[Any], rules: Rules) -> Iterator[Item]:
    """The text of a dialogue to each band in which it is not alone."""
    if key[:1] != _OWNER:
        yield from ((key, value) for value in values)
        return
    found = list(values)
    names = [value for value in found if value[:1] == _BAND]
    (hashes,) = [value[1:] for value in found if value[:1] == _TEXT]
    yield from ((_NEAR + name[1:], (key[1:], hashes)) for name in names)


def alike(key: bytes, values: Iterable[Any], rules: Rules) -> Iterator[Item]:
    """Of the dialogues of one band, those that are like one before them, with the first such."""
    if key[:1] != _NEAR:
        yield from ((key, value) for value in values)
        return
    limit = rules.config.text.near_duplicate
    assert limit is not None, "nothing has bands where texts are not compared"
    known: list[tuple[Owner, frozenset[int]]] = []
    for who, packed in sorted(values):
        hashes = frozenset(np.frombuffer(packed, np.uint32).tolist())
        for first, others in known:
            if (index := jaccard(hashes, others)) >= limit:
                yield _gone(who, -1, "near_duplicate", first, index)
                break
        known.append((who, hashes))


Step = Callable[[bytes, Iterable[Any], Rules], Iterator[Item]]
STEPS: tuple[tuple[str, Step], ...] = (("equal", equal), ("meet", meet), ("bring", bring), ("alike", alike))
"""What follows each grouping; the last grouping is by part."""


def reasons_of(values: Iterable[Any], rules: Rules) -> dict[str, list[str]]:
    """Reasons by dialogue, of one part; a text that is like several names the first of them."""
    out: dict[str, list[str]] = {}
    told = set()
    for name, turn, kind, first, measure in sorted(values):
        if (name, turn) in told:
            continue
        told.add((name, turn))
        what = measure if kind == "duplicate_audio" else f"{measure:.3f} >= {rules.config.text.near_duplicate:g}"
        place = f" (turn {turn})" if turn > 0 else ""
        split, other, _ = unpack(first)
        out.setdefault(name, []).append(f"{kind} {what} of {other} ({split}){place}")
    return out


def read_part(item: tuple[int, list[CellRecord]], run: str, rules: Rules) -> Iterator[Item]:
    """Texts and sounds of the dialogues of one part that nothing else rejects."""
    part, records = item
    rows, errors = join_rows(Ledger(Path(run)), records, judged_columns(rules))
    for turns, error in by_dialogue(rows, errors):
        if judge(turns, error, rules)[0] == KEPT:
            yield from items_of(turns, part, rules)


def write_part(item: tuple[bytes, Iterable[Any]], folder: str, rules: Rules) -> None:
    """Write the reasons of one part: `{id: [reason, ...]}`."""
    part = int.from_bytes(item[0][1:], "big")
    (Path(folder) / f"part-{part:04d}.json").write_bytes(canonical_json(reasons_of(item[1], rules)))


def read_duplicates(folder: Path, part: int) -> dict[str, list[str]]:
    """Reasons by dialogue, of one part; `write_duplicates` writes no file where there are none."""
    path = folder / f"part-{part:04d}.json"
    return json.loads(path.read_bytes()) if path.exists() else {}


def _parts(records: Records) -> list[tuple[int, list[CellRecord]]]:
    return [(part, list(records[part].values())) for part in sorted(records)]


def write_duplicates(ledger: Ledger, records: Records, rules: Rules, folder: Path, options: Any) -> None:
    """Find the duplicates of a run on Beam and write a file for each part that has any, into an empty folder."""
    if not rules.config.text.deduplicates:
        return
    import apache_beam as beam

    with beam.Pipeline(options=options) as pipeline:
        parts = pipeline | beam.Create(_parts(records)) | beam.Reshuffle()
        items = parts | "read" >> beam.FlatMap(read_part, str(ledger.run), rules)
        _ = grouped(items, rules) | "write" >> beam.Map(write_part, str(folder), rules)


def grouped(items: Any, rules: Rules) -> Any:
    """The Beam graph from `Item`s to the groups of the parts."""
    import apache_beam as beam

    for name, step in STEPS:
        groups = items | f"group {name}" >> beam.GroupByKey()
        items = groups | name >> beam.FlatMap(lambda item, step: step(*item, rules), step)
    return items | "group parts" >> beam.GroupByKey()


def duplicates_on_disk(ledger: Ledger, records: Records, rules: Rules, folder: Path) -> None:
    """The same without Beam, which takes seconds to start: groups are sorted in a file."""
    items: Iterable[Item] = (item for part in _parts(records) for item in read_part(part, str(ledger.run), rules))
    for name, step in STEPS:
        items = _stepped(step, _sorted(items, folder / f"{name}.db"), rules)
    for group in _sorted(items, folder / "parts.db"):
        write_part(group, str(folder), rules)


def _stepped(step: Step, groups: Iterable[tuple[bytes, Iterable[Any]]], rules: Rules) -> Iterator[Item]:
    for key, values in groups:
        yield from step(key, values, rules)


def _sorted(items: Iterable[Item], file: Path) -> Iterator[tuple[bytes, Iterator[Any]]]:
    database = sqlite3.connect(file)
    try:
        database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; CREATE TABLE items (key, value)")
        rows = ((key, pickle.dumps(value)) for key, value in items)
        database.executemany("INSERT INTO items VALUES (?, ?)", rows)
        ordered = database.execute("SELECT key, value FROM items ORDER BY key")
        for key, group in groupby(ordered, lambda row: row[0]):
            yield key, (pickle.loads(value) for _, value in group)
    finally:
        database.close()


class Duplicates:
    """The duplicates of a run in a folder that is removed at the end, for who gives verdicts again (`verify`)."""

    def __init__(self, ledger: Ledger, records: Records, rules: Rules) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="echat-duplicates-")
        self.folder = Path(self._folder.name)
        if rules.config.text.deduplicates:
            duplicates_on_disk(ledger, records, rules, self.folder)

    def __enter__(self) -> Duplicates:
        return self

    def __exit__(self, *_: object) -> None:
        self._folder.cleanup()

    def of(self, part: int) -> dict[str, list[str]]:
        """Reasons by dialogue, of one part."""
        return read_duplicates(self.folder, part)
