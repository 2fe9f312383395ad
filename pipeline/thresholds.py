"""Least probabilities of recognised labels: calibrated on a part of the run, or frozen in a file of an earlier one.

A label's threshold is the least probability at which the recognised label agrees with the requested one in at least
`select.precision` of the rows at or above it. Rows are few, so what must reach the target is not the plain ratio but
the lower end of its Wilson score interval at one standard error (E. B. Wilson, JASA 22, 1927; 84 % one-sided): 30
rows that all agree reach 0.968, 29 of 30 reach 0.916. Agreement is with what was asked of a speaker, and no measure
of an annotator's precision, for which speech labelled by people is needed.

The rows are those of the first plan (no top-up changes a threshold), held out by the hash of their id. They are
counted part by part into a histogram of probabilities, so neither memory nor the order of the parts matters.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.errors import UserError
from manifests.files import write_atomic
from manifests.ids import canonical_json, content_hash, seed_of
from manifests.labels import family_of, heard_labels
from manifests.ledger import CellRecord, Ledger
from manifests.run import RunManifest, SelectConfig, load_run
from manifests.textconfig import without_text_checks
from manifests.withdrawn import NOBODY, Withdrawn, read_withdrawn
from pipeline.join import join_rows
from pipeline.verdict import Rules, comparable, judged_slots, requested

if TYPE_CHECKING:
    from pipeline.dag import Dag

FORMAT = 1
EDGES = np.arange(1001) / 1000
"""Every threshold is one of these."""

Histogram = dict[tuple[str, str], np.ndarray]
"""By slot and recognised label, int64 (2, 1001): rows that disagree and that agree, by the last edge at or below p."""

CALIBRATED, BEST, DEFAULT = "calibrated", "best", "default"


@dataclass(frozen=True)
class Choice:
    """The threshold of one label and how it was chosen.

    Attributes:
        rows: Held-out rows recognised as the label.
        above: Of them, those at or above the threshold.
        agreement: Share of those that agree with the requested label; 0 of none.
        bound: Lower end of its interval.
        basis: `calibrated` (reaches the target), `best` (no threshold does), `default` (too few rows).
    """

    threshold: float
    rows: int
    above: int
    agreement: float
    bound: float
    basis: str
    why: str


@dataclass(frozen=True)
class Thresholds:
    """The thresholds of a run, by slot and label.

    Attributes:
        engines: Config and revision of each slot's annotator; thresholds hold for no other.
        calibration: Share and least number of rows that they were chosen on.
    """

    target: float
    engines: Mapping[str, Mapping[str, Any]]
    calibration: Mapping[str, Any]
    slots: Mapping[str, Mapping[str, Choice]]

    def document(self) -> dict[str, Any]:
        """As it is frozen in a file."""
        slots = {
            slot: {label: asdict(choice) for label, choice in labels.items()} for slot, labels in self.slots.items()
        }
        return {
            "format": FORMAT,
            "target": self.target,
            "engines": self.engines,
            "calibration": self.calibration,
            "slots": slots,
        }

    def to_json(self) -> bytes:
        """The frozen file; equal thresholds give equal bytes."""
        return canonical_json(self.document()) + b"\n"

    def content_hash(self) -> str:
        """For the key of the selection."""
        return content_hash(self.document())


class _Choice(BaseModel):
    model_config = ConfigDict(extra="forbid")
    threshold: float = Field(ge=0, le=1)
    rows: int
    above: int
    agreement: float
    bound: float
    basis: str
    why: str


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")
    format: int
    target: float
    engines: dict[str, dict[str, Any]]
    calibration: dict[str, Any]
    slots: dict[str, dict[str, _Choice]]


def threshold_labels(family: str) -> tuple[str, ...]:
    """The labels of a family that can be asked for, and so be agreed with."""
    return ("one",) if family == "speakers" else heard_labels(family)


def held_out(dialogue: str, share: float) -> bool:
    """Whether a dialogue is in a share of all, by its id; a larger share contains the smaller one."""
    return seed_of("calibration", dialogue) / 2**63 < share


def rules_of(manifest: RunManifest, thresholds: Thresholds, withdrawn: Withdrawn = NOBODY) -> Rules:
    """What verdicts follow from; `confidence_min` holds beside frozen thresholds too."""
    config, slots = manifest.select, manifest.slots
    least = {
        slot: {label: max(choice.threshold, _floor(config, slot)) for label, choice in thresholds.slots[slot].items()}
        for slot in judged_slots(config, slots)
    }
    return Rules(config, slots, least, 0.0 if config.thresholds else config.calibration_share, withdrawn)


def _floor(config: SelectConfig, slot: str) -> float:
    return config.confidence_min.get(slot, config.confidence_min.get(family_of(slot), 0.0))


def thresholds_of(dag: Dag, ledger: Ledger, parts: Iterable[Mapping[str, CellRecord]]) -> Thresholds:
    """The thresholds of a run: those of its frozen file, or else calibrated on its committed cells.

    Raises:
        UserError: A frozen file that cannot be used, or a cell that cannot be read.
    """
    config = dag.manifest.select
    if config.thresholds is not None:
        return read_thresholds(config.thresholds, dag)
    slots = judged_slots(config, dag.manifest.slots)
    histogram: Histogram = {}
    for cells in parts if slots and config.calibration_share else ():
        count_part(histogram, ledger, cells, slots, config.calibration_share)
    return calibrate(histogram, dag)


def early_rules(dag: Dag, run: Path) -> Rules:
    """Rules for progress, before the thresholds of a build are known: the latest ones, or else the defaults.

    Texts are not checked, which would load a language detector into the driver.
    """
    latest = dag.manifest.select.thresholds or run / "select" / "current" / "thresholds.json"
    try:
        thresholds = read_thresholds(latest, dag)
    except UserError:
        thresholds = calibrate({}, dag)
    rules = rules_of(dag.manifest, thresholds, read_withdrawn(run))
    return replace(rules, config=rules.config.model_copy(update={"text": without_text_checks()}))


def count_part(
    histogram: Histogram, ledger: Ledger, cells: Mapping[str, CellRecord], slots: Sequence[str], share: float
) -> None:
    """Add the held-out rows of one part to a histogram."""
    heard = [f"annotate.heard_{slot}{tail}" for slot in slots for tail in ("", "_p")]
    families = {"age", *map(family_of, slots)} - {"speakers"}
    columns = ["plan.round", "plan.source", *sorted(f"plan.{family}" for family in families), *heard]
    rows, errors = join_rows(ledger, [cells["plan"], cells["annotate"]], columns)
    for row, error in zip(rows, errors, strict=True):
        if not error and row["plan.round"] == 0 and held_out(row["id"], share):
            count_row(histogram, row, slots)


def count_row(histogram: Histogram, row: Mapping[str, Any], slots: Sequence[str]) -> None:
    """Add one row to a histogram."""
    for slot in slots:
        if comparable(row, slot):
            label = row[f"annotate.heard_{slot}"]
            counts = histogram.setdefault((slot, label), np.zeros((2, len(EDGES)), np.int64))
            place = int(np.searchsorted(EDGES, row[f"annotate.heard_{slot}_p"], side="right")) - 1
            counts[int(label == requested(row, slot)), place] += 1


def calibrate(histogram: Histogram, dag: Dag) -> Thresholds:
    """Choose the threshold of every label of every annotator that must agree."""
    config = dag.manifest.select
    engines: dict[str, Any] = dict(dag.by_name["annotate"].annotators)  # type: ignore[attr-defined]
    slots: dict[str, dict[str, Choice]] = {}
    for slot in judged_slots(config, dag.manifest.slots):
        defaults, floor = engines[slot].thresholds(), _floor(config, slot)
        slots[slot] = {}
        for label in threshold_labels(family_of(slot)):
            counts = histogram.get((slot, label), np.zeros((2, len(EDGES)), np.int64))
            slots[slot][label] = choose(counts, config, defaults.get(label), floor)
    calibration = {"share": config.calibration_share, "min": config.calibration_min}
    return Thresholds(config.precision, _engines(dag, slots), calibration, slots)


def _engines(dag: Dag, slots: Iterable[str]) -> dict[str, dict[str, Any]]:
    stage: Any = dag.by_name["annotate"]
    revisions = dict(zip((slot for slot, _ in stage.annotators), stage.revisions, strict=True))
    engines = dict(stage.annotators)
    return {slot: {"config": engines[slot].keyed(), "revision": revisions[slot]} for slot in slots}


def choose(counts: np.ndarray, config: SelectConfig, default: float | None, floor: float) -> Choice:
    """Choose one label's threshold.

    Args:
        counts: Shape (2, 1001); see `Histogram`.
        default: Of the engine, or None where it has none.
        floor: `confidence_min`; no threshold is below it.
    """
    target = config.precision
    agree = counts[1][::-1].cumsum()[::-1]
    above = counts.sum(axis=0)[::-1].cumsum()[::-1]
    bounds = lower_bound(agree, above)
    rows, first = int(above[0]), _edge(floor)
    fallback = max(first, _edge(default or 0.0))
    source = "the engine's default" if default is not None else "confidence_min" if floor else "no threshold"
    reached = np.flatnonzero(bounds[first:] >= target)
    if rows < config.calibration_min:
        place, basis = fallback, DEFAULT
        why = f"{rows} rows were recognised as it, of the {config.calibration_min} needed: {source}"
    elif reached.size:
        place, basis = first + int(reached[0]), CALIBRATED
        why = f"the least at which the agreement is at least {target:g}, by the lower end of its interval"
    else:
        place, basis = max(fallback, first + int(np.argmax(bounds[first:]))), BEST
        why = f"no threshold reaches {target:g}: the one with the best lower end, or {source} if that is higher"
    number = int(above[place])
    share = round(float(agree[place] / number), 4) if number else 0.0
    return Choice(float(EDGES[place]), rows, number, share, round(float(bounds[place]), 4), basis, why)


def _edge(value: float) -> int:
    """The first edge that is not below a probability."""
    return int(np.searchsorted(EDGES, value, side="left"))


def lower_bound(agree: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Lower end of the Wilson score interval of agree / rows, at one standard error; 0 of no rows."""
    n = np.maximum(rows, 1)
    ratio = agree / n
    end = (ratio + 0.5 / n - np.sqrt(ratio * (1 - ratio) / n + 0.25 / n**2)) / (1 + 1 / n)
    return np.where(rows > 0, end, 0.0)


def read_thresholds(path: Path, dag: Dag) -> Thresholds:
    """Read a frozen file and check that it is for this run's annotators.

    Raises:
        UserError: It cannot be read, is of another format, or of other annotators or labels.
    """
    again = "write it anew with echat calibrate thresholds, or remove select.thresholds"
    try:
        file = _File.model_validate_json(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror or error}); {again}") from None
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"])) or "the document"
        raise UserError(f"{path}: is not a file of thresholds ({place}); {again}") from None
    if file.format != FORMAT:
        raise UserError(f"{path}: is of format {file.format}, this version reads {FORMAT}; {again}")
    slots = judged_slots(dag.manifest.select, dag.manifest.slots)
    for slot, engine in _engines(dag, slots).items():
        labels = threshold_labels(family_of(slot))
        if slot not in file.slots or slot not in file.engines:
            raise UserError(f"{path}: has no thresholds of the annotator {slot}; {again}")
        if set(file.slots[slot]) != set(labels):
            have = ", ".join(sorted(file.slots[slot]))
            raise UserError(f"{path}: slots.{slot}: is for the labels {have}, not {', '.join(labels)}; {again}")
        if file.engines[slot] != engine:
            raise UserError(f"{path}: engines.{slot}: was calibrated with another engine or settings; {again}")
    choices = {
        slot: {label: Choice(**choice.model_dump()) for label, choice in labels.items()}
        for slot, labels in file.slots.items()
    }
    return Thresholds(file.target, file.engines, file.calibration, choices)


def check_thresholds(dag: Dag) -> None:
    """Refuse a frozen file that cannot be used, before any work.

    Raises:
        UserError: See `read_thresholds`.
    """
    if dag.manifest.select.thresholds is not None:
        read_thresholds(dag.manifest.select.thresholds, dag)


def freeze(run: Path, out: Path) -> Thresholds:
    """Write the thresholds of a run folder to a file for `select.thresholds` of other runs.

    Raises:
        UserError: The run is not built to the end, or the file cannot be written.
    """
    from pipeline.dag import build_dag
    from pipeline.grid import Grid
    from pipeline.topup import with_topup

    dag = with_topup(build_dag(load_run(run / "run.yaml"), run / "run.yaml"), run)
    grid = Grid.open(dag, run)
    if not grid.complete:
        raise UserError(f"{run}: not every cell is made, so its thresholds are not known: run build again")
    thresholds = thresholds_of(dag, grid.ledger, grid.all_cells.values())
    if not thresholds.slots:
        raise UserError(f"{run}: no annotator must agree (select.agree), so it has no thresholds")
    write_atomic(out, thresholds.to_json())
    return thresholds


def report(thresholds: Thresholds, frozen: bool) -> str:
    """How each threshold was chosen, for people (Markdown); `frozen` ones were chosen in an earlier run."""
    if not thresholds.slots:
        return "# Thresholds\n\nNo annotator must agree (`select.agree`), so there are none.\n"
    share, least = thresholds.calibration.get("share", 0), thresholds.calibration.get("min", 0)
    where = f"{share:.0%} of the dialogues of the first plan{' of an earlier run' if frozen else ''}"
    lines = [
        "# Thresholds",
        "",
        f"A recognised label counts from its threshold on. Target: at least {thresholds.target:g} of the rows at or"
        f" above it agree with the label that was asked for. Chosen on {where}, by the hash of their id, where at least"
        f" {least} rows were recognised as the label. What reaches the target is the lower end of the Wilson interval"
        " at one standard error, so that few rows do not flatter.",
        "",
        "Agreement is with what was asked of the speaker. It is not precision: that takes speech labelled by people.",
        "",
        "| annotator | label | threshold | rows | at or above | agreement | lower end | how |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for slot, labels in thresholds.slots.items():
        for label, choice in labels.items():
            figures = f"{choice.rows:,} | {choice.above:,} | {choice.agreement:.3f} | {choice.bound:.3f}"
            lines.append(f"| {slot} | {label} | {choice.threshold:g} | {figures} | {choice.basis}: {choice.why} |")
    lines += ["", "Annotators:", ""]
    lines += [f"- {slot}: {engine['revision']}" for slot, engine in thresholds.engines.items()]
    return "\n".join(lines) + "\n"
