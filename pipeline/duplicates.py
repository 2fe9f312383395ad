"""Which of the dialogues that nothing else rejects say the same as another one, or hold the same audio.

The rule: a dialogue goes if there is a duplicate of it before it, where test comes before validation, validation before
train, and within a split the smaller id before the greater. It goes even if that duplicate goes for the sake of a third
one, so the result depends on the set of dialogues alone: neither on their order nor on how they are cut into parts.

Texts are compared within equal labels: first by identity, then what is left by MinHash bands, which only name
candidates (the index of each pair is exact).

Whoever judges a part (Beam in `select`, a loop in `verify`) leaves a small table of what is to be compared: hashes, no
texts. `find_duplicates` reads the tables of all parts, about 350 bytes a dialogue, and groups them by sorting arrays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.ids import canonical_json
from manifests.ledger import read_table
from pipeline.hygiene.shingles import BANDS, bands, jaccard, shingles
from pipeline.real import SOURCE
from pipeline.verdict import Rules

PRIORITY = ("test", "validation", "train")
"""Splits in the order in which their dialogues stay: a copy goes from what is trained on, not from what is measured."""
_HASH = 8  # bytes that groups are found by; what is found is compared in full

Owner = bytes
"""A dialogue: place in `PRIORITY`, id and part, packed so that the one that stays is the smaller one."""

TEXTS = pa.schema([
    ("who", pa.binary()),
    ("labels", pa.binary()),
    ("hashes", pa.binary()),
    ("bands", pa.binary(BANDS * _HASH)),
])  # fmt: skip
"""A row per dialogue whose text is compared: its labels' digest, the hashes of its word triples, its bands."""
SOUNDS = pa.schema([("who", pa.binary()), ("turn", pa.int32()), ("key", pa.binary()), ("audio", pa.string())])
"""A row per query whose audio is compared, within equal keys."""


def pack(split: str, name: str, part: int) -> Owner:
    """See `Owner`."""
    return bytes([PRIORITY.index(split)]) + name.encode() + b"\0" + part.to_bytes(4, "big")


def unpack(who: Owner) -> tuple[str, str, int]:
    """Split, id and part of a dialogue."""
    return PRIORITY[who[0]], who[1:-5].decode(), int.from_bytes(who[-4:], "big")


def label_key(turns: Sequence[Mapping[str, Any]]) -> tuple[Any, ...]:
    """The languages and, turn by turn, the cues that the replies answer to: texts of equal ones may be duplicates.

    So the dialogues of a contrastive pair, which say the same in other cues by design, are never compared.
    """
    cues = tuple(tuple((family, row[f"plan.{family}"]) for family in sorted(row["plan.cues"])) for row in turns)
    return turns[0]["plan.language"], turns[0]["plan.query_language"], cues


class Compared:
    """What is to be compared of some dialogues, as rows of `TEXTS` and `SOUNDS`."""

    def __init__(self) -> None:
        self.texts: list[dict[str, Any]] = []
        self.sounds: list[dict[str, Any]] = []

    def add(self, turns: Sequence[Mapping[str, Any]], part: int, rules: Rules) -> None:
        """Add a dialogue: its text under its labels, and the audio of each of its queries.

        A recording may be planned once in every cell of labels, each time with a reply to other cues.
        """
        config, first = rules.config.text, turns[0]
        who = pack(first["plan.split"], first["id"], part)
        real, labels = first["plan.source"] == SOURCE, label_key(turns)
        if config.near_duplicate is not None and (config.near_duplicate_real or not real):
            hashes = shingles(turns)
            packed = {"hashes": hashes.tobytes(), "bands": b"".join(bands(hashes))}
            self.texts.append({"who": who, "labels": _digest(labels), **packed})
        for row in turns if config.duplicate_audio else ():
            digest = row["speak_query.audio_sha256"]
            key = _digest((digest, labels if real else ()))
            self.sounds.append({"who": who, "turn": row["turn"], "key": key, "audio": digest[:12]})

    def tables(self) -> tuple[pa.Table, pa.Table]:
        """As tables of `TEXTS` and `SOUNDS`."""
        return pa.Table.from_pylist(self.texts, TEXTS), pa.Table.from_pylist(self.sounds, SOUNDS)

    def write(self, folder: Path, part: int) -> None:
        """Leave the tables of a part for `find_duplicates`."""
        for kind, table in zip(("texts", "sounds"), self.tables(), strict=True):
            pq.write_table(table, folder / f"{kind}-{part:04d}.parquet", compression="none", use_dictionary=False)


@lru_cache(maxsize=4096)  # labels are few
def _digest(value: tuple[Any, ...]) -> bytes:
    return blake2b(canonical_json(value), digest_size=12).digest()


Found = tuple[Owner, int, str, Owner, Any]
"""A dialogue that goes: which, turn (-1: all), kind, of what, and how alike."""


def compare(texts: pa.Table, sounds: pa.Table, rules: Rules) -> Iterator[Found]:
    """Every duplicate among the rows of all parts; one dialogue may be found more than once."""
    if sounds.num_rows:
        yield from _equal_sounds(sounds)
    if texts.num_rows:
        first: dict[int, Owner] = {}
        yield from _equal_texts(texts, first)
        yield from _near_texts(texts, first, rules)


def _equal_sounds(sounds: pa.Table) -> Iterator[Found]:
    keys = sounds["key"]
    for places in _repeated(_hashes(keys)):
        for rows in _by_key(places, lambda place: keys[place].as_py()):
            found = sorted(
                (sounds["who"][n].as_py(), sounds["turn"][n].as_py(), sounds["audio"][n].as_py()) for n in rows
            )
            for who, turn, audio in found:
                if who != found[0][0]:
                    yield who, turn, "duplicate_audio", found[0][0], audio


def _equal_texts(texts: pa.Table, gone: dict[int, Owner]) -> Iterator[Found]:
    """Of dialogues with equal triples the first stays; the places of the others are added to `gone`."""
    owners, labels, hashes = texts["who"], texts["labels"], texts["hashes"]
    for places in _repeated(_hashes(hashes) ^ _hashes(labels)):
        for rows in _by_key(places, lambda place: (labels[place].as_py(), hashes[place].as_py())):
            found = sorted((owners[n].as_py(), n) for n in rows)
            for who, place in found[1:]:
                gone[place] = found[0][0]
                yield who, -1, "near_duplicate", found[0][0], 1.0


def _near_texts(texts: pa.Table, gone: Mapping[int, Owner], rules: Rules) -> Iterator[Found]:
    """Of the dialogues that share a band, those that are like one before them, with the first such."""
    limit = rules.config.text.near_duplicate
    assert limit is not None, "nothing is in the table where texts are not compared"
    owners, labels, hashes = texts["who"], texts["labels"], texts["hashes"]
    left = np.setdiff1d(np.arange(texts.num_rows), np.fromiter(gone, np.int64, len(gone)))
    names = np.concatenate([_fixed(chunk) for chunk in texts["bands"].chunks]).reshape(-1, BANDS)
    own = _hashes(labels)[left]
    for band in range(BANDS):
        for places in _repeated(names[left, band] ^ own):
            for rows in _by_key(left[places].tolist(), lambda place: labels[place].as_py()):
                known: list[tuple[Owner, frozenset[int]]] = []
                for who, place in sorted((owners[n].as_py(), n) for n in rows):
                    said = frozenset(np.frombuffer(hashes[place].as_py(), np.uint32).tolist())
                    for first, others in known:
                        if (index := jaccard(said, others)) >= limit:
                            yield who, -1, "near_duplicate", first, index
                            break
                    known.append((who, said))


def _hashes(column: pa.ChunkedArray) -> np.ndarray:
    """A 64-bit hash of each value, uint64 (num_rows,)."""
    values = (blake2b(value, digest_size=_HASH).digest() for chunk in column.chunks for value in chunk.to_pylist())
    return np.frombuffer(b"".join(values), np.uint64)


def _fixed(chunk: pa.FixedSizeBinaryArray) -> np.ndarray:
    """The values of a chunk of `bands` without a copy, uint64 (num_rows * BANDS,)."""
    start = chunk.offset * BANDS
    return np.frombuffer(chunk.buffers()[1], np.uint64)[start : start + len(chunk) * BANDS]


def _repeated(keys: np.ndarray) -> Iterator[list[int]]:
    """Places of equal keys, in groups of two and more."""
    order = np.argsort(keys, kind="stable")
    ordered = keys[order]
    ends = np.flatnonzero(np.diff(ordered)) + 1
    starts, stops = np.concatenate([[0], ends]), np.concatenate([ends, [len(keys)]])
    for start, stop in zip(starts[stops - starts > 1], stops[stops - starts > 1], strict=True):
        yield order[start:stop].tolist()


def _by_key(places: Iterable[int], key: Any) -> Iterator[list[int]]:
    """Groups of two and more whose full keys are equal too, not their hashes alone."""
    groups: dict[Any, list[int]] = {}
    for place in places:
        groups.setdefault(key(place), []).append(place)
    yield from (rows for rows in groups.values() if len(rows) > 1)


def reasons_of(found: Iterable[Found], rules: Rules) -> dict[int, dict[str, list[str]]]:
    """Reasons by part and dialogue; a text that is like several names the first of them."""
    out: dict[int, dict[str, list[str]]] = {}
    told = set()
    for who, turn, kind, first, measure in sorted(found):
        if (who, turn) in told:
            continue
        told.add((who, turn))
        what = measure if kind == "duplicate_audio" else f"{measure:.3f} >= {rules.config.text.near_duplicate:g}"
        place = f" (turn {turn})" if turn > 0 else ""
        (_, name, part), (split, other, _) = unpack(who), unpack(first)
        out.setdefault(part, {}).setdefault(name, []).append(f"{kind} {what} of {other} ({split}){place}")
    return out


def find_duplicates(folder: Path, parts: Iterable[int], rules: Rules) -> None:
    """Write `{id: [reason, ...]}` for each part that has any, from the tables that `Compared.write` left there."""
    if not rules.config.text.deduplicates:
        return
    numbers = sorted(parts)
    texts, sounds = (
        pa.concat_tables([read_table(folder / f"{kind}-{part:04d}.parquet") for part in numbers]).combine_chunks()
        for kind in ("texts", "sounds")
    )
    for part, reasons in reasons_of(compare(texts, sounds, rules), rules).items():
        (folder / f"duplicates-{part:04d}.json").write_bytes(canonical_json(reasons))


def read_duplicates(folder: Path, part: int) -> dict[str, list[str]]:
    """Reasons by dialogue, of one part; `find_duplicates` writes no file where there are none."""
    path = folder / f"duplicates-{part:04d}.json"
    return json.loads(path.read_bytes()) if path.exists() else {}
