"""The Mandarin bank: what ships keeps its rules, suits children and old people alike, and is spoken as it stands."""

from __future__ import annotations

import itertools
import re
from collections import Counter

import pytest

from manifests.bank import REPLY_KINDS, ScenarioBank, shipped_languages
from manifests.general import load_general
from manifests.ids import seed_of
from manifests.labels import AGES, CUES, EMOTIONS, EVENTS, GENDERS, REPLY_EMOTIONS, SPLITS
from manifests.spoken import spoken
from manifests.think.natural import compose_natural, contradictions

PLAIN = {("emotion", "neutral"), ("age", "adult")}  # their keywords are everyday words
MANDARIN = re.compile(r"[\u4e00-\u9fff，。？！、]+")


@pytest.fixture(scope="module")
def bank() -> ScenarioBank:
    return ScenarioBank.load("zh", several_turns=True)


def cores(bank: ScenarioBank):
    """Every core with its kind: of scenarios, where a filling stands for all, and of follow-ups."""
    for scenario in bank.scenarios:
        for kind in REPLY_KINDS:
            yield kind, scenario.reply_text(kind, scenario.fill(scenario.num_queries - 1))
    for followup in bank.followups.followups:
        yield from followup.replies.items()


def openers(bank: ScenarioBank):
    """Every opener with family and value, of first and of later turns."""
    for family, values in CUES.items():
        for value in values:
            later = bank.followups.openers[family][value]
            for text in (*bank.openers[family][value].openers, *later.still, *later.now):
                yield family, value, text


def queries(bank: ScenarioBank) -> list[str]:
    filled = [scenario.query_text(scenario.fill(n)) for scenario in bank.scenarios for n in range(scenario.num_queries)]
    return filled + [followup.query for followup in bank.followups.followups]


def others(bank: ScenarioBank, text: str, *named: tuple[str, str]) -> list[tuple[str, str]]:
    """The cues that a text names, but for those that it may."""
    cues = [(family, value) for family, values in CUES.items() for value in values]
    return [cue for cue in cues if cue not in (*named, *PLAIN) and bank.mentions(text, *cue)]


def test_it_ships() -> None:
    assert {"en", "zh"} <= set(shipped_languages())


def test_size_topics_and_splits(bank: ScenarioBank) -> None:
    splits = Counter(scenario.split for scenario in bank.scenarios)
    assert splits["train"] >= 16
    assert min(splits[split] for split in SPLITS) >= 4
    for split in SPLITS:
        assert len({scenario.topic for scenario in bank.of_split(split)}) >= 5
        assert sum(scenario.num_queries for scenario in bank.of_split(split)) >= 300
    stages = Counter((item.split, item.stage) for item in bank.followups.followups)
    for split in SPLITS:
        assert stages[split, "middle"] >= 4, "dialogues of five turns need four"
        assert stages[split, "early"] >= 2
        assert stages[split, "closing"] >= 2


def test_texts_are_distinct_and_of_speakable_length(bank: ScenarioBank) -> None:
    asked = queries(bank)
    assert len(set(asked)) == len(asked)
    assert all(6 <= len(text) <= 30 for text in asked)
    replies = [text for scenario in bank.scenarios for text in scenario.replies.values()]
    replies += [text for item in bank.followups.followups for text in item.replies.values()]
    assert len(set(replies)) == len(replies)
    for scenario, kind in itertools.product(bank.scenarios, REPLY_KINDS):
        for choice in range(scenario.num_queries):
            assert 10 <= len(scenario.reply_text(kind, scenario.fill(choice))) <= 40
    said = [text for _, _, text in openers(bank)]
    assert len(set(said)) == len(said)
    assert all(len(values) == 8 for family in bank.openers.values() for values in (v.openers for v in family.values()))


def test_texts_are_mandarin_and_spoken_as_they_stand(bank: ScenarioBank) -> None:
    """No digit, no Latin letter, no symbol: nothing that a voice would read in another way."""
    texts = [*queries(bank), *(text for _, text in cores(bank)), *(text for _, _, text in openers(bank))]
    for text in texts:
        assert MANDARIN.fullmatch(text), text
        assert spoken(text, "zh") == text
        assert text[-1] in "。？！", text


def test_queries_and_cores_name_no_cue(bank: ScenarioBank) -> None:
    for text in queries(bank):
        assert others(bank, text) == [], text
    for _, text in cores(bank):
        assert others(bank, text) == [], text


def test_openers_name_their_cue_and_no_other_of_any_family(bank: ScenarioBank) -> None:
    for family, value, text in openers(bank):
        assert bank.mentions(text, family, value), text
        assert others(bank, text, (family, value)) == [], text


def test_children_and_old_people_are_spoken_to_as_such(bank: ScenarioBank) -> None:
    """One core of sadness answers a child and an old man: it may use neither of the words for `you`."""
    for kind, text in cores(bank):
        said = set(re.findall("[你您]", text))
        assert said == ({"child": {"你"}, "old": {"您"}}.get(kind, set())), (kind, text)
    for family, value, text in openers(bank):
        allowed = {("age", "child"): "你", ("age", "old"): "您"}.get((family, value), "")
        assert set(re.findall("[你您]", text)) <= set(allowed), text


COMBINATIONS = [
    {},
    *({family: value} for family, values in CUES.items() for value in values),
    *({"age": a, "gender": g, "emotion": e} for a in AGES for g in GENDERS for e in EMOTIONS),
    *({"event": v, "emotion": e} for v in EVENTS for e in EMOTIONS),
    {"event": "cough", "gender": "male", "age": "old", "emotion": "sad"},
]


@pytest.mark.parametrize("cues", COMBINATIONS, ids=lambda cues: "-".join(cues.values()) or "plain")
def test_compose_names_every_kept_cue(bank: ScenarioBank, cues: dict[str, str]) -> None:
    kept = bank.kept(cues)
    named = [(family, cues[family]) for family in kept]
    for number, scenario in enumerate(bank.scenarios[::5]):
        slots = scenario.fill(number)
        for draw in (0, 1, 9, 63, 10**15 + number):
            reply, emotion = bank.compose(scenario, slots, cues, draw)
            assert emotion in REPLY_EMOTIONS
            assert all(bank.mentions(reply, *cue) for cue in named), reply
            assert others(bank, reply, *named) == [], reply
            assert MANDARIN.fullmatch(reply), reply
            think = compose_natural(scenario.query_text(slots), cues, emotion, "zh", draw)
            labels = {"event": "none", **cues}
            assert list(contradictions(think, labels, "zh", scenario.query_text(slots))) == [], think


@pytest.mark.parametrize("cues", COMBINATIONS, ids=lambda cues: "-".join(cues.values()) or "plain")
def test_later_turns_name_their_cues_and_repeat_no_opener(bank: ScenarioBank, cues: dict[str, str]) -> None:
    named = [(family, cues[family]) for family in bank.kept(cues)]
    scenario = bank.scenarios[0]
    middle = [item for item in bank.followups.followups if (item.split, item.stage) == ("train", "middle")][:4]
    for draw in (0, 7, seed_of("dialogue")):
        replies = [bank.compose(scenario, scenario.fill(0), cues, draw)[0]]
        for turn, followup in enumerate(middle, 1):
            reply, _ = bank.compose_next(followup, [cues] * turn, cues, draw)
            assert all(bank.mentions(reply, *cue) for cue in named), reply
            assert others(bank, reply, *named) == [], reply
            replies.append(reply)
        said = [sentence for text in replies for sentence in re.findall(".+?[。？！]", text)]
        assert len(set(said)) == len(said), replies


def test_recordings_are_answered_in_mandarin(bank: ScenarioBank) -> None:
    general = load_general("zh")
    for cues in COMBINATIONS:
        for draw in range(5):
            reply, emotion = general.reply(bank, cues, draw)
            assert emotion in REPLY_EMOTIONS
            assert all(bank.mentions(reply, family, cues[family]) for family in bank.kept(cues))
            assert MANDARIN.fullmatch(reply), reply
