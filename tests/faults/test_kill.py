"""kill -9 of everything at random moments, and of single workers: nothing lost, nothing twice, nothing torn."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from conftest import CHAOS, ECHAT, calls, tree
from killing import events, kill_all, spoken, start, workers

from manifests.run import load_run
from pipeline.build import build
from pipeline.status import status

pytestmark = pytest.mark.slow

KILLS = 5
RAY = {"kind": "ray", "deadline_s": 60}


def slow(cost: float) -> dict:
    speaker = {"engine": "chaos", "cost": cost}
    return {**CHAOS, "speak_query": speaker, "speak_reply": speaker}


def a_query(shards: Path) -> str:
    """The text of some query, that no other row has."""
    texts = []
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard) as archive:
            documents = [json.load(archive.extractfile(member)) for member in archive if member.name.endswith(".json")]
        texts += [document["turns"][0]["query"]["text"] for document in documents]
    return next(text for text in texts if texts.count(text) == 1)


def test_killing_everything_at_random_moments_costs_only_the_cells_in_flight(tone_yaml, tmp_path, chaos):
    calm = build(load_run(tone_yaml("calm.yaml", **CHAOS)), tmp_path / "calm.yaml", tmp_path / "calm", quiet=True)
    (chaos / "calls").unlink()
    file, out = tone_yaml(**slow(0.8), executor=RAY), tmp_path / "out"
    moments = random.Random(20)
    interrupted = 0
    for _ in range(KILLS):
        before = spoken(file, out)
        already = len(calls(chaos))
        driver = start(file, out)
        try:
            driver.wait(timeout=moments.uniform(5, 14))
        except subprocess.TimeoutExpired:
            kill_all(driver)
            interrupted += 1
        assert not before & set(calls(chaos)[already:]), "a committed cell ran again"
    assert interrupted >= 2
    assert status(out).state in ("stopped", "finished")
    before, already = spoken(file, out), len(calls(chaos))
    assert start(file, out).wait(timeout=200) == 0, (tmp_path / "log").read_text()
    assert not before & set(calls(chaos)[already:])
    assert tree(out / "shards" / "current") == tree(calm.shards)
    assert not list(out.glob("shards/building-*"))


def test_a_killed_worker_is_replaced_and_the_run_goes_on(tone_yaml, tmp_path, chaos):
    calm = build(load_run(tone_yaml("calm.yaml", **CHAOS)), tmp_path / "calm.yaml", tmp_path / "calm", quiet=True)
    (chaos / "calls").unlink()
    file, out = tone_yaml(**slow(0.3), executor=RAY), tmp_path / "out"
    driver = start(file, out)
    deadline = time.time() + 120
    while len(calls(chaos)) < 4 and time.time() < deadline:
        time.sleep(0.1)
    victims = workers(driver)
    assert victims, "no Ray worker was found"
    victims[0].send_signal(signal.SIGKILL)
    assert driver.wait(timeout=200) == 0, (tmp_path / "log").read_text()
    assert len(events(out, "worker_lost")) == 1
    assert tree(out / "shards" / "current") == tree(calm.shards)


@pytest.mark.parametrize("kind", ["die", "hang"])
def test_a_row_that_kills_its_worker_is_quarantined_alone(tone_yaml, tmp_path, chaos, kind):
    quotas = {"emotion": 6, "neutral": 3}
    config = {"plan": {"quotas": quotas}, "executor": {"kind": "ray", "deadline_s": 4}}
    calm_file = tone_yaml("calm.yaml", **CHAOS, plan={"quotas": quotas})
    calm = build(load_run(calm_file), calm_file, tmp_path / "calm", quiet=True)
    file, out = tone_yaml(**CHAOS, **config), tmp_path / "out"
    (chaos / "fault").write_text(json.dumps({"kind": kind, "text": a_query(calm.shards)}))
    assert start(file, out).wait(timeout=280) == 0, (tmp_path / "log").read_text()
    quarantined = events(out, "row_quarantined")
    assert len(quarantined) == 1
    assert {event["type"] for event in quarantined} == {"WorkerDied"}
    assert len(events(out, "worker_lost")) == 2
    if kind == "hang":
        assert any("speak" in path.read_text() for path in (out / "logs").glob("stacks-*.txt"))
    (chaos / "fault").unlink()
    replayed = subprocess.run([ECHAT, "replay", out], capture_output=True, text=True, timeout=200, check=False)
    assert replayed.returncode == 0, replayed.stderr
    assert tree(out / "shards" / "current") == tree(calm.shards)
