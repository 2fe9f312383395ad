"""Windows and doubts of the batched Whisper; the model itself is run in tests/contract and tests/engines."""

from __future__ import annotations

import numpy as np
import pytest

from annotators.whisper import FULL, MARGIN, Decoded, Whisper, repeats, window_seconds


@pytest.mark.parametrize("seconds", [0.01, 1.0, 2.5, 27.9, 28.0])
def test_a_window_holds_its_clip_and_the_margin(seconds: float) -> None:
    window = window_seconds(round(seconds * 16000))
    assert seconds + MARGIN <= window < seconds + MARGIN + 1.001
    assert window <= FULL


@pytest.mark.parametrize(
    ("text", "twice"),
    [
        ("I can hear it. I can hear it.", True),
        ("So I can hear it, I can hear it now", True),
        ("no no no", False),
        ("come on, come on", False),
        ("I can hear it and you can hear it", False),
        ("今天天气很好今天天气很好", True),
        ("谢谢谢谢", False),
        ("", False),
    ],
)
def test_what_is_said_twice_over_is_noticed(text: str, twice: bool) -> None:
    assert repeats(text) is twice


def test_silence_and_doubt_are_whispers_own() -> None:
    assert Decoded("you", -1.5, 0.9, True).spoken == ""
    assert Decoded("you", -0.2, 0.9, True).spoken == "you"
    assert Decoded("you", -1.5, 0.1, True).doubtful
    assert Decoded("la " * 60, -0.2, 0.1, True).doubtful
    assert Decoded("a clean sentence", -0.2, 0.1, False).doubtful
    assert not Decoded("a clean sentence", -0.2, 0.1, True).doubtful


class Scripted(Whisper):
    """Says a clip's text by its first sample, and notes the windows that it was asked with."""

    def __init__(self, texts: dict[float, dict[int, str]], batch_seconds: float = 240.0) -> None:
        super().__init__(None, 1, batch_seconds, True)
        self.texts, self.batches = texts, []

    def features(self, clip: np.ndarray, window: int) -> np.ndarray:
        return clip[:1]

    def _decode(self, features: np.ndarray, window: int, language: str) -> list[Decoded]:
        self.batches.append((window, len(features)))
        said = [self.texts[round(float(one[0]), 2)] for one in features]
        return [Decoded(one.get(window, one[0]), -0.1, 0.0, True) for one in said]


def clip(mark: float, seconds: float) -> np.ndarray:
    return np.full(int(seconds * 16000), mark, np.float32)


def test_a_doubtful_clip_alone_is_heard_again_in_a_full_window() -> None:
    twice = "we all go home we all go home"
    whisper = Scripted({0.1: {0: "fine"}, 0.2: {0: twice, FULL: "we all go home"}})
    heard = whisper.transcribe([clip(0.1, 2.0), clip(0.2, 2.0), clip(0.1, 1.9)], "en")
    assert heard == ["fine", "we all go home", "fine"]
    assert whisper.batches == [(4, 3), (FULL, 1)]


def test_batches_hold_their_seconds_and_clips_keep_their_places() -> None:
    whisper = Scripted({0.1: {0: "a"}, 0.2: {0: "b"}}, batch_seconds=12.0)
    clips = [
        clip(0.1, 2.0),
        clip(0.2, 5.0),
        np.zeros(16000, np.float32),
        clip(0.1, 2.0),
        clip(0.1, 2.0),
        clip(0.1, 2.0),
    ]
    assert whisper.transcribe(clips, "en") == ["a", "b", "", "a", "a", "a"]
    assert whisper.batches == [(4, 3), (4, 1), (7, 1)]
