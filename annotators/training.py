"""What fits heads: logistic regression on cases, calibrated on speakers held out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from annotators.base import Example
from annotators.corpora import Case, Sample, enrol
from annotators.heads import Head, Inputs, normalised, relative
from manifests.errors import UserError

FOLDS = 10  # at most: speakers are left out one by one up to this number, else in groups
PRECISION = 0.95  # that the thresholds of a head hold on speakers held out
_FEWEST_ACCEPTED = 5  # clips over a threshold: fewer say nothing of its precision


@dataclass(frozen=True)
class Recipe:
    """How a head is made.

    Attributes:
        family: That it labels; `classes` are the family's labels that it tells apart.
        features: Values that it reads.
        normalisation: As `annotators.heads.Inputs`.
        embedding_weight: Likewise.
        strength: C of the logistic regression.
        takes: Clips that make a voice's reference.
        draws: Number of enrolments that are drawn of each voice, to make the head robust to which takes they are.
        floor: Least deviation of a voice, as a share of the mean deviation within voices.
    """

    family: str
    classes: tuple[str, ...]
    features: tuple[str, ...]
    normalisation: Literal["none", "reference"] = "none"
    embedding_weight: float = 0.0
    strength: float = 0.01
    takes: int = 12
    draws: int = 4
    floor: float = 0.25


def cases_of(samples: Sequence[Sample], recipe: Recipe, seed: int = 0) -> list[list[Case]]:
    """The draws of cases that a recipe asks for: several enrolments, or the samples as they are."""
    labelled = [sample for sample in samples if sample.labels.get(recipe.family) in recipe.classes]
    if recipe.normalisation == "none":
        return [[Case(sample) for sample in labelled]]
    return [enrol(labelled, recipe.takes, seed + draw) for draw in range(recipe.draws)]


def case_of(example: Example, family: str) -> Case:
    """A labelled clip with its own reference, if it has one, as a case of one family."""
    clip, speaker = example.clip, example.speaker
    sample = Sample("", speaker, speaker, "", {family: example.label}, clip.cues, clip.embedding)
    return Case(sample, clip.reference)


def fit(cases: Sequence[Case], recipe: Recipe) -> Head:
    """Logistic regression in which every class counts alike.

    Args:
        cases: Labelled by the recipe's family, of at least two of its classes.
        recipe: What to fit.

    Returns:
        A head of temperature 1 without thresholds and card.

    Raises:
        UserError: The cases hold fewer than two classes.
    """
    from sklearn.linear_model import LogisticRegression

    found = {case.sample.labels[recipe.family] for case in cases}
    classes = tuple(name for name in recipe.classes if name in found)
    if len(classes) < 2:
        raise UserError(f"{recipe.family}: the clips hold {len(classes)} of {len(recipe.classes)} labels; add clips")
    inputs = _inputs(cases, recipe)
    table = _table(cases, inputs)
    targets = [classes.index(case.sample.labels[recipe.family]) for case in cases]
    model = LogisticRegression(C=recipe.strength, class_weight="balanced", max_iter=2000).fit(table, targets)
    weights, intercept = model.coef_, model.intercept_
    if len(classes) == 2:  # scikit-learn gives the score of the second class alone
        weights, intercept = np.vstack([-weights, weights]) / 2, np.array([-intercept[0], intercept[0]]) / 2
    return Head(classes, inputs, weights, intercept)


def _inputs(cases: Sequence[Case], recipe: Recipe) -> Inputs:
    """How measurements become inputs, from the cases."""
    against = recipe.normalisation == "reference"
    floor = np.zeros(len(recipe.features))
    if against:
        deviations = {e.sample.voice: e.reference.deviation for e in cases if e.reference is not None}
        table = np.array([[own.get(name, np.nan) for name in recipe.features] for own in deviations.values()])
        floor = np.maximum(recipe.floor * _mean(table), 1e-6)
    pairs = [(e.sample.values, e.reference if against else None) for e in cases]
    raw = np.array([normalised(recipe.features, values, floor, reference) for values, reference in pairs])
    mean = _mean(raw)
    scale = np.sqrt(_mean((raw - mean) ** 2))
    inputs = Inputs(recipe.features, recipe.normalisation, floor, mean, np.where(scale > 1e-9, scale, 1.0))
    if not recipe.embedding_weight:
        return inputs
    found = [relative(e.sample.embedding, e.reference if against else None) for e in cases]
    vectors = np.array([vector for vector in found if vector is not None])
    spread = float(vectors.std(axis=0).mean()) if len(vectors) else 1.0
    centre = vectors.mean(axis=0) if len(vectors) else np.zeros(len(cases[0].sample.embedding))
    return replace(
        inputs, embedding_weight=recipe.embedding_weight, embedding_mean=centre, embedding_scale=spread or 1.0
    )


def _mean(table: np.ndarray) -> np.ndarray:
    """Mean of each column over what is known; 0 for columns without any."""
    known = np.isfinite(table)
    return np.where(known, table, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)


def _table(cases: Sequence[Case], inputs: Inputs) -> np.ndarray:
    """Inputs (num_cases, num_inputs)."""
    return np.array([inputs.of(e.sample.values, e.sample.embedding, e.reference) for e in cases])


@dataclass(frozen=True)
class Judged:
    """Scores of cases by heads that never saw their speaker.

    Attributes:
        classes: In the order of the columns.
        truth: int (num_cases,), index of the true class.
        scores: float64 (num_cases, num_classes), before the temperature.
        speakers: (num_cases,).
    """

    classes: tuple[str, ...]
    truth: np.ndarray
    scores: np.ndarray
    speakers: tuple[str, ...]

    @property
    def predicted(self) -> np.ndarray:
        """int (num_cases,)."""
        return self.scores.argmax(axis=1)

    def recall(self) -> dict[str, float]:
        """Per class that occurs."""
        right = self.predicted == self.truth
        return {
            name: float(right[self.truth == index].mean())
            for index, name in enumerate(self.classes)
            if (self.truth == index).any()
        }

    def uar(self) -> float:
        """Unweighted average recall."""
        return float(np.mean(list(self.recall().values())))

    def accuracy(self) -> float:
        """Share of cases right."""
        return float((self.predicted == self.truth).mean())

    def probabilities(self, temperature: float) -> np.ndarray:
        """(num_cases, num_classes)."""
        odds = self.scores / temperature
        odds = np.exp(odds - odds.max(axis=1, keepdims=True))
        return odds / odds.sum(axis=1, keepdims=True)


def judge(cases: Sequence[Case], family: str, head: Head | Callable[[str], Head]) -> Judged:
    """Score cases that are part of no enrolment by a head, or by the head that is made for their speaker."""
    chosen = [e for e in cases if not e.enrolled and family in e.sample.labels]
    heads: dict[str, Head] = {}
    scores, truth, speakers = [], [], []
    for case in chosen:
        speaker = case.sample.speaker
        if speaker not in heads:
            heads[speaker] = head if isinstance(head, Head) else head(speaker)
        own = heads[speaker]
        if case.sample.labels[family] in own.classes:
            truth.append(own.classes.index(case.sample.labels[family]))
            scores.append(own.scores(own.inputs.of(case.sample.values, case.sample.embedding, case.reference)))
            speakers.append(speaker)
    classes = next(iter(heads.values())).classes if heads else ()
    return Judged(classes, np.array(truth, int), np.array(scores).reshape(-1, len(classes)), tuple(speakers))


def leave_speakers_out(draws: Sequence[Sequence[Case]], recipe: Recipe) -> Judged:
    """Score the cases of all draws by heads fitted on those of the other speakers."""
    speakers = sorted({case.sample.speaker for case in draws[0]})
    fold = {speaker: index % FOLDS for index, speaker in enumerate(speakers)}
    if len(set(fold.values())) < 2:
        raise UserError(f"{recipe.family}: the clips are of one speaker; a head needs two or more")
    fitted: dict[int, Head] = {}

    def head_for(speaker: str) -> Head:
        number = fold[speaker]
        if number not in fitted:
            seen = [e for draw in draws for e in draw if fold[e.sample.speaker] != number]
            fitted[number] = fit(seen, recipe)
        return fitted[number]

    return judge([case for draw in draws for case in draw], recipe.family, head_for)


def temperature_of(judged: Judged) -> float:
    """The temperature with the least log loss, every class counting alike."""
    weight = 1 / np.bincount(judged.truth)[judged.truth]
    rows = np.arange(len(judged.truth))
    candidates = np.geomspace(0.1, 10, 81)
    losses = [
        -(weight * np.log(judged.probabilities(float(value))[rows, judged.truth] + 1e-9)).sum() for value in candidates
    ]
    return float(candidates[int(np.argmin(losses))])


def thresholds_of(judged: Judged, temperature: float, precision: float = PRECISION) -> dict[str, float]:
    """Least probability per label over which the label is right often enough, every class counting alike; else 1."""
    odds = judged.probabilities(temperature)
    weight = 1 / np.bincount(judged.truth)[judged.truth]
    found = {}
    for index, name in enumerate(judged.classes):
        at = np.flatnonzero(judged.predicted == index)
        at = at[np.argsort(-odds[at, index], kind="stable")]
        right = np.cumsum(weight[at] * (judged.truth[at] == index)) / np.maximum(np.cumsum(weight[at]), 1e-12)
        good = np.flatnonzero((right >= precision) & (np.arange(len(at)) >= _FEWEST_ACCEPTED - 1))
        found[name] = float(odds[at[good[-1]], index]) if len(good) else 1.0
    return found


def calibrated(head: Head, judged: Judged, card: Mapping[str, Any]) -> Head:
    """The head with the temperature and thresholds that fit how heads like it did on speakers held out."""
    temperature = temperature_of(judged)
    figures = {
        "held_out_speakers": {
            "judgements": len(judged.truth),
            "uar": round(judged.uar(), 4),
            "recall": {name: round(value, 4) for name, value in judged.recall().items()},
        }
    }
    bounds = thresholds_of(judged, temperature)
    return replace(head, temperature=temperature, thresholds=bounds, card={**card, **figures})
