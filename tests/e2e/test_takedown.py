"""Withdrawn dialogues leave the dataset, its sums still hold, and two releases can be told apart."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
from dataclasses import replace

import pytest
from conftest import echat, tree
from corpora import people, take_in
from tone_runs import build_tones

from manifests.errors import UserError
from manifests.voices import VoiceTable
from manifests.withdrawn import read_withdrawn, withdrawn_path
from pipeline.diff import ADDED, CHANGED, REMOVED, diff
from pipeline.export.base import Request
from pipeline.export.write import export
from pipeline.gc import collect
from pipeline.inspect import find_documents
from pipeline.lock import RunLock
from pipeline.publish.release import Terms, make_release
from pipeline.report.gather import gather
from pipeline.review.draw import draw
from pipeline.takedown import all_names, take_down
from pipeline.verify import open_finished, verify

WHY = "Jane Doe wrote on Monday"


def terms(version):
    return Terms("CC-BY-4.0", version, anyway=True)


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    """A run that was released, from which a speaker withdrew, and which was released again."""
    folder = tmp_path_factory.mktemp("takedown")
    run = folder / "out"
    build_tones(folder)
    first = shutil.copytree(make_release(run, terms("1.0.0")), folder / "first")
    documents = [document for _, document in find_documents(run)]
    speakers = [document["turns"][0]["query"]["speaker"] for document in documents]
    speaker = max(sorted(set(speakers)), key=speakers.count)
    gone = {document["id"] for document, name in zip(documents, speakers, strict=True) if name == speaker}
    before = tree(run / "stages")
    taken = take_down(run, speaker, "", WHY)
    stale = [str(finding) for finding in verify(run)]
    result = build_tones(folder)
    assert tree(run / "stages") == before, "nothing is spoken again"
    second = shutil.copytree(make_release(run, terms("1.1.0")), folder / "second")
    return {"folder": folder, "run": run, "first": first, "second": second, "speaker": speaker, "gone": gone,
            "taken": taken, "stale": stale, "result": result}  # fmt: skip


def test_a_withdrawn_speaker_is_rejected_and_the_sum_still_holds(told):
    gone, result = told["gone"], told["result"]
    assert told["taken"].dialogues == tuple(sorted(gone)) and told["taken"].new == len(gone) > 0
    assert len(told["stale"]) == 1 and "of an earlier state" in told["stale"][0]
    assert result.statistics["verdict"] == {"kept": 8 - len(gone), "rejected": len(gone)}
    assert result.statistics["reason"] == {"withdrawn": len(gone)}
    assert result.planned == 8 and result.findings == [] and verify(told["run"]) == []
    left = {document["id"] for _, document in find_documents(told["run"])}
    assert len(left) == 8 - len(gone) and not left & gone


def test_the_next_release_lists_ids_and_no_person(told):
    second = told["second"]
    assert verify(second) == []
    (item,) = json.loads((second / "withdrawn.json").read_text())["takedowns"]
    assert set(item) == {"date", "kind", "dialogues"} and item["kind"] == "speaker"
    assert set(item["dialogues"]) == told["gone"]
    assert not (second / "inputs" / "withdrawn.json").exists()
    assert not (told["first"] / "withdrawn.json").exists()
    for path in second.rglob("*"):
        assert not path.is_file() or WHY.encode() not in path.read_bytes()
    card = (second / "README.md").read_text()
    assert "## Withdrawn" in card and f"| {item['date']} | speaker | {len(told['gone'])} |" in card
    assert "## Withdrawn" not in (told["first"] / "README.md").read_text()
    assert json.loads((second / "release.json").read_text())["version"] == "1.1.0"


def test_the_difference_of_two_releases_is_what_was_withdrawn(told):
    found = diff(told["first"], told["second"])
    assert found.versions == ("1.0.0", "1.1.0")
    assert (found.total(REMOVED), found.total(ADDED), found.total(CHANGED)) == (len(told["gone"]), 0, 0)
    assert set(found.ids[REMOVED]) == told["gone"] and found.same == 8 - len(told["gone"])
    back = diff(told["second"], told["first"])
    assert back.total(ADDED) == len(told["gone"]) and back.counts.keys() == {
        (ADDED, task, label) for _, task, label in found.counts
    }
    result = echat("diff", told["first"], told["run"], "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert document["removed"] == sum(item["removed"] for item in document["labels"]) == len(told["gone"])
    assert document["versions"] == ["1.0.0", ""]


def test_what_changed_in_a_row_is_named(told, tmp_path):
    assert diff(told["first"], told["first"]).counts == {}
    copy = shutil.copytree(told["first"], tmp_path / "copy")
    tar = sorted(copy.glob("*.tar"))[0]
    _, document = next(find_documents(tar))
    text = document["turns"][0]["reply"]["text"]
    data, other = tar.read_bytes(), "X" + text[1:]
    assert data.count(text.encode()) >= 1
    tar.write_bytes(data.replace(f'"text":"{text}"'.encode(), f'"text":"{other}"'.encode()))
    found = diff(told["first"], copy)
    assert found.total(CHANGED) == 1 and found.ids[CHANGED] == [document["id"]] and found.parts == {"texts": 1}
    with tarfile.open(tar, "w") as archive:
        member = tarfile.TarInfo("a.json")
        member.size = 2
        archive.addfile(member, io.BytesIO(b"[]"))
    with pytest.raises(UserError, match="cannot be read as a shard"):
        diff(told["first"], copy)
    tar.write_bytes(b"no tar")
    with pytest.raises(UserError, match="cannot be read as a shard"):
        diff(told["first"], copy)
    with pytest.raises(UserError, match="is neither a release nor a finished run folder"):
        diff(told["first"], tmp_path)


def test_one_dialogue_can_be_withdrawn_and_the_rest_is_linked(told, tmp_path):
    folder = shutil.copytree(told["folder"], tmp_path / "copy", symlinks=True)
    run = folder / "out"
    name = next(find_documents(run))[1]["id"]
    result = echat("takedown", run, "--id", name[:10], "--reason", "asked to")
    assert result.returncode == 0, result.stderr
    assert "1 dialogues withdrawn, 1 of them for the first time" in result.stdout
    assert f"echat gc {run} --releases --yes" in result.stdout
    assert "make exports, reports and review sheets again" in " ".join(result.stdout.split())
    with pytest.raises(UserError, match="its build is not finished; run echat build again, then export"):
        export(Request(run, tmp_path / "export", "parquet"))
    shards = tree(run / "shards" / "current")
    build_tones(folder)
    after = tree(run / "shards" / "current")
    tars = [path for path in shards if path.endswith(".tar")]
    assert sum(shards[path] != after.get(path) for path in tars) == 1
    assert len(read_withdrawn(run).takedowns) == 2
    collect(run, sure=True, releases=True)
    assert verify(run) == []


def test_a_withdrawn_voice_is_neither_shown_nor_given_to_raters(told):
    run, select = told["run"], told["run"] / "select" / "current"
    grid = open_finished(run, "this test")
    found = gather(grid, select, 100, 100)
    shown = {pick.id for picks in (*found.cells.values(), *found.pairs.values()) for pick in picks}
    drawn, population = draw(grid, select, 100, 0)
    heard = {item.id for item in drawn}
    assert len(shown) == len(heard) == 8 - len(told["gone"]) and not (shown | heard) & told["gone"]
    assert population.other == len(told["gone"]) and sum(found.dialogues.values()) == 8
    assert len(found.texts) == len(shown)


def test_a_person_is_withdrawn_under_all_names_and_in_all_voices(tmp_path):
    people(tmp_path / "src", 2)
    shutil.copytree(tmp_path / "src", tmp_path / "again")
    table = tmp_path / "again" / "labels.csv"
    table.write_text(table.read_text().replace(",s0,", ",jane,").replace(",s1,", ",john,"))
    for source, name in (("src", "mine"), ("again", "theirs")):
        take_in("csv", tmp_path / source, tmp_path / name, name=name)
    real = {"quotas": {"emotion": 12, "neutral": 4}, "real": {"corpora": ["mine", "theirs"], "share": 0.5}}
    build_tones(tmp_path, plan=real, select={"speech_ratio_min": 0, "snr_db_min": -20})
    run = tmp_path / "out"
    hers = {
        document["id"]
        for _, document in find_documents(run)
        if document["turns"][0]["query"]["speaker"] in ("mine:s0", "theirs:jane")
    }
    taken = take_down(run, "theirs:jane", "", WHY)
    assert taken.names == ("mine:s0", "theirs:jane") and hers and hers <= set(taken.dialogues)
    assert read_withdrawn(run).takedowns[0].speakers == taken.names
    later = take_down(run, "t_reply_m", "", WHY)
    assert (later.dialogues, later.names) == ((), ("t_reply_m",)), "in no plan yet"
    assert ["speaker", "t_reply_m", read_withdrawn(run).takedowns[1].date] in read_withdrawn(run).identity()


def test_voices_made_of_a_voice_go_with_it():
    voices = VoiceTable.load("kokoro").voices
    names = all_names("af_bella", {}, voices)
    assert {"af_bella", "af_bella_alice", "af_bella-child-f"} <= set(names) and "bf_alice" not in names
    assert all_names("af_bella_alice", {}, voices) == ("af_bella_alice",)
    cloned = replace(voices[0], voice="bank-1", speaker="mine:s0", recipe="")
    assert all_names("theirs:jane", {"mine:s0": "mine:s0", "theirs:jane": "mine:s0"}, [cloned]) == (
        "bank-1", "mine:s0", "theirs:jane",
    )  # fmt: skip


def test_what_is_meant_must_be_there_and_a_build_is_not_disturbed(told, tmp_path):
    run = told["run"]
    before = withdrawn_path(run).read_bytes()
    for speaker, dialogue, reason, words in (
        ("nobody", "", "x", "has no speaker or voice 'nobody'; it has "),
        ("", "zzzz", "x", "no dialogue has an id that begins with 'zzzz'"),
        ("", "", "x", "name either --speaker or --id"),
        ("a", "b", "x", "name either --speaker or --id"),
        (told["speaker"], "", " ", "--reason: is empty"),
    ):
        with pytest.raises(UserError) as error:
            take_down(run, speaker, dialogue, reason)
        assert words in str(error.value)
    with RunLock(run):
        result = echat("takedown", run, "--speaker", told["speaker"], "--reason", "x")
    assert result.returncode == 2 and "is being built by" in result.stderr
    with pytest.raises(UserError, match="is not a run folder"):
        take_down(tmp_path / "none", "a", "", "x")
    assert withdrawn_path(run).read_bytes() == before


def test_a_damaged_list_stops_what_would_publish_the_withdrawn(told, tmp_path):
    run = shutil.copytree(told["run"], tmp_path / "run", symlinks=True)
    withdrawn_path(run).write_text('{"format": 1, "takedowns": [{}]}')
    for step in (lambda: make_release(run, terms("1.2.0")), lambda: verify(run)):
        with pytest.raises(UserError, match="or what was withdrawn would be published"):
            step()


def test_every_row_says_what_is_synthetic(told):
    import pyarrow.parquet as pq

    for _, document in find_documents(told["second"]):
        for turn in document["turns"]:
            assert turn["query"]["synthetic"] is turn["reply"]["synthetic"] is True
    table = pq.read_table(told["second"] / "index" / "train.parquet", columns=["query_synthetic", "reply_synthetic"])
    assert set(table["query_synthetic"].to_pylist()) == set(table["reply_synthetic"].to_pylist()) == {True}
    assert "All speech is synthetic." in (told["second"] / "README.md").read_text()
