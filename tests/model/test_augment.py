"""What training does to recordings: bounded, seeded, and no more than it says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from model.audio import AUGMENTATIONS, Augmentation, augment, bent, masked, recoloured, stretched


@pytest.mark.parametrize("how", AUGMENTATIONS.values(), ids=list(AUGMENTATIONS))
def test_masks_hide_parts_and_keep_the_rest(how: Augmentation) -> None:
    mel = torch.randn(300, 80)
    shares = [float((masked(mel, how, np.random.default_rng(seed)) != mel).float().mean()) for seed in range(20)]
    most = 1 - (1 - how.hidden[0] * how.hidden[1] / 300 - how.substitutions * 30 / 300) * (1 - how.bands * 10 / 80)
    assert np.mean(shares) > 0 and max(shares) <= most
    assert torch.equal(augment(mel, how, np.random.default_rng(1)), augment(mel, how, np.random.default_rng(1)))
    assert not torch.equal(augment(mel, how, np.random.default_rng(1)), augment(mel, how, np.random.default_rng(2)))
    for frames in range(1, 40):
        made = augment(mel[:frames], how, np.random.default_rng(frames))
        assert made.shape == (frames, 80) and bool(made.isfinite().all())


def test_light_augmentation_hides_less_than_the_release() -> None:
    mel = torch.randn(200, 80)
    hidden = {
        name: np.mean([float((masked(mel, how, np.random.default_rng(s)) != mel).float().mean()) for s in range(50)])
        for name, how in AUGMENTATIONS.items()
    }
    assert hidden["light"] < 0.5 * hidden["release"]


def test_bent_recordings_keep_their_ends_their_order_and_their_pitch() -> None:
    ramp = torch.arange(200.0)[:, None].repeat(1, 80)  # each frame tells its own time
    places = [bent(ramp, 40, np.random.default_rng(seed))[:, 0] for seed in range(50)]
    for place in places:
        assert place[0] == 0 and place[-1] == 199
        assert float(place.diff().min()) >= 0.5 and float(place.diff().max()) <= 2.5
    farthest = max(float((place - torch.arange(200.0)).abs().max()) for place in places)
    assert 30 < farthest <= 40
    tone = torch.zeros(200, 80)
    tone[:, 30] = 1.0
    assert torch.allclose(bent(tone, 40, np.random.default_rng(0)), tone)


def test_stretched_recordings_move_high_resonances_most_and_keep_their_time() -> None:
    tone = torch.zeros(200, 80)
    tone[50:100, 60] = 1.0
    peaks = []
    for seed in range(50):
        made = stretched(tone, 0.05, np.random.default_rng(seed))
        assert not made[:50].any() and not made[100:].any()
        peaks.append(int(made[60].argmax()))
    assert 57 <= min(peaks) < 60 < max(peaks) <= 63
    steady = torch.ones(10, 80)
    assert torch.allclose(stretched(steady, 0.05, np.random.default_rng(0)), steady)


def test_speakers_are_heard_with_any_bass_and_all_else_as_before() -> None:
    silence = torch.zeros(20, 80)
    colours = {
        name: torch.stack(
            [recoloured(silence, AUGMENTATIONS[name], np.random.default_rng(seed))[0] for seed in range(200)]
        )
        for name in ("transfer", "speaker")
    }
    low, high = (
        colours["speaker"][:, mels].std() / colours["transfer"][:, mels].std() for mels in (slice(3), slice(60, 80))
    )
    assert low > 2
    assert 0.9 < high < 1.1
