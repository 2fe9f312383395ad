"""A run against a real server with a real model, SmolLM2-135M: it errs a lot, and that is the point.

By itself: `make test-llm`. It says what became of every row.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from smollm import serving_smollm, unpacked

from manifests.ledger import CellRecord, Ledger
from manifests.run import load_run
from pipeline.build import BuildResult, build
from pipeline.llm.spent import spent_line
from pipeline.verify import verify

pytestmark = pytest.mark.skipif(not os.environ.get("ECHAT_TEST_LLM"), reason="a real language model: make test-llm")

JUDGES = ("judge_neutral", "judge_plausible", "judge_relevant")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    model = unpacked(ROOT / "build" / "smollm2")
    with serving_smollm(model, tmp_path_factory.mktemp("serve") / "log.txt") as url:
        yield url


def say(text: str) -> None:
    sys.stdout.write(f"\n{text}")


def written(
    url: str, tone_yaml: Callable[..., Path], tmp_path: Path, prompts: str, emotions: dict[str, int]
) -> tuple[BuildResult, list[dict[str, Any]], CellRecord]:
    """A build, its rows of the stage `script` and their record; what holds of every build is asserted."""
    script = {
        "engine": "openai", "base_url": url, "model": str(ROOT / "build" / "smollm2"), "model_revision": "135M Q4_1",
        "prompts": str(ROOT / "tests" / "llm" / prompts), "max_tokens": 48, "concurrency": 2, "timeout_s": 600,
        "natural_think": False, "price_in": 0.1, "price_out": 0.2,
    }  # fmt: skip
    plan = {"quotas": {"emotion": emotions}, "contrastive": 0.0, "splits": {"train": 1.0}}
    file, out = tone_yaml(script=script, plan=plan | {"part_rows": 8}), tmp_path / "out"
    result = build(load_run(file), file, out, quiet=True)
    spent = result.asked_llm
    say(spent_line(spent))
    say(f"verdicts {result.statistics['verdict']}, reasons {result.statistics['reason']}")
    verdicts = result.statistics["verdict"]
    assert sum(verdicts.values()) == result.planned == sum(emotions.values())
    assert verify(out) == [] or not verdicts.get("kept")
    assert spent["asked"] > 0
    assert spent["unmetered"] == 0, "the server counts tokens"
    assert spent["cost"] == pytest.approx(
        (0.1 * spent["prompt_tokens"] + 0.2 * spent["completion_tokens"]) / 1e6, abs=1e-5
    )
    ledger = Ledger(out)
    [record] = [record for part in ledger.parts("script") for record in ledger.history("script", [part])]
    rows = ledger.load(record).to_pylist()
    for row in rows:
        if row["error"]:
            assert row["error"] == "script:BadAnswerError"
            continue
        say(f"query: {row['query_text']!r}\nreply: {row['reply_text']!r} ({row['reply_emotion']})")
        say(f"judges: {[row[name] for name in JUDGES]}; writer {row['writer']}")
        assert all(row[name] in (0.0, 0.25, 0.5, 0.75, 1.0) for name in JUDGES)
    for failure in record.failures:
        say(f"quarantined: {failure['message'][:400]}")
        assert "answer, whole in rejected/" in failure["message"]
    assert len(record.failures) == verdicts.get("quarantined", 0)
    assert spent["repairs"] >= len(record.failures)
    again = build(load_run(file), file, out, quiet=True)
    assert again.asked_llm == spent, "a second build asks for nothing"
    return result, rows, record


def test_malformed_answers_are_repaired_or_quarantined_and_the_sums_add_up(
    url: str, tone_yaml: Callable[..., Path], tmp_path: Path
) -> None:
    """With prompts that are too much for this model."""
    result, _, _ = written(url, tone_yaml, tmp_path, "prompts", {"sad": 1, "happy": 1})
    assert result.asked_llm["repairs"] > 0


def test_the_models_judges_give_scores_and_reject(url: str, tone_yaml: Callable[..., Path], tmp_path: Path) -> None:
    """With prompts that it can follow: a judge's form is one number. That its opinion is worth nothing is no matter."""
    result, rows, _ = written(url, tone_yaml, tmp_path, "judged", {"sad": 1, "happy": 1})
    scored = [row for row in rows if not row["error"]]
    assert scored, "no row got through the judges"
    low = [row for row in scored if any(row[name] < 0.5 for name in JUDGES)]
    assert low, "no judge rejected anything"
    assert result.statistics["verdict"]["rejected"] >= len(low)
    for name in JUDGES:
        assert result.statistics["reason"].get(name, 0) == sum(row[name] < 0.5 for row in scored)
