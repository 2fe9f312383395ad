"""Follow-ups: what ships names no cue but its own, openers do not repeat, and wrong files are refused in words."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.bank import ScenarioBank
from manifests.errors import UserError
from manifests.followups import FollowUp
from manifests.labels import CUES, EVENTS, NONE, SPLITS

PLAIN = {("emotion", "neutral"), ("age", "adult")}  # their keywords are everyday words
LANGUAGES = ("en", "zh")
BANKS = {language: ScenarioBank.load(language, several_turns=True) for language in LANGUAGES}


@pytest.mark.parametrize("language", LANGUAGES)
def test_shipped_follow_ups_name_no_cue(language: str) -> None:
    bank = BANKS[language]
    for item in bank.followups.followups:
        for text in (item.query, *item.replies.values()):
            named = [(f, v) for f, values in CUES.items() for v in values if bank.mentions(text, f, v)]
            assert set(named) <= PLAIN, (item.id, text)


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("split", SPLITS)
def test_five_turns_can_be_had_in_every_split(language: str, split: str) -> None:
    items = [item for item in BANKS[language].followups.followups if item.split == split]
    assert sum(item.stage == "middle" for item in items) >= 4
    assert {item.stage for item in items} == {"early", "middle", "closing"}


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_text_is_said_in_two_splits(language: str) -> None:
    homes: dict[str, str] = {}
    for item in BANKS[language].followups.followups:
        for text in (item.query, *item.replies.values()):
            assert homes.setdefault(text, item.split) == item.split, text


def test_every_english_word_is_in_the_recogniser_dictionary() -> None:
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        pytest.skip("pocketsphinx is not installed")
    path = Path(spec.origin).parent / "model/en-us/cmudict-en-us.dict"
    known = {line.split(maxsplit=1)[0] for line in path.read_text(encoding="utf-8").splitlines() if line}
    more = BANKS["en"].followups
    texts = [text for item in more.followups for text in (item.query, *item.replies.values())]
    texts += [text for values in more.openers.values() for item in values.values() for text in (*item.still, *item.now)]
    assert all(re.fullmatch(r"[A-Z][A-Za-z ,.?'-]+[.?]", text) for text in texts)
    assert not {word for text in texts for word in re.findall(r"[a-z']+", text.lower())} - known


CHANGING = st.lists(
    st.fixed_dictionaries({
        "emotion": st.sampled_from([name for name in CUES["emotion"] if name != "neutral"]),
        "event": st.sampled_from([NONE, *EVENTS]),
    }),
    min_size=2,
    max_size=5,
)  # fmt: skip


@settings(deadline=None, max_examples=200)
@given(CHANGING, st.integers(0, 2**63), st.sampled_from(LANGUAGES))
def test_no_opener_is_said_twice_whatever_cues_come_and_go(turns: list[dict[str, str]], draw: int, name: str) -> None:
    bank = BANKS[name]
    cores = FollowUp(id="x", stage="middle", split="train", query="Yes.", replies={"neutral": "Core."})
    said: list[str] = []  # first turns have openers of their own, which the loader sees to
    for turn in range(1, len(turns)):
        reply, _ = bank.compose_next(cores, turns[:turn], turns[turn], draw)
        for family in bank.kept(turns[turn]):
            assert bank.mentions(reply, family, turns[turn][family])
        said += [part.strip() for part in re.split(r"(?<=[.?!。？！])", reply.removesuffix("Core.")) if part.strip()]
    # Of an event there are four openers for later turns, of an emotion four if it is still there and four if it is new.
    assert len(set(said)) == len(said)


def test_still_and_now() -> None:
    more = BANKS["en"].followups
    item = more.openers["emotion"]["sad"]
    assert more.continuing("emotion", "sad", [{"emotion": "sad"}]) == item.still
    assert more.continuing("emotion", "sad", [{"emotion": "sad"}, {"emotion": "happy"}]) == item.now
    assert more.continuing("emotion", "neutral", [{"event": "cough"}]) == more.openers["emotion"]["neutral"].still
    assert more.continuing("age", "old", [{"emotion": "sad"}]) == more.openers["age"]["old"].still


GOOD: dict[str, Any] = {
    "id": "and-then",
    "stage": "middle",
    "split": "train",
    "query": "And then?",
    "replies": {"neutral": "Then we go on."},
}
SHIPPED = yaml.safe_load((Path(__file__).parents[2] / "manifests/scenarios/followups.en.yaml").read_text())


def load(tmp_path: Path, items: list[Any], **openers: Any) -> ScenarioBank:
    file = tmp_path / "mine.yaml"
    content = {"followups": items, "openers": {**SHIPPED["openers"], **openers}}
    file.write_text(yaml.safe_dump(content, allow_unicode=True), encoding="utf-8")
    return ScenarioBank.load(followups=file, several_turns=True)


def test_own_follow_ups_need_only_the_neutral_reply(tmp_path: Path) -> None:
    (item,) = load(tmp_path, [GOOD]).followups.followups
    assert item.reply_text("sad") == item.reply_text("neutral") == "Then we go on."
    assert [item.fits_turn(turn, 3) for turn in range(3)] == [False, True, True]
    assert not item.fits("test", "any", "travel")


def test_topics_and_stages_decide_where_it_is_said() -> None:
    early = FollowUp.model_validate(GOOD | {"stage": "early", "topics": ["travel"]})
    closing = FollowUp.model_validate(GOOD | {"stage": "closing"})
    assert early.fits("train", "any", "travel")
    assert not early.fits("train", "any", "food")
    assert [early.fits_turn(turn, 4) for turn in range(4)] == [False, True, False, False]
    assert [closing.fits_turn(turn, 4) for turn in range(4)] == [False, False, False, True]


WRONG = {
    "unknown key": ([GOOD | {"mood": "sad"}], {}, ("and-then.mood", "not a key")),
    "unknown stage": ([GOOD | {"stage": "late"}], {}, ("and-then.stage", "early, middle, closing")),
    "a slot": ([GOOD | {"query": "And the {hat}?"}], {}, ("and-then.query", "{slot}")),
    "no neutral reply": ([GOOD | {"replies": {"sad": "Oh."}}], {}, ("and-then", "replies.neutral is missing")),
    "twice": ([GOOD, GOOD], {}, ("and-then.id", "2 follow-ups")),
    "no opener of a cue": ([GOOD], {"gender": {}}, ("openers.gender.female is missing",)),
    "opener without a keyword": (
        [GOOD], {"gender": {**SHIPPED["openers"]["gender"], "male": {"still": ["Go on."]}}}, ("gender.male", "keywords")
    ),
    "opener of another value": (
        [GOOD], {"gender": {**SHIPPED["openers"]["gender"], "male": {"still": ["Yes, sir, or ma'am."]}}},
        ("gender.male", "keyword of female"),
    ),
    "opener of a first turn": (
        [GOOD], {"gender": {**SHIPPED["openers"]["gender"], "male": {"still": ["Yes, sir."]}}}, ("first turns",)
    ),
    "emotion without now": (
        [GOOD], {"emotion": {**SHIPPED["openers"]["emotion"], "sad": {"still": ["Still sad."]}}}, ("emotion.sad.now",)
    ),
    "no cue": ([GOOD], {"mood": {"odd": {"still": ["Odd."]}}}, ("mood.odd is not a cue",)),
}  # fmt: skip


@pytest.mark.parametrize(("items", "openers", "expected"), WRONG.values(), ids=WRONG)
def test_a_wrong_file_is_refused_in_words(
    tmp_path: Path, items: list[Any], openers: dict[str, Any], expected: tuple[str, ...]
) -> None:
    with pytest.raises(UserError) as caught:
        load(tmp_path, items, **openers)
    message = str(caught.value)
    assert "mine.yaml" in message
    assert "\n" not in message
    for part in expected:
        assert part in message, message


def test_a_follow_up_of_a_scenario_is_its_own_and_of_its_split(tmp_path: Path) -> None:
    bank = tmp_path / "bank.yaml"
    scenario = {"id": "lost-hat", "topic": "travel", "split": "train", "query": "My hat is gone.",
                "replies": {"neutral": "Go and fetch it."}, "followups": [GOOD]}  # fmt: skip
    bank.write_text(yaml.safe_dump([scenario]), encoding="utf-8")
    own = ScenarioBank.load(path=bank, several_turns=True).followups.by_id["lost-hat/and-then"]
    assert own.fits("train", "lost-hat", "travel")
    assert not own.fits("train", "another", "travel")
    bank.write_text(yaml.safe_dump([{**scenario, "split": "test"}]), encoding="utf-8")
    with pytest.raises(UserError, match=r"followups\.and-then.split is train: use the scenario's, test"):
        ScenarioBank.load(path=bank, several_turns=True)
