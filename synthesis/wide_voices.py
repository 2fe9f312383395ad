"""Voices whose pitch and vocal tract say little of each other: several of every adult pack, drawn over wide ranges.

In the shipped table a low voice is a man's and a high one a woman's nearly always, so that a model of these voices need
hear nothing else; among people an angry man speaks higher than a sad woman. `manifests/voices/kokoro_wide.csv` is for
sets from which models are to learn what gender sounds like (docs/voices.md). Rebuild it by

    python -m synthesis.wide_voices manifests/voices/kokoro_wide.csv
"""

from __future__ import annotations

import csv
import sys
from importlib.resources import files
from pathlib import Path

import numpy as np

VARIANTS, SEED = 3, 1
F0_HZ = {"female": (125.0, 270.0), "male": (80.0, 200.0)}
"""Pitch from lowest to highest, cut into `VARIANTS` even ratios; each variant of a pack has one of them."""
ALPHA = {"female": (0.98, 1.04), "male": (0.95, 1.02)}
"""Factor on the pack's own formants."""
COLUMNS: tuple[str, ...] = (
    "voice", "role", "split", "language", "gender", "age", "blend", "set_f0_hz", "set_alpha", "speaker", "licence",
)  # fmt: skip


def wide_voices() -> list[dict[str, str]]:
    """Rows of the table: variants of the shipped table's adult packs; the assistant's as they are.

    A pack's variants are all in one split: `validation` as shipped, any other in `train`, to train with.
    """
    with Path(str(files("manifests") / "voices" / "kokoro.csv")).open(encoding="utf-8") as file:
        shipped = [row for row in csv.DictReader(file) if row["age"] == "adult" and "+" not in row["blend"]]
    rng = np.random.default_rng(SEED)
    made = []
    for row in shipped:
        if row["role"] == "reply":
            made.append({name: row[name] for name in COLUMNS})
            continue
        edges = np.geomspace(*F0_HZ[row["gender"]], VARIANTS + 1)
        for number in range(VARIANTS):
            f0_hz = np.exp(rng.uniform(*np.log(edges[number : number + 2])))
            alpha = float(row["set_alpha"] or 1) * rng.uniform(*ALPHA[row["gender"]])
            own = {
                "voice": f"{row['voice']}-w{number}",
                "speaker": f"{row['speaker']}-w{number}",
                "split": "validation" if row["split"] == "validation" else "train",
                "set_f0_hz": f"{f0_hz:.0f}",
                "set_alpha": str(round(float(np.clip(alpha, 0.8, 1.2)), 3)),
            }
            made.append({name: {**row, **own}[name] for name in COLUMNS})
    return made


def write(path: Path) -> None:
    """Write the table as CSV."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(wide_voices())


if __name__ == "__main__":
    write(Path(sys.argv[1]))
