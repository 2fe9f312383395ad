"""Intervals and verdicts: right as often as they say, on data whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.ablation import stats
from model.ablation.stats import Items, contrast, estimate, holm, slope
from model.ablation.verdict import HELPS, HURTS, NOTHING, verdict


def answers(rng: np.random.Generator, shift: float, hard: np.ndarray, seeds: int = 5) -> np.ndarray:
    """0/1 of each seed and item: items are of unequal difficulty, seeds of unequal luck."""
    luck = rng.normal(0, 0.15, (seeds, 1))
    return (hard + shift + luck + rng.normal(0, 0.8, (seeds, len(hard))) > 0).astype(float)


def trials(shift: float, count: int, number: int = 120) -> list[stats.Estimate]:
    rng = np.random.default_rng(7)
    found = []
    for trial in range(count):
        hard, strata = rng.normal(0.6, 1.2, number), rng.integers(0, 6, number)
        items = Items(np.ones(number), strata, np.arange(number))
        found.append(estimate(answers(rng, shift, hard) - answers(rng, 0.0, hard), items, trial))
    return found


@pytest.fixture(autouse=True)
def few_replicates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stats, "REPLICATES", 300)


def test_copies_are_called_different_about_one_time_in_twenty() -> None:
    share = np.mean([found.p < 0.05 for found in trials(0.0, 300)])
    assert 0.01 < share < 0.08


def test_a_real_difference_is_found_and_covered() -> None:
    found = trials(-0.8, 100)
    assert np.mean([one.p < 0.05 for one in found]) > 0.95
    truth = np.mean([one.value for one in found])
    assert np.mean([one.interval()[0] < truth < one.interval()[1] for one in found]) > 0.9
    assert np.std([one.value for one in found]) == pytest.approx(np.mean([one.error for one in found]), rel=0.3)


def test_what_is_detectable_is_detected() -> None:
    some = trials(-0.35, 100)
    least = np.mean([found.detectable() for found in some])
    size = abs(np.mean([found.value for found in some]))
    power = np.mean([found.p < 0.05 for found in some])
    assert size < least and power < 0.8, "an effect below the least detectable one is found less often than promised"
    large = trials(-0.6, 100)
    assert abs(np.mean([found.value for found in large])) > least
    assert np.mean([found.p < 0.05 for found in large]) > 0.8


@pytest.mark.parametrize(("seeds", "comparisons"), [(2, 1), (3, 2), (3, 4), (5, 4)])
def test_the_least_detectable_effect_is_found_in_eighty_of_a_hundred(seeds: int, comparisons: int) -> None:
    rng, alpha, degrees = np.random.default_rng(3), stats.ALPHA / comparisons, seeds - 1
    effect = stats.Estimate(0.0, 1.0, degrees, 1.0, 0.0, seeds).detectable(alpha)
    errors = np.sqrt(rng.chisquare(degrees, 4000) / degrees)
    values = rng.normal(effect, 1.0, 4000)
    found = [stats.Estimate(*one, degrees, 1.0, 0.0, seeds).p < alpha for one in zip(values, errors, strict=True)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.03)


def test_more_seeds_would_find_what_they_promise() -> None:
    found = stats.Estimate(0.1, 0.08, 2, 3 * 0.08**2, 1e-5, 3)
    seeds = found.seeds_for(0.1)
    assert seeds is not None and seeds > 3

    def with_seeds(number: int) -> stats.Estimate:
        return stats.Estimate(0.1, (3 * 0.08**2 / number + 1e-5) ** 0.5, number - 1, 3 * 0.08**2, 1e-5, number)

    assert with_seeds(seeds).detectable() <= 0.1 < with_seeds(seeds - 1).detectable()
    assert stats.Estimate(0.1, 0.3, 2, 0.0, 0.09, 3).seeds_for(0.1) is None, "seeds do not make up for items"


def test_where_all_models_are_alike_no_power_is_claimed() -> None:
    found = estimate(np.zeros((3, 50)), Items(np.ones(50), np.zeros(50, int), np.arange(50)), 1)
    told = verdict("reply.addresses_cue", found, 1.0, 2)
    assert told["word"] == NOTHING and "would have been found" not in told["sentence"]
    assert "the same on every item" in told["sentence"]


def test_few_evaluation_items_widen_the_interval() -> None:
    few, many = trials(-0.5, 40, 40), trials(-0.5, 40, 400)
    assert np.mean([one.error for one in few]) > 1.4 * np.mean([one.error for one in many])


def test_a_mean_recall_is_no_mean() -> None:
    strata = np.array([0] * 90 + [1] * 10)
    values = np.where(strata == 0, 1.0, 0.0)
    assert Items(np.ones(100), strata, np.arange(100)).metric(values) == pytest.approx(0.5)
    assert Items(np.ones(100), np.zeros(100), np.arange(100)).metric(values) == pytest.approx(0.9)


def test_weights_are_words() -> None:
    items = Items(np.array([9.0, 1.0]), np.zeros(2), np.arange(2))
    assert items.metric(np.array([0.0, 1.0])) == pytest.approx(0.1)


def test_speakers_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    units = np.repeat(np.arange(8), 50)
    values = np.stack([np.repeat(rng.normal(0, 1, 8), 50)] * 3)
    alone = estimate(values, Items(np.ones(400), np.zeros(400), np.arange(400)), 1)
    together = estimate(values, Items(np.ones(400), np.zeros(400), units), 1)
    assert together.error > 4 * alone.error


def test_one_seed_gives_no_error() -> None:
    with pytest.raises(ValueError, match="two seeds"):
        estimate(np.zeros((1, 4)), Items(np.ones(4), np.zeros(4), np.arange(4)), 0)


def test_equal_models_differ_by_nothing() -> None:
    found = estimate(np.zeros((3, 4)), Items(np.ones(4), np.zeros(4), np.arange(4)), 0)
    assert (found.value, found.p) == (0.0, 1.0)
    assert verdict("emotion.uar", found, 1.0, 1)["word"] == NOTHING


def test_a_slope_is_the_change_for_one_unit() -> None:
    levels = {"a": 0.0, "b": 0.1, "c": 0.4}
    values = {name: np.full((2, 3), 0.7 - 0.5 * level) for name, level in levels.items()}
    line = contrast(values, slope(levels))
    assert line == pytest.approx(np.full((2, 3), -0.5))


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_between_the_plain_and_bonferroni(p_values: list[float]) -> None:
    corrected = holm(p_values)
    for plain, value in zip(p_values, corrected, strict=True):
        assert plain <= value <= min(1.0, plain * len(p_values)) + 1e-12
    order = np.argsort(p_values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)


def test_less_of_an_error_helps() -> None:
    found = trials(-0.8, 1)[0]
    assert verdict("emotion.uar", found, 0.01, 1)["word"] == HURTS
    assert verdict("emotion.nll", found, 0.01, 1)["word"] == HELPS
    none = verdict("emotion.uar", found, 0.3, 4)
    assert none["word"] == NOTHING and "would have been found" in none["sentence"]
