"""What the models of `ablation_paper` hear, beside what they were judged by.

    echat build small --out runs/small
    echat build echat_eval_small --out runs/echat_eval_small
    echat ablate ablation_paper --out runs/ablation_paper
    python benchmarks/paper_ablation.py runs/ablation_paper

Means over the seeds of each variant, given the voice, silence, and silence with the words; from the records that the
ablation left. Writes them and the verdicts to `benchmarks/results/ablation_paper.json`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from statistics import fmean

from model.ablation.job import read_lines
from model.evaluate.summary import summarise

RESULTS = Path(__file__).parent / "results" / "ablation_paper.json"
SHOWN = ("gender.correct", "emotion.uar", "think.gender", "think.emotion.uar", "reply.addresses_cue")


def heard(jobs: list[Path], given: str) -> dict[str, float]:
    """The mean over jobs of every metric of the evaluation set `test`."""
    groups = [summarise(list(read_lines(job / f"{given}-test.jsonl")), {})[0]["metrics"] for job in jobs]
    return {name: round(fmean(group[name]["value"] for group in groups), 4) for name in groups[0]}


def ends(jobs: list[Path]) -> dict[str, float]:
    """Loss and validation loss at the end of training, in the mean."""
    curves = [json.loads((job / "result.json").read_bytes())["curve"][-1] for job in jobs]
    return {name: round(fmean(curve[place] for curve in curves), 3) for place, name in ((1, "loss"), (2, "validation"))}


def main(out: Path) -> int:
    """Print and write."""
    found = json.loads((out / "ablation.json").read_bytes())
    for variant in found["variants"]:
        jobs = [out / "jobs" / key for key in variant["jobs"]]
        variant["heard"] = {given: heard(jobs, given) for given in ("items", "silence", "transcript")}
        variant["end"] = ends(jobs)
        print(f"{variant['name']}: loss {variant['end']['loss']:.2f}, validation {variant['end']['validation']:.2f}")
        for name in SHOWN:
            told = [f"{given} {means[name]:.3f}" for given, means in variant["heard"].items() if name in means]
            if told:
                print(f"  {name}: {', '.join(told)}")
    RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
