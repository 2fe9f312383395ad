"""`echat evaluate` on a run of tones and a model of random weights: records, summary, judge, and what is refused."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from chat_server import ChatServer, Handler, serving
from corpora import people, take_in
from tiny import SHORT, tiny_config, tone_flac
from typer.testing import CliRunner

from manifests.run import load_run
from manifests.schema import PLAN
from manifests.voices import VoiceTable
from model.checkpoint import Checkpoints, Progress
from model.echat import EChat
from model.setup import weights_of
from pipeline.cli import app
from pipeline.dag import build_dag
from pipeline.real import RealQueries

KEY = "a-key-that-opens-doors"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shards of the tone run."""
    folder = tmp_path_factory.mktemp("tone") / "run"
    done = CliRunner().invoke(app, ["build", "tone", "--out", str(folder), "--quiet"])
    assert done.exit_code == 0, done.output
    return folder


@pytest.fixture(scope="module")
def checkpoint(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that says it was trained on the run's split train."""
    folder = tmp_path_factory.mktemp("trained")
    torch.manual_seed(0)
    model = EChat(replace(tiny_config(), codebook_size=258))
    data = {"shards": str(run / "shards" / "current"), "split": "train", "corpus": None, "hold_out": []}
    saver = Checkpoints(folder, 1)
    saver.save(Progress(), weights_of(model), {
        "recipe": {"data": data}, "config": model.config.to_dict(), "tokenizer": None}, {})  # fmt: skip
    saver.wait()
    return folder / "current"


def evaluate(*arguments: object, code: int = 0) -> str:
    result = CliRunner().invoke(app, ["evaluate", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result.output if code else result.stdout


@pytest.fixture(scope="module", autouse=True)
def short() -> Iterator[None]:
    """Replies of random weights end soon."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("model.evaluate.replies.Limits", SHORT)
        yield


@pytest.fixture(scope="module")
def done(run: Path, checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """An evaluation of two items of the split test, with replies and baselines."""
    out = tmp_path_factory.mktemp("evaluated") / "out"
    return out, evaluate(checkpoint, "--shards", run, "--limit", 2, "--out", out)


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_records_summary_and_tables(done: tuple[Path, str]) -> None:
    out, shown = done
    records, summary = lines(out / "items.jsonl"), json.loads((out / "summary.json").read_bytes())
    assert len(records) == summary["items"] == 2
    for record in records:
        assert {"item", "speaker", "source", "task", "labels", "said", "odds", "values", "reply"} == record.keys()
        assert record["source"] == "synthetic"
        assert record["item"].endswith(".0")
        assert {"age.correct", "think.gender", "reply.nll", "speech.sane"} <= record["values"].keys()
    metrics = summary["groups"][0]["metrics"]
    mean = sum(record["values"]["gender.correct"][0] for record in records) / 2
    assert metrics["gender.correct"]["value"] == mean
    assert metrics["gender.correct"]["baselines"].keys() == {"majority", "shuffled", "silence", "transcript"}
    assert summary["overlap"]["checked"]
    assert not summary["overlap"]["speakers"]
    for name in ("gender.uar", "transcript.wer", "NOT COMPARABLE", "none of these speakers"):
        assert name in shown


def test_the_same_again_does_nothing_and_another_begins_anew(
    done: tuple[Path, str], run: Path, checkpoint: Path
) -> None:
    out, shown = done
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl")}
    assert evaluate(checkpoint, "--shards", run, "--limit", 2, "--out", out) == shown
    assert {path.name: path.stat().st_mtime_ns for path in out.glob("*.jsonl")} == before
    (out / "silence.jsonl").unlink()  # as if it had been interrupted there
    assert evaluate(checkpoint, "--shards", run, "--limit", 2, "--out", out, "--quiet") == shown
    again = out.with_name("again")
    evaluate(checkpoint, "--shards", run, "--limit", 2, "--no-replies", "--no-baselines", "--out", again)
    assert "reply" not in lines(again / "items.jsonl")[0]
    evaluate(checkpoint, "--shards", run, "--limit", 1, "--no-replies", "--no-baselines", "--out", again)
    assert len(lines(again / "items.jsonl")) == 1


def test_a_layout_that_cannot_be_told_the_words_stands_beside_silence(
    run: Path, checkpoint: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    evaluate(checkpoint, "--shards", run, "--limit", 2, "--task", "s2s", "--out", out)
    assert ["reply" in lines(out / f"{given}.jsonl")[0] for given in ("items", "silence", "transcript")] == [
        True, True, False,
    ]  # fmt: skip
    metrics = json.loads((out / "summary.json").read_bytes())["groups"][0]["metrics"]
    assert metrics["reply.nll"]["baselines"].keys() == {"silence"}
    (out / "judge-audio.jsonl").write_text("{}\n")  # of these replies
    evaluate(checkpoint, "--shards", run, "--limit", 1, "--no-replies", "--no-baselines", "--out", out)
    assert not (out / "judge-audio.jsonl").exists()


def test_a_corpus_of_some_speakers(checkpoint: Path, tmp_path: Path) -> None:
    rows = ["file,speaker,gender,emotion,text"]
    for n in range(6):
        (tmp_path / f"{n}.flac").write_bytes(tone_flac(200 + 100 * n))
        rows.append(f"{n}.flac,s{n % 3},{('male', 'female')[n % 2]},sad,tone {n}")
    (tmp_path / "labels.csv").write_text("\n".join(rows) + "\n")
    out = tmp_path / "out"
    shown = evaluate(checkpoint, "--corpus", tmp_path, "--speakers", "s0,s2", "--out", out, "--json", "--quiet")
    assert json.loads(shown)["items"] == 4
    assert {record["speaker"] for record in lines(out / "items.jsonl")} == {"s0", "s2"}
    assert {record["source"] for record in lines(out / "items.jsonl")} == {"real"}
    wrong = evaluate(checkpoint, "--corpus", tmp_path, "--speakers", "s0,x", "--out", out, code=2)
    assert "has no speaker 'x'" in wrong


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--split", "train"), "trained on"),
        (("--split", "dev"), "has no split 'dev'"),
        (("--task", "tts"), "--task tts: use one of"),
        (("--families", "age,mood"), "use some of age"),
        (("--suite", "echat-eval"), "name one of --shards"),
        (("--speakers", "a"), "--speakers: chooses"),
        (("--judge", "missing.yaml"), "missing.yaml: cannot be read"),
    ],
)
def test_wrong_input_is_one_sentence(
    run: Path, checkpoint: Path, tmp_path: Path, arguments: tuple[str, ...], sentence: str
) -> None:
    shown = evaluate(checkpoint, "--shards", run, "--out", tmp_path / "out", *arguments, code=2)
    assert sentence in shown
    assert not (tmp_path / "out").exists()


def test_a_suite_that_is_not_built_says_how(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert "run echat build echat_eval" in evaluate(checkpoint, "--suite", "echat-eval", "--out", "out", code=2)


def test_weights_that_are_no_numbers_are_refused(run: Path, checkpoint: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.mkdir()
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    weights["speech_head.bias"][:] = float("nan")
    weights["llm.model.norm.weight"][:] = float("nan")
    save_file(weights, broken / "model.safetensors")
    (broken / "model.json").write_bytes((checkpoint / "model.json").read_bytes())
    shown = evaluate(broken, "--shards", run, "--no-replies", "--out", tmp_path / "out", code=1)
    assert "is no number" in shown
    assert not (tmp_path / "out" / "items.jsonl").exists()


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with serving() as found:
        yield found


def judge_yaml(path: Path, server: ChatServer, **more: Any) -> Path:
    keys = {"base_url": server.url, "model": "stub", "key_env": "ECHAT_TEST_KEY", "backoff_s": 0.01, "price_out": 1.0}
    path.write_text(yaml.safe_dump(keys | more))
    return path


def spoken(out: Path) -> None:
    """Let the random model's replies say something that can be judged."""
    for name in ("items.jsonl", "transcript.jsonl"):
        records = lines(out / name)
        for number, record in enumerate(records):
            record["reply"]["text"] = f"Reply {number} of {name}."
        (out / name).write_text("".join(json.dumps(record) + "\n" for record in records))


def test_a_judge_scores_counts_and_asks_nothing_twice(
    done: tuple[Path, str], run: Path, checkpoint: Path, server: ChatServer, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.setenv("ECHAT_TEST_KEY", KEY)
    out, _ = done
    spoken(out)
    arguments = (checkpoint, "--shards", run, "--limit", 2, "--out", out, "--judge")
    judge = judge_yaml(tmp_path / "judge.yaml", server)

    def garbage(handler: Handler, request: dict[str, Any], what: str) -> bool:
        if "Grade the style" not in request["messages"][1]["content"]:
            return False
        handler.answer("I would rather not.")
        return True

    server.fault = garbage
    shown = evaluate(*arguments, judge)
    summary = json.loads((out / "summary.json").read_bytes())
    told = summary["judge"]
    assert (told["scored"], told["unreadable"], told["refused"]) == (4, 4, 0)
    assert told["served"] == ["stub-1 fp"]
    assert told["spent"]["asked"] == 4 + 8, "an unreadable answer is asked for once more"
    assert told["spent"]["cost"] > 0
    assert len(told["prompts"]["en"]) == 16
    scores = lines(out / "judge-audio.jsonl")
    assert scores[0]["judge"]["style"]["answer"] == "I would rather not."
    content = summary["groups"][0]["metrics"]["judge.content"]
    assert content["value"] == sum(25 * (score["judge"]["content"]["score"] - 1) for score in scores) / 2
    assert "transcript" in content["baselines"]
    assert "judge.style" not in summary["groups"][0]["metrics"]
    assert "4 unreadable" in shown
    asked = len(server.requests)
    evaluate(*arguments, judge)
    assert len(server.requests) == asked
    server.fault = None
    evaluate(*arguments, judge_yaml(tmp_path / "judge2.yaml", server, model_revision="2"))
    assert json.loads((out / "summary.json").read_bytes())["groups"][0]["metrics"]["judge.style"]["items"] == 2
    said = "".join(path.read_text() for path in out.rglob("*.json*") if path.is_file())
    assert KEY not in said + shown
    assert all(headers["authorization"] == f"Bearer {KEY}" for headers in server.headers)


def test_wrong_judges_are_told_before_any_work(
    run: Path, checkpoint: Path, server: ChatServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ECHAT_TEST_KEY", raising=False)
    arguments = (checkpoint, "--shards", run, "--out", tmp_path / "out", "--judge")
    assert "ECHAT_TEST_KEY is not set" in evaluate(*arguments, judge_yaml(tmp_path / "a.yaml", server), code=2)
    monkeypatch.setenv("ECHAT_TEST_KEY", KEY)
    odd = evaluate(*arguments, judge_yaml(tmp_path / "b.yaml", server, temperature=1), code=2)
    assert "b.yaml: temperature: is not a key of a judge" in odd
    assert not server.requests
    assert not (tmp_path / "out").exists()


def planned(name: str) -> tuple[list[dict[str, Any]], Any]:
    """The plan of a shipped run and its scenarios."""
    planner = build_dag(load_run(Path(name)), Path(name)).planner
    names = ["id", "turn", *PLAN.names]
    rows = [dict(zip(names, row, strict=True)) for block in planner.blocks() for row in planner.rows(block)]
    return rows, planner.bank


def test_the_small_run_shares_no_voice_and_no_scenario_with_what_judges_models_of_it() -> None:
    (trains, _), (judges, _) = planned("small"), planned("echat_eval_small")
    assert len(trains) == 240
    for key in ("query_speaker", "scenario"):
        assert not {row[key] for row in trains} & {row[key] for row in judges}, key


def test_echat_eval_takes_no_voice_or_scenario_that_a_run_trains_on() -> None:
    for name in ("echat_eval", "echat_eval_small"):
        table, bank = planned(name)
        assert len(table) == {"echat_eval": 1400, "echat_eval_small": 100}[name]
        homes = {voice.speaker: voice.split for voice in VoiceTable.load("kokoro").voices if voice.role == "query"}
        assert {row["split"] for row in table} == {"test"}
        assert {homes[row["query_speaker"]] for row in table} == {"test"}
        assert {row["scenario"] for row in table} <= {scenario.id for scenario in bank.of_split("test")}


def test_real_speakers_of_a_test_run_are_those_that_no_run_trains_on(tmp_path: Path) -> None:
    take_in("csv", people(tmp_path / "src", 40, ("neutral",)), tmp_path / "c", name="c")
    usual = {"train": 0.8, "validation": 0.1, "test": 0.1}
    trains = RealQueries((tmp_path / "c",), 0.3, splits=usual, file="a")
    tests = RealQueries((tmp_path / "c",), 0.3, splits={"test": 1.0}, file="b", drawn=usual)
    everybody = {item.speaker: item.split for item in trains.recordings}
    taken = {item.speaker for item in tests.recordings}
    assert taken == {speaker for speaker, split in everybody.items() if split == "test"}
    assert 0 < len(taken) < 20
    assert tests.identity() != RealQueries((tmp_path / "c",), 0.3, splits={"test": 1.0}, file="b").identity()


def test_threads_of_the_command_do_not_spin(checkpoint: Path) -> None:
    """Spinning, two evaluations side by side on two cores took nearly twice as long."""
    plain = {name: value for name, value in os.environ.items() if name != "OMP_WAIT_POLICY"}  # as `make test` sets it
    shown = subprocess.run(
        [sys.executable, "-m", "pipeline.cli", "evaluate", str(checkpoint), "--shards", "nowhere", "--out", "nowhere"],
        env={**plain, "OMP_DISPLAY_ENV": "VERBOSE"}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    if "GOMP_SPINCOUNT" not in shown.stderr:
        pytest.skip("torch uses another OpenMP here")
    assert "GOMP_SPINCOUNT = '0'" in shown.stderr
