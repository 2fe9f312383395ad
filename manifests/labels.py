"""Label taxonomies: the closed sets of values that cues, tasks and replies may take.

Names follow the OSUM-EChat release (age, gender, query emotion, vocal sound events and the eleven
reply emotions), lower-cased; `canonical` maps the spellings of other corpora to ours.
"""

from __future__ import annotations

from functools import lru_cache

from manifests.errors import UserError

NONE = "none"  # absent label; never null, or readers of JSON guess wrong column types

AGES = ("child", "adult", "old")
GENDERS = ("female", "male")
EMOTIONS = ("neutral", "happy", "sad", "angry", "fear", "disgust", "surprise")
EVENTS = ("laugh", "cough", "cry", "scream", "sigh", "throat_clear", "sneeze")
REPLY_EMOTIONS = (
    "cheerful", "sorry", "happy", "angry", "surprised", "disgusted", "sad", "afraid", "tearful", "comforting",
    "neutral",
)  # fmt: skip
TASKS = ("emotion", "age", "gender", "event", "multi", "neutral")
SPLITS = ("train", "validation", "test")
LANGUAGES = ("en", "zh")

CUES: dict[str, tuple[str, ...]] = {"age": AGES, "gender": GENDERS, "emotion": EMOTIONS, "event": EVENTS}
"""The cue families that a voice can carry, with their values."""

HEARD: dict[str, tuple[str, ...]] = {**CUES, "speakers": ("one", "several")}
"""The families that annotators recognise: the cues, and whether one person speaks, as every query asks for."""

FAMILIES: dict[str, tuple[str, ...]] = {
    **CUES,
    "reply_emotion": REPLY_EMOTIONS,
    "task": TASKS,
    "split": SPLITS,
}

_ALIASES: dict[str, dict[str, str]] = {
    "age": {"youth": "adult", "young": "adult", "middle": "adult", "middle_age": "adult", "middle_aged": "adult",
            "elderly": "old", "senior": "old", "children": "child", "kid": "child"},
    "gender": {"f": "female", "m": "male", "woman": "female", "man": "male"},
    "emotion": {"anger": "angry", "happiness": "happy", "joy": "happy", "sadness": "sad", "fearful": "fear",
                "afraid": "fear", "disgusted": "disgust", "surprised": "surprise", "calm": "neutral"},
    "event": {"laughter": "laugh", "laughing": "laugh", "coughing": "cough", "crying": "cry", "crying_sobbing": "cry",
              "sobbing": "cry", "screaming": "scream", "sighing": "sigh", "throatclearing": "throat_clear",
              "throat_clearing": "throat_clear", "sneezing": "sneeze"},
    "reply_emotion": {}, "task": {}, "split": {"valid": "validation", "dev": "validation"},
}  # fmt: skip

_ZH: dict[str, dict[str, str]] = {
    "age": {"child": "儿童", "adult": "成年", "old": "老年"},
    "gender": {"female": "女", "male": "男"},
    "emotion": {"neutral": "中性", "happy": "高兴", "sad": "悲伤", "angry": "生气", "fear": "恐惧", "disgust": "厌恶",
                "surprise": "惊讶"},
    "event": {"laugh": "笑声", "cough": "咳嗽", "cry": "哭声", "scream": "尖叫", "sigh": "叹气",
              "throat_clear": "清嗓子", "sneeze": "打喷嚏"},
    "reply_emotion": {"cheerful": "愉悦", "sorry": "抱歉", "happy": "开心", "angry": "愤怒", "surprised": "惊讶",
                      "disgusted": "厌恶", "sad": "悲伤", "afraid": "害怕", "tearful": "哭腔", "comforting": "安慰鼓励",
                      "neutral": "中立"},
    "task": {"emotion": "情绪", "age": "年龄", "gender": "性别", "event": "声音事件", "multi": "多标签",
             "neutral": "中性"},
    "split": {"train": "训练", "validation": "验证", "test": "测试"},
}  # fmt: skip


def heard_labels(family: str) -> tuple[str, ...]:
    """The labels that an annotator of a family can be right with; `none` is one where nothing may be asked for."""
    return (*HEARD[family], NONE) if family == "event" else HEARD[family]


def slots(family: str, count: int) -> tuple[str, ...]:
    """Names of a family's annotators: `gender`, `gender_2`, `gender_3` ..."""
    return tuple(family if number == 1 else f"{family}_{number}" for number in range(1, count + 1))


@lru_cache(maxsize=256)
def family_of(slot: str) -> str:
    """The family of an annotator's slot."""
    return slot.partition("_")[0]


def canonical(family: str, value: str) -> str:
    """Map a label as other corpora spell it (`YOUTH`, `<ANGER>`, `惊讶`) to ours.

    Args:
        family: A key of `FAMILIES`.
        value: The label in any case, with or without angle brackets, or its Chinese name.

    Returns:
        The canonical value, or `none` for an absent one (`""`, `none`, `null`).

    Raises:
        UserError: The value is not one of the family's; the message lists those that are.
    """
    text = value.strip().strip("<>").strip().lower().replace(" ", "_").replace("-", "_")
    if text in ("", NONE, "null"):
        return NONE
    if text in FAMILIES[family]:
        return text
    if text in _ALIASES[family]:
        return _ALIASES[family][text]
    for ours, zh in _ZH[family].items():
        if text == zh:
            return ours
    allowed = ", ".join((*FAMILIES[family], *sorted(_ALIASES[family])))
    raise UserError(f"{value!r} is not a label of {family}: use one of {allowed}")


def display(family: str, value: str, language: str = "en") -> str:
    """The name of a canonical label for people, in English or Chinese."""
    if language == "zh":
        return _ZH[family].get(value, value)
    return value.replace("_", " ")
