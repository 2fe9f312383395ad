"""The scenario bank: what ships keeps its rules, replies name their cues, wrong files are refused."""

from __future__ import annotations

import importlib.util
import itertools
import re
from collections import Counter
from pathlib import Path

import pytest
import yaml

from manifests.bank import MAX_TEXT, OPENER_ORDER, REPLY_KINDS, ScenarioBank
from manifests.errors import UserError
from manifests.labels import AGES, CUES, EMOTIONS, EVENTS, GENDERS, REPLY_EMOTIONS, SPLITS

ALLOWED = re.compile(r"[A-Za-z .,?!'{}-]+")
PLAIN = {("emotion", "neutral"), ("age", "adult")}  # their keywords are everyday words


@pytest.fixture(scope="module")
def bank() -> ScenarioBank:
    return ScenarioBank.load()


def texts(scenario):
    """Every template and slot value of a scenario."""
    yield scenario.query
    yield from scenario.replies.values()
    yield from itertools.chain.from_iterable(scenario.slots.values())


def fillings(scenario):
    return [scenario.fill(choice) for choice in range(scenario.num_queries)]


def test_size_topics_and_splits(bank):
    assert len(bank.scenarios) >= 66
    assert min(len(bank.of_split(split)) for split in SPLITS) >= 10
    topics = Counter(scenario.topic for scenario in bank.scenarios)
    assert len(topics) >= 12
    assert all(4 <= count <= 8 for count in topics.values()), topics
    for split in SPLITS:
        assert len({scenario.topic for scenario in bank.of_split(split)}) >= 8


def test_queries_are_distinct_and_of_speakable_length(bank):
    seen: dict[str, str] = {}
    for scenario in bank.scenarios:
        assert scenario.num_queries >= 36, scenario.id
        assert 1 <= len(scenario.slots) <= 3, scenario.id
        for slots in fillings(scenario):
            query = scenario.query_text(slots)
            assert 6 <= len(query.split()) <= 14, query
            assert len(query) <= 90, query
            assert query[-1] in ".?"
            assert seen.setdefault(query, scenario.id) == scenario.id
            assert "{" not in query
    assert len(seen) == sum(scenario.num_queries for scenario in bank.scenarios)
    assert len(seen) >= 2500


def test_replies_are_complete_distinct_and_of_speakable_length(bank):
    for scenario in bank.scenarios:
        assert set(scenario.replies) == set(REPLY_KINDS), scenario.id
        assert len(set(scenario.replies.values())) == len(REPLY_KINDS), scenario.id
        for kind, slots in itertools.product(REPLY_KINDS, fillings(scenario)):
            reply = scenario.reply_text(kind, slots)
            assert 9 <= len(reply.split()) <= 18, reply
            assert len(reply) <= 110, reply
            assert reply[-1] in ".?!", reply
            assert len(re.findall(r"[.?!]", reply)) == 1, reply
    replies = [reply for scenario in bank.scenarios for reply in scenario.replies.values()]
    assert len(set(replies)) == len(replies)


def test_characters(bank):
    for scenario in bank.scenarios:
        for text in texts(scenario):
            assert ALLOWED.fullmatch(text), text
            assert text == " ".join(text.split()), text
        for text in (scenario.query, *scenario.replies.values()):
            assert text[0].isupper() or text[0] == "{", text


def test_no_article_stands_before_a_value_that_it_does_not_fit(bank):
    for scenario, kind in itertools.product(bank.scenarios, ("query", *REPLY_KINDS)):
        template = scenario.query if kind == "query" else scenario.replies[kind]
        for article, name in re.findall(r"\b([Aa]n?) \{(\w+)\}", template):
            for value in scenario.slots[name]:
                assert (value[0].lower() in "aeiou") == (article.lower() == "an"), (
                    scenario.id,
                    article,
                    value,
                )


def test_replies_do_not_repeat_first_person_values(bank):
    for scenario in bank.scenarios:
        for name, values in scenario.slots.items():
            if any(re.search(r"\b(I|my|me|our|us|we)\b", value) for value in values):
                assert not any(f"{{{name}}}" in reply for reply in scenario.replies.values()), scenario.id


def test_queries_and_cores_name_no_cue(bank):
    """The words alone must not tell the cue, or a checker would find it without the opener."""
    for scenario in bank.scenarios:
        for family, values in CUES.items():
            for value in values:
                if (family, value) not in PLAIN:
                    for text in texts(scenario):
                        assert not bank.mentions(text, family, value), (scenario.id, family, value, text)


def test_openers_name_their_cue_and_no_other(bank):
    for family, values in CUES.items():
        assert set(bank.openers[family]) == set(values)
        for value, opener in bank.openers[family].items():
            assert len(opener.openers) == 8
            assert opener.reply_emotion in REPLY_EMOTIONS
            for text in opener.openers:
                assert 2 <= len(text.split()) <= 9, text
                assert len(text) <= 60, text
                assert ALLOWED.fullmatch(text), text
                assert [v for v in values if bank.mentions(text, family, v)] == [value], text


def test_every_word_is_in_the_recogniser_dictionary(bank):
    spec = importlib.util.find_spec("pocketsphinx")
    if spec is None or spec.origin is None:
        pytest.skip("pocketsphinx is not installed")
    path = Path(spec.origin).parent / "model/en-us/cmudict-en-us.dict"
    known = {line.split(maxsplit=1)[0] for line in path.read_text(encoding="utf-8").splitlines() if line}
    written = list(itertools.chain.from_iterable(texts(scenario) for scenario in bank.scenarios))
    for opener in itertools.chain.from_iterable(values.values() for values in bank.openers.values()):
        written.extend(opener.openers)
    words = {word for text in written for word in re.findall(r"[a-z']+", re.sub(r"\{\w+\}", " ", text.lower()))}
    assert len(words) > 1000
    assert not words - known


def test_fill_enumerates_in_a_stable_order(bank):
    scenario = next(scenario for scenario in bank.scenarios if scenario.id == "missed-train")
    places, times = scenario.slots["place"], scenario.slots["time"]
    assert scenario.num_queries == len(places) * len(times)
    assert scenario.fill(0) == {"place": places[0], "time": times[0]}
    assert scenario.fill(1) == {"place": places[0], "time": times[1]}
    assert scenario.fill(len(times)) == {"place": places[1], "time": times[0]}
    assert scenario.query_text(scenario.fill(0)) == "I just missed the early train to Boston."
    for wrong in (-1, scenario.num_queries):
        with pytest.raises(ValueError, match="not in 0"):
            scenario.fill(wrong)


COMBINATIONS = [
    {},
    *({"emotion": emotion} for emotion in EMOTIONS),
    *({"age": age} for age in AGES),
    *({"gender": gender} for gender in GENDERS),
    *({"event": event} for event in EVENTS),
    *({"age": a, "gender": g, "emotion": e} for a in AGES for g in GENDERS for e in EMOTIONS),
    *({"event": v, "emotion": e} for v in EVENTS for e in EMOTIONS),
    {"event": "cough", "gender": "male", "age": "old", "emotion": "sad"},
]


@pytest.mark.parametrize("cues", COMBINATIONS, ids=lambda cues: "-".join(cues.values()) or "plain")
def test_compose_names_every_kept_cue(bank, cues):
    kept = bank.kept(cues)
    assert len(kept) == min(2, len(cues))
    for number, scenario in enumerate(bank.scenarios[::9]):
        slots = scenario.fill(number)
        for draw in (0, 1, 9, 63, 10**15 + number):
            reply, emotion = bank.compose(scenario, slots, cues, draw)
            assert (reply, emotion) == bank.compose(scenario, slots, cues, draw)
            assert emotion in REPLY_EMOTIONS
            for family in kept:
                assert bank.mentions(reply, family, cues[family])
                others = [v for v in CUES[family] if v != cues[family] and (family, v) not in PLAIN]
                assert not any(bank.mentions(reply, family, other) for other in others), reply


def test_compose_order_core_and_reply_emotion(bank):
    scenario = bank.scenarios[0]
    slots = scenario.fill(3)

    def made(draw=0, **cues):
        return bank.compose(scenario, slots, cues, draw)

    first = {(f, v): bank.openers[f][v].openers[0] for f in CUES for v in CUES[f]}
    core = {kind: scenario.reply_text(kind, slots) for kind in REPLY_KINDS}
    assert made() == (f"{first['emotion', 'neutral']} {core['neutral']}", "neutral")
    assert made(gender="male") == (f"{first['gender', 'male']} {core['neutral']}", "neutral")
    assert made(event="cough") == (f"{first['event', 'cough']} {core['neutral']}", "comforting")
    assert made(age="child") == (f"{first['age', 'child']} {core['child']}", "cheerful")
    assert made(age="adult")[0].endswith(core["neutral"])
    assert made(age="old", emotion="neutral")[0].endswith(core["old"])
    both = f"{first['event', 'sigh']} {first['emotion', 'angry']} {core['angry']}"
    assert made(emotion="angry", event="sigh", age="child", gender="female") == (both, "sorry")
    both = f"{first['age', 'old']} {first['emotion', 'sad']} {core['sad']}"
    assert made(emotion="sad", age="old", gender="male") == (both, "comforting")
    assert made(emotion="none", event="none") == made()
    assert bank.kept({"emotion": "sad", "event": "cough"}) == ("event", "emotion")
    assert OPENER_ORDER == ("event", "gender", "age", "emotion")


def test_draw_reaches_every_pair_of_openers(bank):
    scenario, cues = bank.scenarios[0], {"gender": "female", "emotion": "happy"}
    replies = {bank.compose(scenario, scenario.fill(0), cues, draw)[0] for draw in range(64)}
    assert len(replies) == 64
    with pytest.raises(ValueError, match="from 0 up"):
        bank.compose(scenario, scenario.fill(0), cues, -1)
    with pytest.raises(UserError, match="'bored' is not a label of emotion"):
        bank.compose(scenario, scenario.fill(0), {"emotion": "bored"}, 0)
    with pytest.raises(UserError, match="'mood' is not a family"):
        bank.compose(scenario, scenario.fill(0), {"mood": "sad"}, 0)


def test_mentions_matches_word_starts_only(bank):
    assert bank.mentions("You sound HAPPY.", "emotion", "happy")
    assert bank.mentions("Such happiness is not it, but cheerful is.", "emotion", "happy")
    assert not bank.mentions("You seem unhappy, so enjoy the sunshine.", "emotion", "happy")


GOOD = {
    "id": "lost-hat",
    "topic": "travel",
    "split": "train",
    "query": "My hat is at {place}.",
    "slots": {"place": ["the station", "home"]},
    "replies": {"neutral": "Then go and fetch it."},
}


def load(tmp_path: Path, *scenarios: object) -> ScenarioBank:
    file = tmp_path / "mine.yaml"
    file.write_text(yaml.safe_dump(list(scenarios), allow_unicode=True), encoding="utf-8")
    return ScenarioBank.load(path=file)


def test_own_bank_needs_only_the_neutral_reply(tmp_path):
    bank = load(tmp_path, GOOD)
    scenario = bank.scenarios[0]
    assert scenario.reply_text("sad", scenario.fill(0)) == "Then go and fetch it."
    with pytest.raises(ValueError, match="is not a kind of reply"):
        scenario.reply_text("bored", scenario.fill(0))


def test_hashes_change_with_the_content(tmp_path, bank):
    base = load(tmp_path, GOOD)
    assert re.fullmatch(r"[0-9a-f]{16}", base.content_hash())
    assert base.content_hash() == load(tmp_path, GOOD).content_hash() != bank.content_hash()
    changed = load(tmp_path, {**GOOD, "replies": {"neutral": "Then go and fetch it now."}})
    assert changed.scenarios[0].content_hash() != base.scenarios[0].content_hash()
    assert changed.content_hash() != base.content_hash()
    assert len({scenario.content_hash() for scenario in bank.scenarios}) == len(bank.scenarios)
    with pytest.raises(ValueError, match="frozen"):
        base.scenarios[0].split = "test"  # type: ignore[misc]


BAD = {
    "unknown key": ({"mood": "sad"}, ("lost-hat.mood", "not a key")),
    "empty query": ({"query": ""}, ("lost-hat.query", "no letters", "write a sentence")),
    "emoji only": ({"query": "\U0001f600\U0001f600"}, ("lost-hat.query", "no letters")),
    "too long": ({"query": "{place} " + "a" * 3992}, ("lost-hat.query", "4000 characters", str(MAX_TEXT))),
    "long when filled": ({"slots": {"place": ["a" * 290]}}, ("lost-hat", "query", str(MAX_TEXT))),
    "control character": ({"query": "My hat\x07 is at {place}."}, ("lost-hat.query", "U+0007")),
    "nested braces": ({"query": "My hat is at {{place}}."}, ("lost-hat.query", "braces")),
    "undefined slot": (
        {"query": "My {hat} is at {place}."},
        ("lost-hat", "query uses {hat}", "add it to slots"),
    ),
    "undefined reply slot": (
        {"replies": {"neutral": "Get the {hat}."}},
        ("lost-hat", "replies.neutral", "{hat}"),
    ),
    "unused slot": ({"query": "My hat is at home."}, ("lost-hat", "slots.place is not used")),
    "repeated value": ({"slots": {"place": ["home", "home"]}}, ("lost-hat.slots.place", "'home' 2 times")),
    "no value": ({"slots": {"place": []}}, ("lost-hat.slots.place", "is empty")),
    "value that is no text": ({"slots": {"place": [True]}}, ("lost-hat.slots.place[0]", "string")),
    "slot in a value": ({"slots": {"place": ["a {place}"]}}, ("lost-hat.slots.place[0]", "{slot}")),
    "unknown split": ({"split": "training"}, ("lost-hat.split", "train, validation, test")),
    "unknown kind": ({"replies": {"neutral": "Yes.", "bored": "No."}}, ("lost-hat.replies", "bored")),
    "no neutral reply": ({"replies": {"sad": "Then go."}}, ("lost-hat", "replies.neutral is missing")),
    "no query": ({"query": None}, ("lost-hat.query", "string")),
    "id not in kebab-case": ({"id": "Lost Hat"}, ("Lost Hat.id", "pattern")),
}


@pytest.mark.parametrize(("change", "expected"), BAD.values(), ids=BAD)
def test_a_wrong_scenario_is_refused_in_words(tmp_path, change, expected):
    load(tmp_path, GOOD)
    with pytest.raises(UserError) as caught:
        load(tmp_path, {**GOOD, **change})
    message = str(caught.value)
    assert "mine.yaml" in message
    assert "\n" not in message
    for part in expected:
        assert part in message, message


def test_missing_id_and_repeated_id(tmp_path):
    nameless = {key: value for key, value in GOOD.items() if key != "id"}
    with pytest.raises(UserError, match=r"mine\.yaml: \[1\]\.id: is missing"):
        load(tmp_path, GOOD, nameless)
    with pytest.raises(UserError, match=r"mine\.yaml: lost-hat\.id: 2 scenarios"):
        load(tmp_path, GOOD, GOOD)


WRONG_FILES = {
    "syntax": (b"- id: a\n  query: [open\n", (":3:1: ", "not valid YAML")),
    "repeated key": (b"- id: a\n  id: b\n", (":2:3: ", "'id' stands twice")),
    "no list": (b"id: a\n", ("is not a list",)),
    "item that is no mapping": (b"- hello\n", ("[0]",)),
    "empty": (b"", ("the bank is empty",)),
    "empty list": (b"[]\n", ("the bank is empty",)),
    "not UTF-8": (b"- id: \xff\n", ("UTF-8",)),
    "raw control character": (b"- id: a\x07b\n", ("not valid YAML",)),
    "impossible date": (b"- 2024-13-45\n", ("not valid YAML",)),
}


@pytest.mark.parametrize(("content", "expected"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_a_wrong_file_is_refused_in_words(tmp_path, content, expected):
    file = tmp_path / "mine.yaml"
    file.write_bytes(content)
    with pytest.raises(UserError) as caught:
        ScenarioBank.load(path=file)
    assert "mine.yaml" in str(caught.value)
    for part in expected:
        assert part in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"gone\.yaml: cannot be read"):
        ScenarioBank.load(path=tmp_path / "gone.yaml")


def test_wrong_openers_are_refused_in_words(tmp_path, bank):
    file = tmp_path / "openers.yaml"

    def refused(change) -> str:
        content = bank.model_dump(mode="json")["openers"]
        change(content)
        file.write_text(yaml.safe_dump(content), encoding="utf-8")
        with pytest.raises(UserError, match=r"openers\.yaml") as caught:
            ScenarioBank.load(openers=file)
        return str(caught.value)

    assert "event.cough is missing" in refused(lambda c: c["event"].pop("cough"))
    assert "event.burp is not a cue" in refused(lambda c: c["event"].update(burp=c["event"]["cough"]))
    assert "emotion.sad.reply_emotion" in refused(lambda c: c["emotion"]["sad"].update(reply_emotion="grim"))
    assert "none of the keywords" in refused(lambda c: c["emotion"]["sad"].update(openers=["Hello there."]))
    assert "keyword of happy" in refused(lambda c: c["emotion"]["sad"].update(openers=["Sad, not happy."]))
    assert "emotion.sad.openers" in refused(lambda c: c["emotion"]["sad"].update(openers=[]))
    file.write_text("- a\n", encoding="utf-8")
    with pytest.raises(UserError, match="is not a mapping"):
        ScenarioBank.load(openers=file)


def test_a_child_is_not_called_sir_or_madam():
    bank = ScenarioBank.load("en")
    cues = {"age": "child", "gender": "female"}
    assert bank.kept(cues) == ("age",)
    scenario = bank.scenarios[0]
    for draw in range(40):
        reply, _ = bank.compose(scenario, scenario.fill(0), cues, draw)
        assert not bank.mentions(reply, "gender", "female")
        assert bank.mentions(reply, "age", "child")
