"""The tone code: symbols to tones and back, without a mistake."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import tonecode
from manifests.labels import CUES, NONE

SYMBOLS = st.lists(st.integers(0, tonecode.SILENCE), max_size=40).map(np.array)
PHASES = st.floats(0, 2 * np.pi)
LABELS = [(family, value) for family in CUES for value in (*CUES[family], NONE)]


@settings(deadline=None, max_examples=60)
@given(SYMBOLS, PHASES, st.floats(0.01, 1.0))
def test_what_is_played_is_read_at_any_phase_and_level(symbols: np.ndarray, phase: float, level: float) -> None:
    wave = np.float32(level) * tonecode.tones(symbols, phase)
    assert wave.dtype == np.float32
    assert wave.shape == (symbols.size * tonecode.SYMBOL_SAMPLES,)
    assert tonecode.read(wave).tolist() == symbols.tolist()


@pytest.mark.parametrize("phase", [0.0, 1.0, np.pi / 2])
def test_every_symbol_is_read(phase: float) -> None:
    symbols = np.arange(tonecode.NUM_SYMBOLS + 1)
    assert tonecode.read(np.float32(0.1) * tonecode.tones(symbols, phase)).tolist() == symbols.tolist()


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 256), min_size=1, max_size=40), st.integers(0, 2**32))
def test_noise_well_under_the_tones_misreads_nothing(symbols: list[int], seed: int) -> None:
    noise = np.random.default_rng(seed).standard_normal(len(symbols) * tonecode.SYMBOL_SAMPLES)
    wave = 0.1 * tonecode.tones(np.array(symbols)) + 0.02 * noise
    assert tonecode.read(wave).tolist() == symbols


def test_full_scale_is_never_exceeded() -> None:
    assert np.abs(tonecode.tones(np.arange(tonecode.NUM_SYMBOLS), 0.3)).max() <= 1.0


@pytest.mark.parametrize(("num", "symbols"), [(0, 0), (1, 1), (639, 1), (640, 1), (641, 2), (6400, 10)])
def test_a_symbol_is_read_for_each_begun_40_ms(num: int, symbols: int) -> None:
    assert tonecode.read(np.zeros(num)).tolist() == [tonecode.SILENCE] * symbols


def test_what_is_hardly_there_is_silence() -> None:
    tone = tonecode.tones(np.array([65, 66]))
    assert tonecode.read(tone * 1e-3).tolist() == [tonecode.SILENCE] * 2
    assert tonecode.read(tone * 1e-2).tolist() == [65, 66]


def test_a_shift_by_whole_symbols_moves_the_symbols() -> None:
    wave = tonecode.tones(np.array([3, 200, 256]))
    assert tonecode.read(wave[tonecode.SYMBOL_SAMPLES :]).tolist() == [200, 256]
    assert tonecode.read(np.pad(wave, (tonecode.SYMBOL_SAMPLES, 0))).tolist() == [tonecode.SILENCE, 3, 200, 256]


@pytest.mark.parametrize(("family", "value"), LABELS)
def test_a_label_is_a_symbol_and_back(family: str, value: str) -> None:
    assert tonecode.symbol_label(family, tonecode.label_symbol(family, value)) == value


@pytest.mark.parametrize("family", CUES)
def test_labels_of_a_family_have_symbols_of_their_own(family: str) -> None:
    symbols = {tonecode.label_symbol(family, value) for value in (*CUES[family], NONE)}
    assert len(symbols) == len(CUES[family]) + 1
    assert symbols <= set(range(tonecode.NUM_SYMBOLS))


@pytest.mark.parametrize("family", CUES)
@pytest.mark.parametrize("symbol", [100, 255, 256, tonecode.SILENCE])
def test_a_symbol_of_no_label_is_none(family: str, symbol: int) -> None:
    assert tonecode.symbol_label(family, symbol) == NONE


def test_an_unknown_label_has_no_symbol() -> None:
    with pytest.raises(ValueError, match="not in"):
        tonecode.label_symbol("emotion", "bored")
