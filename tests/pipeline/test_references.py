"""References of voices: a cell per voice, spoken once, known to every row of the voice."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from conftest import CHAOS, calls, tree

from annotators.clip import Reference
from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.build import build
from pipeline.dag import build_dag
from pipeline.grid import Grid
from pipeline.stages import voices
from pipeline.stages.voices import Voices, fold, part_of
from pipeline.status import status
from pipeline.verify import verify

PLUGINS = {**CHAOS, "plugins": ["chaos", "referring"], "annotate": {"gender": {"engine": "referring"}},
           "takes_per_emotion": 1}  # fmt: skip
SMALL = {"quotas": {"neutral": 6}, "contrastive": 0.0}
EMOTIONS = 7


def run(file: Path, out: Path):
    return build(load_run(file), file, out, quiet=True)


def open_grid(out: Path) -> Grid:
    return Grid.open(build_dag(load_run(out / "run.yaml"), out / "run.yaml"), out)


def annotated(out: Path) -> list[dict]:
    """Id, voice and evidence of every annotated row."""
    grid = open_grid(out)
    found = []
    for cells in grid.records.values():
        plan = grid.ledger.load(cells["plan"], ["id", "query_voice"]).to_pylist()
        heard = grid.ledger.load(cells["annotate"], ["id", "heard_gender_evidence"]).to_pylist()
        for row, label in zip(plan, heard, strict=True):
            found.append({**row, **json.loads(label["heard_gender_evidence"])})
    return found


def test_every_row_knows_its_voice_and_every_voice_is_measured_once(tone_yaml, tmp_path, chaos):
    out = tmp_path / "out"
    result = run(tone_yaml(**PLUGINS, plan=SMALL), out)
    assert result.findings == []
    rows = annotated(out)
    used = {row["query_voice"] for row in rows}
    assert {row["takes"] for row in rows} == {EMOTIONS}
    assert len(calls(chaos)) == EMOTIONS * len(used) + 2 * result.planned
    levels: dict[str, set[float]] = {}
    for row in rows:
        levels.setdefault(row["query_voice"], set()).add(row["level"])
    assert all(len(level) == 1 for level in levels.values()), "one reference a voice"
    stages = {name: (done, total) for name, done, total, _ in status(out).stages}
    assert stages["voices"] == (len(used), len(used))
    before = tree(out)
    assert run(tone_yaml(**PLUGINS, plan=SMALL), out).findings == []
    assert {name for name, digest in tree(out).items() if before.get(name) != digest} == {"events.jsonl"}


def test_without_an_annotator_that_wants_them_there_are_none(tone_yaml, tmp_path):
    file = tone_yaml(plan=SMALL)
    run(file, tmp_path / "out")
    assert build_dag(load_run(file), file).voices is None
    assert not (tmp_path / "out" / "stages" / "voices").exists()


def test_a_new_voice_makes_no_other_row_anew(tone_yaml, tmp_path, chaos):
    out = tmp_path / "out"
    shipped = build_dag(load_run(tone_yaml()), "run.yaml").planner.voices.path
    rows = list(csv.DictReader(shipped.open()))
    table = tmp_path / "voices.csv"

    def write(some: list[dict]) -> None:
        with table.open("w", newline="") as file:
            writer = csv.DictWriter(file, rows[0].keys())
            writer.writeheader()
            writer.writerows(some)

    write(rows)
    file = tone_yaml(**PLUGINS, plan={**SMALL, "voices": str(table)})
    run(file, out)
    before = {row["id"]: row for row in annotated(out)}
    spoken = len(calls(chaos))
    template = next(row for row in rows if row["split"] == "train" and row["age"] == "adult")
    write([*rows, {**template, "voice": "tone-new", "speaker": "tone-new"}])
    assert run(file, out).findings == []
    after = {row["id"]: row for row in annotated(out)}
    fresh = after.keys() - before.keys()
    assert {after[name]["query_voice"] for name in fresh} <= {"tone-new"}
    voices_now = {row["query_voice"] for row in after.values()} - {row["query_voice"] for row in before.values()}
    assert len(calls(chaos)) - spoken == EMOTIONS * len(voices_now) + 2 * len(fresh)
    assert all(after[name] == row for name, row in before.items() if name in after)


def test_a_reference_whose_data_is_gone_is_made_again(tone_yaml, tmp_path, chaos):
    file, out = tone_yaml(**PLUGINS, plan=SMALL), tmp_path / "out"
    run(file, out)
    before = tree(out / "shards" / "current")
    lost = next((out / "stages" / "voices").glob("*.parquet"))
    lost.unlink()
    assert any("voices" in finding.file for finding in verify(out)), "a missing reference is found"
    assert run(file, out).findings == []
    assert tree(out / "shards" / "current") == before


def test_takes_that_cannot_be_spoken_are_counted_and_left_out(tone_yaml, tmp_path, chaos):
    texts = voices.shipped_texts("en")
    (chaos / "fault").write_text(json.dumps({"kind": "raise", "text": texts[0]}))
    out = tmp_path / "out"
    result = run(tone_yaml(**PLUGINS, plan=SMALL), out)
    assert result.findings == []
    grid = open_grid(out)
    assert grid.references is not None
    failed = {name: len(record.failures) for name, record in grid.references.records.items()}
    assert sum(failed.values()) > 0
    for row in annotated(out):
        assert row["takes"] == EMOTIONS - failed[row["query_voice"]]
    assert {name: bad for name, _, _, bad in status(out).stages}["voices"] == sum(failed.values())


def test_cells_that_ship_are_copied(tone_yaml, tmp_path, chaos, monkeypatch):
    first, second = tmp_path / "first", tmp_path / "second"
    file = tone_yaml(**PLUGINS, plan=SMALL)
    run(file, first)
    spoken = len(calls(chaos))
    monkeypatch.setattr(Voices, "shipped", property(lambda self: first))
    result = run(file, second)
    assert len(calls(chaos)) - spoken == 2 * result.planned, "no take was spoken again"
    grid = open_grid(second)
    assert grid.references is not None
    assert sum(record.metrics["copied"] for record in grid.references.records.values()) == EMOTIONS * len(
        grid.references.records
    )


def test_the_fold_is_mean_and_deviation_of_what_was_measured():
    takes = [({"f0": float(n), **({"rare": 1.0} if n == 0 else {})}, [1.0, 0.0]) for n in range(4)]
    folded = Reference.from_json(fold(takes))
    assert folded is not None
    assert folded.mean == {"f0": 1.5}
    assert folded.deviation["f0"] == pytest.approx(np.std([0, 1, 2, 3], ddof=1), abs=1e-6)
    assert np.allclose(folded.embedding, [1, 0])
    assert folded.takes == 4
    assert Reference.from_json(folded.to_json()).to_json() == folded.to_json()  # type: ignore[union-attr]
    assert fold(takes[:2]) == ""
    assert Reference.from_json("") is None


def test_the_cell_of_a_voice_has_the_number_of_its_name(tmp_path):
    assert part_of("af_bella") == part_of("af_bella") != part_of("af_sky")
    assert Ledger(tmp_path).parts("voices") == set()


def test_the_shipped_references_are_those_of_the_demos_voices(tmp_path):
    """Of the speaker as it is now: after a change of voices or cues they must be made anew, or nobody uses them."""
    from manifests.run import shipped_runs
    from pipeline.cell import run_cell
    from pipeline.stages.plan import run_plan

    file = shipped_runs()["demo"]
    dag = build_dag(load_run(file), file)
    ledger = Ledger(tmp_path)
    grid = Grid(dag, ledger, run_plan(dag.plan, ledger))
    references = grid.references
    assert references is not None
    references.schedule("main")
    assert len(references.voices) > 20

    def speak():
        raise AssertionError("a take was spoken that should ship")

    for part in references.voices:
        record = run_cell(references.stage, references.job((voices.VOICES, part)), ledger, speak)
        assert record.metrics["copied"] == EMOTIONS
