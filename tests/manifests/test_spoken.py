"""Spoken forms: what numbers, signs and dashes mean is kept, and doing it again changes nothing."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from manifests.spoken import spoken

ENGLISH = [
    ("It's -5°C outside.", "It's minus five degrees Celsius outside."),
    ("from 5° to -3°F", "from five degrees to minus three degrees Fahrenheit"),
    ("010-12345678", "zero one zero, one two three four five six seven eight"),
    ("Call 555-1234.", "Call five five five, one two three four."),
    ("call (415) 555-2671", "call four one five, five five five, two six seven one"),
    ("500-1000 people", "five hundred to one thousand people"),
    ("1998-2005", "nineteen ninety-eight to two thousand five"),
    ("It costs 5-10% more.", "It costs five to ten percent more."),
    ("$5-10", "five to ten dollars"),
    ("$5.50-6", "five dollars and fifty cents to six dollars"),
    ("$1.5-2 million", "one point five to two million dollars"),
    ("10:30-11:30", "ten thirty to eleven thirty"),
    ("5-10 km", "five to ten kilometers"),
    ("2-3pm", "two to three PM"),
    ("May 3-5", "May third to fifth"),
    ("2024-05-03", "May third, twenty twenty-four"),
    ("a 5-year-old", "a five-year-old"),
    ("In 1999 and 2012 we moved.", "In nineteen ninety-nine and twenty twelve we moved."),
    ("It was 1999.", "It was nineteen ninety-nine."),
    ("It was 1999 people.", "It was one thousand nine hundred ninety-nine people."),
    ("On 9/11", "On nine eleven"),
    ("On 5/3 we met", "On May third we met"),
    ("after 3/4 of an hour", "after three quarters of an hour"),
    ("-10–-5", "minus ten to minus five"),
    ("We went back to 1999.", "We went back to nineteen ninety-nine."),
    ("She moved to Paris, 1999.", "She moved to Paris, nineteen ninety-nine."),
    ("I counted 1234.", "I counted one thousand two hundred thirty-four."),
    ("The door has the code 1234.", "The door has the code one two three four."),
    ("My PIN is 2041!", "My PIN is two zero four one!"),
    ("Ask for extension 1204, please.", "Ask for extension one two zero four, please."),
    ("My order number is 1999.", "My order number is one nine nine nine."),
    ("I wrote code 1999 times.", "I wrote code one thousand nine hundred ninety-nine times."),
    ("In 1999's summer", "In nineteen ninety-nine's summer"),
    ("I ate 3/4 of it", "I ate three quarters of it"),
    ("-$5", "minus five dollars"),
    ("$-5", "minus five dollars"),
    ("$.50", "fifty cents"),
    ("Version 2.0.1", "Version two point zero point one"),
    ("the '90s", "the nineties"),
    ("It's a '5 star' hotel", "It's a 'five star' hotel"),
    ("She lives on Elm Dr.", "She lives on Elm Drive."),
    ("Dr. Elm came", "Doctor Elm came"),
]
MANDARIN = [
    ("今天-5℃", "今天负五摄氏度"),
    ("气温-5度", "气温负五度"),
    ("气温-5~-3度", "气温负五到负三度"),
    ("周一-3度", "周一负三度"),
    ("新冠-19", "新冠-十九"),
    ("3-5度", "三到五度"),
    ("电话010-12345678", "电话零一零，一二三四五六七八"),
    ("500-1000元", "五百到一千元"),
    ("1998-2005年", "一九九八到二零零五年"),
    ("5-10%", "百分之五到百分之十"),
    ("$5-10", "五到十美元"),
    ("10:30-11:30", "十点三十分到十一点三十分"),
    ("10:00-11:00", "十点到十一点"),
    ("比分3:2", "比分三比二"),
    ("2-1赢了", "二比一赢了"),
    ("下午3:20见", "下午三点二十分见"),
    ("-$5", "负五美元"),
    ("$.50", "零点五美元"),
    ("版本2.0.1", "版本二点零点一"),
]
ALL = [*(("en", *pair) for pair in ENGLISH), *(("zh", *pair) for pair in MANDARIN)]


@pytest.mark.parametrize(("language", "text", "form"), ALL)
def test_a_spoken_form_means_what_the_text_does(language: str, text: str, form: str) -> None:
    assert spoken(text, language) == form


@settings(deadline=None, max_examples=500)
@given(
    st.text() | st.text("0123456789-–~:/.,$£%°℃ ''’()度年月个比分CDr.s", max_size=30),
    st.sampled_from(["en", "zh", "de"]),
)
@example("-" * 300 + "1-2" * 300, "en")
@example("1-2~-3" * 200, "zh")
def test_spoken_again_is_the_same(text: str, language: str) -> None:
    once = spoken(text, language)
    assert spoken(once, language) == once
