"""Which of the dialogues that nothing else rejects say the same as another one, or hold the same audio; on Beam.

The rule: a dialogue goes if there is a duplicate of it before it, where test comes before validation, validation before
train, and within a split the smaller id before the greater. It goes even if that duplicate goes for the sake of a third
one, so the result depends on the set of dialogues alone: neither on their order nor on how they are cut into parts.

Texts are compared within equal labels: first by identity, then what is left by MinHash bands, which only name candidates
(the index of each pair is exact). A worker holds the different texts of one band at a time, never an index of all.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from manifests.ids import canonical_json
from manifests.ledger import CellRecord, Ledger
from manifests.run import SelectConfig
from pipeline.hygiene.shingles import bands, jaccard, shingles
from pipeline.join import by_dialogue, join_rows
from pipeline.real import SOURCE
from pipeline.verdict import KEPT, Rules, judge, judged_columns

PRIORITY = ("test", "validation", "train")
"""Splits in the order in which their dialogues stay: a copy goes from what is trained on, not from what is measured."""

Owner = tuple[int, str, int]
"""Place in `PRIORITY`, id and part of a dialogue; the smaller one stays."""
Text = tuple[bytes, Owner, bytes]
"""Hash of labels, dialogue, its triples as uint32."""
Sound = tuple[bytes, Owner, int, str]
"""Hash of audio (and labels), dialogue, turn, sha256 of the audio."""


def label_key(turns: Sequence[Mapping[str, Any]]) -> list[Any]:
    """The languages and, turn by turn, the cues that the replies answer to: texts of equal ones may be duplicates.

    So the dialogues of a contrastive pair, which say the same in other cues by design, are never compared.
    """
    cues = [[[family, row[f"plan.{family}"]] for family in sorted(row["plan.cues"])] for row in turns]
    return [turns[0]["plan.language"], turns[0]["plan.query_language"], cues]


def owner(turns: Sequence[Mapping[str, Any]], part: int) -> Owner:
    """Of a dialogue, by its rows."""
    return PRIORITY.index(turns[0]["plan.split"]), turns[0]["id"], part


def text_of(turns: Sequence[Mapping[str, Any]], part: int, config: SelectConfig) -> Iterator[Text]:
    """What a dialogue says, if that is to be compared."""
    real = turns[0]["plan.source"] == SOURCE
    if config.text.near_duplicate is not None and (config.text.near_duplicate_real or not real):
        yield _digest(label_key(turns)), owner(turns, part), shingles(turns).tobytes()


def sounds_of(turns: Sequence[Mapping[str, Any]], part: int, config: SelectConfig) -> Iterator[Sound]:
    """The query audio of a dialogue.

    A recording may be planned once in every cell of labels, each time with a reply to other cues.
    """
    for row in turns if config.text.duplicate_audio else ():
        labels = label_key(turns) if row["plan.source"] == SOURCE else []
        digest = row["speak_query.audio_sha256"]
        yield _digest([digest, labels]), owner(turns, part), row["turn"], digest


def _digest(value: Any) -> bytes:
    return blake2b(canonical_json(value), digest_size=12).digest()


def same_text(item: tuple[Any, Iterable[tuple[Owner, bytes]]]) -> Iterator[tuple[str, Any]]:
    """Of dialogues with equal labels and triples the first stays, as `text`; the others go."""
    (labels, _), values = item
    dialogues = sorted(values)
    first, hashes = dialogues[0]
    yield "text", (labels, first, hashes)
    for other, _ in dialogues[1:]:
        yield "gone", (other, (first, 1.0))


def banded(item: Text) -> Iterator[tuple[bytes, tuple[Owner, bytes]]]:
    """A dialogue under each of its bands."""
    labels, who, packed = item
    for name in bands(np.frombuffer(packed, np.uint32)):
        yield labels + name, (who, packed)


def alike(item: tuple[bytes, Iterable[tuple[Owner, bytes]]], limit: float) -> Iterator[tuple[Owner, Any]]:
    """Of the dialogues of one band, those that are like one before them, with the first such."""
    known: list[tuple[Owner, frozenset[int]]] = []
    for who, packed in sorted(item[1]):
        hashes = frozenset(np.frombuffer(packed, np.uint32).tolist())
        for first, others in known:
            if (index := jaccard(hashes, others)) >= limit:
                yield who, (first, index)
                break
        known.append((who, hashes))


def same_sound(item: tuple[bytes, Iterable[tuple[Owner, int, str]]]) -> Iterator[tuple[int, tuple[str, str]]]:
    """Of dialogues with the same query audio the first stays; per part, id and reason of the others."""
    values = sorted(item[1])
    first = values[0][0]
    for who, turn, digest in values:
        if who != first:
            place = f" (turn {turn})" if turn else ""
            yield who[2], (who[1], f"duplicate_audio {digest[:12]} of {first[1]} ({PRIORITY[first[0]]}){place}")


def text_reason(item: tuple[Owner, tuple[Owner, float]], limit: float) -> tuple[int, tuple[str, str]]:
    """Per part, id and reason of a dialogue that is like another one."""
    (_, name, part), (first, index) = item
    return part, (name, f"near_duplicate {index:.3f} >= {limit:g} of {first[1]} ({PRIORITY[first[0]]})")


def find(texts: Any, sounds: Any, limit: float | None) -> Any:
    """The Beam graph: collections of `Text` and `Sound` to (part, (id, reason)) of the dialogues that go."""
    import apache_beam as beam

    found = [
        sounds
        | "by sound" >> beam.Map(lambda item: (item[0], item[1:]))
        | "group sounds" >> beam.GroupByKey()
        | "same sound" >> beam.FlatMap(same_sound)
    ]
    if limit is not None:
        split = (
            texts
            | "by text" >> beam.Map(lambda item: ((item[0], blake2b(item[2], digest_size=12).digest()), item[1:]))
            | "group texts" >> beam.GroupByKey()
            | "same text" >> beam.FlatMap(same_text)
        )
        near = (
            split
            | "different texts" >> beam.FlatMap(lambda item: [item[1]] if item[0] == "text" else [])
            | "bands" >> beam.FlatMap(banded)
            | "group bands" >> beam.GroupByKey()
            | "alike" >> beam.FlatMap(alike, limit)
        )
        copies = split | "copies" >> beam.FlatMap(lambda item: [item[1]] if item[0] == "gone" else [])
        found.append(
            (near, copies)
            | "gone" >> beam.Flatten()
            | "first of each" >> beam.CombinePerKey(min)
            | "say why" >> beam.Map(text_reason, limit)
        )
    return found | "all" >> beam.Flatten()


def read_part(item: tuple[int, list[CellRecord]], run: str, rules: Rules) -> Iterator[tuple[str, Any]]:
    """Texts and sounds of the dialogues of one part that nothing else rejects."""
    part, records = item
    rows, errors = join_rows(Ledger(Path(run)), records, judged_columns(rules))
    for turns, error in by_dialogue(rows, errors):
        if judge(turns, error, rules)[0] == KEPT:
            yield from (("text", item) for item in text_of(turns, part, rules.config))
            yield from (("sound", item) for item in sounds_of(turns, part, rules.config))


def write_part(item: tuple[int, Iterable[tuple[str, str]]], folder: str) -> None:
    """Write the reasons of one part: `{id: [reason, ...]}`."""
    reasons: dict[str, list[str]] = {}
    for name, reason in sorted(item[1]):
        reasons.setdefault(name, []).append(reason)
    (Path(folder) / f"part-{item[0]:04d}.json").write_bytes(canonical_json(reasons))


def write_duplicates(
    ledger: Ledger, records: Mapping[int, Mapping[str, CellRecord]], rules: Rules, folder: Path, options: Any
) -> None:
    """Find the duplicates of a run and write a file for each part that has any, into an empty folder."""
    if not rules.config.text.deduplicates:
        return
    import apache_beam as beam

    items = [(part, list(records[part].values())) for part in sorted(records)]
    with beam.Pipeline(options=options) as pipeline:
        read = (
            pipeline | beam.Create(items) | beam.Reshuffle() | "read" >> beam.FlatMap(read_part, str(ledger.run), rules)
        )
        texts, sounds = (
            read | f"{kind}s" >> beam.FlatMap(lambda item, kind: [item[1]] if item[0] == kind else [], kind)
            for kind in ("text", "sound")
        )
        _ = (
            find(texts, sounds, rules.config.text.near_duplicate)
            | "by part" >> beam.GroupByKey()
            | "write" >> beam.Map(write_part, str(folder))
        )


def read_duplicates(folder: Path, part: int) -> dict[str, list[str]]:
    """Reasons by dialogue, of one part."""
    path = folder / f"part-{part:04d}.json"
    return json.loads(path.read_bytes()) if path.exists() else {}


class Duplicates:
    """The duplicates of a run in a folder that is removed at the end, for who gives verdicts again (`verify`)."""

    def __init__(self, ledger: Ledger, records: Mapping[int, Mapping[str, CellRecord]], rules: Rules) -> None:
        from pipeline.stages.plan import pipeline_options

        self.folder = Path(tempfile.mkdtemp(prefix="echat-duplicates-"))
        try:
            write_duplicates(ledger, records, rules, self.folder, pipeline_options(()))
        except BaseException:
            shutil.rmtree(self.folder, ignore_errors=True)
            raise

    def __enter__(self) -> Duplicates:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def of(self, part: int) -> dict[str, list[str]]:
        """Reasons by dialogue, of one part."""
        return read_duplicates(self.folder, part)
