"""`echat train` and `echat generate` as a user runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import soundfile
import yaml
from conftest import echat, echat_process
from tiny import tone_flac

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve tones by four speakers: the higher ones are happy women's."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = ["file,speaker,gender,emotion,text"]
    for n in range(12):
        high = n % 2
        (folder / f"{n}.flac").write_bytes(tone_flac(200 + 400 * high + 10 * n, 1.0))
        rows.append(f"{n}.flac,s{n % 4},{('male', 'female')[high]},{('sad', 'happy')[high]},tone {n}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def recipe(corpus: Path, path: Path, **changes: object) -> Path:
    document = {
        "name": "tones", "data": {"corpus": str(corpus), "hold_out": ["s3"]}, "threads": 1,
        "stages": [{"name": "hear", "steps": 12, "tasks": {"understand": 1}, "warmup": 2, "lr": 0.002}],
        "batch": {"tokens": 700}, "checkpoint": {"every": 6},
    }  # fmt: skip
    path.write_text(yaml.safe_dump(document | changes))
    return path


@pytest.fixture(scope="module")
def trained(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training that is done."""
    folder = tmp_path_factory.mktemp("trained")
    done = echat("train", recipe(corpus, folder / "train.yaml"), "--out", folder / "out")
    assert done.returncode == 0, done.stderr
    assert "trained 12 steps" in done.stdout
    assert "hear 12/12  loss" in done.stderr
    return folder / "out"


def test_training_leaves_metrics_and_goes_on_where_it_was(corpus: Path, trained: Path) -> None:
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["step"] == 12
    assert "validation_loss" in lines[-1]
    again = echat("train", trained.parent / "train.yaml", "--out", trained, "--json")
    assert json.loads(again.stdout)["finished"] is True
    assert len((trained / "metrics.jsonl").read_text().splitlines()) == len(lines), "nothing was trained again"
    assert list((trained / "tensorboard").iterdir())


def test_a_checkpoint_answers_recordings_and_texts(corpus: Path, trained: Path, tmp_path: Path) -> None:
    wav = tmp_path / "reply.wav"
    checkpoint = ("--checkpoint", trained / "current")
    spoken = echat("generate", *checkpoint, "--task", "tts", "--text", "hello", "--out", wav, "--json")
    assert spoken.returncode == 0, spoken.stderr
    answer = json.loads(spoken.stdout)
    samples, rate = soundfile.read(wav)
    assert len(samples) / rate == pytest.approx(len(answer["speech"]) / 25)
    heard = echat("generate", *checkpoint, "--task", "understand", "--audio", corpus / "1.flac")
    assert heard.returncode == 0, heard.stderr
    assert heard.stdout.startswith("text: ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--task", "think"), "give --audio"),
        (("--task", "tts"), "give --text"),
        (("--task", "sing", "--text", "x"), "use one of understand"),
        (("--task", "think", "--audio", "missing.wav"), "missing.wav: cannot be read"),
        (("--task", "t2t", "--text", "hi", "--out", "x.wav"), "the reply has no speech"),
    ],
)
def test_wrong_questions_are_refused_in_one_sentence(trained: Path, arguments: tuple[str, ...], message: str) -> None:
    done = echat("generate", "--checkpoint", trained / "current", *arguments)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_two_workers_under_ray_train(corpus: Path, tmp_path: Path) -> None:
    path = recipe(corpus, tmp_path / "train.yaml", workers={"count": 2})
    done = echat_process("train", path, "--out", tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "checkpoint": str((tmp_path / "out" / "step-000012").resolve()), "steps": 12, "finished": True,
    }  # fmt: skip
