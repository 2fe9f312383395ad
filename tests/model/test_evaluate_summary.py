"""Sums of an evaluation: by hand, against brute force, and the same every time."""

import itertools
from typing import Any

import numpy as np
import pytest

from model.evaluate.summary import interval, summarise


def record(item: int, truth: str, said: str, source: str = "synthetic", task: str = "emotion", **values: Any):
    return {
        "item": str(item), "speaker": "s", "source": source, "task": task, "labels": {"emotion": truth},
        "said": {"emotion": said}, "odds": {},
        "values": {"emotion.correct": [float(truth == said), 1.0], "emotion.nll": [1.0, 1.0], **values},
    }  # fmt: skip


TRUTH = ["sad"] * 5 + ["happy"] * 2 + ["fear"]
SAID = ["sad", "sad", "sad", "happy", "angry", "happy", "sad", "fear"]
RECORDS = [record(n, *pair) for n, pair in enumerate(zip(TRUTH, SAID, strict=True))]


def test_accuracy_recall_and_baselines_by_hand() -> None:
    (whole,) = summarise(RECORDS, {})
    accuracy, recall = whole["metrics"]["emotion.correct"], whole["metrics"]["emotion.uar"]
    assert accuracy["value"] == 5 / 8
    assert recall["value"] == pytest.approx((3 / 5 + 1 / 2 + 1) / 3, abs=1e-6)
    assert recall["classes"] == 3
    assert accuracy["baselines"]["majority"] == 5 / 8
    assert recall["baselines"]["majority"] == pytest.approx(1 / 3, abs=1e-6)
    shares = np.array([5, 2, 1]) / 8
    majority = whole["metrics"]["emotion.nll"]["baselines"]["majority"]
    assert majority == pytest.approx(-(shares * np.log(shares)).sum(), abs=1e-6)
    assert whole["confusion"]["emotion"]["sad"] == {"angry": 1, "happy": 1, "sad": 3}
    assert accuracy["low"] < 5 / 8 < accuracy["high"]


def test_shuffled_is_the_mean_over_all_shuffles() -> None:
    truth, said = TRUTH[2:], SAID[2:]
    hits, recalls = [], []
    for shuffled in itertools.permutations(truth):
        right = np.array([a == b for a, b in zip(shuffled, said, strict=True)])
        hits.append(right.mean())
        recalls.append(np.mean([right[np.array(shuffled) == name].mean() for name in set(truth)]))
    (whole,) = summarise([record(n, *pair) for n, pair in enumerate(zip(truth, said, strict=True))], {})
    found = whole["metrics"]
    assert found["emotion.correct"]["baselines"]["shuffled"] == pytest.approx(np.mean(hits), abs=1e-6)
    assert found["emotion.uar"]["baselines"]["shuffled"] == pytest.approx(np.mean(recalls), abs=1e-6)


def test_shuffled_replies_meet_cues_as_often_as_brute_force_says() -> None:
    cues = [{"emotion": "sad"}, {"emotion": "sad", "age": "old"}, {"gender": "male"}]
    told = [{"emotion": "sad", "age": "old"}, {"emotion": "sad", "age": "none"}, {"emotion": "fear", "gender": "male"}]
    records = []
    for number, (mine, said) in enumerate(zip(cues, told, strict=True)):
        met = sum(said.get(family) == value for family, value in mine.items())
        made = record(number, "sad", "sad", **{"reply.addresses_cue": [met / len(mine), float(len(mine))]})
        planned = {"cues": mine, "emotion": "sorry"}
        records.append({**made, "reply": {"planned": planned, "addresses": said, "emotion": "sorry"}})
    shares = [
        sum(said.get(f) == v for mine, said in zip(cues, order, strict=True) for f, v in mine.items()) / 4
        for order in itertools.permutations(told)
    ]
    (whole,) = summarise(records, {})
    assert whole["metrics"]["reply.addresses_cue"]["value"] == pytest.approx(3 / 4)
    assert whole["metrics"]["reply.addresses_cue"]["baselines"]["shuffled"] == pytest.approx(np.mean(shares), abs=1e-6)


def test_weights_count_and_gains_are_paired() -> None:
    mine = [record(n, "sad", "sad", **{"transcript.wer": [n / 4, 1.0 + n]}) for n in range(4)]
    worse = [record(n, "sad", "sad", **{"transcript.wer": [n / 4 + 0.5, 1.0 + n]}) for n in reversed(range(4))]
    (whole,) = summarise(mine, {"silence": worse})
    wer = whole["metrics"]["transcript.wer"]
    assert wer["value"] == pytest.approx((1 / 4 * 2 + 2 / 4 * 3 + 3 / 4 * 4) / 10)
    assert wer["weight"] == 10
    assert wer["baselines"]["silence"] == pytest.approx(wer["value"] + 0.5)
    assert wer["gain"]["silence"] == [-0.5, -0.5, -0.5], "the same difference on every item has no width"


def test_a_baseline_that_lacks_an_item_is_compared_on_the_others() -> None:
    mine = [record(n, "sad", "sad", **{"judge.style": [25.0 * n, 1.0]}) for n in range(4)]
    other = [record(n, "sad", "sad", **({"judge.style": [0.0, 1.0]} if n != 3 else {})) for n in range(4)]
    (whole,) = summarise(mine, {"transcript": other})
    style = whole["metrics"]["judge.style"]
    assert style["value"] == 37.5
    assert style["gain"]["transcript"][0] == 25.0 and style["baselines"]["transcript"] == 0.0
    assert style["unpaired"] == {"transcript": 1}
    assert "unpaired" not in whole["metrics"]["emotion.correct"]


def test_groups_are_by_source_and_task_and_tell_something() -> None:
    records = [record(0, "sad", "sad", "real", "emotion"), record(1, "sad", "fear", "synthetic", "none")]
    groups = summarise(records, {})
    assert [group["group"] for group in groups] == ["all", "source real", "task emotion", "source synthetic"]
    assert [group["metrics"]["emotion.correct"]["value"] for group in groups] == [0.5, 1, 1, 0]


def test_intervals_cover_and_repeat() -> None:
    rng = np.random.default_rng(1)
    covered = 0
    for _ in range(200):
        values = rng.random(60) < 0.7
        low, high = interval(lambda counts, v=values: counts @ v / counts.sum(-1), 60, 300)
        covered += low <= 0.7 <= high
    assert 0.88 <= covered / 200 <= 0.99
    one, other = (interval(lambda counts: counts.max(-1), 9) for _ in range(2))
    assert one == other
