"""Label cells: what a quota counts, one for each label of a task."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from manifests.engine import Capabilities
from manifests.labels import CUES


@dataclass(frozen=True)
class LabelCell:
    """One label (or combination) of a task: `cues` are what the reply must answer to."""

    task: str
    name: str
    cues: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Block:
    """Rows `start` to `stop` of one label cell; of a `round` above 0, those of its retries."""

    task: str
    index: int
    start: int
    stop: int
    round: int = 0


def label_cells(able: Capabilities, multi: tuple[str, ...]) -> dict[str, tuple[LabelCell, ...]]:
    """The label cells of each task, in a fixed order that no quota changes.

    Args:
        able: What the speaker of the queries can render.
        multi: Families that a dialogue of the task `multi` combines.
    """
    emotions = tuple(emotion for emotion in able.emotions if emotion != "neutral")
    values = {family: able.of(family) for family in CUES} | {"emotion": emotions}
    cells = {
        family: tuple(LabelCell(family, value, ((family, value),)) for value in values[family]) for family in values
    }
    cells["multi"] = tuple(
        LabelCell("multi", "+".join(labels), tuple(zip(multi, labels, strict=True)))
        for labels in product(*(values[family] for family in multi))
    )
    cells["neutral"] = (LabelCell("neutral", "neutral", ()),)
    return cells
