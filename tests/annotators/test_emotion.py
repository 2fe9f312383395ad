"""Engine `cues`: emotion against the voice's reference, and without one."""

import numpy as np
import pytest
from sounds import VOICELESS, odd_audio, syllables

from annotators.base import Annotator, Example
from annotators.clip import Clip, Reference
from annotators.emotion import CueEmotionConfig
from manifests.labels import EMOTIONS


@pytest.fixture(scope="module")
def annotator() -> Annotator:
    return CueEmotionConfig().open()


def reference_like(clip: Clip, shift: float = 0.0) -> Reference:
    """Of a voice whose usual cues are those of a clip, raised by `shift` deviations."""
    known = {name: value for name, value in clip.cues.items() if np.isfinite(value)}
    deviation = {name: 1.0 + 0.2 * abs(value) for name, value in known.items()}
    mean = {name: value + shift * deviation[name] for name, value in known.items()}
    return Reference(mean, deviation, clip.embedding, 14)


@pytest.mark.parametrize("name", odd_audio())
@pytest.mark.parametrize("known", [True, False], ids=["reference", "alone"])
def test_odd_audio_is_answered(annotator: Annotator, name: str, known: bool):
    samples, rate = odd_audio()[name]
    reference = reference_like(Clip(syllables(120, 17), 16000)) if known else None
    label = annotator.annotate(Clip(samples, rate, reference))
    assert tuple(label.probabilities) == EMOTIONS
    assert sum(label.probabilities.values()) == pytest.approx(1)
    assert np.isfinite(list(label.evidence.values())).all()
    assert label.evidence["reference"] == (14 if known else 0)
    if name in VOICELESS:
        assert label.value == "none"
        assert len(set(label.probabilities.values())) == 1


def test_the_same_clip_is_heard_against_its_voice(annotator: Annotator):
    sound = syllables(150, 16)
    clip = Clip(sound, 16000)
    raised = {"f0_median", "f0_mean", "f0_p10", "f0_p90", "level_mean", "level_median", "level_p95", "high_500"}

    def heard(shift: float) -> dict[str, float]:
        usual = reference_like(clip)
        mean = {name: value - shift * (name in raised) * usual.deviation[name] for name, value in usual.mean.items()}
        return annotator.annotate(
            Clip(sound, 16000, Reference(mean, usual.deviation, clip.embedding, 14))
        ).probabilities

    excited, subdued = heard(1.5), heard(-1.5)
    assert excited["angry"] + excited["happy"] > subdued["angry"] + subdued["happy"] + 0.1
    assert subdued["sad"] + subdued["neutral"] > excited["sad"] + excited["neutral"] + 0.1


def test_config():
    config = CueEmotionConfig()
    assert config.role == "annotator.emotion"
    assert config.needs_reference
    assert config.problems() == []
    assert config.thresholds() == {}, "too few clips were judged to hold one"
    assert "cues-" in config.revision()
    assert config.card()["corpora"]


def test_fit_on_other_clips_with_and_without_references():
    examples = []
    for hertz in (100, 120, 200):
        usual = reference_like(Clip(syllables(hertz, 16), 16000))
        for factor, gain, label in ((1.0, 0.3, "neutral"), (1.5, 1.0, "angry")):
            sound = (gain * syllables(hertz * factor, 16)).astype(np.float32)
            examples.append(Example(Clip(sound, 16000, usual), label, str(hertz)))
    annotator = CueEmotionConfig().fit(examples)
    known = [annotator.annotate(example.clip) for example in examples]
    assert [label.value for label in known] == [example.label for example in examples]
    bare = [Example(Clip(e.clip.audio, 16000), e.label, e.speaker) for e in examples]
    alone = CueEmotionConfig().fit(bare).annotate(bare[0].clip)
    assert set(alone.probabilities) == {"neutral", "angry"}
    with pytest.raises(ValueError, match="1 of 7 labels"):
        CueEmotionConfig().fit(examples[:1])
