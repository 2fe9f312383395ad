"""Formants moved one range at a time, by warping the spectral envelope of short frames.

The envelope is the smooth part of the log spectrum (its low quefrencies, Oppenheim & Schafer 1989): it is
read at other frequencies, and the spectrum multiplied by the ratio, so that harmonics stay where they are.
"""

from __future__ import annotations

import numpy as np

_FRAME_SECONDS = 0.04
_QUEFRENCY_SECONDS = 0.002  # the period of a 500 Hz voice: higher ones have no finer envelope
_LOW, _HIGH, _FLAT = 800.0, 1200.0, 6000.0  # Hz: below, F1; above, F2 to F4; nothing moves far beyond them
_MOST_DB = 15.0  # of gain at one frequency


def move_formants(wave: np.ndarray, sample_rate: int, first: float, upper: float) -> np.ndarray:
    """Scale the first formant and the upper ones by factors of their own.

    Args:
        wave: float64 (num_samples,).
        sample_rate: In Hz.
        first: Factor on what lies under 0.8 kHz.
        upper: Factor on what lies from 1.2 to 6 kHz; it fades out up to twice that.

    Returns:
        float64 (num_samples,).
    """
    size = 2 * int(_FRAME_SECONDS * sample_rate / 2)
    hop = size // 4
    window = np.hanning(size + 1)[:size]
    num = -(-(len(wave) + size) // hop)
    padded = np.pad(wave, (size, num * hop + size - len(wave) - size))
    frames = np.lib.stride_tricks.sliding_window_view(padded, size)[::hop][:num]
    spectra = np.fft.rfft(frames * window, axis=1)

    frequency = np.fft.rfftfreq(size, 1 / sample_rate)
    source = np.interp(
        np.log2(np.maximum(frequency, 1.0)),
        np.log2([_LOW, _HIGH, _FLAT, 2 * _FLAT]),
        np.log2([_LOW / first, _HIGH / upper, _FLAT / upper, 2 * _FLAT]),
    )
    source = np.where(frequency < _LOW, frequency / first, 2.0**source)
    cepstra = np.fft.irfft(np.log(np.abs(spectra) + 1e-6), axis=1)
    keep = int(_QUEFRENCY_SECONDS * sample_rate)
    cepstra[:, keep + 1 : -keep] = 0.0
    envelope = np.fft.rfft(cepstra, axis=1).real
    at = np.minimum(source / frequency[1], len(frequency) - 1.001)
    low, part = at.astype(int), at % 1
    moved = envelope[:, low] * (1 - part) + envelope[:, low + 1] * part
    limit = _MOST_DB * np.log(10) / 20
    spectra = spectra * np.exp(np.clip(moved - envelope, -limit, limit))

    out = np.zeros(num * hop + size)
    for index, frame in enumerate(np.fft.irfft(spectra, size, axis=1) * window):
        out[index * hop : index * hop + size] += frame
    out /= (window**2).sum() / hop
    return out[size : size + len(wave)]
