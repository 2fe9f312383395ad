"""The numbers of the page: matrices, speakers, stages and their cost, clusters of texts."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.labels import HEARD, NONE, family_of
from pipeline.grid import Grid, pool_of
from pipeline.report.gather import Gathered
from pipeline.review.read import agreement_rows, gate_rows, results_path

MAX_SPEAKERS = 200
_CLUSTERS = 10
_LEAST_TEXTS = 20


@dataclass(frozen=True)
class Matrix:
    """Requested against recognised labels of one annotator: `rows` hold counts, and each row's share of its sum."""

    slot: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[int, float], ...]], ...]
    agreement: float


@dataclass(frozen=True)
class StageFigures:
    """What a stage has cost.

    Attributes:
        made: Rows that were computed; the rest were copied from earlier cells.
        audio_s: Seconds of audio.
        wall_s: Seconds that its cells took, summed over workers.
        realtime: Seconds of audio for each of them; 0 without audio.
        share: Of the seconds of all stages.
        busy: Seconds of its cells over seconds that its pool's workers were there, from its first cell to its last.
    """

    name: str
    cells: int
    made: int
    copied: int
    audio_s: float
    wall_s: float
    realtime: float
    share: float
    busy: float


def matrices(heard: Mapping[str, Mapping[str, Mapping[str, int]]]) -> list[Matrix]:
    """Of `statistics["heard"]`; labels that were asked of nobody have no row."""
    out = []
    for slot, asked in heard.items():
        order = (*HEARD[family_of(slot)], NONE)
        columns = tuple(label for label in order if any(label in row for row in asked.values()))
        rows, right, total = [], 0, 0
        for label in (label for label in order if label in asked):
            counts = [asked[label].get(column, 0) for column in columns]
            whole = sum(counts)
            rows.append((label, tuple((count, count / whole if whole else 0.0) for count in counts)))
            if label != NONE or family_of(slot) == "event":
                right, total = right + asked[label].get(label, 0), total + whole
        out.append(Matrix(slot, columns, tuple(rows), right / total if total else 0.0))
    return out


def stage_figures(grid: Grid) -> list[StageFigures]:
    """Time and throughput of every stage, from the records of its cells."""
    sums = []
    for stage in grid.dag.stages:
        records = [cells[stage.name] for cells in grid.all_cells.values() if stage.name in cells]
        metrics = [record.metrics for record in records]
        wall = sum(item.get("wall_s", 0.0) for item in metrics)
        ends = [item["finished"] for item in metrics if "finished" in item]
        starts = [item["finished"] - item.get("wall_s", 0.0) for item in metrics if "finished" in item]
        there = (max(ends) - min(starts)) * pool_of(grid.dag.manifest.workers, stage.name).count if ends else 0.0
        sums.append((stage.name, metrics, wall, there))
    total = sum(wall for _, _, wall, _ in sums)
    return [
        StageFigures(
            name=name,
            cells=len(metrics),
            made=sum(item.get("made", 0) for item in metrics),
            copied=sum(item.get("copied", 0) for item in metrics),
            audio_s=(audio := sum(item.get("audio_s", 0.0) for item in metrics)),
            wall_s=wall,
            realtime=audio / wall if wall else 0.0,
            share=wall / total if total else 0.0,
            busy=min(1.0, wall / there) if there else 0.0,
        )
        for name, metrics, wall, there in sums
    ]


@dataclass(frozen=True)
class Projection:
    """What a run of another size would cost at the measured rate."""

    dialogues: int
    worker_hours: float
    audio_hours: float
    disk_gb: float
    cost: float | None


def project(
    stages: Sequence[StageFigures], found: Gathered, disk_bytes: int, dialogues: int, price: float | None
) -> Projection:
    """Scale what was measured to a number of planned dialogues.

    Args:
        stages: Of this run.
        found: Its counts.
        disk_bytes: Size of its cells and shards.
        dialogues: Planned dialogues of the other run; 0 for this one.
        price: Of a worker's hour, in any currency.
    """
    planned = sum(found.dialogues.values())
    dialogues = dialogues or planned
    factor = dialogues / planned if planned else 0.0
    # Rows that were copied cost nothing here and would cost as much as the others.
    seconds = sum(item.wall_s * (item.made + item.copied) / item.made for item in stages if item.made)
    hours = seconds / 3600 * factor
    audio = sum(found.seconds.values()) / 3600 * factor
    return Projection(dialogues, hours, audio, disk_bytes / 1e9 * factor, None if price is None else hours * price)


@dataclass(frozen=True)
class Review:
    """What people said of the gate, as rows of tables.

    Attributes:
        gate: Who judged, clips, precision, recall.
        agreement: Family, raters, clips, kappa.
        labels: Family, label, answers on clips that were to carry it, share of them that name it.
        stale: Whether it was read against an earlier selection.
    """

    gate: list[tuple[str, int, str, str]]
    agreement: list[tuple[str, str, int, str]]
    labels: list[tuple[str, str, int, str]]
    rejected: int
    other: int
    stale: bool


def review_figures(run: Path) -> Review | None:
    """What `echat review read` left in a run; None where nobody has listened.

    Raises:
        UserError: The file is damaged.
    """
    path = results_path(run)
    if not path.exists():
        return None
    try:
        found = json.loads(path.read_bytes())
        labels = [
            (family, label, number, f"{right / number:.2f}")
            for family, counts in found["labels"].items()
            for label, (number, right) in counts.items()
        ]
        stale = found["select"] != (run / "select" / "current").resolve().name
        counts = found["population"]
        return Review(gate_rows(found), agreement_rows(found), labels, counts["rejected"], counts["other"], stale)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: cannot be read ({error}); run echat review read again, or delete it") from error


def speakers(found: Gathered) -> list[tuple[str, str, str, int, int]]:
    """Speaker, gender, split, planned, kept; the ones with most dialogues, `MAX_SPEAKERS` at most."""
    rows = [(*key, counts["planned"], counts["kept"]) for key, counts in found.speakers.items()]
    return sorted(rows, key=lambda row: (-row[3], row[0]))[:MAX_SPEAKERS]  # type: ignore[return-value]


def clusters(texts: Sequence[tuple[str, str]]) -> list[tuple[int, str, str]]:
    """Clusters of query texts by their words (TF-IDF, k-means): size, top terms, the text nearest the centre.

    Args:
        texts: Text and language of each; Chinese is taken by pairs of characters.
    """
    if len(texts) < _LEAST_TEXTS:
        return []
    import numpy as np
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.feature_extraction.text import TfidfVectorizer

    chinese = sum(language == "zh" for _, language in texts) > len(texts) / 2
    kind: dict[str, Any] = {"analyzer": "char", "ngram_range": (2, 2)} if chinese else {"stop_words": "english"}
    words = TfidfVectorizer(sublinear_tf=True, max_features=4000, **kind)
    try:
        matrix = words.fit_transform([text for text, _ in texts])
    except ValueError:  # nothing but stop words
        return []
    number = min(_CLUSTERS, len(texts) // 4)
    means: Any = MiniBatchKMeans(number, random_state=0, n_init="auto", batch_size=512).fit(matrix)
    names, out = words.get_feature_names_out(), []
    for cluster in range(number):
        members = np.flatnonzero(means.labels_ == cluster)
        if members.size:
            centre = means.cluster_centers_[cluster]
            nearest = members[int(np.argmax(matrix[members] @ centre))]
            top = [str(names[place]) for place in np.argsort(-centre)[:6] if centre[place] > 0]
            out.append((int(members.size), ", ".join(top), texts[nearest][0]))
    return sorted(out, key=lambda row: (-row[0], row[1]))
