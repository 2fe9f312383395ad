"""Fit transforms and rules of `annotators.mismatch` on a folder of clips that say their texts.

`python -m annotators.train_mismatch CLIPS` reads `CLIPS/labels.csv` (columns `file`, `text`, `speaker`, `age`,
`gender`), damages clips and texts in every way of `annotators.mismatch_corruptions`, and writes the rules. The
shipped ones are fitted on synthesised voices of the training split, so that no recording of a person is in it.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import soundfile
from scipy.optimize import minimize
from scipy.stats import rankdata

from annotators.mismatch import MEASURES, RANGE, SHIPPED_RULES, Rule, best_features, mismatch_log_odds, summarise
from annotators.mismatch_acoustics import AcousticModel, Transform, features
from annotators.mismatch_align import Pronunciations, align, weigh
from annotators.mismatch_corruptions import TEXT, pairs
from annotators.pocketsphinx import PocketsphinxRecognizer, model_folder
from manifests.errors import UserError
from manifests.wer import normalise

_LOG = logging.getLogger(__name__)
_COLUMNS = {"file", "text", "speaker", "age", "gender"}
_ROUNDS, _STEPS = 2, 12  # of aligning and of fitting a transform; more gains less than 0.1 % in likelihood
_FOLDS = 5
_RIDGES = {"clip": 0.02, "word": 1.0}  # the less, the surer of what is easily told
_ABOUT = (
    "Log odds of each kind of damage = intercept + sum of weight * clip((measure - middle) / scale, 0, 4), of features "
    "through one of the transforms; the odds of both kinds add up. Written by annotators.train_mismatch."
)


@dataclass(frozen=True)
class Pair:
    """A clip, damaged or not, with the words that it is held to."""

    kind: str
    speaker: str
    group: str
    cepstra: np.ndarray
    words: Pronunciations


def read_pairs(folder: Path, recognizer: PocketsphinxRecognizer) -> list[Pair]:
    """Every clip of a folder as it is and damaged.

    Raises:
        UserError: `labels.csv` or a column is missing, or there are fewer than two clips.
    """
    table = folder / "labels.csv"
    if not table.is_file():
        raise UserError(f"{table} is missing: it must list {', '.join(sorted(_COLUMNS))} of each clip")
    with table.open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    missing = _COLUMNS - (rows[0].keys() if rows else set())
    if missing or len(rows) < 2:
        raise UserError(f"{table}: needs two clips or more and the columns {', '.join(sorted(_COLUMNS))}")
    texts = [normalise(row["text"], "en").split() for row in rows]
    vocabulary = sorted({word for text in texts for word in text})
    found = []
    for number, row in enumerate(rows):
        samples, rate = soundfile.read(folder / row["file"], dtype="float32")
        group = "child" if row["age"] == "child" else row["gender"]
        other = next(text for text in texts[number + 1 :] + texts if text != texts[number])
        for kind, audio, words in pairs(samples, texts[number], other, vocabulary, number):
            cepstra, spoken = recognizer.analyse(audio, rate, " ".join(words))
            if len(cepstra) and spoken and all(spoken):  # the others are mismatches without a rule
                found.append(Pair(kind, row["speaker"], group, cepstra, spoken))
    return found


def fit_transform(model: AcousticModel, clean: Sequence[Pair]) -> Transform:
    """The transform under which clips of their own texts are likeliest.

    Args:
        model: The acoustic model.
        clean: Undamaged clips of one group of voices.
    """
    transform = Transform(np.eye(13), np.zeros(13))
    for _ in range(_ROUNDS):
        aligned = [align(model, features(pair.cepstra, transform), pair.words) for pair in clean]
        plain = np.concatenate([features(pair.cepstra) for pair in clean], axis=1)
        transform = _likeliest(model, plain, np.concatenate(aligned), transform)
    return Transform(np.round(transform.matrix, 4), np.round(transform.offset, 4))  # as the file keeps it


def _likeliest(model: AcousticModel, plain: np.ndarray, senones: np.ndarray, start: Transform) -> Transform:
    """Climb the likelihood of frames (3, num_frames, 13) in given senones (num_frames,)."""
    import torch

    codebooks, weights = model.mixtures(senones)
    silent, _ = model.mixtures(model.silence_states[:1])
    parts = []
    for codebook in np.unique(codebooks[codebooks != silent[0]]):  # pauses are no voice
        at = np.flatnonzero(codebooks == codebook)
        gaussians = [torch.tensor(array) for array in model.gaussians(int(codebook))]
        parts.append((torch.tensor(plain[:, at]), torch.tensor(np.log(weights[:, :, at] + 1e-12)), gaussians))
    count = sum(frames.shape[1] for frames, _, _ in parts)
    matrix, offset = (torch.tensor(array, dtype=torch.float32) for array in (start.matrix, start.offset))
    matrix.requires_grad_()
    offset.requires_grad_()
    climb = torch.optim.LBFGS([matrix, offset], max_iter=_STEPS, history_size=20, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        climb.zero_grad()
        total = torch.zeros(())
        for frames, weight, (square, linear, constant) in parts:
            for stream in range(len(frames)):
                moved = frames[stream] @ matrix.T + (offset if stream == 0 else 0.0)
                density = moved**2 @ square[stream].T + moved @ linear[stream].T + constant[stream]
                total = total + torch.logsumexp(density + weight[stream].T, dim=1).sum()
        value = -total / count - plain.shape[0] * torch.linalg.slogdet(matrix)[1]
        value.backward()
        return value

    climb.step(loss)  # type: ignore[arg-type]
    return Transform(matrix.detach().numpy().astype(np.float64), offset.detach().numpy().astype(np.float64))


def measure(
    model: AcousticModel, transforms: Sequence[Transform], found: Sequence[Pair]
) -> tuple[dict[str, np.ndarray], list[Pair]]:
    """Measures by name, each (num_measured,), and the pairs that have them: others are too short for their words."""
    rows, kept = [], []
    for pair in found:
        evidence = weigh(model, best_features(model, pair.cepstra, transforms), pair.words)
        if evidence:
            rows.append(summarise(evidence))
            kept.append(pair)
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}, kept


def fit_rules(measures: Mapping[str, np.ndarray], kinds: Sequence[str]) -> dict[str, Rule]:
    """A rule for damage to the clip as a whole, and one for damage to a word.

    Args:
        measures: By name, each (num_pairs,).
        kinds: (num_pairs,); `clean` or the damage.
    """
    names = np.array(kinds)
    rules = {}
    for kind, used in MEASURES.items():
        wanted = np.isin(names, TEXT) == (kind == "word")
        chosen = wanted | (names == "clean")
        rules[kind] = fit_rule({name: measures[name][chosen] for name in used}, names[chosen].tolist(), _RIDGES[kind])
    return rules


def fit_rule(measures: Mapping[str, np.ndarray], kinds: Sequence[str], ridge: float) -> Rule:
    """Logistic regression in which clean and damaged pairs count alike, and so does every kind of damage.

    Weights are kept from below zero: more evidence must never make a mismatch less likely.

    Args:
        measures: Those to use by name, each (num_pairs,).
        kinds: (num_pairs,); `clean` or the damage.
        ridge: On the weights of standardised measures, in pairs.
    """
    names, table = np.array(kinds), np.column_stack(list(measures.values()))
    clean = names == "clean"
    middle = np.median(table[clean], axis=0)
    scale = np.quantile(table[clean], 0.9, axis=0) - middle
    inputs = np.column_stack([np.ones(len(names)), np.clip((table - middle) / scale, *RANGE)])
    share = {kind: float(np.mean(names == kind)) for kind in set(kinds)}
    weight = np.array([1 / share[kind] / (1 if kind == "clean" else len(share) - 1) for kind in names])
    weight *= len(names) / weight.sum()
    sign = np.where(clean, -1.0, 1.0)

    def loss(beta: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0, -sign * (inputs @ beta)) + ridge / 2 * (beta[1:] ** 2).sum())

    bounds = [(None, None)] + [(0, None)] * len(measures)
    intercept, *weights = minimize(loss, np.zeros(len(bounds)), method="L-BFGS-B", bounds=bounds).x
    columns = (dict(zip(measures, np.round(values, 4).tolist(), strict=True)) for values in (middle, scale, weights))
    return Rule(round(float(intercept), 4), *columns)


def roc_auc(damaged: np.ndarray, clean: np.ndarray) -> float:
    """Chance that a damaged pair scores above a clean one, ties counting half."""
    ranks = rankdata(np.concatenate([damaged, clean]))
    size = len(damaged)
    return float((ranks[:size].sum() - size * (size + 1) / 2) / (size * len(clean)))


def held_out_auc(measures: Mapping[str, np.ndarray], kinds: Sequence[str], speakers: Sequence[str]) -> dict[str, float]:
    """Area under the ROC curve by kind of damage, of rules that were fitted without the speaker."""
    order = {name: number % _FOLDS for number, name in enumerate(sorted(set(speakers)))}
    fold = np.array([order[name] for name in speakers])
    names, scores = np.array(kinds), np.zeros(len(kinds))
    for number in range(_FOLDS):
        out = fold == number
        rules = fit_rules({name: values[~out] for name, values in measures.items()}, names[~out].tolist())
        scores[out] = mismatch_log_odds(rules, {name: values[out] for name, values in measures.items()})
    clean = scores[names == "clean"]
    return {kind: round(roc_auc(scores[names == kind], clean), 4) for kind in dict.fromkeys(kinds) if kind != "clean"}


def main() -> None:
    """Fit on a folder and write transforms and rules, with what they were fitted on."""
    parser = argparse.ArgumentParser(description="Fit the mismatch rules on clips that say their texts.")
    parser.add_argument("clips", type=Path, help="folder with labels.csv and the clips that it names")
    parser.add_argument("--out", type=Path, default=SHIPPED_RULES, help="file to write (the shipped rules)")
    parser.add_argument("--source", default="", help="one line on where the clips come from, kept in the file")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    folder = model_folder()
    if folder is None:
        raise UserError("the package pocketsphinx is not installed: pip install 'pocketsphinx>=5.1,<6'")
    recognizer = PocketsphinxRecognizer(folder / "en-us", folder / "cmudict-en-us.dict", detector=None)
    model, found = AcousticModel(folder / "en-us"), read_pairs(args.clips, recognizer)
    clean = [pair for pair in found if pair.kind == "clean"]
    groups = sorted({pair.group for pair in clean})
    transforms = {group: fit_transform(model, [pair for pair in clean if pair.group == group]) for group in groups}
    _LOG.info("fitted transforms of %s", ", ".join(groups))
    measures, kept = measure(model, list(transforms.values()), found)
    kinds, speakers = [pair.kind for pair in kept], [pair.speaker for pair in kept]
    document = {
        "about": _ABOUT,
        "source": args.source,
        "clips": len(clean),
        "speakers": len(set(speakers)),
        "held_out_speaker_auc": held_out_auc(measures, kinds, speakers),
        "rules": {kind: asdict(rule) for kind, rule in fit_rules(measures, kinds).items()},
        "transforms": {
            group: {"matrix": t.matrix.tolist(), "offset": t.offset.tolist()} for group, t in transforms.items()
        },
    }
    args.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _LOG.info("wrote %s: %s", args.out, {k: v for k, v in document.items() if k != "transforms"})


if __name__ == "__main__":
    main()
