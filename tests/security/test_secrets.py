"""Secrets: never in a run folder, a log, a message or a card."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from conftest import CHAOS, ECHAT
from typer.testing import CliRunner

from manifests.masking import masked
from pipeline.cli import app
from pipeline.publish.upload import shown

SECRET = "hunter2-0123456789"


@pytest.mark.parametrize(
    ("target", "safe"),
    [
        (f"s3://key:{SECRET}@bucket/set", "s3://bucket/set"),
        (f"ftp://me:{SECRET}@host:21/set", "ftp://host:21/set"),
        (f"ftp://me:a@{SECRET}@host/set", "ftp://host/set"),
        (f"ftp://me:a/{SECRET}@host/set", "ftp://host/set"),
        (f"https://{SECRET}@host/set", "https://host/set"),
        (f"s3://bucket/set?X-Amz-Signature={SECRET}", "s3://bucket/set"),
        (f"simplecache::ftp://me:{SECRET}@host/set", "simplecache::ftp://host/set"),
        (f"cannot open ftp://me:{SECRET}@host/set now", "cannot open ftp://host/set now"),
        ("s3://bucket/a@b", "s3://bucket/a@b"),
        ("http://host:8000/a@b", "http://host:8000/a@b"),
    ],
)
def test_credentials_in_urls_are_hidden(target: str, safe: str) -> None:
    assert shown(target) == safe


def test_a_target_with_credentials_is_shown_without_them_by_every_command(tmp_path: Path) -> None:
    target = f"memory://me:{SECRET}@host/set"
    for command in (["verify", target], ["verify", f"ftp://me:{SECRET}@127.0.0.1:1/set"]):
        done = subprocess.run([ECHAT, *command], capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode in (1, 2)
        assert SECRET not in done.stdout + done.stderr


def test_secret_values_are_masked_and_words_are_not() -> None:
    variables = {
        "MY_KEY": SECRET,
        "LONG_TOKEN": f"{SECRET}-more",
        "db_password": "p" * 8,
        "A_SECRET": "short",
        "HOME": "x" * 9,
    }
    text = f"{SECRET}-more {SECRET}, {'p' * 8} short {'x' * 9}"
    assert masked(text, variables) == f"*** ***, *** short {'x' * 9}"


@pytest.mark.parametrize(("fault", "words"), [("raise", "this row fails"), ("tell", "cannot log in with ***")])
def test_no_variable_of_the_environment_is_written_anywhere(
    tone_yaml, tmp_path, chaos, monkeypatch, fault, words
) -> None:
    """A build whose engine fails with a traceback, with credentials in the environment, as users have them.

    Also when the engine itself quotes one: nothing but the engine is to blame, but the record is ours.
    """
    for name in ("HF_TOKEN", "AWS_SECRET_ACCESS_KEY", "OPENAI_API_KEY", "MY_KEY"):
        monkeypatch.setenv(name, f"{SECRET}-{name}")
    (chaos / "fault").write_text(f'{{"kind": "{fault}", "one_in": 3}}')
    file, out = tone_yaml(**CHAOS, plan={"quotas": {"neutral": 4, "gender": 4}}), tmp_path / "out"
    done = CliRunner().invoke(app, ["build", str(file), "--out", str(out)])
    assert done.exit_code == 0, done.output
    report = CliRunner().invoke(app, ["report", str(out)])
    assert report.exit_code == 0, report.output
    assert f"chaos: {words}" in (out / "events.jsonl").read_text()
    files = [path for path in out.rglob("*") if path.is_file()]
    assert len(files) > 20
    assert not [path for path in files if SECRET.encode() in path.read_bytes()]
    assert SECRET not in done.output + report.output
