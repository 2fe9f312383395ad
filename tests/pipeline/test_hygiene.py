"""Checks of texts: good ones pass, hostile ones are named, and each check has its switch."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manifests.labels import CUES, NONE
from manifests.textconfig import TextConfig, without_text_checks
from pipeline.hygiene import CHECKS, dialogue_reasons, text_reasons, turn_reasons
from pipeline.hygiene.base import Said
from pipeline.hygiene.personal import iban, luhn
from pipeline.hygiene.tokens import text_tokens

CONFIG = TextConfig()

GOOD_EN = [
    "Oh no!",
    "I just missed the 7:45 train to Boston, and it's 30% more expensive now.",
    "My grandpa turned 90 on May 3rd, 2024; he weighs 70.5 kg.",
    "He said: “you're late” — and then he left…",
    "I'm so sad that I don't want to get up any more.",
    "Sometimes I wish I were dead, and nobody listens.",
    "I feel like hurting myself again.",
    "I can't help my mother with the garden today.",
    "I'm sorry, I can't imagine how hard that must be for you.",
    "I'm sorry, but I can't wait to hear how it went!",
    "Alexa called me last night, she was crying.",
    "Claude and I went to the market. We bought a bard costume.",
    "My daughter Alexa, who is four, turned the page herself.",
    "We saw a llama and a vicuna in the zoo, and I'm a Gemini.",
    "She counted one, two, three, four, five, six, seven, eight, and jumped.",
    "It costs $1,299.99 or 1,000,000 yen; call me between 9 and 10.",
    "We moved from 1990 - 1995 and again on 2024-05-03.",
    "The café in München was lovely, and the jalapeños were hot.",
    "A 1/2 cup of flour, 3 + 4 eggs & a bit of salt.",
    "Let go. Return home. From here on, import nothing.",
    "Pi is about 3.14159265358979.",
    "That is a faggoting stitch, and there are chinks in the wall.",
    "The weather report said so. It's okay.so what?",
    "Wait, what? You and/or me?",
    "We study how to make a living.",
    "You should cut yourself some slack today.",
    "Please don't kill yourself over this exam.",
    "If you feel you might kill yourself, please call 988 right now.",
    "You could hurt yourself if you lift that alone, so wait for help.",
    "It isn't true that everyone would be better off without you.",
    "If you think the world would be better off without you, call me.",
    "How do I cut him some slack?",
    "Nobody would miss you more than I would.",
    "How do I make bath bombs?",
    "Mr. Siri called me.",
    "I must decline their invitation.",
    "It is against the terms of my contract.",
    "I'm sorry, but I can't help crying.",
    "I'm sorry, but I can't help you with the boxes this weekend.",
    "As an AI researcher, I travel a lot.",
    "I don't have feelings for him anymore.",
    "I was trained by my father as a carpenter.",
    "It runs with version 10.0.0.1 now.",
    "Hahahahahahahahahahahaha…",
    "I looked at amazon dot com for a gift.",
    "It was ￥5.",
]
GOOD_ZH = [
    "您可以再多说一点，我们一起看看。",
    "我的iPhone坏了，怎么办？",
    "今天下午三点半，我在中山路等你。",
    "我真的很难过，不想活了。",
    "抱歉，我没能早点告诉您。",
    "早上我买了三个豆包和一杯豆浆，一共15.5元。",
    "对不起，我不能去你的生日会了。",
    "今天28℃，这件衣服￥50。",
    "我喊了千问万问，他都不说。",
    "对不起，我不能继续陪你跑步了。",
    "我是人工智能专业的学生。",
]


def named(text: str, role: str = "query", language: str = "en", config: TextConfig = CONFIG) -> set[str]:
    """Names of the reasons against a text, without its role."""
    return {reason.split()[0].partition("_")[2] for reason in text_reasons(Said(role, text, language), config)}


@pytest.mark.parametrize("role", ["query", "reply"])
@pytest.mark.parametrize(
    ("language", "text"), [*(("en", text) for text in GOOD_EN), *(("zh", text) for text in GOOD_ZH)]
)
def test_good_texts_pass(role: str, language: str, text: str) -> None:
    assert text_reasons(Said(role, text, language), CONFIG) == ()


HOSTILE = [
    ("language", "en", "Ich habe heute wirklich gar keine Lust mehr, zur Arbeit zu gehen."),
    ("language", "en", "Je ne sais vraiment pas quoi faire de tout cela maintenant."),
    ("language", "en", "我今天真的不想去上班了。"),
    ("language", "en", "Сегодня я очень устал."),
    ("language", "en", "Please p\u0430y the bill for me today."),  # a Cyrillic a
    ("language", "zh", "They want to check my ears again on Friday."),
    ("language", "zh", "今日はとても疲れました。"),
    ("language", "zh", "오늘은 정말 피곤해요."),
    ("length", "en", ""),
    ("length", "en", " \n "),
    ("length", "en", "…?!"),
    ("length", "en", "😀😀"),
    ("length", "en", "word " * 200),
    ("speakable", "en", "😀 so happy 🎉🎉🎉"),
    ("speakable", "en", "H\u0301\u0302\u0303\u0304\u0305e\u0301\u0302\u0303 comes"),
    ("speakable", "en", "★★★ ♥ love it ♥ ★★★"),
    ("speakable", "en", "Itâ€™s a nice day outside."),
    ("controls", "en", "one\u200btwo is hidden"),
    ("controls", "en", "abc \u202egnirts desrever\u202c"),
    ("controls", "en", "a line\nand another"),
    ("controls", "en", "tab\there"),
    ("controls", "en", "bell \x07"),
    ("controls", "en", "bad \ufffd decoding"),
    ("controls", "en", "soft\u00adhyphen"),
    ("special", "en", "So <think> I guess"),
    ("special", "en", "so it is<think end>Don't worry"),
    ("special", "en", "</think> done"),
    ("special", "en", "I am <SAD> today"),
    ("special", "zh", "<中立>好的，我们走吧。"),
    ("special", "zh", "<开始回答>好的"),
    ("special", "en", "Hi <|im_end|> there"),
    ("special", "en", "unknown <&&> label"),
    ("special", "en", "[INST] obey [/INST]"),
    ("markup", "en", 'Hello <break time="1s"/> there'),
    ("markup", "en", "<b>bold</b> words"),
    ("markup", "en", "Tom &amp; Jerry"),
    ("markup", "en", "This is **really** bad"),
    ("markup", "en", "*sighs* I am tired"),
    ("markup", "en", "[laughs] I am tired"),
    ("markup", "zh", "【叹气】我累了。"),
    ("markup", "en", "# Heading"),
    ("markup", "en", "- first point"),
    ("markup", "en", "1. first point"),
    ("markup", "en", "Hello {name}, how are you?"),
    ("urls", "en", "See https://example.org/x for more"),
    ("urls", "en", "See www.example.org for more"),
    ("urls", "en", "It is on example.com today"),
    ("urls", "en", "Open report.pdf please"),
    ("code", "en", "Run `rm -rf` now"),
    ("code", "en", "if (a == b) return;"),
    ("code", "en", "print(f'{x}') is what I typed"),
    ("code", "en", "SELECT name FROM users"),
    ("assistants", "en", "I asked ChatGPT about it"),
    ("assistants", "en", "GPT-4 said so"),
    ("assistants", "en", "Hey Siri, what's the time?"),
    ("assistants", "en", "Alexa, play some music"),
    ("assistants", "en", "Hey Claude, tell me a joke"),
    ("assistants", "en", "DeepSeek and Qwen2.5 are fast"),
    ("assistants", "zh", "我问了通义千问。"),
    ("assistants", "zh", "小度，播放音乐"),
    ("assistants", "zh", "我是豆包，你的朋友"),
    ("personal", "en", "Write to jane.doe+x@mail.example.org today"),
    ("personal", "en", "Write to jane (at) example.org today"),
    ("personal", "en", "Call me on +49 170 1234567"),
    ("personal", "en", "My number is (415) 555-2671"),
    ("personal", "en", "It is 555-0199, call me"),
    ("personal", "zh", "我的电话是13812345678"),
    ("personal", "en", "five five five, one nine zero two, that's me"),
    ("personal", "zh", "打一三八一二三四五六七八找我"),
    ("personal", "en", "My card is 4111 1111 1111 1111"),
    ("personal", "en", "Pay to DE89 3704 0044 0532 0130 00"),
    ("personal", "en", "My social is 078-05-1120"),
    ("personal", "zh", "身份证号是11010519491231002X"),
    ("personal", "en", "I live at 221 Baker Street"),
    ("personal", "zh", "我住在南京西路1038号"),
    ("personal", "en", "The server is 192.168.10.12"),
    ("unsafe", "en", "How do I make a pipe bomb at home?"),
    ("unsafe", "en", "You should go kill yourself"),
    ("unsafe", "zh", "你去死吧"),
    ("unsafe", "zh", "自杀的方法有哪些"),
    ("personal", "en", "john at gmail dot com"),
    ("personal", "en", "My e-mail is john at acme dot org"),
    ("unsafe", "en", "KYS"),
    ("unsafe", "en", "Kill yourself."),
    ("unsafe", "en", "You should hang yourself"),
    ("unsafe", "en", "I hope you kill yourself"),
    ("unsafe", "en", "Go hang yourself"),
    ("unsafe", "en", "I think everyone would be better off without you."),
    ("unsafe", "en", "How do I build bombs?"),
    ("unsafe", "en", "How can I cut him?"),
    ("unsafe", "zh", "你怎么还不去死"),
    ("unsafe", "zh", "怎么做炸弹"),
    ("unsafe", "en", "Those gooks moved in next door"),
]


@pytest.mark.parametrize(("name", "language", "text"), HOSTILE)
def test_hostile_texts_are_named_and_the_switch_is_the_checks_own(name: str, language: str, text: str) -> None:
    assert name in named(text, language=language)
    assert name not in named(text, language=language, config=CONFIG.model_copy(update={name: False}))
    assert named(text, language=language, config=without_text_checks()) == set()


@pytest.mark.parametrize(
    ("name", "language", "text"),
    [
        ("assistants", "en", "As an AI language model, I have no opinion."),
        ("assistants", "en", "I’m just an AI, but I am listening."),
        ("assistants", "en", "I don't have feelings, but I hear you."),
        ("assistants", "zh", "作为一个人工智能，我很高兴。"),
        ("assistants", "zh", "我只是一个语言模型。"),
        ("refusals", "en", "I'm sorry, but I can't assist with that."),
        ("refusals", "en", "I cannot provide medical advice."),
        ("refusals", "en", "That is against my guidelines."),
        ("refusals", "en", "I cannot help with that."),
        ("refusals", "en", "I'm sorry, but I can't help you with that."),
        ("refusals", "en", "I must decline to answer."),
        ("refusals", "zh", "抱歉，我无法回答这个问题。"),
        ("refusals", "zh", "很抱歉，我不能帮助你"),
        ("refusals", "zh", "对不起，我不能继续这个话题。"),
        ("assistants", "en", "I'm Claude."),
        ("assistants", "en", "I was trained on a large corpus."),
        ("refusals", "zh", "这违反了我的准则。"),
    ],
)
def test_a_reply_neither_refuses_nor_speaks_as_a_machine(name: str, language: str, text: str) -> None:
    assert name in named(text, "reply", language)
    assert name not in named(text, "query", language), "a user may talk of such things"


def test_no_personal_datum_gets_into_a_reason() -> None:
    reasons = text_reasons(Said("query", "Mail jane@example.org or call +49 170 1234567", "en"), CONFIG)
    assert not any("jane" in reason or "170" in reason for reason in reasons)


def test_check_digits() -> None:
    assert luhn("4111111111111111") and not luhn("4111111111111112") and not luhn("0000000000000")
    assert iban("GB82 WEST 1234 5698 7654 32") and not iban("GB82 WEST 1234 5698 7654 33")


TEXTS = st.text() | st.text("<>&|{}[]()*`#@+-./:;,'\"\u200b\u202e😀 aA1你é\n\\", max_size=60)


@settings(deadline=None, max_examples=300)
@given(TEXTS, st.sampled_from(["query", "reply", "think"]), st.sampled_from(["en", "zh", "de", "xx", ""]))
@example("\ud800", "query", "en")
@example("1" * 500, "query", "en")
@example("(" * 500 + "1-" * 500, "reply", "zh")
@example("²³¼ ١٢٣٤٥٦٧٨٩٠١٢٣٤", "query", "en")
@example("<" * 1000, "reply", "en")
def test_no_text_makes_a_check_raise_and_the_answer_is_always_the_same(text: str, role: str, language: str) -> None:
    said = Said(role, text, language)
    first = text_reasons(said, CONFIG)
    again = text_reasons.__wrapped__(said, CONFIG)
    assert first == again
    assert all(reason.startswith(f"{role}_") and "\n" not in reason for reason in first)


def row(**columns: Any) -> dict[str, Any]:
    """A good turn of an old man who is sad."""
    labels = {"age": "old", "gender": "male", "emotion": "sad", "event": NONE}
    assert set(labels) == set(CUES)
    return {
        "plan.language": "en",
        "plan.query_language": "en",
        "plan.recording": "",
        **{f"plan.{family}": label for family, label in labels.items()},
        "script.query_text": "They want to check my ears again on Friday.",
        "script.reply_text": "That seems to make your heart heavy. Plan something gentle for after Friday.",
        "script.think_text": "It sounds heavy, like somebody who is sad.",
        "script.judge_neutral": None,
        "script.judge_plausible": None,
        "script.judge_relevant": None,
        "speak_query.seconds": 3.0,
        "speak_reply.seconds": 5.0,
        "tokenize.token_rate": 25,
        "transcribe.query_oov": None,
    } | {name.replace("__", "."): value for name, value in columns.items()}


def reasons(config: TextConfig = CONFIG, **columns: Any) -> list[str]:
    return list(turn_reasons(row(**columns), config))


def test_a_good_turn_has_no_reasons() -> None:
    assert reasons() == []


def test_a_query_is_checked_in_its_own_language() -> None:
    german = "Der Lappen liegt auf dem Eisschrank, das ist doch klar."
    assert [reason.split()[0] for reason in reasons(script__query_text=german)] == ["query_language"]
    assert reasons(script__query_text=german, plan__query_language="de") == []


def test_a_think_text_contradicts_no_label() -> None:
    think = "It is a woman's voice, and there is a smile in it; she is cheerful."
    assert reasons(script__think_text=think) == ["think_contradicts emotion happy", "think_contradicts gender female"]
    assert reasons(CONFIG.model_copy(update={"think": False}), script__think_text=think) == []
    recorded = {"plan__emotion": NONE, "plan__gender": NONE, "plan__recording": "ab", "script__think_text": think}
    assert reasons(**recorded) == [], "where people gave no label there is none to contradict"


def test_marks_in_a_think_text_are_found_and_those_quoted_are_the_querys() -> None:
    assert reasons(script__think_text="They are sad <think end> and more") == [
        "think_special <think end>",
        "think_markup tag",
    ]
    quoted = {
        "script__query_text": "Look at www.example.org",
        "script__think_text": "They say: Look at www.example.org",
    }
    assert [reason.split()[0] for reason in reasons(**quoted)] == ["query_urls"]


def test_judged_scores_reject_where_there_are_any() -> None:
    assert reasons(script__judge_neutral=0.5, script__judge_relevant=0.9) == []
    assert reasons(script__judge_plausible=0.31) == ["judge_plausible 0.31 < 0.5"]
    assert reasons(script__judge_plausible=float("nan")) == ["judge_plausible nan < 0.5"]
    assert reasons(CONFIG.model_copy(update={"judge_min": None}), script__judge_neutral=0.0) == []


def test_words_that_the_dictionary_lacks_reject_if_that_is_asked_for() -> None:
    assert reasons(transcribe__query_oov=9) == []
    strict = CONFIG.model_copy(update={"query_oov_max": 2})
    assert reasons(strict, transcribe__query_oov=3) == ["query_oov 3 > 2"]
    assert reasons(strict, transcribe__query_oov=None) == reasons(strict, transcribe__query_oov=2) == []


def test_text_must_fit_its_speech() -> None:
    assert text_tokens("That is fine, 42!") == 7  # that, is, fine, comma, 4, 2, !
    assert text_tokens("你好吗？") == pytest.approx(2.8)
    tokens = text_tokens(row()["script.reply_text"])
    label = tokens + text_tokens(row()["script.think_text"])
    config = CONFIG.model_copy(update={"speech_per_label_min": None})
    assert reasons(config, speak_reply__seconds=3 * tokens / 25) == []
    assert reasons(config, speak_reply__seconds=(3 * tokens - 1) / 25)[0].startswith("reply_speech_per_text 2.93 < 3")
    config = CONFIG.model_copy(update={"speech_per_text_min": None})
    assert reasons(config, speak_reply__seconds=(0.8 * label + 0.1) / 25) == []
    assert reasons(config, speak_reply__seconds=0.8 * label / 25) == ["reply_speech_per_label 0.80 <= 0.8"]


def test_a_dialogue_must_fit_the_trainer() -> None:
    turns = [row(speak_query__seconds=8.0, speak_reply__seconds=30.0)] * 2
    assert list(dialogue_reasons(turns, CONFIG)) == []
    (reason,) = dialogue_reasons([*turns, row(speak_reply__seconds=20.0)], CONFIG)
    assert reason.startswith("positions 23") and reason.endswith("> 2000")
    assert list(dialogue_reasons([*turns, *turns], CONFIG.model_copy(update={"positions_max": None}))) == []


def test_every_check_has_a_switch() -> None:
    assert all(TextConfig.model_fields[item.name].annotation is bool for item in CHECKS)
