"""Whether a model was trained on what it is evaluated on, where that can be told from its manifest and its data."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import sha256
from manifests.labels import NONE
from model.checkpoint import read_about
from model.datasets import CorpusDataset, ShardDataset, corpus_name


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


def overlap_of(about: Mapping[str, Any], dataset: ShardDataset | CorpusDataset) -> Overlap:
    """Compare what a checkpoint was trained on with what it is to be evaluated on.

    That is its own data, and that of the checkpoints that it was started from as far as their folders are here.
    Speakers of a corpus are those of shards by the name that shards give them, `CORPUS:NAME`.

    Args:
        about: Of the checkpoint (`model.checkpoint.read_about`).
    """
    speakers, scenarios, unknown = set[str](), set[str](), list[str]()
    mine = _names(dataset)
    for recipe in (about["recipe"], *ancestors(about["recipe"], unknown)):
        try:
            theirs = _names(_opened(recipe["data"]))
        except UserError as error:
            unknown.append(str(error))
            continue
        for found, ours, others in zip((speakers, scenarios), mine, theirs, strict=True):
            found |= ours & others
    if unknown and not (speakers or scenarios):
        return Overlap(False, "; ".join(unknown))
    return Overlap(True, "", tuple(sorted(speakers)), tuple(sorted(scenarios)))


_MOST_ANCESTORS = 16


def ancestors(recipe: Mapping[str, Any], unknown: list[str]) -> Iterator[Mapping[str, Any]]:
    """The trainings that a model was started from; what cannot be told of them is added to `unknown`."""
    for _ in range(_MOST_ANCESTORS):
        checkpoint = recipe.get("model", {}).get("checkpoint")
        if not checkpoint:
            return
        try:
            recipe = read_about(Path(checkpoint))["recipe"]
        except UserError as error:
            unknown.append(f"it was started from another model: {error}")
            return
        yield recipe
    unknown.append(f"it comes of more than {_MOST_ANCESTORS} models")


def _opened(trained: Mapping[str, Any]) -> ShardDataset | CorpusDataset:
    """The data of a training, without the speakers that it held out."""
    if trained.get("shards"):
        return ShardDataset(Path(trained["shards"]), trained["split"])
    folder = Path(trained["corpus"])
    everybody = {speaker for _, speaker, *_ in CorpusDataset(folder, texts=False).rows}
    return CorpusDataset(folder, sorted(everybody - set(trained.get("hold_out", ()))), texts=False)


def _names(dataset: ShardDataset | CorpusDataset) -> tuple[set[str], set[str]]:
    """Speakers, as shards call them, and scenarios (of recordings, the recording) of every turn."""
    if isinstance(dataset, CorpusDataset):
        name, table = corpus_name(dataset.folder), dataset.folder / "labels.csv"
        try:
            recordings = {f"recording:{sha256(dataset.folder / file)[:16]}" for file, *_ in dataset.rows}
        except OSError as error:
            raise UserError(f"{table}: {error.filename} cannot be read ({error.strerror})") from error
        return {f"{name}:{speaker}" for _, speaker, *_ in dataset.rows if speaker}, recordings
    abouts = [dataset.about(item) for item in range(len(dataset))]
    speakers, scenarios = ({about[key] for about in abouts} - {"", NONE} for key in ("speaker", "scenario"))
    return speakers, scenarios
