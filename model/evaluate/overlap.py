"""Whether a model was trained on what it is evaluated on, where that can be told from its manifest and its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from model.datasets import CorpusDataset, ShardDataset


@dataclass(frozen=True)
class Overlap:
    """What training and evaluation have in common.

    Attributes:
        checked: False where the training's data is not here, or is of another kind.
        why: Why it was not checked.
        speakers: Speakers of queries in both.
        scenarios: Scenarios (of recordings, the recording) in both.
    """

    checked: bool
    why: str = ""
    speakers: tuple[str, ...] = ()
    scenarios: tuple[str, ...] = ()

    @property
    def found(self) -> bool:
        """Whether there is any."""
        return bool(self.speakers or self.scenarios)

    @property
    def sentence(self) -> str:
        """For people."""
        if not self.checked:
            return f"whether the model was trained on this was not checked: {self.why}"
        if not self.found:
            return "the model was trained on none of these speakers and scenarios"
        return (
            f"the model was trained on {len(self.speakers)} of these speakers and {len(self.scenarios)} of these"
            f" scenarios (such as {(self.speakers or self.scenarios)[0]})"
        )


def overlap_of_shards(about: Mapping[str, Any], dataset: ShardDataset) -> Overlap:
    """Compare a checkpoint's training data (`model.checkpoint.read_about`) with shards."""
    if about["recipe"].get("model", {}).get("checkpoint"):
        return Overlap(False, "it was started from another model's weights")
    trained = about["recipe"]["data"]
    if not trained.get("shards"):
        return Overlap(False, "it was trained on a corpus, not on shards")
    try:
        before = ShardDataset(Path(trained["shards"]), trained["split"])
    except UserError as error:
        return Overlap(False, str(error))
    speakers, scenarios = (set(names) for names in zip(*_origins(before), strict=True))
    mine, said = (set(names) for names in zip(*_origins(dataset), strict=True))
    return Overlap(True, "", tuple(sorted(speakers & mine)), tuple(sorted(scenarios & said)))


def _origins(dataset: ShardDataset) -> Iterator[tuple[str, str]]:
    """Speaker and scenario of every turn."""
    for item in range(len(dataset)):
        about = dataset.about(item)
        yield about["speaker"], about["scenario"]


def overlap_of_corpus(about: Mapping[str, Any], dataset: CorpusDataset) -> Overlap:
    """Compare a checkpoint's training data with a corpus."""
    if about["recipe"].get("model", {}).get("checkpoint"):
        return Overlap(False, "it was started from another model's weights")
    trained = about["recipe"]["data"]
    if not trained.get("corpus"):
        return Overlap(False, "it was trained on shards, not on a corpus")
    folder = Path(trained["corpus"])
    if folder.resolve() != dataset.folder.resolve():
        return Overlap(False, f"it was trained on another corpus, {folder}")
    everybody = {speaker for _, speaker, *_ in CorpusDataset(folder).rows}
    before = everybody - set(trained["hold_out"])
    return Overlap(True, "", tuple(sorted(before & {speaker for _, speaker, *_ in dataset.rows})))
