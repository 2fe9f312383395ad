"""`echat inspect`: filters, histograms, listening."""

from __future__ import annotations

import json
import os

import pytest
import soundfile
from conftest import echat, echat_process
from tone_runs import build_tones

from manifests.errors import UserError
from pipeline.inspect import Condition, find_document, find_documents, find_shards, histogram, play, write_wavs


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inspect")
    build_tones(folder)
    return folder / "out"


def emotions(run, *where):
    found = find_documents(run, [Condition.parse(text) for text in where])
    return [document["turns"][0]["query"]["requested"]["emotion"] for _, document in found]


def test_a_filter_leaves_what_it_says(run):
    every = emotions(run)
    assert len(every) == 8
    assert emotions(run, "emotion=sad") == ["sad"] * every.count("sad") != []
    assert emotions(run, "emotion != sad") == [emotion for emotion in every if emotion != "sad"]
    assert emotions(run, "task=emotion", "emotion=sad") == emotions(run, "emotion=sad")
    assert emotions(run, "duration>0", "query_wer<=0") == every
    assert emotions(run, "duration>1e9") == []


def test_conditions_hold_for_one_turn_and_not_for_two_together():
    row = {"emotion": "sad", "turn": 1.0}
    assert Condition.parse("turn>=1").holds(row) and not Condition.parse("turn>1").holds(row)
    assert Condition.parse("query_text= a = b ") == Condition("query_text", "=", "a = b")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("emotion", "is no condition; write column=value"),
        ("mood=sad", "'mood' is no column; use one of id, "),
        ("query_wer>high", "query_wer is a number, and 'high' is none"),
    ],
)
def test_a_wrong_condition_is_said_in_a_sentence(text, words):
    with pytest.raises(UserError) as error:
        Condition.parse(text)
    assert words in str(error.value)


def test_the_command_filters_its_table_and_says_when_nothing_is_left(run):
    result = echat("inspect", run, "--where", "emotion=sad", "--json")
    documents = json.loads(result.stdout)
    assert documents and all(item["turns"][0]["query"]["requested"]["emotion"] == "sad" for item in documents)
    result = echat("inspect", run, "--where", "emotion=bored")
    assert (result.returncode, result.stdout) == (0, f"{run}: no dialogue is like this\n")
    result = echat("inspect", run, "--histogram", "query_text")
    assert result.returncode == 2
    assert "query_text is no number; use one of turn, " in result.stderr


def test_a_histogram_counts_every_turn_once(run):
    lines = list(histogram(run, "duration"))
    counts = [int(line.split()[1].replace(",", "")) for line in lines[:-2]]
    assert sum(counts) == 8
    assert "duration: 8 turns" in lines[-1]
    sad = len(emotions(run, "emotion=sad"))
    assert f"query_seconds: {sad} turns" in list(histogram(run, "query_seconds", [Condition.parse("emotion=sad")]))[-1]
    assert list(histogram(run, "query_mos")) == ["query_mos: no turn has a value; 8 unmeasured"]


def test_a_value_that_all_share_is_one_bar(run):
    lines = list(histogram(run, "num_turns"))
    assert lines[0].split()[1] == "8" and len(lines) == 3


def test_wavs_hold_what_the_shard_holds(run, tmp_path):
    shard, document = find_document(run, "")
    paths = write_wavs(shard, document, tmp_path / "wavs")
    assert [path.name for path in paths] == ["0-query.wav", "0-reply.wav"]
    for path, role in zip(paths, ("query", "reply"), strict=True):
        about = soundfile.info(path)
        assert about.duration == pytest.approx(document["turns"][0][role]["seconds"], abs=1e-3)
        assert about.samplerate == document["turns"][0][role]["sample_rate"]


def player(folder, name, code):
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "{name} $@" >> {folder}/log\necho broken >&2\nexit {code}\n')
    path.chmod(0o755)


def test_the_first_player_found_plays_query_and_reply(run, tmp_path):
    player(tmp_path / "bin", "play", 0)
    player(tmp_path / "bin", "aplay", 0)
    env = {**os.environ, "PATH": str(tmp_path / "bin"), "TMPDIR": str(tmp_path)}
    _, document = find_document(run, "")
    result = echat_process("inspect", run, "--play", document["id"][:8], env=env)
    assert result.returncode == 0, result.stderr
    log = (tmp_path / "bin" / "log").read_text().splitlines()
    assert [line.split()[0] for line in log] == ["aplay", "aplay"]
    assert [line.rsplit("/", 1)[1] for line in log] == ["0-query.wav", "0-reply.wav"]
    assert not list(tmp_path.glob("echat-*")), "what was played is cleared away"
    assert document["turns"][0]["query"]["text"] in result.stdout


def test_without_a_player_the_wavs_stay_and_the_message_says_what_to_install(run, tmp_path):
    env = {**os.environ, "PATH": str(tmp_path), "TMPDIR": str(tmp_path)}
    result = echat_process("inspect", run, "--play", find_document(run, "")[1]["id"], env=env)
    assert result.returncode == 0, result.stderr
    assert "no player is installed (apt-get install ffmpeg" in result.stdout
    (folder,) = tmp_path.glob("echat-*")
    assert str(folder) in result.stdout and len(list(folder.glob("*.wav"))) == 2


def test_a_player_that_fails_is_failed_work(tmp_path, monkeypatch):
    player(tmp_path / "bin", "ffplay", 1)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(RuntimeError, match=r"ffplay cannot play .*x\.wav \(broken\)"):
        play([tmp_path / "x.wav"])


def test_options_that_exclude_each_other_are_refused(run, tmp_path):
    for options in (("--id", "a", "--play", "b"), ("--wavs", tmp_path), ("--histogram", "duration", "--id", "a")):
        result = echat("inspect", run, *options)
        assert result.returncode == 2 and "exclude each other" in result.stderr


def test_a_folder_of_shards_and_a_tar_are_looked_into_too(run):
    folder = run / "shards" / "current"
    shards = find_shards(folder)
    assert len(list(find_documents(folder))) == 8
    assert 0 < len(list(find_documents(shards[0]))) < 8
