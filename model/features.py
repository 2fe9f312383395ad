"""Whisper's log-mel features, of audio of any length: no padding to 30 s.

As `transformers.WhisperFeatureExtractor` (and librosa's Slaney filters behind it) computes them, in torch.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

SAMPLE_RATE = 16_000
N_FFT, HOP, N_MELS = 400, 160, 80
FRAME_RATE = SAMPLE_RATE // HOP
"""Mel frames a second."""
_FLOOR = 1e-10
_RANGE = 8.0  # in log10 units below the loudest frame


def num_frames(num_samples: int) -> int:
    """Mel frames of a waveform of so many samples at 16 kHz."""
    return num_samples // HOP


def log_mel(wave_T: Tensor) -> Tensor:
    """Log-mel spectrogram.

    Args:
        wave_T: Mono waveform at 16 kHz, float (num_samples,), in [-1, 1].

    Returns:
        float32 (num_samples // 160, 80): 100 frames a second, about -1 to 1.5.

    Raises:
        ValueError: Fewer than 400 samples, which hold no analysis window.
    """
    if wave_T.ndim != 1 or wave_T.shape[0] < N_FFT:
        raise ValueError(f"needs one channel of at least {N_FFT} samples at 16 kHz, not {tuple(wave_T.shape)}")
    window = torch.hann_window(N_FFT, dtype=torch.float32, device=wave_T.device)
    spectrum = torch.stft(wave_T.float(), N_FFT, HOP, window=window, return_complex=True)
    power_FT = spectrum[:, :-1].abs() ** 2
    mel_MT = mel_filters().to(wave_T.device) @ power_FT
    log_MT = torch.clamp(mel_MT, min=_FLOOR).log10()
    log_MT = torch.maximum(log_MT, log_MT.max() - _RANGE)
    return ((log_MT + 4.0) / 4.0).T.contiguous()


@lru_cache(maxsize=1)
def mel_filters() -> Tensor:
    """Slaney's mel filters with unit area, float32 (80, 201), 0 to 8 kHz."""
    bins = torch.linspace(0, SAMPLE_RATE / 2, N_FFT // 2 + 1, dtype=torch.float64)
    edges = _mel_to_hz(torch.linspace(_hz_to_mel(0.0), _hz_to_mel(SAMPLE_RATE / 2), N_MELS + 2, dtype=torch.float64))
    widths = edges.diff()
    slopes = edges[:, None] - bins[None, :]
    rising = -slopes[:-2] / widths[:-1, None]
    falling = slopes[2:] / widths[1:, None]
    filters = torch.clamp(torch.minimum(rising, falling), min=0.0)
    return (filters * (2.0 / (edges[2:] - edges[:-2]))[:, None]).float()


_LINEAR_HZ, _BREAK_HZ = 200.0 / 3, 1000.0  # a mel is 66.7 Hz below 1 kHz, and a step of a logarithm above
_STEP = math.log(6.4) / 27.0


def _hz_to_mel(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return _BREAK_HZ / _LINEAR_HZ + math.log(hz / _BREAK_HZ) / _STEP


def _mel_to_hz(mel_M: Tensor) -> Tensor:
    knee = _BREAK_HZ / _LINEAR_HZ
    return torch.where(mel_M < knee, mel_M * _LINEAR_HZ, _BREAK_HZ * torch.exp(_STEP * (mel_M - knee)))
