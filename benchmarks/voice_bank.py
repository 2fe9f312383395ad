"""Of 535 clips of acted emotion, how many pass each gate of `echat ingest voices`?

    python benchmarks/voice_bank.py EMODB [--work DIR] [--out FILE]

EMODB is a folder of the Berlin Database of Emotional Speech, whose audio is in no repository of ours. Two banks are
made: with the annotator of emotion as it ships, every gate asked about every clip; and with that annotator trained anew
for each speaker on the others, each clip asked until it first fails.
Prompts may be of 2 s, as in our copy every clip is cut to that; how many have the usual 3 s and more is told too. DIR
keeps corpus and banks; what is there already is not made again. Exit 2 when EMODB is absent.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from pipeline.corpus import read_corpus
from pipeline.ingest.writer import Request, adapter_of, ingest
from pipeline.voicebank.config import BankConfig
from pipeline.voicebank.make import REPORT, make_bank
from pipeline.voicebank.memory import Memory

RESULTS = Path(__file__).parent / "results" / "voice_bank_emodb.json"
BANKS = {"as_shipped": {"seconds": (2, 12)}, "retrained": {"seconds": (2, 12), "retrain": ("emotion",), "alone": False}}
KEPT = (
    "clips", "through", "gates", "by_emotion", "voices", "prompts", "beyond_per_label", "splits", "emotions",
    "not_confirmed", "speakers",
)  # fmt: skip


def bank(corpus: Path, out: Path, changes: dict[str, Any]) -> dict[str, Any]:
    """The report of a bank, made unless it is there."""
    if not (out / REPORT).is_file():
        memory = Memory(out.parent / "heard.jsonl")
        make_bank([corpus], out, BankConfig.model_validate(changes), "benchmarks/voice_bank.py", memory)
    report = json.loads((out / REPORT).read_text(encoding="utf-8"))
    if report["config"] != BankConfig.model_validate(changes).model_dump(mode="json"):
        raise SystemExit(f"{out}: was made with other gates: remove it")
    return report


def without_names(report: dict[str, Any]) -> dict[str, Any]:
    """What is published: counts, no file of the corpus."""
    kept = {key: report[key] for key in KEPT}
    for gate in kept["gates"].values():
        if not report["config"]["alone"]:
            del gate["alone"]
        gate["failed_for"] = {reason: lost["clips"] for reason, lost in gate["failed_for"].items()}
    engines = {
        role: f"{one['engine']} ({one['revision']}), {one['trained']}" for role, one in report["engines"].items()
    }
    return {"config": report["config"], "engines": engines, **kept}


def show(name: str, report: dict[str, Any]) -> None:
    print(f"\n{name}: {report['through']} of {report['clips']} clips pass")
    print(f"{report['prompts']} prompts of {report['voices']} voices: {report['emotions']}")
    print(f"{'gate':12}{'entered':>9}{'passed':>8}{'n/a':>6}{'failed':>8} |{'passed':>8}{'n/a':>6}{'failed':>8} alone")
    for gate, counts in report["gates"].items():
        order = [counts[key] for key in ("entered", "passed", "not_applicable", "failed")]
        alone = [counts.get("alone", {}).get(key, "-") for key in ("passed", "not_applicable", "failed")]
        print("{:12}{:9}{:8}{:6}{:8} |{:>8}{:>6}{:>8}".format(gate, *order, *alone))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("emodb", type=Path)
    parser.add_argument("--work", type=Path, help="folder that keeps corpus and banks; else a temporary one")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write")
    args = parser.parse_args()
    if not args.emodb.is_dir():
        print(f"EMO-DB is absent: {args.emodb} is not a folder; nothing was measured", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as spare:
        work = args.work or Path(spare)
        corpus = work / "emodb"
        if not corpus.is_dir():
            request = Request(args.emodb, corpus, "free for research use", "actors, recorded for research")
            ingest(adapter_of("emodb"), request)
        seconds = sorted(clip.seconds for clip in read_corpus(corpus).clips)
        found: dict[str, Any] = {
            "seconds": {
                "shortest": seconds[0],
                "longest": seconds[-1],
                "of_3_to_12": sum(3 <= s <= 12 for s in seconds),
            }
        }
        found |= {name: without_names(bank(corpus, work / name, changes)) for name, changes in BANKS.items()}
    print(f"clips of {seconds[0]:g} to {seconds[-1]:g} s; of 3 to 12 s: {found['seconds']['of_3_to_12']}")
    for name in BANKS:
        show(name, found[name])
    args.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
