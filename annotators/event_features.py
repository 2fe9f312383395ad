"""What the event detector sees of a clip: numbers every 50 ms that tell laughter, coughs and breath from words.

Cepstra, level, noisiness and pitch of 40 ms frames, gathered over a quarter and over a whole second; and how
the level swings from one moment to another, as events beat in rhythms that words do not. All but the pitch are
relative to the clip's own active frames, so that a microphone, a room or a gain changes little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.fft import dct

SAMPLE_RATE = 16000  # Hz
HOP = 160  # samples between frames: 10 ms
STEP = 5  # frames between the rows of features
STEP_SECONDS = STEP * HOP / SAMPLE_RATE

_FRAME, _FFT = 640, 2048
_BLOCK = 1024  # frames at once, to bound memory for long clips
_BANDS = 26
_CEPSTRA = 12
_ACTIVE_DB = 35.0  # frames this far under the loudest are silence
_SILENCE_DB = -75.0  # dBFS: a clip under it has no sound
_FLOOR_DB = -45.0  # relative to the active level: nothing is counted as quieter
_PITCH = (60.0, 1100.0)  # Hz
_VOICING = 0.45
_WINDOWS = (25, 90)  # frames
_LAGS = (2, 4, 6, 9, 12, 16, 22, 30)  # frames


@dataclass(frozen=True)
class Features:
    """Features over time.

    Attributes:
        rows: float32 (num_steps, NUM), one row every `STEP_SECONDS`, the first at time 0.
        levels: (num_steps,), dB over the clip's active level, at the same times.
        seconds: Duration of the clip.
    """

    rows: np.ndarray
    levels: np.ndarray
    seconds: float


def measure(audio: np.ndarray) -> Features | None:
    """Features of a clip.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.

    Returns:
        None for a clip of less than 40 ms or without sound.
    """
    if len(audio) < _FRAME:
        return None
    audio = audio - np.float32(audio.mean(dtype=np.float64))
    mel, frames = _frames(audio)
    level = frames[:, 0]
    if level.max() < _SILENCE_DB:
        return None
    active = level > level.max() - _ACTIVE_DB
    reference = 10 * np.log10(np.mean(10 ** (level[active] / 10)))
    mel = np.maximum(mel, mel[active].max() - 70)
    cepstra = np.asarray(dct(mel, axis=1, norm="ortho"))[:, 1 : _CEPSTRA + 1]
    cepstra = (cepstra - cepstra[active].mean(axis=0)) / 10
    relative = np.clip(level - reference, _FLOOR_DB, 15.0)
    # Silence has the timbre of the room: it says nothing, and is set to what the clip has on average.
    weight = np.clip((relative - _FLOOR_DB) / 15.0, 0.0, 1.0)[:, None]
    flatness, centroid, strength, pitch = frames[:, 1:].T
    voiced = (strength > _VOICING) & active
    own = float(np.median(pitch[voiced])) if voiced.any() else 0.0
    timbre = (
        np.column_stack([cepstra, _centred(flatness, active) / 5, 2 * _centred(centroid, active), 3 * (strength - 0.5)])
        * weight
    )
    tone = np.column_stack([2 * (pitch - own), pitch, np.ones(len(pitch))]) * voiced[:, None]
    swing = np.abs(np.diff(relative, prepend=relative[:1]))
    table = np.column_stack([relative / 10, swing / 5, timbre, tone])
    rows = np.concatenate([*(_gathered(table, width) for width in _WINDOWS), _swings(relative)], axis=1)
    return Features(rows[::STEP].astype(np.float32), relative[::STEP], len(audio) / SAMPLE_RATE)


NUM = len(_WINDOWS) * 2 * (_CEPSTRA + 8) + len(_LAGS)
"""Number of features in a row."""


def _frames(audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Log-mel bands (num_frames, 26) in dB, and (num_frames, 5): level in dBFS, flatness in dB, centroid in octaves
    over 1 kHz, height of the autocorrelation peak, its pitch in octaves over 150 Hz."""
    count = -(-len(audio) // HOP)
    padded = np.pad(audio, (_FRAME // 2, _FRAME // 2 + HOP))
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[: count * HOP : HOP]
    window = np.hanning(_FRAME).astype(np.float32)
    filters = _mel_filters()
    hz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)
    broad, low = (hz >= 200) & (hz <= 7000), (hz >= 50) & (hz <= 2200)
    shape = np.fft.irfft(np.abs(np.fft.rfft(window, _FFT)) ** 2)
    lags = np.arange(int(SAMPLE_RATE / _PITCH[1]), int(SAMPLE_RATE / _PITCH[0]) + 1)
    scale = float((window**2).sum()) * _FFT / 2
    mels, others = [], []
    for start in range(0, count, _BLOCK):
        power = np.abs(np.fft.rfft(frames[start : start + _BLOCK] * window, _FFT)) ** 2 + 1e-9
        mels.append(10 * np.log10(power @ filters))
        band = power[:, broad]
        correlation = np.fft.irfft(power * low, axis=1)
        normal = correlation[:, lags] / correlation[:, :1] / (shape[lags] / shape[0])
        # A little less for long lags, lest the double of a period win by chance.
        best = np.argmax(normal - 0.05 * np.log2(lags / lags[0]), axis=1)
        others.append(
            np.column_stack([
                10 * np.log10(power.sum(axis=1) / scale + 1e-12),
                10 * (np.log10(band).mean(axis=1) - np.log10(band.mean(axis=1))),
                np.log2((band * hz[broad]).sum(axis=1) / band.sum(axis=1) / 1000),
                np.clip(normal[np.arange(len(best)), best], 0, 1),
                np.log2(SAMPLE_RATE / lags[best] / 150),
            ])
        )  # fmt: skip
    return np.concatenate(mels), np.concatenate(others)


def _mel_filters() -> np.ndarray:
    """Triangular filters (num_bins, 26), even on the mel scale from 60 Hz to 7.6 kHz."""
    edges = 700 * (10 ** (np.linspace(_mel(60), _mel(7600), _BANDS + 2) / 2595) - 1)
    hz = np.fft.rfftfreq(_FFT, 1 / SAMPLE_RATE)[:, None]
    rise = (hz - edges[:-2]) / (edges[1:-1] - edges[:-2])
    fall = (edges[2:] - hz) / (edges[2:] - edges[1:-1])
    return np.maximum(0, np.minimum(rise, fall))


def _mel(hz: float) -> float:
    return 2595 * float(np.log10(1 + hz / 700))


def _centred(values: np.ndarray, active: np.ndarray) -> np.ndarray:
    """Values less their median over the active frames."""
    return values - np.median(values[active])


def _gathered(table: np.ndarray, width: int) -> np.ndarray:
    """Means and standard deviations (num_frames, 2 * num_columns) over centred windows."""
    mean = _moving_mean(table, width)
    return np.concatenate([mean, np.sqrt(np.maximum(_moving_mean(table**2, width) - mean**2, 0))], axis=1)


def _swings(level: np.ndarray) -> np.ndarray:
    """RMS change of the level over each lag, (num_frames, num_lags), within the widest window."""
    out = []
    for lag in _LAGS:
        change = np.zeros(len(level))
        if len(level) > lag:
            change[lag // 2 : lag // 2 + len(level) - lag] = (level[lag:] - level[:-lag]) ** 2
        out.append(np.sqrt(_moving_mean(change[:, None], _WINDOWS[-1])[:, 0]) / 10)
    return np.column_stack(out)


def _moving_mean(table: np.ndarray, width: int) -> np.ndarray:
    """Means over centred windows, shorter at the ends."""
    total = np.concatenate([np.zeros((1, table.shape[1])), np.cumsum(table, axis=0)])
    centre = np.arange(len(table))
    first, last = np.maximum(centre - width // 2, 0), np.minimum(centre + width // 2 + 1, len(table))
    return (total[last] - total[first]) / (last - first)[:, None]
