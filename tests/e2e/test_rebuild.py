"""`echat rebuild --check`: a dataset is what its manifest makes, and what was changed in it is found."""

from __future__ import annotations

import io
import json
import shutil
import tarfile

import numpy as np
import pytest
from chat_server import serving
from conftest import echat, tree
from corpora import people, take_in
from tone_runs import build_tones

from manifests.errors import UserError
from pipeline.audio import decode_flac, encode_flac
from pipeline.publish.release import Terms, make_release
from pipeline.rebuild import check_rebuild, differences
from pipeline.verify import verify

TERMS = Terms("CC-BY-4.0", anyway=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("rebuild")
    build_tones(folder)
    return folder / "out"


@pytest.fixture(scope="module")
def release(run, tmp_path_factory):
    """A copy as somebody else has it, without the run."""
    return shutil.copytree(make_release(run, TERMS), tmp_path_factory.mktemp("elsewhere") / "set")


def changed(folder, tmp_path, change):
    """A copy of a folder of shards whose first dialogue's members `change` rewrites; its id."""
    copy = shutil.copytree(folder, tmp_path / "changed")
    path = sorted(copy.glob("*.tar"))[0]
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member).read()) for member in archive]
    key = members[0][0].name.split(".")[0]
    path.unlink()
    with tarfile.open(path, "w") as archive:
        for member, data in members:
            if member.name.startswith(f"{key}."):
                data = change(member.name.split(".", 1)[1], data)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return copy, key


def test_a_run_and_a_release_are_what_their_manifest_makes(run, release):
    before = tree(release)
    for folder in (run, release):
        done = check_rebuild(folder, 8, 0, quiet=True)
        assert (done.rows, done.made, done.waveforms, done.findings) == (8, 8, 16, ())
    assert tree(release) == before


def test_the_command_draws_by_its_seed_and_ends_well(release):
    result = echat("rebuild", "--check", release, "--sample", "2", "--seed", "5", "--json")
    assert result.returncode == 0, result.stderr
    document = json.loads(result.stdout)
    assert (document["made"], document["rows"], document["findings"]) == (2, 8, [])
    result = echat("rebuild", release)
    assert result.returncode == 2 and "add --check" in result.stderr


def test_a_changed_score_or_text_is_named_with_both_values(release, tmp_path):
    def change(name, data):
        if name != "json":
            return data
        document = json.loads(data)
        document["turns"][0]["query"]["wer"] = 0.25
        document["turns"][0]["reply"]["text"] = "Something else."
        return json.dumps(document).encode()

    copy, key = changed(release, tmp_path, change)
    result = echat("rebuild", "--check", copy, "-q")
    assert result.returncode == 1
    assert f"[{key}]: turns[0].query.wer is 0.25, made again 0.0" in result.stdout
    assert 'turns[0].reply.text is "Something else.", made again "' in result.stdout
    assert "2 differences" in result.stdout


def test_changed_sound_and_tokens_are_found_and_measured(release, tmp_path):
    def change(name, data):
        if name == "0.query.flac":
            samples, rate = decode_flac(data)
            return encode_flac(np.clip(samples * 1.01, -1, 1), rate)
        if name == "0.reply.flac":
            samples, rate = decode_flac(data)
            return encode_flac(samples[:-100], rate)
        if name == "0.reply_tokens.npy":
            stream = io.BytesIO()
            np.save(stream, np.load(io.BytesIO(data)) + 1)
            return stream.getvalue()
        return data

    copy, key = changed(release, tmp_path, change)
    found = [str(finding) for finding in check_rebuild(copy, 8, 0, quiet=True).findings]
    assert len(found) == 3 and all(f"[{key}]" in line for line in found)
    assert "another waveform than the one made again (the difference lies 40 dB below the speech)" in found[0]
    assert "made again" in found[1] and " s at " in found[1]
    assert "other tokens" in found[2]


def test_a_dialogue_that_the_manifest_does_not_plan_is_found(release, tmp_path):
    copy = shutil.copytree(release, tmp_path / "copy")
    text = (copy / "run.yaml").read_text()
    assert "seed: 1\n" in text
    (copy / "run.yaml").write_text(text.replace("seed: 1\n", "seed: 2\n"))
    done = check_rebuild(copy, 3, 0, quiet=True)
    assert done.made == 0
    assert [finding.problem for finding in done.findings] == ["is not what run.yaml and its inputs plan"] * 3


def test_engines_of_another_revision_are_said_once(release, tmp_path):
    copy = shutil.copytree(release, tmp_path / "copy")
    dataset = json.loads((copy / "dataset.json").read_text())
    dataset["engines"]["rate"] = ["level/0"]
    (copy / "dataset.json").write_text(json.dumps(dataset))
    (finding,) = check_rebuild(copy, 2, 0, quiet=True).findings
    assert finding.problem.startswith("rate was made by ['level/0'], and here runs ")


def test_a_copy_of_some_shards_is_checked_as_far_as_it_goes(release, tmp_path):
    copy = shutil.copytree(release, tmp_path / "copy")
    tars = sorted(copy.glob("*.tar"))
    tars[0].unlink()
    done = check_rebuild(copy, 8, 0, quiet=True)
    assert (done.absent, done.findings) == (1, ())
    assert 0 < done.made < 8
    for tar in tars[1:]:
        tar.unlink()
    with pytest.raises(UserError, match="none of the shards"):
        check_rebuild(copy, 8, 0)


def test_what_is_no_dataset_is_refused(release, tmp_path):
    copy = shutil.copytree(release, tmp_path / "copy")
    (copy / "run.yaml").unlink()
    for folder in (copy, tmp_path / "none"):
        with pytest.raises(UserError, match="neither a finished run folder nor a release"):
            check_rebuild(folder, 1, 0)


def test_a_release_holds_what_the_check_needs_and_no_path_of_its_machine(run, release):
    assert {"inputs/scenarios.yaml", "inputs/openers.yaml", "inputs/voices.csv"} <= set(tree(release))
    files = [path for path in release.rglob("*") if path.is_file()]
    assert not [path.name for path in files if str(run).encode() in path.read_bytes()]
    assert verify(release) == []


def test_texts_of_a_language_model_are_taken_from_the_shards(tmp_path, monkeypatch):
    secrets = {"key": "sk-0123456789abcdef", "user": "user-77aa31"}
    monkeypatch.setenv("MY_KEY", secrets["key"])
    asks = {"engine": "openai", "model": "stub", "backoff_s": 0.01, "cache": str(tmp_path / "answers")}
    with serving() as server:
        asks |= {"base_url": server.url, "key_env": "MY_KEY", "extra_body": {"user": secrets["user"]}}
        build_tones(tmp_path, script=asks, select={"text": {"judge_min": None}})
    release = make_release(tmp_path / "out", TERMS)  # and the server is gone
    done = check_rebuild(release, 8, 0, quiet=True)
    assert (done.made, done.taken, done.findings) == (8, ("script",), ())
    holding = [
        (path.name, word)
        for path in release.rglob("*")
        for word in (str(tmp_path), server.url, "MY_KEY", *secrets.values())
        if path.is_file() and word.encode() in path.read_bytes()
    ]
    assert holding == []


def test_recordings_are_checked_in_their_run_folder_and_not_in_a_release(tmp_path):
    take_in("csv", people(tmp_path / "src", 6), tmp_path / "mine", name="mine")
    quotas = {"quotas": {"emotion": 12, "neutral": 3}, "real": {"corpora": ["mine"]}}
    build_tones(tmp_path, plan=quotas, select={"speech_ratio_min": 0, "snr_db_min": -20})
    done = check_rebuild(tmp_path / "out", 20, 0, quiet=True)
    assert done.findings == () and done.made > 8
    release = make_release(tmp_path / "out", TERMS)
    assert not (release / "inputs" / "corpora").exists()
    with pytest.raises(UserError, match="recordings of corpora whose tables are not published"):
        check_rebuild(release, 1, 0)


def test_differences_name_the_path_of_what_is_missing_too():
    found = list(differences({"a": [1, {"b": 2}], "c": 1}, {"a": [1, {"b": 3}], "d": 1}))
    assert found == [("a[1].b", 2, 3), ("c", 1, None), ("d", None, 1)]
