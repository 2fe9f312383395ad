"""Fit the rule of `annotators.gender` on a folder of labelled clips.

`python -m annotators.train_gender CLIPS` reads `CLIPS/labels.csv` (columns `file`, `speaker`, `gender`) and
writes the rule. The shipped one is fitted on voices synthesised by this package, so that no recording of a
person is in it; children are left out, as pitch and formants do not tell girls from boys.
"""

from __future__ import annotations

import argparse
import csv
import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import soundfile
from scipy.optimize import minimize

from annotators import gender
from annotators.clip import Clip
from manifests import labels
from manifests.errors import UserError

_LOG = logging.getLogger(__name__)
SHIPPED_RULE = Path(gender.__file__).parent / "data" / "gender_f0_formants.json"
_RIDGE = 1.0  # on standardised features, in clips: keeps the odds finite where the genders do not overlap
_ABOUT = (
    "Log odds of a female voice = intercept + per_octave * log2(f0 / f0_hz) + per_cm * (vtl - vtl_cm); "
    "written by annotators.train_gender."
)


def read_clips(folder: Path) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Measure the clips of a folder.

    Args:
        folder: Holds `labels.csv` and the audio files that it names.

    Returns:
        Features float64 (num_clips, 2): pitch in octaves over 1 Hz, length of the vocal tract in cm; whether
        the voice is female, bool (num_clips,); the speakers. Clips without measurable voice are left out.

    Raises:
        UserError: `labels.csv` or a column is missing, a gender is unknown, or nothing is left.
    """
    table = folder / "labels.csv"
    if not table.is_file():
        raise UserError(f"{table} is missing: it must list file, speaker and gender of each clip")
    features, female, speakers = [], [], []
    with table.open(encoding="utf-8", newline="") as lines:
        for number, row in enumerate(csv.DictReader(lines), start=2):
            missing = {"file", "speaker", "gender"} - row.keys()
            if missing:
                raise UserError(f"{table}:{number}: no column {', '.join(sorted(missing))}")
            is_female = labels.canonical("gender", row["gender"]) == "female"
            samples, rate = soundfile.read(folder / row["file"], dtype="float32")
            clip = Clip(samples, rate)
            evidence = gender.measure(clip.audio, clip.bandwidth)
            if evidence["f0_hz"] and evidence["vtl_cm"]:
                features.append((np.log2(evidence["f0_hz"]), evidence["vtl_cm"]))
                female.append(is_female)
                speakers.append(row["speaker"])
    if len(set(female)) < 2:
        raise UserError(f"{table}: lists no voiced clips of both genders")
    return np.array(features), np.array(female), speakers


def fit(features: np.ndarray, female: np.ndarray, speakers: list[str]) -> dict[str, float]:
    """Logistic regression in which every speaker counts alike within a gender, and both genders alike.

    Args:
        features: float64 (num_clips, 2), as from `read_clips`.
        female: bool (num_clips,).
        speakers: (num_clips,).

    Returns:
        The rule that `F0FormantGender` takes.
    """
    clips = Counter(zip(female.tolist(), speakers, strict=True))
    voices = Counter(sex for sex, _ in clips)
    pairs = zip(female.tolist(), speakers, strict=True)
    weight = np.array([len(female) / 2 / voices[sex] / clips[sex, speaker] for sex, speaker in pairs])
    middle = (features[female].mean(axis=0) + features[~female].mean(axis=0)) / 2
    spread = features.std(axis=0)
    scaled = np.column_stack([np.ones(len(features)), (features - middle) / spread])
    sign = np.where(female, 1.0, -1.0)

    def loss(beta: np.ndarray) -> float:
        return float(weight @ np.logaddexp(0, -sign * (scaled @ beta)) + _RIDGE / 2 * (beta[1:] ** 2).sum())

    intercept, *slopes = minimize(loss, np.zeros(3), method="BFGS").x
    octave, cm = np.array(slopes) / spread
    values = {
        "intercept": intercept,
        "per_octave": octave,
        "per_cm": cm,
        "f0_hz": 2 ** middle[0],
        "vtl_cm": middle[1],
    }
    return {name: round(float(value), 4) for name, value in values.items()}


def log_odds(features: np.ndarray, rule: dict[str, float]) -> np.ndarray:
    """Log odds (num_clips,) of a female voice by a rule, for features (num_clips, 2) of `read_clips`."""
    octaves = features[:, 0] - np.log2(rule["f0_hz"])
    return rule["intercept"] + rule["per_octave"] * octaves + rule["per_cm"] * (features[:, 1] - rule["vtl_cm"])


def held_out_accuracy(features: np.ndarray, female: np.ndarray, speakers: list[str]) -> float:
    """Share of clips right by rules that were fitted without any clip of their speaker."""
    names = np.array(speakers)
    right = 0
    for name in set(speakers):
        others = names != name
        rule = fit(features[others], female[others], names[others].tolist())
        right += int(((log_odds(features[~others], rule) > 0) == female[~others]).sum())
    return right / len(speakers)


def main() -> None:
    """Fit on a folder and write the rule, with what it was fitted on."""
    parser = argparse.ArgumentParser(description="Fit the gender rule on labelled clips.")
    parser.add_argument("clips", type=Path, help="folder with labels.csv and the clips that it names")
    parser.add_argument("--out", type=Path, default=SHIPPED_RULE, help="file to write (the shipped rule)")
    parser.add_argument("--source", default="", help="one line on where the clips come from, kept in the file")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    features, female, speakers = read_clips(args.clips)
    document = {
        "about": _ABOUT,
        "source": args.source,
        "clips": len(speakers),
        "speakers": len(set(speakers)),
        "held_out_speaker_accuracy": round(held_out_accuracy(features, female, speakers), 4),
        "rule": fit(features, female, speakers),
    }
    args.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    _LOG.info("wrote %s: %s", args.out, document)


if __name__ == "__main__":
    main()
