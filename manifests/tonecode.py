"""The code of the `tone` engines: text and labels as a sequence of pure tones, a modem for closed-loop tests.

An utterance is silence, four label symbols (age, gender, emotion, event), one symbol per UTF-8 byte of the text,
silence. A symbol is one of 257 tones spaced by one over its length, so that symbols are orthogonal and a
discrete Fourier transform of one symbol reads it exactly; symbol 256 means an absent label.
"""

from __future__ import annotations

import numpy as np

from manifests.labels import CUES, NONE

SAMPLE_RATE = 16_000  # Hz
SYMBOL_SAMPLES = 640  # 40 ms, hence tones 25 Hz apart
LEAD_SAMPLES = 3 * SYMBOL_SAMPLES  # silence before and after
FIRST_BIN = 12  # of symbol 0: 300 Hz
NUM_SYMBOLS = 257
SILENCE = 257  # what the codec writes for a symbol's time without a tone
FLOOR = 1e-3  # mean amplitude under which there is no tone
FAMILIES = tuple(CUES)  # order of the label symbols


def label_symbol(family: str, value: str) -> int:
    """The symbol of a label; 256 for an absent one."""
    return 256 if value == NONE else CUES[family].index(value)


def symbol_label(family: str, symbol: int) -> str:
    """The label of a symbol; `none` for anything that is no label of the family."""
    return CUES[family][symbol] if symbol < len(CUES[family]) else NONE


def read(samples: np.ndarray) -> np.ndarray:
    """The strongest tone of each 40 ms, int (ceil(num_samples / 640),), `SILENCE` where there is none.

    Args:
        samples: float (num_samples,) at 16 kHz.
    """
    short = -len(samples) % SYMBOL_SAMPLES
    frames = (np.pad(samples, (0, short)) if short else samples).reshape(-1, SYMBOL_SAMPLES)
    band = np.abs(np.fft.rfft(frames, axis=1))[:, FIRST_BIN : FIRST_BIN + NUM_SYMBOLS]
    return np.where(np.abs(frames).mean(axis=1) > FLOOR, band.argmax(axis=1), SILENCE)


def tones(symbols: np.ndarray, phase: float = 0.0) -> np.ndarray:
    """The waveform of symbols at amplitude 1, float32 (num_symbols * 640,)."""
    used, place = np.unique(symbols, return_inverse=True)
    time = np.arange(SYMBOL_SAMPLES) / SYMBOL_SAMPLES
    waves = np.sin(2 * np.pi * (used[:, None] + FIRST_BIN) * time + phase)
    waves[used == SILENCE] = 0
    return waves.astype(np.float32)[place].ravel()
