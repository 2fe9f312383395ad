"""`echat ablate`: what each filter, label and share of the data is worth, by retraining."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.console import Json, Quiet, Verbose, complain, sentences, show, show_json, show_table


def ablate(
    manifest: Annotated[
        Path, typer.Argument(metavar="ABLATION.yaml", help="Ablation manifest, or a shipped one's name.")
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder of the ablation; made, or gone on with.")],
    plan: Annotated[
        bool, typer.Option("--plan", help="Check the design, select anew where asked, list the trainings.")
    ] = False,
    as_json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Retrain on variants of the data, judge on held-out speech, and say with intervals what helps and what hurts."""
    with sentences(verbose):
        from model.ablation.design import load_ablation, shipped_ablations

        file = manifest if manifest.is_file() else shipped_ablations().get(str(manifest), manifest)
        found = run_ablation(load_ablation(file), file, out, plan, quiet)
        if as_json:
            show_json(found)
        elif plan:
            show_table(
                "", ["variant", "seeds", "done"], [(v["name"], v["seeds"], v["done"]) for v in found["variants"]]
            )
            show(f"{found['jobs']} trainings, {found['done']} of them done")
        else:
            show_found(found)
            show(f"{out / 'ablation.json'}; echat report {out} makes a page of it")
        if not plan and any(variant["failed"] for variant in found["variants"]):
            raise typer.Exit(1)


def run_ablation(ablation: Any, file: Path, out: Path, only_plan: bool, quiet: bool) -> dict[str, Any]:
    """Do an ablation and give what it found, or its plan."""
    from manifests.errors import UserError
    from manifests.files import write_atomic
    from manifests.ids import canonical_json
    from model.ablation.analyse import analyse
    from model.ablation.job import done
    from model.ablation.run import plan, run
    from pipeline.lock import RunLock
    from pipeline.reselect import reselected

    def reselect(name: str, select: Any) -> Path:
        shards = ablation.variants[name].data.get("shards") or ablation.train["data"].get("shards")
        if not shards:
            raise UserError(f"variants.{name}.select: the base trains on a corpus; select works on the shards of a run")
        return reselected(Path(str(shards)).parents[1], select, out / "data")

    with RunLock(out):
        jobs = plan(ablation, reselect)
        unique = {job.key: job for of_seeds in jobs.values() for job in of_seeds}
        if only_plan:
            ready = {key for key, job in unique.items() if done(job, out) is not None}
            rows = [
                {"name": name, "seeds": len(of_seeds), "done": sum(job.key in ready for job in of_seeds)}
                for name, of_seeds in jobs.items()
            ]
            return {"variants": rows, "jobs": len(unique), "done": len(ready)}
        write_atomic(out / "ablation.yaml", file.read_bytes())

        def watch(finished: int, total: int, job: Any, error: str) -> None:
            if not quiet:
                complain(f"{finished}/{total} trainings" + (f"; {job.key} failed: {error}" if error else ""))

        errors = run(jobs, out, ablation.workers, watch)
        found = analyse(ablation, jobs, out, errors)
        write_atomic(out / "ablation.json", canonical_json(found))
        return json.loads((out / "ablation.json").read_bytes())


def show_found(found: dict[str, Any]) -> None:
    """Tables of what an ablation found, in the order of its manifest."""
    from model.ablation.verdict import BESIDE

    names = [variant["name"] for variant in found["variants"]]
    for told in found["metrics"]:
        rows = []
        for name in names:
            numbers, change = told["variants"][name], told["differences"].get(name, {"word": "baseline"})
            mean = "{value:.3f} [{low:.3f}, {high:.3f}]".format(**numbers) if "value" in numbers else "-"
            beside = [f"{numbers['baselines'][kind]:.3f}" if kind in numbers["baselines"] else "" for kind in BESIDE]
            size = f"{change['value']:+.3f}" if "value" in change else ""
            p = f"{change['p_corrected']:.3f}" if "p_corrected" in change else ""
            rows.append((name, mean, *beside, size, p, change["word"]))
        show_table(told["metric"], ["variant", "mean [95 %]", *BESIDE, "change", "p (Holm)", "verdict"], rows)
        for name in names:
            if name in told["differences"]:
                show(f"{name}: {told['differences'][name]['sentence']}")
        for name, trend in told["trends"].items():
            show(f"trend {name}: {trend['sentence']}")
    planted = (found["map"] or {}).get("planted")
    if planted:
        show(f"{planted['precision']:.0%} of the {planted['k']} rows that are likeliest wrong are wrong"
             f" ({planted['chance']:.0%} by chance)")  # fmt: skip
    for variant in found["variants"]:
        if any(variant["unused"]):
            show(f"{variant['name']}: up to {max(variant['unused'])} rows in a training's batches fitted no task, and"
                 " nothing was learned from them")  # fmt: skip
        for key, error in variant["failed"].items():
            show(f"{variant['name']}: training {key} failed: {error}")
