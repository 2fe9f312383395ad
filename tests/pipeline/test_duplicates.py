"""Duplicates: what goes follows from the set of dialogues, whoever groups them and in whatever order."""

from __future__ import annotations

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.run import SelectConfig
from manifests.textconfig import TextConfig
from pipeline.duplicates import PRIORITY, Compared, compare, find_duplicates, read_duplicates, reasons_of
from pipeline.hygiene.shingles import bands, jaccard, shingles
from pipeline.verdict import Rules

RULES = Rules(SelectConfig(), ())
QUERY = "They want to check my ears again on Friday, and I do not like it at all."
REPLY = "That seems to make your heart heavy. Going back again wears you out, so plan something gentle for after it."
Rows = list[dict[str, Any]]


def dialogue(name: str, query: str = QUERY, reply: str = REPLY, split: str = "train", **more: Any) -> Rows:
    """A dialogue of one turn about sadness."""
    return [
        {
            "id": name,
            "turn": 0,
            "plan.split": split,
            "plan.source": "synthetic",
            "plan.language": "en",
            "plan.query_language": "en",
            "plan.cues": ["emotion"],
            "plan.emotion": "sad",
            "script.query_text": query,
            "script.reply_text": reply,
            "speak_query.audio_sha256": name * 8,
        }
        | {key.replace("__", "."): value for key, value in more.items()}
    ]


def found(dialogues: Iterable[Rows], rules: Rules = RULES, parts: int = 1) -> dict[str, list[str]]:
    """Reasons by dialogue, in the order of their ids."""
    compared = Compared()
    for turns in dialogues:
        compared.add(turns, int(turns[0]["id"], 36) % parts, rules)
    told = reasons_of(compare(*compared.tables(), rules), rules)
    return dict(sorted((name, why) for reasons in told.values() for name, why in reasons.items()))


def test_the_later_by_id_goes_and_is_told_of_what_it_is_a_duplicate() -> None:
    near = QUERY.replace("Friday", "Monday")
    one = shingles(dialogue("a1"))
    index = jaccard(frozenset(one.tolist()), frozenset(shingles(dialogue("c3", near)).tolist()))
    assert 0.8 <= index < 1
    assert found([dialogue("c3", near), dialogue("a1"), dialogue("b2", QUERY.upper(), REPLY.replace(",", ";"))]) == {
        "b2": ["near_duplicate 1.000 >= 0.8 of a1 (train)"],
        "c3": [f"near_duplicate {index:.3f} >= 0.8 of a1 (train)"],
    }


def test_the_copy_goes_from_what_is_trained_on() -> None:
    assert found([dialogue("a1"), dialogue("b2", split="validation"), dialogue("c3", split="test")]) == {
        "a1": ["near_duplicate 1.000 >= 0.8 of c3 (test)"],
        "b2": ["near_duplicate 1.000 >= 0.8 of c3 (test)"],
    }


def test_other_replies_or_queries_are_no_duplicates() -> None:
    assert (
        found([dialogue("a1"), dialogue("b2", reply="You sound sad. Bring a friend along, and a book for the wait.")])
        == {}
    )
    assert found([dialogue("a1"), dialogue("b2", query="My ears ring.")]) == {}
    assert found([dialogue("a1", "Yes.", "No."), dialogue("b2", "No.", "Yes.")]) == {}


def test_a_contrastive_pair_says_the_same_in_other_cues_by_design() -> None:
    pair = {"plan__pair": "p"}
    assert found([dialogue("a1", **pair), dialogue("b2", **pair, plan__emotion="happy")]) == {}
    both = [dialogue("a1", **pair), dialogue("b2", **pair, plan__cues=["age"], plan__age="old")]
    assert found(both) == {}
    assert list(found([dialogue("a1", **pair), dialogue("b2", **pair)])) == ["b2"], "a second try of one row is one"


def test_a_chain_goes_up_to_its_first_link() -> None:
    words = [f"w{number}" for number in range(60)]
    chain = [" ".join(words[start : start + 50]) for start in (0, 3, 6, 9)]
    reasons = found([dialogue(name, text, "") for name, text in zip("abcd", chain, strict=True)])
    assert {name: why[0].split()[5] for name, why in reasons.items()} == {"b": "a", "c": "b", "d": "c"}
    assert list(reasons) == ["b", "c", "d"], "a goes on; c is not like a, but b, which goes, is before it"


def test_the_same_audio_is_one_dialogues() -> None:
    same = {"speak_query__audio_sha256": "f" * 64}
    texts = [("One thing is this.", "Good."), ("Another thing is that.", "Bad."), ("A third one.", "So so.")]
    made = [dialogue(name, *text, **same) for name, text in zip(("a1", "b2", "c3"), texts, strict=True)]
    made[1][0]["plan.emotion"] = "happy"
    made[2].append({**made[2][0], "turn": 1})
    made[2][0] = {**made[2][0], "speak_query.audio_sha256": "0" * 64}
    assert found(made) == {
        "b2": ["duplicate_audio ffffffffffff of a1 (train)"],
        "c3": ["duplicate_audio ffffffffffff of a1 (train) (turn 1)"],
    }
    off = Rules(SelectConfig(text=TextConfig(duplicate_audio=False)), ())
    assert found(made, off) == {}


def test_a_recording_may_stand_once_in_every_cell_of_labels() -> None:
    real = {"plan__source": "real", "plan__recording": "ab", "speak_query__audio_sha256": "ab" * 32}
    sad, old = dialogue("a1", **real), dialogue("b2", **real, plan__cues=["age"], plan__age="old")
    assert found([sad, old]) == {}
    assert found([sad, old, dialogue("c3", **real)]) == {"c3": ["duplicate_audio abababababab of a1 (train)"]}


def test_recordings_of_one_sentence_are_compared_only_if_asked_for() -> None:
    made = [dialogue(name, plan__source="real") for name in ("a1", "b2")]
    assert found(made) == {}
    assert list(found(made, Rules(SelectConfig(text=TextConfig(near_duplicate_real=True)), ()))) == ["b2"]


WORDS = ["sun", "rain", "walk", "dog", "tea", "home"]


def crowd(number: int, seed: int) -> list[Rows]:
    """Dialogues of which many are alike."""
    rng = random.Random(seed)
    kinds = [" ".join(rng.choices(WORDS, k=14)) for _ in range(max(1, number // 6))]
    made = []
    for place in range(number):
        said = rng.choice(kinds).split()
        for _ in range(rng.choice([0, 0, 1, 1, 2])):
            said[rng.randrange(len(said))] = rng.choice(WORDS)
        audio = {"speak_query__audio_sha256": f"{rng.randrange(number * 3):064d}"}
        cue = {"plan__emotion": rng.choice(["sad", "happy"])}
        made.append(dialogue(f"{place:04d}", " ".join(said), REPLY, rng.choice(PRIORITY), **audio, **cue))
    return made


def gone(dialogues: list[Rows], limit: float) -> set[str]:
    """What goes for its text, by comparing all with all."""
    out = set()
    ordered = sorted(dialogues, key=lambda turns: (PRIORITY.index(turns[0]["plan.split"]), turns[0]["id"]))
    sets = [frozenset(shingles(turns).tolist()) for turns in ordered]
    for place, turns in enumerate(ordered):
        for other in range(place):
            same = ordered[other][0]["plan.emotion"] == turns[0]["plan.emotion"]
            if same and jaccard(sets[place], sets[other]) >= limit:
                out.add(turns[0]["id"])
    return out


@settings(deadline=None, max_examples=15)
@given(st.integers(1, 60), st.integers(0, 1000))
def test_bands_lose_no_duplicate_and_add_none(number: int, seed: int) -> None:
    made = crowd(number, seed)
    reasons = found(made)
    texts = {name for name, why in reasons.items() if any(reason.startswith("near_duplicate") for reason in why)}
    assert texts == gone(made, 0.8)


def test_neither_order_nor_parts_nor_files_change_anything(tmp_path: Path) -> None:
    made = crowd(80, 3)
    wanted = found(made)
    assert 10 < len(wanted) < 80
    random.Random(1).shuffle(made)
    assert found(made, parts=7) == wanted
    on_disk: dict[str, list[str]] = {}
    for part in range(3):
        compared = Compared()
        for turns in made:
            if int(turns[0]["id"], 36) % 3 == part:
                compared.add(turns, part, RULES)
        compared.write(tmp_path, part)
    find_duplicates(tmp_path, range(3), RULES)
    for part in range(3):
        have = read_duplicates(tmp_path, part)
        assert all(int(name, 36) % 3 == part for name in have)
        on_disk |= have
    assert on_disk == wanted


@pytest.mark.parametrize("texts", [("", ""), ("a", "b"), ("你好", "再见")])
def test_short_texts_have_triples_too(texts: tuple[str, str]) -> None:
    hashes = shingles(dialogue("a1", *texts))
    assert len(hashes) >= 1 and hashes.dtype == np.uint32
    assert len(set(bands(hashes))) == 16
