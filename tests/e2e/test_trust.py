"""What `verify` must find, and what a build must mend or refuse: each case was once missed."""

from __future__ import annotations

import io
import json
import os
import shutil
import tarfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from conftest import CHAOS, tree
from typer.testing import CliRunner

from manifests.errors import UserError
from manifests.files import sha256, temporary
from manifests.run import load_run
from pipeline.build import build
from pipeline.cli import app
from pipeline.status import status
from pipeline.verify import verify

SMALL = {"quotas": {"neutral": 3, "gender": 4}}


def run(file: Path, out: Path):
    return build(load_run(file), file, out, quiet=True)


@pytest.fixture
def made(tone_yaml, tmp_path, build_once) -> tuple[Path, Path]:
    file, out = tone_yaml(plan=SMALL), tmp_path / "out"
    build_once(file, out)
    return file, out


def rewrite(shard: Path, change) -> None:
    """Change a shard's members and make every checksum and count fit again, as a careless or hostile hand would."""
    with tarfile.open(shard) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]
    members = change(members)
    with tarfile.open(shard, "w", format=tarfile.USTAR_FORMAT) as archive:
        for member, data in members:
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    from pipeline.tar import index_tar

    shard.with_name(shard.name + ".idx").write_text(index_tar(shard))
    seal(shard.parent)


def seal(folder: Path) -> None:
    """Make dataset.json, the records and checksums.sha256 fit the tars."""
    dataset = json.loads((folder / "dataset.json").read_text())
    for shard in dataset["shards"]:
        path = folder / shard["name"]
        shard |= {"size": path.stat().st_size, "sha256": sha256(path)}
        record = path.with_suffix(".json")
        record.write_text(
            json.dumps(json.loads(record.read_text()) | {"size": shard["size"], "sha256": shard["sha256"]})
        )
    (folder / "dataset.json").write_text(json.dumps(dataset))
    names = [line.split("  ")[1] for line in (folder / "checksums.sha256").read_text().splitlines()]
    (folder / "checksums.sha256").write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in names))


def swap_queries(members):
    flacs = [place for place, (member, _) in enumerate(members) if member.name.endswith("query.flac")][:2]
    one, other = flacs
    members[one], members[other] = (members[one][0], members[other][1]), (members[other][0], members[one][1])
    return members


def edit_json(members):
    def change(member, data):
        if not member.name.endswith(".json"):
            return data
        document = json.loads(data)
        document["turns"][0]["query"]["requested"]["emotion"] = "sad"
        return json.dumps(document).encode()

    return [(member, change(member, data)) for member, data in members]


@pytest.mark.parametrize("change", [swap_queries, edit_json])
def test_content_that_is_not_what_the_cells_say_is_found(made, change):
    _, out = made
    shard = max((out / "shards" / "current").glob("*.tar"), key=lambda path: path.stat().st_size)
    rewrite(shard, change)
    assert any(str(finding.file).endswith(shard.name) and finding.row for finding in verify(out))


def test_verdicts_and_statistics_are_given_anew(made):
    _, out = made
    part = next(path for path in (out / "select" / "current").glob("part-*.parquet") if pq.read_table(path).num_rows)
    table = pq.read_table(part)
    rows = table.to_pylist()
    rows[0] |= {"verdict": "rejected", "reasons": ["query_wer 0.9 > 0.3"]}
    pq.write_table(type(table).from_pylist(rows, table.schema), part)
    assert any(finding.row == rows[0]["id"] for finding in verify(out))


def test_an_edited_threshold_or_cell_makes_the_set_stale(made, tone_yaml):
    _, out = made
    text = (out / "run.yaml").read_text()
    (out / "run.yaml").write_text(text.replace("snr_db_min: 10.0", "snr_db_min: 1000.0"))
    assert "earlier state" in verify(out)[0].problem
    assert status(out).state == "stopped"


def test_a_listed_shard_that_is_gone_is_found_without_the_run(made, tmp_path):
    _, out = made
    alone = tmp_path / "alone"
    shutil.copytree(out / "shards" / "current", alone)
    assert verify(alone) == []
    for path in alone.glob("test-*"):
        path.unlink()
    lines = (alone / "checksums.sha256").read_text().splitlines(keepends=True)
    (alone / "checksums.sha256").write_text("".join(line for line in lines if "test-" not in line))
    assert any("missing" in finding.problem for finding in verify(alone)) or not any("test-" in line for line in lines)
    (alone / "dataset.json").write_text("[]")
    assert verify(alone)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"name": 7}, "7: is no name of a file"),
        ({"name": None}, "None: is no name of a file"),
        ({"name": ["a"]}, "cannot be read"),
        ({"size": None}, "is not of the size"),
    ],
)
def test_an_index_that_names_no_file_is_a_finding(made, tmp_path, entry, said):
    _, out = made
    alone = tmp_path / "alone"
    shutil.copytree(out / "shards" / "current", alone)
    document = json.loads((alone / "dataset.json").read_text())
    document["shards"][0] |= entry
    (alone / "dataset.json").write_text(json.dumps(document))
    assert any(said in str(finding).replace("[", "").replace("]", "") for finding in verify(alone))


@pytest.mark.parametrize("victim", ["*.tar", "*.tar.idx", "dataset.json", "checksums.sha256"])
@pytest.mark.parametrize("how", ["remove", "flip"])
def test_a_damaged_set_is_made_again_and_damage_is_not_passed_on(made, victim, how):
    file, out = made
    good = tree(out / "shards" / "current")
    path = next((out / "shards" / "current").glob(victim))
    if how == "remove":
        path.unlink()
    else:
        data = bytearray(path.read_bytes())
        data[len(data) // 2] ^= 4
        path.write_bytes(data)
    again = run(file, out)
    assert again.findings == []
    assert tree(out / "shards" / "current") == good


@pytest.mark.parametrize("victim", ["statistics.json", "part-0000.parquet"])
def test_a_damaged_selection_is_made_again(made, victim):
    file, out = made
    for content in (None, b"garbage"):
        path = out / "select" / "current" / victim
        path.unlink() if content is None else path.write_bytes(content)
        assert verify(out), "it must be found"
        assert run(file, out).findings == []


def test_reading_a_run_changes_nothing(made):
    _, out = made
    part = next((out / "stages" / "rate").glob("*.parquet"))
    away = out.parent / part.name
    part.rename(away)
    assert status(out).state == "stopped"
    assert verify(out)
    away.rename(part)
    assert verify(out) == []


def test_a_folder_with_other_things_is_refused_and_left_alone(tone_yaml, tmp_path):
    home = tmp_path / "home"
    (home / ".tmp-important").mkdir(parents=True)
    (home / ".tmp-important" / "thesis.tex").write_text("x")
    os.utime(home / ".tmp-important", (0, 0))
    before = tree(home)
    with pytest.raises(UserError, match="holds other things"):
        run(tone_yaml(plan=SMALL), home)
    assert tree(home) == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not a folder"):
        run(tone_yaml(plan=SMALL), tmp_path / "file")


def test_a_folder_whose_build_was_killed_at_its_first_run_yaml_is_gone_on_with(tone_yaml, tmp_path):
    out = tmp_path / "out"
    (out / "inputs").mkdir(parents=True)
    (out / "run.lock").touch()
    temporary(out / "run.yaml").write_bytes(b"name: to")
    assert run(tone_yaml(plan=SMALL), out).findings == []


def test_another_run_in_the_folder_is_refused(made, tone_yaml):
    _, out = made
    with pytest.raises(UserError, match="holds the run 'tone', not 'other'"):
        run(tone_yaml("other.yaml", name="other", plan=SMALL), out)


def test_an_infinite_threshold_means_none(tone_yaml, tmp_path):
    file = tone_yaml(plan=SMALL, select={"query_wer_max": float("inf")})
    assert run(file, tmp_path / "out").findings == []
    assert verify(tmp_path / "out") == []


def test_a_run_that_keeps_nothing_fails(tone_yaml, tmp_path, chaos):
    (chaos / "fault").write_text(json.dumps({"kind": "raise", "one_in": 1}))
    file = tone_yaml(**CHAOS, plan=SMALL)
    result = CliRunner().invoke(app, ["build", str(file), "--out", str(tmp_path / "out"), "--quiet"])
    assert result.exit_code == 1
    assert "no dialogue was kept" in result.stderr


def test_a_run_outlives_its_inputs(tone_yaml, tmp_path):
    from conftest import ROOT

    bank = tmp_path / "bank.yaml"
    shutil.copy(ROOT / "manifests" / "scenarios" / "en.yaml", bank)
    out = tmp_path / "out"
    assert run(tone_yaml(plan=SMALL | {"scenarios": str(bank)}), out).findings == []
    bank.unlink()
    assert verify(out) == []
    assert status(out).state == "finished"


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"transcribe": {"engine": ["tone"]}}, "transcribe.engine"),
        ({"plugins": [".x"]}, "plugins"),
        ({"executor": {"beam": ["--runner=Nope"]}}, "executor.beam"),
        ({"executor": {"deadline_s": 10**12}}, "executor.deadline_s"),
        ({"language": "zh", "speak_query": {"engine": "kokoro"}}, "language: speak_query cannot speak 'zh'"),
        ({"select": {"agree": "age"}}, "should be a list"),
    ],
)
def test_odd_values_are_refused_in_one_sentence(tone_yaml, tmp_path, changes, names):
    result = CliRunner().invoke(app, ["build", str(tone_yaml(**changes)), "--out", str(tmp_path / "out")])
    assert result.exit_code == 2, result.output
    assert names in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()
