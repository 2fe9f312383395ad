"""Are the recorded queries of a run's shards the recordings of their corpus, sample by sample and label by label?

    python benchmarks/real_rows.py RUN emodb=SRC,CORPUS fsdd=SRC,CORPUS [--out FILE]

SRC is the folder that was ingested without --rate (`labels.csv` and files), CORPUS the one that `echat ingest` made.
Prints a table and exits with 1 if a row differs.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tarfile
from collections import Counter
from pathlib import Path
from typing import Any

import soundfile

from manifests.labels import CUES, NONE
from pipeline.ingest.base import our_label


def rows_of(folder: Path, key: str) -> dict[str, dict[str, str]]:
    with (folder / "labels.csv").open(encoding="utf-8", newline="") as lines:
        return {row[key]: row for row in csv.DictReader(lines)}


def check(document: dict[str, Any], flac: bytes, source: Path, corpus: Path) -> list[str]:
    """What is not as in the source."""
    kept = rows_of(corpus, "sha256")[document["recording"]]
    stated = rows_of(source, "file")[kept["source_file"]]
    own, own_rate = soundfile.read(source / kept["source_file"], dtype="int16")
    have, rate = soundfile.read(io.BytesIO(flac), dtype="int16")
    found = [] if rate == own_rate and have.shape == own.shape and (have == own).all() else ["samples"]
    query = document["turns"][0]["query"]
    for family in CUES:
        ours = our_label(family, stated.get(family, "")) or NONE
        if query["requested"][family] != ours:
            found.append(family)
    return found + ([] if query["text"] == stated["text"] else ["text"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path)
    parser.add_argument("corpora", nargs="+", metavar="NAME=SRC,CORPUS")
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    folders = {}
    for item in args.corpora:
        name, _, both = item.partition("=")
        folders[name] = tuple(map(Path, both.split(",")))
    counts: Counter[str] = Counter()
    splits: dict[str, set[str]] = {}
    for shard in sorted((args.run / "shards" / "current").glob("*.tar")):
        with tarfile.open(shard) as archive:
            members = {m.name: stream.read() for m in archive if (stream := archive.extractfile(m))}
        for name, data in members.items():
            if not name.endswith(".json"):
                continue
            document = json.loads(data)
            counts[document["source"]] += 1
            splits.setdefault(document["turns"][0]["query"]["speaker"], set()).add(document["split"])
            if document["source"] == "real":
                corpus = document["corpus"]["name"]
                counts[f"real of {corpus}"] += 1
                differs = check(document, members[f"{document['id']}.0.query.flac"], *folders[corpus])
                counts.update(f"differs in {what}" for what in differs)
                counts["the same samples, labels and text"] += not differs
    counts["speakers in two splits"] = sum(len(homes) > 1 for homes in splits.values())
    for what, number in counts.items():
        print(f"{number:6,}  {what}")
    if args.out:
        args.out.write_text(json.dumps(counts, indent=2) + "\n")
    bad = counts["speakers in two splits"] or counts["real"] != counts["the same samples, labels and text"]
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
