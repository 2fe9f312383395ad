"""Planners of small runs, for tests."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from conftest import ROOT
from hypothesis import strategies as st

from manifests import schema
from manifests.errors import UserError
from manifests.run import RunManifest
from manifests.voices import VoiceTable
from pipeline.dag import build_dag
from pipeline.planner import Planner

BASE: dict[str, Any] = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())


SHIPPED = build_dag(RunManifest.model_validate(BASE), "mine.yaml").planner


NAMES = ["id", "turn", *schema.PLAN.names]


Rows = list[dict[str, Any]]


def planning(quotas: dict[str, Any] | None = None, seed: int = 1, **plan: Any) -> Planner:
    """The planner of the tone manifest with other settings."""
    changes = {**plan, "quotas": quotas} if quotas else plan
    document = {**BASE, "seed": seed, "plan": {**BASE["plan"], **changes}}
    return replace(SHIPPED, manifest=RunManifest.model_validate(document))


def drawn(planner: Planner) -> Rows:
    """All rows of a plan."""
    return [dict(zip(NAMES, row, strict=True)) for block in planner.blocks() for row in planner.rows(block)]


def ids(planner: Planner) -> set[str]:
    """Ids of a plan."""
    return {row["id"] for row in drawn(planner)}


def label(row: dict[str, Any]) -> str:
    """The label that a row counts for."""
    return "+".join(row[family] for family in row["cues"]) or "neutral"


def refusal(planner: Planner) -> str:
    """The sentence with which a plan is refused; it names the manifest."""
    with pytest.raises(UserError) as error:
        _ = planner.counts
    assert str(error.value).startswith("mine.yaml: ")
    return str(error.value)


COUNT = st.integers(0, 40)


QUOTAS = st.fixed_dictionaries(
    {"neutral": st.integers(1, 20)},
    optional={
        "emotion": COUNT | st.fixed_dictionaries({}, optional={"sad": COUNT, "happy": COUNT, "fear": COUNT}),
        "age": COUNT,
        "gender": COUNT | st.fixed_dictionaries({"female": COUNT}, optional={"male": COUNT}),
        "event": COUNT,
        "multi": COUNT,
    },
)


@st.composite
def growing(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Any]]:
    """Quotas, and larger ones."""
    small = draw(QUOTAS)
    large = {}
    for task, quota in small.items():
        if isinstance(quota, dict):
            large[task] = {name: count + draw(COUNT) for name, count in quota.items()}
        else:
            large[task] = quota + draw(COUNT)
    if "age" not in large:
        large["age"] = draw(COUNT)
    return small, large


@pytest.fixture(scope="module")
def rows() -> Rows:
    """A plan of some size: every task, pairs on."""
    return drawn(planning({"emotion": 240, "age": 120, "gender": 100, "event": 210, "multi": 600, "neutral": 30}))


def pairs(plan: Rows) -> dict[str, Rows]:
    """Paired rows by the pair's name."""
    groups = defaultdict(list)
    for row in plan:
        if row["pair"]:
            groups[row["pair"]].append(row)
    return groups


def without(planner: Planner, **labels: str) -> Planner:
    """The planner without the voices of these labels."""
    kept = [v for v in planner.voices.voices if any(getattr(v, name) != value for name, value in labels.items())]
    return replace(planner, voices=VoiceTable(Path("mine.csv"), tuple(kept)))
