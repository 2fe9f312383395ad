"""What an answer of a language model must be, and how it is found in what the model says."""

from __future__ import annotations

import json

import pytest

from pipeline.llm.answers import BadAnswerError, QueryForm, ReplyForm, ScoreForm, in_language, read_answer


@pytest.mark.parametrize(
    ("text", "finish", "reason"),
    [
        ("", "stop", "empty"),
        ("no", "stop", "no JSON object"),
        ("2 or 4", "stop", "no JSON object"),
        ("7", "stop", "score"),
        ("2.5", "stop", "no JSON object"),
        ("-2", "stop", "no JSON object"),
        ("From 1 to 5", "stop", "no JSON object"),
        ("The score is 1", "length", "no JSON object"),
        ("<think>It is a 4</think>Good.", "stop", "no JSON object"),
        ("9" * 5000, "stop", "no JSON object"),
        ('{"score": 3', "length", "cut off at max_tokens"),
        ('{"reason": {"score": 3}, "sco', "length", "cut off at max_tokens"),
        ('{"score": 7}', "stop", "score"),
        ('The reply says {"score": 5}, which is no answer. {"score": 1, "reason": "x"}', "stop", "several scores"),
        ('{"score": "3"}', "stop", "score"),
        ('{"score": NaN}', "stop", "score"),
        ('{"score": 2.5}', "stop", "score"),
        ('{"score": true}', "stop", "score"),
        ('{"reason": "x"}', "stop", "score is missing"),
        ("{" + '"a": {' * 5000, "stop", "not valid JSON"),
        ('{"score": ' + "9" * 5000 + "}", "stop", "score|not valid JSON"),
    ],
)
def test_wrong_scores_are_refused(text: str, finish: str, reason: str) -> None:
    with pytest.raises(BadAnswerError, match=reason):
        read_answer(ScoreForm, text, finish)


@pytest.mark.parametrize(
    ("text", "score"),
    [
        ("4", 4), (" 5.\n", 5),
        ('The score is 2. The reason is "It is short."', 2), ("Score: 3/5", 3), ("4 out of 5", 4),
        ("On a scale of 1 to 5 I give it 1.", 1), ("评分：4分（1到5）", 4), ("<think>2? no</think>3", 3),
    ],
)  # fmt: skip
def test_a_judge_that_says_one_number_in_words_is_understood(text: str, score: int) -> None:
    assert read_answer(ScoreForm, text, "stop").score == score


@pytest.mark.parametrize(
    "text",
    [
        '{"query": " It left. "}',
        'Here it is:\n```json\n{"query": "It left."}\n```\nGood luck!',
        'As asked for {the user}, in the form {"query": ...}: {"query": "It left."}',
        'An {"example": {"of": 1}} first.\n{"query": "It left."}',
        '<think>{"query": "a draft"}</think>{"query": "It left.", "note": "x"}',
    ],
)
def test_an_object_is_found_in_what_surrounds_it(text: str) -> None:
    assert read_answer(QueryForm, text, "stop").query == "It left."


def test_a_reply_emotion_is_known_by_any_spelling() -> None:
    form = read_answer(ReplyForm, '{"reply": "Take care.", "reply_emotion": "<COMFORTING>"}', "stop")
    assert form.reply_emotion == "comforting"
    with pytest.raises(BadAnswerError, match="reply_emotion is none of cheerful"):
        read_answer(ReplyForm, '{"reply": "Take care.", "reply_emotion": "angelic"}', "stop")


@pytest.mark.parametrize(
    "text",
    [
        "豆包刚出炉，趁热吃吧。", "I can't help but smile when you say that.", "抱歉，我不能想象你有多难过。",
        "Alexa will be so proud of you.", "I won't answer for the weather, but bring a coat.",
    ],
)  # fmt: skip
def test_replies_that_selection_keeps_are_not_refused(text: str) -> None:
    document = json.dumps({"reply": text, "reply_emotion": "cheerful"})
    assert read_answer(ReplyForm, document, "stop").reply == text


@pytest.mark.parametrize("text", ["Use Siri to set it.", "I can’t help with that request.", "我是一个人工智能。"])
def test_replies_that_selection_drops_are_sent_back(text: str) -> None:
    with pytest.raises(BadAnswerError, match=r"speaks of|refuses"):
        read_answer(ReplyForm, json.dumps({"reply": text, "reply_emotion": "cheerful"}), "stop")


def test_texts_are_in_their_language() -> None:
    in_language("你好，最近怎么样？", "zh")
    in_language("Say café to Zoë.", "en")
    with pytest.raises(BadAnswerError, match="Chinese"):
        in_language("Hello.", "zh")
