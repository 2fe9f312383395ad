"""Texts of 1,000 dialogues written offline: duplicates, variety, cues that replies name, and what the checks reject.

Claims: under 2 % of the dialogues are near duplicates of another one with equal labels; every reply mentions the cues
that it answers to; the checks of `select.text` reject under 0.2 % of these texts, which are all good ones.

    python benchmarks/offline_texts.py [--dialogues 1000] [--crowd 20000] [--out FILE]

Plans and writes, and speaks nothing. With --crowd it also measures time and memory of the search for duplicates among
so many dialogues on Beam's in-process runner, of random words of which one in ten is a near copy.
"""

from __future__ import annotations

import argparse
import json
import random
import resource
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from manifests import schema
from manifests.bank import ScenarioBank, shipped_languages
from manifests.labels import NONE
from manifests.run import RunManifest, SelectConfig, shipped_runs
from manifests.textconfig import TextConfig
from pipeline.dag import build_dag
from pipeline.duplicates import Compared, compare, find_duplicates, read_duplicates, reasons_of
from pipeline.hygiene import CHECKS, Said, text_reasons
from pipeline.hygiene.shingles import words
from pipeline.summary import Summary
from pipeline.verdict import Rules
from pipeline.writers.bank import BankConfig

RESULTS = Path(__file__).parent / "results" / "offline_texts.json"
SHARES = {"emotion": 0.3, "age": 0.1, "gender": 0.1, "event": 0.15, "multi": 0.3, "neutral": 0.05}
"""Of the tasks, about as in `echat200k`."""
NEAR_MAX, REJECTED_MAX = 0.02, 0.002

Turns = list[dict[str, Any]]


def dialogues(language: str, number: int) -> list[Turns]:
    """Plan and texts, as rows of `select`."""
    document = yaml.safe_load(shipped_runs()["tone"].read_text())
    plan = {"quotas": {task: round(number * share) for task, share in SHARES.items()}, "multi": ["gender", "emotion"]}
    manifest = RunManifest.model_validate({**document, "language": language, "plan": plan})
    planner = build_dag(manifest, "offline_texts").planner
    names = ["id", "turn", *(f"plan.{name}" for name in schema.PLAN.names)]
    _ = planner.counts  # refuses a plan that cannot be met
    drawn = [dict(zip(names, row, strict=True)) for block in planner.blocks() for row in planner.rows(block)]
    writer = BankConfig(language=language).open()
    rows = [row | {f"script.{key}": text for key, text in writer.compose(row).items()} for row in drawn]
    for row in rows:
        row["speak_query.audio_sha256"] = row["id"]
    return [list(turns) for _, turns in groupby(rows, lambda row: row["id"])]


def near(made: Sequence[Turns], limit: float) -> set[str]:
    """The dialogues that are near duplicates of one that stays before them."""
    rules = Rules(SelectConfig(text=TextConfig(near_duplicate=limit, duplicate_audio=False)), ())
    compared = Compared()
    for turns in made:
        compared.add(turns, 0, rules)
    return {name for names in reasons_of(compare(*compared.tables(), rules), rules).values() for name in names}


def silent(made: Sequence[Turns], bank: ScenarioBank) -> int:
    """Replies that do not mention a cue that they should name."""
    count = 0
    for turns in made:
        for row in turns:
            cues = {family: row[f"plan.{family}"] for family in row["plan.cues"]}
            named = [(family, cues[family]) for family in bank.kept(cues) if cues[family] != NONE]
            count += not all(bank.mentions(row["script.reply_text"], *cue) for cue in named)
    return count


def distinct(texts: Iterable[str], size: int) -> float:
    """Share of different word n-grams, exactly."""
    said = [words(text) for text in texts]
    grams = [tuple(text[start : start + size]) for text in said for start in range(len(text) - size + 1)]
    return round(len(set(grams)) / len(grams), 4)


def rejected(made: Sequence[Turns]) -> dict[str, Any]:
    """What the checks of texts say against these good ones."""
    config, reasons, bad, texts = TextConfig(), Counter(), 0, 0
    start = time.process_time()
    for turns in made:
        found: list[str] = []
        for row in turns:
            own = row["script.think_text"].replace(row["script.query_text"], " ")
            said = (("query", row["script.query_text"]), ("reply", row["script.reply_text"]), ("think", own))
            for role, text in said:
                found += text_reasons.__wrapped__(Said(role, text, row["plan.language"]), config)
            texts += len(said)
        bad += bool(found)
        reasons.update(reason.split()[0] for reason in found)
    spent = (time.process_time() - start) / texts
    return {"dialogues": bad, "share": bad / len(made), "reasons": reasons, "core_ms_per_text": round(1000 * spent, 3)}


def measure(language: str, number: int) -> dict[str, Any]:
    """All figures of a language."""
    bank = ScenarioBank.load(language)
    text_reasons(Said("query", "The detector is loaded before anything is timed.", "en"), TextConfig())
    made = dialogues(language, number)
    summary = Summary()
    for turns in made:
        for row in turns:
            summary.add_texts(row)
    copies = {f"{limit:g}": len(near(made, limit)) / len(made) for limit in (1.0, 0.9, 0.8, 0.7, 0.6, 0.5)}
    queries = [row["script.query_text"] for turns in made for row in turns]
    replies = [row["script.reply_text"] for turns in made for row in turns]
    return {
        "dialogues": len(made),
        "checks": [item.name for item in CHECKS],
        "rejected": rejected(made),
        "near_duplicates": {limit: round(share, 4) for limit, share in copies.items()},
        "different_queries": round(len(set(queries)) / len(queries), 4),
        "different_replies": round(len(set(replies)) / len(replies), 4),
        "distinct_2": {"query": distinct(queries, 2), "reply": distinct(replies, 2)},
        "distinct_2_sketched": summary.document()["text"][language],
        "replies_without_their_cue": silent(made, bank),
    }


def crowd(number: int) -> dict[str, Any]:
    """Time and memory of the search among many dialogues, with the tables of 64 parts on disk."""
    rules, rng = Rules(SelectConfig(), ()), random.Random(0)
    lexicon = [f"w{place}" for place in range(5000)]
    said = [rng.choices(lexicon, k=35) for _ in range(number)]
    for before, text in pairwise(said):
        if rng.random() < 0.1:
            text[:] = [*before[:-1], rng.choice(lexicon)]
    base = {
        "turn": 0, "plan.split": "train", "plan.source": "synthetic", "plan.language": "en",
        "plan.query_language": "en", "plan.cues": [],
    }  # fmt: skip

    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with TemporaryDirectory() as folder:
        for part in range(64):
            compared = Compared()
            for place in range(part, number, 64):
                query, reply = " ".join(said[place][:10]), " ".join(said[place][10:])
                texts = {"script.query_text": query, "script.reply_text": reply, "speak_query.audio_sha256": str(place)}
                compared.add([{**base, "id": f"{place:08d}", **texts}], part, rules)
            compared.write(Path(folder), part)
        find_duplicates(Path(folder), range(64), rules)
        gone = sum(len(read_duplicates(Path(folder), part)) for part in range(64))
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"dialogues": number, "gone": gone, "seconds": round(time.monotonic() - start, 1), "mib": round(grown)}


def show(language: str, figures: dict[str, Any]) -> None:
    """Print the figures of a language."""
    print(f"{language}: {figures['dialogues']} dialogues")
    bad, copies = figures["rejected"], figures["near_duplicates"]
    print(
        f"  rejected by the checks  {bad['share']:.2%} {dict(bad['reasons'])}, {bad['core_ms_per_text']} core-ms a text"
    )
    print("  near duplicates         " + ", ".join(f"{share:.2%} at {limit}" for limit, share in copies.items()))
    for role, roles in (("query", "queries"), ("reply", "replies")):
        sketched = figures["distinct_2_sketched"][f"{role}_distinct_2"]
        exact = figures["distinct_2"][role]
        print(f"  different {roles}       {figures[f'different_{roles}']:.1%}; distinct-2 {exact:.3f},")
        print(f"                          {sketched:.3f} by the sketch of select")
    print(f"  replies without cue     {figures['replies_without_their_cue']}")


def main() -> int:
    """Run the benchmark, write its results, exit with 1 if a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dialogues", type=int, default=1000)
    parser.add_argument("--crowd", type=int, default=0, help="also search so many random dialogues for duplicates")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write")
    args = parser.parse_args()
    document: dict[str, Any] = {}
    failed = []
    for language in shipped_languages():
        figures = document[language] = measure(language, args.dialogues)
        show(language, figures)
        failed += [f"{language}: near duplicates"] * (figures["near_duplicates"]["0.8"] >= NEAR_MAX)
        failed += [f"{language}: rejections"] * (figures["rejected"]["share"] >= REJECTED_MAX)
        failed += [f"{language}: cues"] * bool(figures["replies_without_their_cue"])
    if args.crowd:
        document["crowd"] = crowd(args.crowd)
        print(f"search for duplicates: {document['crowd']}")
    print(f"does not hold: {', '.join(failed)}" if failed else "every claim holds")
    args.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
