"""The embedded speech tokenizer: log-mel steps of 40 ms, each named by its nearest of 1024 centroids.

A stand-in that needs no network and no weights to speak of. Its tokens say what was said and how loudly and
brightly, in the layout of a real codec (25 a second, one stream); they hold pitch only as far as 80 mel
bands do. Decoding estimates phases, so it gives a sketch to listen to, not speech to publish.
"""

from __future__ import annotations

import hashlib
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import soxr

from manifests.engine import Throughput
from synthesis.base import CodecConfig, Speech, SpeechCodec

SAMPLE_RATE = 16000
TOKEN_RATE = 25
CODEBOOK = Path(__file__).parent / "data" / "codebook" / "kmeans_1024.npz"

STEP = SAMPLE_RATE // TOKEN_RATE  # samples of one token
_WINDOW, _HOP, _MELS = 400, 160, 80  # the front end of Whisper
_FRAMES = STEP // _HOP  # spectra averaged into one step
_MARGIN = (_WINDOW - _HOP) // 2  # zeros around the signal that centre every window in its hop
_FLOOR = 1e-6  # of the mel power; about 65 dB under loud speech, so that silence is one point
_ITERATIONS, _MOMENTUM = 32, 0.99  # of the phase estimation
_INVERSION_ROUNDS = 50


class KmeansConfig(CodecConfig):
    """Config of the k-means codec."""

    throughput: ClassVar[Throughput] = Throughput(1100.0, "core", "encoding of 3 s utterances, CPU time")
    licence: ClassVar[str] = "Apache-2.0"

    engine: Literal["kmeans"] = "kmeans"

    def revision(self) -> str:
        return f"kmeans/1/{_codebook_hash()}"

    def open(self) -> SpeechCodec:
        with np.load(CODEBOOK, allow_pickle=False) as stored:
            return KmeansCodec(stored["centroids"])


class KmeansCodec:
    """The codec, over any codebook.

    Args:
        centroids: (codebook_size, 80) log10 mel power.
    """

    token_rate = TOKEN_RATE

    def __init__(self, centroids: np.ndarray) -> None:
        self._centroids = centroids.astype(np.float64)
        self.codebook_size = len(centroids)

    def encode(self, samples: np.ndarray, sample_rate: int) -> np.ndarray:
        """Tokens int32 (num_tokens,), num_tokens = ceil(seconds * 25); see `SpeechCodec.encode`.

        Raises:
            ValueError: The samples are not mono or not finite.
        """
        return nearest(log_mel_steps(samples, sample_rate), self._centroids).astype(np.int32)

    def decode(self, tokens: np.ndarray) -> Speech:
        """A waveform of num_tokens / 25 seconds at 16 kHz, the same for the same tokens.

        Raises:
            ValueError: A token is not in the codebook.
        """
        tokens = np.asarray(tokens)
        if not len(tokens):
            return Speech(np.zeros(0, np.float32), SAMPLE_RATE)
        if tokens.min() < 0 or tokens.max() >= self.codebook_size:
            raise ValueError(f"tokens must lie in 0..{self.codebook_size - 1}")
        steps = self._centroids[tokens]
        # A step is the mean over its frames, so its value belongs to its middle.
        frame = (np.arange(len(tokens) * _FRAMES) + 0.5) / _FRAMES - 0.5
        left = np.clip(np.floor(frame).astype(int), 0, len(tokens) - 1)
        right = np.minimum(left + 1, len(tokens) - 1)
        weight = np.clip(frame - left, 0.0, 1.0)[:, None]
        log_mel = (1 - weight) * steps[left] + weight * steps[right]
        power = np.where(log_mel <= np.log10(_FLOOR) + 0.05, 0.0, 10.0**log_mel)
        samples = _griffin_lim(np.sqrt(_linear_power(power)))
        return Speech(np.clip(samples, -1.0, 1.0).astype(np.float32), SAMPLE_RATE)


def log_mel_steps(samples: np.ndarray, sample_rate: int) -> np.ndarray:
    """Mean log10 mel power of every 40 ms.

    Computed in float64: the nearest centroid must not hang on rounding.

    Args:
        samples: (num_samples,) in [-1, 1], mono.
        sample_rate: In Hz; resampled to 16 kHz.

    Returns:
        float64 (ceil(seconds * 25), 80). The last step is padded with silence.

    Raises:
        ValueError: The samples are not mono or not finite.
    """
    if samples.ndim != 1:
        raise ValueError(f"expected mono samples of shape (num_samples,), not {samples.shape}")
    if not np.isfinite(samples).all():
        raise ValueError("the samples are not finite")
    num = -(-len(samples) * TOKEN_RATE // sample_rate)
    if not num:
        return np.zeros((0, _MELS))
    wave = samples.astype(np.float64)
    if sample_rate != SAMPLE_RATE:
        wave = np.asarray(soxr.resample(wave, sample_rate, SAMPLE_RATE, quality="HQ"))
    wave = wave[: num * STEP]
    wave = np.pad(wave, (_MARGIN, _MARGIN + num * STEP - len(wave)))
    spectra = _spectra(wave)
    mel = np.abs(spectra) ** 2 @ mel_filters().T
    return np.log10(np.maximum(mel, _FLOOR)).reshape(num, _FRAMES, _MELS).mean(axis=1)


def nearest(points: np.ndarray, centroids: np.ndarray) -> np.ndarray:
    """Index of each point's nearest centroid, (num_points,); the lower index of equals."""
    return np.argmin(0.5 * (centroids**2).sum(axis=1) - points @ centroids.T, axis=1)


@lru_cache(maxsize=1)
def mel_filters() -> np.ndarray:
    """Triangular filters of unit area on the Slaney mel scale, (80, 201), as Whisper's."""

    def to_mel(hertz: np.ndarray) -> np.ndarray:
        # Linear up to 1 kHz, logarithmic above.
        high = 15.0 + np.log(np.maximum(hertz, 1000.0) / 1000.0) * 27.0 / np.log(6.4)
        return np.where(hertz < 1000.0, hertz * 3.0 / 200.0, high)

    def to_hertz(mel: np.ndarray) -> np.ndarray:
        return np.where(mel < 15.0, mel * 200.0 / 3.0, 1000.0 * 6.4 ** ((mel - 15.0) / 27.0))

    top = to_mel(np.array(SAMPLE_RATE / 2))
    edges = to_hertz(np.linspace(0.0, float(top), _MELS + 2))
    bins = np.fft.rfftfreq(_WINDOW, 1 / SAMPLE_RATE)
    rise = (bins - edges[:-2, None]) / np.diff(edges)[:-1, None]
    fall = (edges[2:, None] - bins) / np.diff(edges)[1:, None]
    return np.maximum(0.0, np.minimum(rise, fall)) * (2.0 / (edges[2:] - edges[:-2]))[:, None]


def _linear_power(mel: np.ndarray) -> np.ndarray:
    """Power spectra (num_frames, 201) whose mel powers are near `mel` (num_frames, 80).

    Multiplicative updates (Lee & Seung 2001) keep the power positive. A pseudo-inverse with its negative
    parts cut off would be off by 10 dB.
    """
    filters = mel_filters()
    power = mel @ filters + 1e-12
    for _ in range(_INVERSION_ROUNDS):
        power *= (mel @ filters) / (power @ filters.T @ filters + 1e-12)
    return power


@lru_cache(maxsize=1)
def _hann() -> np.ndarray:
    """Periodic Hann window, (400,)."""
    return 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_WINDOW) / _WINDOW)


def _spectra(wave: np.ndarray) -> np.ndarray:
    """Short-time spectra of a padded signal, complex (num_frames, 201)."""
    return np.fft.rfft(np.lib.stride_tricks.sliding_window_view(wave, _WINDOW)[::_HOP] * _hann(), axis=1)


def _overlap_add(spectra: np.ndarray) -> np.ndarray:
    """The padded signal whose short-time spectra are nearest to `spectra`."""
    frames = np.fft.irfft(spectra, _WINDOW, axis=1) * _hann()
    num = len(frames)
    out = np.zeros(num * _HOP + 2 * _MARGIN)
    weight = np.zeros_like(out)
    square = _hann() ** 2
    # One window reaches over 2.5 hops: add the frames in three rounds of hop-long slices.
    for start in range(0, _WINDOW, _HOP):
        width = min(_HOP, _WINDOW - start)
        at = start + _HOP * np.arange(num)[:, None] + np.arange(width)
        out[at] += frames[:, start : start + width]
        weight[at] += square[start : start + width]
    return out / np.maximum(weight, 1e-3)


def _griffin_lim(magnitude: np.ndarray) -> np.ndarray:
    """A signal whose short-time magnitudes are near `magnitude` (num_frames, 201), from fixed random phases.

    Fast Griffin-Lim (Perraudin et al. 2013).
    """
    rng = np.random.default_rng(0)
    angles = np.exp(2j * np.pi * rng.random(magnitude.shape))
    previous = np.zeros_like(angles)
    for _ in range(_ITERATIONS):
        rebuilt = _spectra(_overlap_add(magnitude * angles))
        angles = rebuilt + _MOMENTUM * (rebuilt - previous)
        angles /= np.maximum(np.abs(angles), 1e-16)
        previous = rebuilt
    return _overlap_add(magnitude * angles)[_MARGIN:-_MARGIN]


@lru_cache(maxsize=1)
def _codebook_hash() -> str:
    return hashlib.sha256(CODEBOOK.read_bytes()).hexdigest()[:12]
