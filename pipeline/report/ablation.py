"""The page of an ablation: verdicts first, then the numbers behind them, then the rows to listen to."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.files import write_atomic, writing
from model.ablation.verdict import BESIDE, HELPS, HURTS, NOTHING
from model.ablation.verdict import told as told_p
from pipeline.report.ablation_gather import Trained, matrix_of, trained
from pipeline.report.ablation_plots import factors, learning, levels, scatter
from pipeline.report.ablation_rows import Suspect, suspects
from pipeline.report.clips import Inline
from pipeline.report.render import Written, render

FOUND = "ablation.json"
_CLASSES = {HELPS: "kept", HURTS: "quarantined"}
_MEANINGS = {
    ".uar": "mean recall of the labels", ".accuracy": "share of right answers",
    ".nll": "surprise at the true label, in nats", ".wer": "word error rate",
}  # fmt: skip


def write_ablation_report(folder: Path, out: Path, budget_mb: float) -> tuple[Written, str]:
    """Write the page of an ablation; what was there under its name is replaced in one step.

    Returns:
        What was written, and why recordings are missing from it, or "".

    Raises:
        UserError: The ablation is not finished, or its files cannot be read.
    """
    try:
        found = json.loads((folder / FOUND).read_bytes())
    except FileNotFoundError:
        raise UserError(f"{folder}: its ablation is not finished; run echat ablate again, then report") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{folder / FOUND}: cannot be read ({error}); run echat ablate again") from error
    store = Inline()
    try:
        values, rows, why = _values(folder, found, store)
    except UserError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        what = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{folder / FOUND}: is not what this version writes ({what}); run echat ablate again"
        ) from error
    values["address"] = store.address
    size = len(render("ablation.html.j2", ("sound.js",), **values))
    store.allot([row.clip for row in rows if row.clip], budget_mb * 1e6 - size)
    page = render("ablation.html.j2", ("sound.js",), **values)
    with writing(out):
        out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, page)
    return Written(out, len(rows), store.refused, len(page)), why


def _values(folder: Path, found: Mapping[str, Any], store: Inline) -> tuple[dict[str, Any], list[Suspect], str]:
    names = [variant["name"] for variant in found["variants"]]
    others = [name for name in names if name != found["baseline"]]
    of_variant = {variant["name"]: trained(folder, variant["jobs"]) for variant in found["variants"]}
    rows, why = suspects(found["map"]["rows"], found["map"]["data"], store) if found["map"] else ([], "")
    values = {
        "title": f"Ablation {found['name']}",
        "about": f"{len(others):,} variants against {found['baseline']}, {found['seeds']} seeds of each; intervals tell"
                 f" what other seeds and other {found['units']}s would change",
        "footer": "Written by echat report. Intervals are 95 %, over seeds and evaluation together; p-values of a"
                  " metric are corrected for the number of variants (Holm).",
        "skip": ("verdicts", "the verdicts"), "media": "data:",
        "baseline": found["baseline"], "units": found["units"],
        "short": list(_short(found, others)), "verdicts": list(_verdicts(found)), "trends": list(_trends(found)),
        "failed": [(variant["name"], key, error) for variant in found["variants"]
                   for key, error in sorted(variant["failed"].items())],
        "missing": sum(of_one.missing for of_one in of_variant.values()),
        "factors": list(_factors(found, others)), "tables": list(_tables(found, names)),
        "levels": list(_levels(found)), "learning": list(_learning(of_variant)),
        "matrices": [matrix_of(", ".join((name, *place)), place[1], counts) for name, of_one in of_variant.items()
                     for place, counts in sorted(of_one.confusions.items())],
        "map": _map(found["map"]) if found["map"] else None, "suspects": rows, "without": bool(why),
    }  # fmt: skip
    return values, rows, why


def meaning(told: Mapping[str, Any]) -> str:
    """What a metric is, for people: `held, mean recall of the labels, more is better`."""
    words = next((text for end, text in _MEANINGS.items() if told["metric"].endswith(end)), "")
    better = "less is better" if told["lower_is_better"] else "more is better"
    return ", ".join(part for part in (f"judged on {told['set']}", words, better) if part)


def _short(found: Mapping[str, Any], others: Sequence[str]) -> Iterator[dict[str, Any]]:
    """Of each metric, the variants with each verdict."""
    for told in found["metrics"]:
        words = [told["differences"][name]["word"] for name in others]
        order = [word for word in (HURTS, HELPS, NOTHING) if word in words]
        order += sorted(set(words) - set(order))
        groups = [
            (word, _CLASSES.get(word, "dim"), [name for name, own in zip(others, words, strict=True) if own == word])
            for word in order
        ]
        yield {"metric": told["metric"], "meaning": meaning(told), "groups": groups}


def _verdicts(found: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Of each variant, what each metric says."""
    base = found["baseline"]
    plain = {HELPS: f"better than {base}", HURTS: f"worse than {base}", NOTHING: f"no difference from {base} was found"}
    for variant in found["variants"]:
        name = variant["name"]
        if name == base:
            continue
        lines = []
        for told in found["metrics"]:
            change = told["differences"][name]
            word, sentence = change["word"], change["sentence"]
            lines.append(
                (word, _CLASSES.get(word, "dim"), plain.get(word, ""), sentence.removeprefix(f"{word}:").strip())
            )
        yield {"name": name, "about": variant["about"], "lines": lines}


def _trends(found: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for told in found["metrics"]:
        for name, trend in told["trends"].items():
            yield name, trend["sentence"]


def _factors(found: Mapping[str, Any], others: Sequence[str]) -> Iterator[tuple[str, str, str]]:
    """Metric, picture, and what is to be seen in it."""
    for told in found["metrics"]:
        changes = {name: told["differences"][name] for name in others}
        picture = factors(changes, found["baseline"], told["lower_is_better"])
        if picture:
            seen = "; ".join(f"{name} {_size(change)}" for name, change in changes.items() if "value" in change)
            yield told["metric"], picture, seen


def _size(numbers: Mapping[str, Any], sign: str = "+") -> str:
    return f"{numbers['value']:{sign}.3f} [{numbers['low']:{sign}.3f}, {numbers['high']:{sign}.3f}]"


def _tables(found: Mapping[str, Any], names: Sequence[str]) -> Iterator[tuple[str, list[str], list[tuple[str, ...]]]]:
    headers = ["variant", "mean [95 %]", *BESIDE, "change", "p (Holm)", "verdict", "seeds"]
    for told in found["metrics"]:
        rows = []
        for name in names:
            numbers, change = told["variants"][name], told["differences"].get(name, {"word": "baseline"})
            known = numbers["baselines"]
            rows.append((
                name, _size(numbers, "-") if "value" in numbers else "none",
                *(f"{known[kind]:.3f}" if kind in known else "" for kind in BESIDE),
                f"{change['value']:+.3f}" if "value" in change else "",
                told_p(change["p_corrected"]) if "p_corrected" in change else "", change["word"],
                str(numbers.get("seeds", "")),
            ))  # fmt: skip
        yield f"{told['metric']}: {meaning(told)}; {told['items']:,} items", headers, rows


def _levels(found: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    for told in found["metrics"]:
        for name, trend in told["trends"].items():
            of_level = trend.get("levels", {})
            chances = [told["variants"][variant]["baselines"].get("majority") for variant in of_level]
            picture = levels(told["variants"], of_level, chances[0] if chances else None)
            if picture:
                yield f"{told['metric']} over {name}", picture, trend["sentence"]


def _learning(of_variant: Mapping[str, Trained]) -> Iterator[tuple[str, str, str]]:
    tops = [high for of_one in of_variant.values() for band in of_one.losses.values() for *_, high in band]
    for name, of_one in of_variant.items():
        picture = learning(of_one.losses, 1.05 * max(tops, default=1.0))
        if picture:
            ends = [f"{kind} {band[0][1]:.3f} to {band[-1][1]:.3f}" for kind, band in of_one.losses.items()]
            yield name, picture, ", ".join(ends)


def _map(found: Mapping[str, Any]) -> dict[str, Any]:
    planted = found["planted"]
    told = ""
    if planted:
        told = (
            f"{planted['k']:,} wrong labels were planted: of the {planted['k']:,} rows that are likeliest wrong,"
            f" {planted['precision']:.0%} are wrong ({planted['chance']:.0%} by chance)."
        )
    picture = scatter(found["points"])
    return {"variant": found["variant"], "of": found["of"], "picture": picture, "planted": told}
