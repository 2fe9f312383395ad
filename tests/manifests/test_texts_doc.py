"""The page on texts says what the code does: its example prints what it shows, its files are read."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import yaml

from manifests.bank import Opener, Scenario, ScenarioBank
from manifests.followups import Continuing, FollowUp
from manifests.general import load_general

PAGE = (Path(__file__).parents[2] / "docs" / "texts.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


def test_the_example_prints_what_the_page_shows() -> None:
    (code,), (shown,) = blocks("python"), blocks("text")
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs/texts.md", "exec"), {})
    assert printed.getvalue() == shown


def test_the_files_on_the_page_are_valid() -> None:
    scenarios, openers, followups = map(yaml.safe_load, blocks("yaml"))
    assert [Scenario.model_validate(item).num_queries for item in scenarios] == [9]
    assert Opener.model_validate(openers["emotion"]["sad"]).reply_emotion == "comforting"
    assert [FollowUp.model_validate(item).stage for item in followups["followups"]] == ["early"]
    assert Continuing.model_validate(followups["openers"]["emotion"]["sad"]).now


def test_the_sizes_on_the_page_are_those_of_the_files() -> None:
    english, mandarin = (ScenarioBank.load(language, several_turns=True) for language in ("en", "zh"))
    queries = [sum(scenario.num_queries for scenario in bank.scenarios) for bank in (english, mandarin)]
    assert f"{len(english.scenarios)} scenarios, {queries[0]:,} queries" in PAGE
    assert f"| {len(mandarin.scenarios)}, {queries[1]:,} |" in PAGE
    counts = [sum(not item.scenario for item in bank.followups.followups) for bank in (english, mandarin)]
    assert f"| {counts[0]} | {counts[1]} |" in PAGE
    assert {len(texts) for language in ("en", "zh") for texts in load_general(language).cores.values()} == {4, 5}
