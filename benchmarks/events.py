"""Sound events: the shipped detector on renderings of voices held out, and its false alarms on real speech.

Claims: macro F1 at least 0.8 over the seven events; under 5 % of the clips of EMO-DB, which has no events, are said to
have one. The renderings are of voices, texts and seeds that training never saw; what they show is that our events and
our detector agree, not that either is like real people. EMO-DB takes no part in training nor in any threshold; the
alarms on its speakers 03, 08, 09, 10 and 11 were looked at while the detector was made, those on 12 to 16 only counted.

    python benchmarks/events.py [--clips DIR] [--emodb DIR]

Without --clips the clips are rendered (about 8 core-seconds for each voice of the splits validation and test).
"""

from __future__ import annotations

import argparse
import csv
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import soundfile

from annotators.clip import Clip
from annotators.events import EventDetectorConfig
from annotators.train_events import f1, overlap, read_clips
from manifests.labels import EVENTS, NONE

RESULTS = Path(__file__).parent / "results" / "events.json"
TUNING_SPEAKERS = ("03", "08", "09", "10", "11")
CLASSES = (*EVENTS, NONE)


def listen(path: Path, detector: Any) -> tuple[Any, float, float]:
    """Label of a file, its duration and the CPU time that the label took."""
    samples, rate = soundfile.read(path, dtype="float32")
    start = time.process_time()
    label = detector.annotate(Clip(samples, rate))
    return label, len(samples) / rate, time.process_time() - start


def renderings(folder: Path, detector: Any) -> dict[str, Any]:
    """Score the clips of a folder whose voices were held out."""
    rows = [row for row in read_clips([folder]) if row["split"] in ("validation", "test")]
    out: dict[str, Any] = {}
    cpu = seconds = 0.0
    for split in ("validation", "test"):
        confusion: dict[str, dict[str, int]] = {label: dict.fromkeys(CLASSES, 0) for label in CLASSES}
        overlaps: list[float] = []
        for row in (row for row in rows if row["split"] == split):
            label, length, spent = listen(Path(row["path"]), detector)
            cpu, seconds = cpu + spent, seconds + length
            confusion[row["event"]][label.value] += 1
            if row["event"] != NONE and label.value == row["event"]:
                true = (float(row["event_start"]), float(row["event_end"]))
                overlaps.append(overlap((label.evidence["start_s"], label.evidence["end_s"]), true))
        plain = confusion[NONE]
        out[split] = {
            "clips": sum(sum(row.values()) for row in confusion.values()),
            "voices": len({row["voice"] for row in rows if row["split"] == split}),
            "macro_f1": round(float(np.mean([f1(confusion, label) for label in EVENTS])), 4),
            "f1": {label: round(f1(confusion, label), 4) for label in EVENTS},
            "false_alarms": [sum(plain.values()) - plain[NONE], sum(plain.values())],
            "overlap_median": round(float(np.median(overlaps)), 3),
            "overlap_10th_percentile": round(float(np.quantile(overlaps, 0.1)), 3),
            "confusion": confusion,
        }
    out["core_ms_per_second"] = round(1000 * cpu / seconds, 2)
    return out


def false_alarms(folder: Path, detector: Any) -> dict[str, Any]:
    """Share of the clips of a corpus of speech without events that are said to have one."""
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as lines:
        rows = list(csv.DictReader(lines))
    groups: dict[str, list[str]] = {"all": [], "speakers 12 to 16": []}
    emotions: Counter[str] = Counter()
    for row in rows:
        value = listen(folder / row["file"], detector)[0].value
        groups["all"].append(value)
        if row["speaker"] not in TUNING_SPEAKERS:
            groups["speakers 12 to 16"].append(value)
        if value != NONE:
            emotions[row["emotion"]] += 1
    return {
        name: {
            "clips": len(values),
            "false_alarms": round(1 - values.count(NONE) / len(values), 4),
            "heard": dict(Counter(value for value in values if value != NONE)),
        }
        for name, values in groups.items()
    } | {"emotions of the alarms": dict(emotions)}


def show(document: dict[str, Any]) -> None:
    """Print the results as a table."""
    for split in ("validation", "test"):
        part = document["renderings"][split]
        print(f"{split}: {part['clips']} clips of {part['voices']} voices, macro F1 {part['macro_f1']:.3f}, interval")
        print(f"  overlap (IoU) median {part['overlap_median']:.2f}, 10th percentile", end=" ")
        print(f"{part['overlap_10th_percentile']:.2f}, false alarms {'/'.join(map(str, part['false_alarms']))}")
        print(f"  {'asked':>14} " + " ".join(f"{label[:8]:>8}" for label in CLASSES) + "       F1")
        for label, row in part["confusion"].items():
            score = f"{part['f1'][label]:8.3f}" if label != NONE else ""
            print(f"  {label:>14} " + " ".join(f"{row[other]:8d}" for other in CLASSES) + f" {score}")
    print(f"{document['renderings']['core_ms_per_second']} core-ms per second of audio")
    for name, part in document.get("emodb", {}).items():
        print(f"EMO-DB, {name}: {part}")


def main() -> None:
    """Run the benchmark and write its results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, help="folder made by synthesis.event_clips")
    parser.add_argument("--emodb", type=Path, help="folder of EMO-DB with labels.csv")
    parser.add_argument("--out", type=Path, default=RESULTS, help="JSON to write")
    args = parser.parse_args()
    config = EventDetectorConfig(engine="events", family="event")
    detector = config.open()
    with tempfile.TemporaryDirectory() as spare:
        clips = args.clips
        if clips is None:
            from synthesis.event_clips import render

            clips = Path(spare)
            render(clips, texts=1, variants=1, seed=77, splits=("validation", "test"))
        document: dict[str, Any] = {"revision": config.revision(), "renderings": renderings(clips, detector)}
    if args.emodb is not None:
        document["emodb"] = false_alarms(args.emodb, detector)
    show(document)
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
