"""Trajectories: every label has a way on, weights are met, wrong tables are refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import UserError
from manifests.labels import CUES, NONE
from manifests.trajectories import FILE, following, read_trajectories, trajectories

LABELS = [(family, label) for family in ("emotion", "event") for label in CUES[family]]


@pytest.mark.parametrize(("family", "label"), LABELS)
def test_every_label_goes_on_as_its_weights_say(family: str, label: str) -> None:
    weights = trajectories()[family, label]
    allowed = (*CUES[family], NONE)
    found = Counter(following(family, label, allowed, n / 10_000) for n in range(10_000))
    total = sum(weights.values())
    assert {name: count / 10_000 for name, count in found.items()} == pytest.approx(
        {name: weight / total for name, weight in weights.items()}, abs=0.001
    )


def test_an_emotion_most_likely_stays_and_neutral_always_does() -> None:
    for emotion in CUES["emotion"]:
        weights = trajectories()["emotion", emotion]
        assert max(weights, key=lambda name: weights[name]) == emotion
    assert set(trajectories()["emotion", "neutral"]) == {"neutral"}


def test_an_event_comes_again_or_not_at_all() -> None:
    for event in CUES["event"]:
        assert set(trajectories()["event", event]) == {event, NONE}


@given(
    st.sampled_from(LABELS),
    st.sets(st.sampled_from([*CUES["emotion"], NONE])),
    st.floats(0, 1, exclude_max=True),
)
def test_what_the_speaker_cannot_render_never_follows(label: tuple[str, str], allowed: set[str], draw: float) -> None:
    assert following(*label, allowed, draw) in {*allowed, label[1]}


WRONG = {
    "unknown family": ("age,child,old,1,", ("age", "emotion or event")),
    "unknown label": ("emotion,bored,sad,1,", ("bored", "happy")),
    "label that cannot follow": ("event,cough,laugh,1,", ("laugh", "cannot follow cough", "none")),
    "weight in words": ("emotion,sad,surprise,often,", ("often", "a number above 0")),
    "weight of nothing": ("emotion,sad,surprise,0,", ("above 0",)),
    "weight that is no number": ("emotion,sad,surprise,nan,", ("above 0",)),
    "twice": ("emotion,sad,sad,2,", ("sad to sad", "twice")),
}


@pytest.mark.parametrize(("row", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_row_is_refused_with_its_line(tmp_path: Path, row: str, expected: tuple[str, ...]) -> None:
    shipped = FILE.read_text()
    file = tmp_path / "mine.csv"
    file.write_text(f"{shipped.rstrip()}\n{row}\n")
    with pytest.raises(UserError) as caught:
        read_trajectories(file)
    assert str(caught.value).startswith(f"{file}:{len(shipped.splitlines()) + 1}: ")
    for part in expected:
        assert part in str(caught.value)


def test_a_table_must_have_its_columns_and_every_label(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    shipped = FILE.read_text().splitlines()
    file.write_text("\n".join(line for line in shipped if not line.startswith("event,sneeze")))
    with pytest.raises(UserError, match="no row for event sneeze"):
        read_trajectories(file)
    file.write_text("\n".join(["family,label,next,weight", *shipped[1:]]))
    with pytest.raises(UserError, match="columns family, label, next, weight, why"):
        read_trajectories(file)
