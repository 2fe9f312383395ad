"""A release: the shards of a run with what others need to load, check and cite them, as a folder of its own.

release/<key>/*.tar *.tar.idx *.json      hard links to the shards
release/<key>/index/<split>.parquet       a row per turn, without audio
release/<key>/run.yaml inputs/            the manifest and what it names, but for tables of recordings
release/<key>/README.md croissant.json statistics.json dataset.json checksums.sha256
"""

from __future__ import annotations

import datetime
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from manifests.errors import UserError
from manifests.files import TEMPORARY, read_checksums, sha256, temporary, write_atomic, writing
from manifests.ids import canonical_json, content_hash
from manifests.labels import CUES, NONE, SPLITS
from manifests.weights import WEIGHTS
from manifests.withdrawn import NAME as WITHDRAWN
from manifests.withdrawn import read_withdrawn
from pipeline.dag import Dag
from pipeline.grid import Grid
from pipeline.inspect import read_documents
from pipeline.join import by_dialogue, join_rows
from pipeline.publish.counts import count_turns
from pipeline.publish.croissant import croissant
from pipeline.publish.index import write_index
from pipeline.select import load_statistics, verdicts
from pipeline.shards import link
from pipeline.verdict import KEPT, VERDICTS
from pipeline.verify import open_finished

FORMAT = 3
_LATER = ("release.json", "checksums.sha256")
_LICENCES = (
    "apache-2.0", "cc0-1.0", "cc-by-4.0", "cc-by-sa-4.0", "cc-by-nc-4.0", "cc-by-nc-sa-4.0", "cc-by-nd-4.0", "mit",
)  # fmt: skip
"""Those that dataset hubs know by name; any other is `other` in the card's header and named in its text."""
_EXAMPLES = 4
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))


@dataclass(frozen=True)
class Terms:
    """What the publisher decides.

    Attributes:
        licence: Of the dataset as a whole, as an SPDX name.
        version: Of the release.
        citation: BibTeX, or "" for one made of the name.
        anyway: Publish although an engine or a corpus says that it must not be; the card then warns.
    """

    licence: str
    version: str = "1.0.0"
    citation: str = ""
    anyway: bool = False


def make_release(run: Path, terms: Terms) -> Path:
    """Make the release of a finished run, unless it is there.

    Raises:
        UserError: The run is not finished, or may not be published.
    """
    # Read before all else: who withdraws from here on makes the run unfinished, or is in the next release.
    takedowns = read_withdrawn(run).published()
    grid = open_finished(run, "publish")
    warning = _warning(grid.dag)
    if warning and not terms.anyway:
        raise UserError(f"{run}: may not be published: {warning}; --anyway publishes it with a warning in its card")
    shards = (run / "shards" / "current").resolve()
    select = (run / "select" / "current").resolve().name
    key = content_hash([FORMAT, shards.name, vars(terms), select, takedowns])
    folder = run / "release" / key
    if not (folder / "checksums.sha256").exists():
        spare = temporary(folder)
        try:
            with writing(folder):
                spare.mkdir(parents=True)
                _fill(spare, grid, run, shards, terms, warning, takedowns)
                if folder.exists() and not (folder / "checksums.sha256").exists():
                    shutil.rmtree(folder)
                if not folder.exists():  # somebody else may have made the same
                    os.rename(spare, folder)
        finally:
            shutil.rmtree(spare, ignore_errors=True)
    return folder


def _warning(dag: Dag) -> str:
    """Why the data may not be passed on, or ""."""
    closed = [about.name for about in dag.planner.real.abouts.values() if not about.publish]
    if closed:
        return f"recordings of {', '.join(closed)} may not be passed on"
    if dag.closed_voices:
        return f"speech in the voice {dag.closed_voices[0]} may not be passed on"
    if dag.closed_events:
        return f"recorded sound events of {', '.join(dag.closed_events)} may not be passed on"
    return "" if dag.publishable else "its speech is made by a test engine"


def _fill(
    folder: Path, grid: Grid, run: Path, shards: Path, terms: Terms, warning: str, takedowns: list[dict[str, Any]]
) -> None:
    try:
        digests = read_checksums((shards / "checksums.sha256").read_bytes())
    except ValueError:
        digests = {"checksums.sha256": ""}
    for name, digest in digests.items():
        if not (shards / name).is_file() or sha256(shards / name) != digest:
            raise UserError(f"{shards / name}: is damaged; run echat build again to make it anew, then publish")
        if name != "dataset.json":
            link(shards / name, folder / name)
    dataset = json.loads((shards / "dataset.json").read_text())
    statistics = load_statistics(run / "select" / "current")
    (folder / "index").mkdir()
    indices = []
    for split in SPLITS:
        names = [shard["name"] for shard in dataset["shards"] if shard["split"] == split]
        if names:
            path = folder / "index" / f"{split}.parquet"
            write_index(shards, split, names, path)
            indices.append((f"index/{split}.parquet", sha256(path), path.stat().st_size))
    _copy_inputs(run, folder)
    if takedowns:
        write_atomic(folder / WITHDRAWN, canonical_json({"format": 1, "takedowns": takedowns}))
    counted = {**statistics, "published": count_turns(folder / path for path, _, _ in indices)}
    write_atomic(folder / "statistics.json", canonical_json(counted))
    facts = _facts(grid, shards, dataset, counted, terms, warning)
    facts["takedowns"] = [(item["date"], item["kind"], len(item["dialogues"])) for item in takedowns]
    write_atomic(folder / "README.md", _card().render(facts).encode())
    document = croissant(facts, indices, dataset["shards"])
    write_atomic(folder / "croissant.json", (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode())
    shutil.copyfile(shards / "dataset.json", folder / "dataset.json")
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    listed = {
        "format": "echat-release",
        "version": terms.version,
        "files": [*names, "release.json", "checksums.sha256"],
    }
    write_atomic(folder / "release.json", canonical_json(listed))
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    lines = "".join(f"{sha256(folder / name)}  {name}\n" for name in names)
    write_atomic(folder / "checksums.sha256", lines.encode())


_UNPUBLISHED = ("corpora", WITHDRAWN)
"""Of `inputs/`: tables of recordings with what their corpora say of people, and who withdrew."""


_NO_SERVER = "http://unpublished.invalid/v1"


def _copy_inputs(run: Path, folder: Path) -> None:
    """The manifest and what it names, so that `echat rebuild --check` can plan and make the rows again."""
    manifest = yaml.safe_load((run / "run.yaml").read_text())
    script = manifest["script"]
    for name in ("cache", "key_env", "extra_body"):  # where it was, and what may be a secret
        script.pop(name, None)
    if "base_url" in script:
        script["base_url"] = _NO_SERVER
    manifest.pop("workers", None)  # environments of machines that are nobody's business
    sections = [section for section in manifest.values() if isinstance(section, dict)]
    for section in (*sections, *(one for some in manifest["annotate"].values() for one in some)):
        for key in ("bank", *WEIGHTS):
            if key in section:
                section[key] = _named(section[key])
    text = yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True)
    write_atomic(folder / "run.yaml", text.encode())
    for path in sorted((run / "inputs").rglob("*")):
        name = path.relative_to(run / "inputs")
        if path.is_file() and name.parts[0] not in _UNPUBLISHED and not name.name.startswith(TEMPORARY):
            target = folder / "inputs" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)


def _named(value: Any) -> Any:
    """Weights or a bank by name, not by where they are on this machine."""
    if isinstance(value, dict):
        return {key: _named(inner) for key, inner in value.items()}
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _facts(
    grid: Grid, shards: Path, dataset: Mapping[str, Any], statistics: Mapping[str, Any], terms: Terms, warning: str
) -> dict[str, Any]:
    """Everything that the card and the Croissant document say."""
    dag, published = grid.dag, statistics["published"]
    verdict = {name: statistics["verdict"].get(name, 0) for name in VERDICTS}
    real = statistics["source"].get("real", {}).get(KEPT, 0)
    speech = (
        f"Of the queries {real:,} are recordings of people; all other speech is synthetic."
        if real
        else "All speech is synthetic."
    )
    known = terms.licence.lower() in _LICENCES
    title = dataset["name"]
    splits = [(split, dataset["splits"][split]) for split in SPLITS]
    entry = f"@misc{{{title}, title={{{title}}}, version={{{terms.version}}}, howpublished={{echat}}}}"
    description = (
        f"Spoken dialogues whose voices carry cues of age, gender, emotion and sound events, with empathetic replies:"
        f" {dataset['rows']:,} dialogues. {speech}"
    )
    return {
        "name": title,
        "warning": f"Not for use beyond tests: {warning}." if warning else "",
        "licence": terms.licence,
        "licence_id": terms.licence.lower() if known else "other",
        "version": terms.version,
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "citation": terms.citation or entry,
        "description": description,
        "url": "https://arxiv.org/abs/2508.09600",
        "languages": sorted({*published["reply_language"], *published["query_language"]}),
        "size_category": next((name for most, name in _SIZES if dataset["rows"] < most), "n>1M"),
        "data_files": [(split, item["shards"]) for split, item in splits if item["rows"]],
        "splits": [(split, item["rows"], len(item["shards"])) for split, item in splits],
        "rows": dataset["rows"],
        "hours": dataset["seconds"] / 3600,
        "speech": speech,
        "seed": dag.manifest.seed,
        "planned": sum(verdict.values()),
        **verdict,
        "reasons": sorted(statistics["reason"].items(), key=lambda item: -item[1]),
        "stages": [
            (stage, ", ".join(dict.fromkeys(engines)), ", ".join(dict.fromkeys(map(str, dataset["licences"][stage]))))
            for stage, engines in dataset["engines"].items()
        ],
        "voices": ", ".join(dataset["licences"]["voices"]),
        "corpora": [
            (about.name, about.licence, about.consent, published["corpus"].get(about.name, 0), about.recordings)
            for about in dag.planner.real.abouts.values()
        ],
        "labels": [
            (task, label, counts.get(KEPT, 0), sum(counts.values()))
            for task, labels in statistics["task"].items()
            for label, counts in labels.items()
        ],
        "examples": _examples(shards, dataset),
        "groups": list(_groups(grid, shards.parents[1] / "select" / "current")),
        "rai": _responsible(dag, real > 0),
    }  # fmt: skip


def _responsible(dag: Dag, real: bool) -> dict[str, str]:
    """Croissant's Responsible-AI fields; `real` says whether recordings of people are in the set."""
    if real:
        people = "Recordings of people under the consent that their corpora state."
    elif dag.manifest.plan.voices is None:
        people = "None: all voices are synthetic."
    else:
        people = "The voices are of a table of the publisher's own and may imitate people."
    return {
        "dataCollection": "Planned by quota, written, synthesised or taken from corpora, annotated and filtered by"
        " thresholds; see README.md and run.yaml.",
        "dataCollectionType": "Others" if real else "Software Collection",
        "dataBiases": "Kept shares differ by age, gender and emotion of the voice (README.md, Groups): what annotators"
        " hear less well is rarer here.",
        "dataLimitations": "Labels of synthetic queries are requests that annotators agreed with, not what listeners"
        " said.",
        "dataUseCases": "Training and evaluation of spoken-dialogue models; not for identifying people.",
        "personalSensitiveInformation": people,
    }


def _examples(shards: Path, dataset: Mapping[str, Any]) -> list[dict[str, str]]:
    """The first dialogue of some tasks."""
    found: dict[str, dict[str, str]] = {}
    for shard in dataset["shards"]:
        for document in read_documents(shards / shard["name"]):
            if len(found) == _EXAMPLES:
                return list(found.values())
            if document["task"] in found:
                continue
            turn = document["turns"][0]
            cues = [f"{family} {turn['query']['requested'][family]}" for family in turn["cues"]]
            found[document["task"]] = {
                "task": document["task"], "cues": ", ".join(cues) or "no cue", "voice": turn["query"]["voice"],
                "query": turn["query"]["text"], "reply": turn["reply"]["text"],
                "reply_emotion": turn["reply"]["emotion"],
            }  # fmt: skip
    return list(found.values())


def _groups(grid: Grid, select: Path) -> Iterator[tuple[str, str, int, int, str]]:
    """Planned and kept dialogues by what was asked of the first turn's voice."""
    planned: Counter[tuple[str, str]] = Counter()
    kept: Counter[tuple[str, str]] = Counter()
    columns = [f"plan.{family}" for family in CUES]
    for part, cells in grid.all_cells.items():
        rows, errors = join_rows(grid.ledger, [cells["plan"]], columns)
        judged = {row["id"]: row["verdict"] for row in verdicts(select, part, ["id", "verdict"]).to_pylist()}
        for turns, _ in by_dialogue(rows, errors):
            for family in CUES:
                key = (family, turns[0][f"plan.{family}"])
                planned[key] += 1
                kept[key] += judged[turns[0]["id"]] == KEPT
    for family, values in CUES.items():
        for label in (*values, NONE):
            if number := planned[family, label]:
                good = kept[family, label]
                yield family, label, number, good, f"{good / number:.2f}"


@cache
def _card() -> Any:
    import jinja2

    env = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    env.filters["md"] = _markdown
    return env.get_template("card.md.j2")


def _markdown(text: object) -> str:
    """Text that no Markdown or HTML reader takes for markup, on one line."""
    line = " ".join(str(text).split()).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return "".join(f"\\{char}" if char in "\\`*_[]|#~$" else char for char in line)
