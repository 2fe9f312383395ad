"""Filled sheets read back: agreement between raters, and the gate's precision and recall against them.

Of a dialogue that the gate kept or audibly rejected, a rater calls the first query good if it is usable and carries
every label that it was asked for and that the gate compares. Precision is the good share of the kept ones, recall the
kept share of the good ones in the whole run: kept and rejected dialogues are drawn at different rates, so each counts
for as many as it stands for. Intervals are Wilson's at 95 % (JASA 22, 1927); those of recall combine the ends of both
shares that it is made of, and are wider. Kappa is Cohen's (1960), `unsure` being an answer like others.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from itertools import combinations
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.errors import UserError, from_pydantic
from manifests.files import write_atomic, writing
from manifests.ids import canonical_json
from manifests.labels import canonical
from pipeline.review.draw import Judged, Population, judged
from pipeline.review.sheet import FORMAT, NOTE, UNSURE, USABLE, YES_NO, columns, options
from pipeline.verdict import KEPT, REJECTED
from pipeline.verify import open_finished

Answers = dict[str, dict[str, str]]
"""By dialogue: answer by family, and of `usable`; without those that were left open."""
_Z = 1.959964


def results_path(run: Path) -> Path:
    """Where a run keeps what people said of it."""
    return run / "review" / "results.json"


def read_review(folder: Path, run: Path) -> dict[str, Any]:
    """Read the tables of a sheet's raters, and write what they say of the gate into the run.

    Raises:
        UserError: A table is missing or wrong (file, row, column), none is filled in, or the run is another.
    """
    sheet = _sheet(folder)
    grid = open_finished(run, "review read")
    if sheet.run != grid.dag.manifest.name:
        raise UserError(f"{folder}: is a sheet of the run {sheet.run!r}, and {run} is {grid.dag.manifest.name!r}")
    select = (run / "select" / "current").resolve()
    wanted = set(sheet.raters[0].values())
    gate: dict[str, Judged] = {}
    counts = {KEPT: 0, REJECTED: 0, "": 0}
    for item in judged(grid, select):
        counts[item.verdict if item else ""] += 1
        if item and item.id in wanted:
            gate[item.id] = item
    population = Population(counts[KEPT], counts[REJECTED], counts[""])
    raters = {
        f"{number}": _read_table(folder / f"rater-{number}.csv", clips, sheet.families)
        for number, clips in enumerate(sheet.raters, 1)
    }
    if not any(raters.values()):
        raise UserError(f"{folder}: no table is filled in; put the raters' files there, or fill them in")
    document = {
        "format": FORMAT, "select": select.name, "seed": sheet.seed, "clips": len(wanted),
        "gone": len(wanted - gate.keys()), "population": vars(population),
        "raters": {name: _measure(gate, _verdicts(gate, answers), population) for name, answers in raters.items()},
        "all": _measure(gate, _together([_verdicts(gate, answers) for answers in raters.values()]), population),
        "agreement": agreement(raters, [*sheet.families, USABLE]),
        "labels": _labels(gate, raters, sheet.families),
    }  # fmt: skip
    path = results_path(run)
    with writing(path):
        path.parent.mkdir(exist_ok=True)
    write_atomic(path, canonical_json(document))
    return document


class _Sheet(BaseModel):
    """What `sheet.json` must hold; `raters` are the dialogues by clip, of each rater."""

    model_config = ConfigDict(strict=True)
    format: Literal[1]
    run: str
    seed: int
    families: list[Literal["age", "gender", "emotion", "event"]]
    raters: Annotated[list[dict[str, str]], Field(min_length=1)]


def _sheet(folder: Path) -> _Sheet:
    path = folder / "sheet.json"
    try:
        return _Sheet.model_validate_json(path.read_bytes())
    except ValidationError as error:
        raise from_pydantic(path, error) from None
    except OSError as error:
        raise UserError(f"{path}: is not the sheet that echat review sheet wrote ({error})") from error


def _read_table(path: Path, clips: Mapping[str, str], asked: Sequence[str]) -> Answers:
    """The answers of one rater; a clip of which nothing is filled in is left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeError) as error:
        raise UserError(f"{path}: cannot be read as text ({error}); put the rater's file there") from error
    head = text.partition("\n")[0]
    reader = csv.DictReader(io.StringIO(text), delimiter=";" if head.count(";") > head.count(",") else ",")
    try:
        rows, found = list(reader), reader.fieldnames or ()
    except csv.Error as error:
        raise UserError(
            f"{path}: row {reader.line_num + 1}: cannot be read as a table ({error}); save it as CSV"
        ) from error
    missing = [name for name in columns(asked) if name not in found and name not in (NOTE, "number")]
    if missing:
        raise UserError(f"{path}: has no column {missing[0]!r}; take the table that echat review sheet wrote")
    answers: Answers = {}
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        clip = (row["clip"] or "").strip()
        if clip not in clips or clip in seen:
            what = "stands there twice" if clip in seen else "is no clip of this rater"
            raise UserError(
                f"{path}: row {number}: clip {clip[:40]!r} {what}; take the table that echat review sheet wrote"
            )
        seen.add(clip)
        given = {name: _answer(path, number, name, row[name] or "") for name in (*asked, USABLE)}
        if any(given.values()):
            answers[clips[clip]] = {name: value for name, value in given.items() if value}
    return answers


def _answer(path: Path, number: int, name: str, text: str) -> str:
    """An answer in the spelling of the taxonomy; "" for an open one."""
    value = text.strip().lower()
    allowed = YES_NO if name == USABLE else options(name)
    if value and value not in allowed and name != USABLE:
        try:
            value = canonical(name, value)
        except UserError:
            value = "?"
    if value and value not in allowed:
        raise UserError(f"{path}: row {number}: {name}: {text.strip()!r} is no answer; use one of {', '.join(allowed)}")
    return value


def _verdicts(gate: Mapping[str, Judged], answers: Answers) -> dict[str, bool]:
    """Whether a rater calls a dialogue good; without those of which an answer that matters is open."""
    out = {}
    for name, given in answers.items():
        if name not in gate:
            continue
        wanted = gate[name].wanted
        if given.get(USABLE) == "no" or any(given.get(family, value) != value for family, value in wanted.items()):
            out[name] = False
        elif USABLE in given and all(family in given for family in wanted):
            out[name] = True
    return out


def _together(raters: Sequence[Mapping[str, bool]]) -> dict[str, bool]:
    """What all raters judged: good if all of them say so."""
    common = set.intersection(*(set(rater) for rater in raters))
    return {name: all(rater[name] for rater in raters) for name in common}


def _measure(gate: Mapping[str, Judged], good: Mapping[str, bool], population: Population) -> dict[str, Any]:
    """Precision and recall of the gate against some verdicts."""
    kept = [value for name, value in good.items() if gate[name].verdict == KEPT]
    rejected = [value for name, value in good.items() if gate[name].verdict == REJECTED]
    precision, lost = wilson(sum(kept), len(kept)), wilson(sum(rejected), len(rejected))
    if population.rejected == 0:
        lost = (0.0, 0.0, 0.0)  # nothing was rejected that could be heard, so nothing good was lost
    recall: list[float | None] = [None, None, None]
    if precision and lost:
        # The low end of recall is that of few good kept ones and many good rejected ones.
        for place, (p, q) in enumerate(((precision[0], lost[0]), (precision[1], lost[2]), (precision[2], lost[1]))):
            found, missed = p * population.kept, q * population.rejected
            recall[place] = round(found / (found + missed), 4) if found + missed else None
    return {
        "judged": len(good), "kept": len(kept), "kept_good": sum(kept), "rejected": len(rejected),
        "rejected_good": sum(rejected), "precision": _rounded(precision), "rejected_good_share": _rounded(lost),
        "recall": recall if recall[0] is not None else None,
    }  # fmt: skip


def wilson(good: int, number: int) -> tuple[float, float, float] | None:
    """A share and its 95 % score interval; None of nothing."""
    if not number:
        return None
    share, z2 = good / number, _Z * _Z
    middle = (share + z2 / (2 * number)) / (1 + z2 / number)
    half = _Z / (1 + z2 / number) * math.sqrt(share * (1 - share) / number + z2 / (4 * number * number))
    return share, max(0.0, middle - half), min(1.0, middle + half)


def _rounded(values: tuple[float, float, float] | None) -> list[float] | None:
    return None if values is None else [round(value, 4) for value in values]


def agreement(raters: Mapping[str, Answers], names: Sequence[str]) -> dict[str, Any]:
    """Cohen's kappa of each pair of raters: by family, and by label against all others."""
    out: dict[str, Any] = {}
    for name in names:
        pairs = []
        for first, second in combinations(raters, 2):
            one, two = raters[first], raters[second]
            both = [item for item in one if item in two and name in one[item] and name in two[item]]
            left, right = [one[item][name] for item in both], [two[item][name] for item in both]
            labels = {
                label: kappa([value == label for value in left], [value == label for value in right])
                for label in sorted({*left, *right} - {UNSURE})
            }
            pairs.append({"raters": [first, second], "clips": len(both), "kappa": kappa(left, right), "labels": labels})
        out[name] = pairs
    return out


def kappa(left: Sequence[Any], right: Sequence[Any]) -> float | None:
    """Cohen's kappa; None where it is not defined: nothing in common, or one and the same answer everywhere."""
    if len({*left, *right}) < 2:
        return None
    from sklearn.metrics import cohen_kappa_score

    value = float(cohen_kappa_score(left, right))
    return None if math.isnan(value) else round(value, 4)


def _labels(gate: Mapping[str, Judged], raters: Mapping[str, Answers], asked: Sequence[str]) -> dict[str, Any]:
    """Of the clips that were to carry a label: how many answers there are, and how many of them name it."""
    out: dict[str, dict[str, list[int]]] = {}
    for answers in raters.values():
        for name, given in answers.items():
            for family in asked:
                label = gate[name].wanted.get(family) if name in gate else None
                if label is not None and family in given:
                    counts = out.setdefault(family, {}).setdefault(label, [0, 0])
                    counts[0] += 1
                    counts[1] += given[family] == label
    return {family: dict(sorted(labels.items())) for family, labels in out.items()}


def gate_rows(found: dict[str, Any]) -> list[tuple[str, int, str, str]]:
    """Judge, clips, precision and recall with their intervals."""
    judges = [*((f"rater {name}", item) for name, item in found["raters"].items()), ("all of them", found["all"])]
    return [(name, item["judged"], _shown(item["precision"]), _shown(item["recall"])) for name, item in judges]


def _shown(values: list[float] | None) -> str:
    """A share with its interval."""
    return "-" if values is None else f"{values[0]:.2f} ({values[1]:.2f} to {values[2]:.2f})"


def agreement_rows(found: dict[str, Any]) -> list[tuple[str, str, int, str]]:
    """Family, pair of raters, clips that both answered, kappa."""
    return [
        (name, " and ".join(pair["raters"]), pair["clips"], "-" if pair["kappa"] is None else f"{pair['kappa']:.2f}")
        for name, pairs in found["agreement"].items()
        for pair in pairs
    ]
