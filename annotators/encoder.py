"""Speaker encoder: a voice as a unit vector, in numpy alone.

The network is the GE2E d-vector encoder (Wan et al. 2018, "Generalized end-to-end loss for speaker verification")
with the weights of Resemblyzer 0.1.4, which `annotators.convert_encoder` turned into the file that ships; see
`data/encoder/NOTICE`. Three LSTM layers read windows of 1.6 s of a mel spectrogram; the last state is projected,
rectified and scaled to unit length.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from manifests.engine import Problem

VERSION = 1  # of the code below: raise it when the same clip may get another embedding
SAMPLE_RATE = 16000  # Hz
SIZE = 256  # of an embedding
WINDOW_SECONDS = 1.6
STEP_SECONDS = 0.77  # between the starts of windows
WEIGHTS = Path(__file__).parent / "data" / "encoder" / "ge2e_fp16.npz"

_HOP, _FRAME, _BANDS, _LAYERS = 160, 400, 40, 3  # 10 ms, 25 ms
_WINDOW, _STEP = 160, 77  # frames
_LEAST_COVERAGE = 0.75  # of the last window, unless it is the only one
_LEVEL = 10 ** (-30 / 20)  # RMS that quieter clips are raised to
_SILENCE = 1e-4  # peak below which there is no sound to embed
_MOST_WINDOWS = 64  # in one pass, to bound memory for long clips


def embed(audio: np.ndarray) -> np.ndarray:
    """Embed the voice of one clip.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.

    Returns:
        float32 (256,), unit length, no element negative; zeros for silence.
    """
    windows = embed_windows(audio)
    mean = windows.mean(axis=0) if len(windows) else np.zeros(SIZE, np.float32)
    length = float(np.linalg.norm(mean))
    return (mean / length if length > 0 else mean).astype(np.float32)


def embed_windows(audio: np.ndarray) -> np.ndarray:
    """Embed windows of 1.6 s, one every 0.77 s; a shorter clip is repeated to fill one.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.

    Returns:
        float32 (num_windows, 256), each row of unit length; no rows for silence.
    """
    if not len(audio) or float(np.abs(audio).max()) < _SILENCE:
        return np.zeros((0, SIZE), np.float32)
    mel = mel_spectrogram(_whole_windows(_raised(audio)))
    return _project(np.stack([mel[start : start + _WINDOW] for start in range(0, len(mel) - _WINDOW + 1, _STEP)]))


def embed_spans(audio: np.ndarray, spans: Sequence[tuple[float, float]]) -> np.ndarray:
    """Embed parts of a clip, each cut after 1.6 s or repeated to fill them.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.
        spans: Start and end of each in seconds, at least 10 ms long and within the clip.

    Returns:
        float32 (num_spans, 256), each row of unit length; no rows for silence.
    """
    if not len(spans) or not len(audio) or float(np.abs(audio).max()) < _SILENCE:
        return np.zeros((0, SIZE), np.float32)
    mel = mel_spectrogram(_raised(audio))
    frames = [(round(start * SAMPLE_RATE / _HOP), round(end * SAMPLE_RATE / _HOP)) for start, end in spans]
    repeated = [start + np.arange(_WINDOW) % max(end - start, 1) for start, end in frames]
    return _project(mel[np.minimum(np.array(repeated), len(mel) - 1)])


def revision() -> str:
    """Names the code and weights that decide an embedding."""
    return f"ge2e-{VERSION}-{_weights_hash()}"


def problems() -> list[Problem]:
    """The weights are missing."""
    if WEIGHTS.is_file():
        return []
    return [Problem(f"{WEIGHTS} is missing", "pip install --force-reinstall echat-pipeline")]


@lru_cache(maxsize=1)
def _weights_hash() -> str:
    return hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:12]


@lru_cache(maxsize=1)
def _weights() -> dict[str, np.ndarray]:
    """The weights in float32, laid out for `_last_state`: transposed, biases summed, gates of one scale.

    A logistic gate is 0.5 + 0.5 tanh(x / 2), so its rows are halved and one tanh serves all four gates.
    """
    with np.load(WEIGHTS, allow_pickle=False) as packed:
        stored = {name: packed[name].astype(np.float32) for name in packed.files}
    gates = np.repeat(np.array([0.5, 0.5, 1.0, 0.5], np.float32), SIZE)  # input, forget, cell, output
    ready = {"linear": np.ascontiguousarray(stored["linear.weight"].T), "linear_bias": stored["linear.bias"]}
    for layer in range(_LAYERS):
        bias = stored[f"lstm.bias_ih_l{layer}"] + stored[f"lstm.bias_hh_l{layer}"]
        ready[f"bias{layer}"] = bias * gates
        for name in ("ih", "hh"):
            matrix = stored[f"lstm.weight_{name}_l{layer}"].T * gates
            ready[f"{name}{layer}"] = np.ascontiguousarray(matrix, np.float32)
    return ready


def _project(windows: np.ndarray) -> np.ndarray:
    """Embeddings (num_windows, 256) of mel windows (num_windows, 160, 40)."""
    states = [_last_state(windows[at : at + _MOST_WINDOWS]) for at in range(0, len(windows), _MOST_WINDOWS)]
    weights = _weights()
    raw = np.maximum(np.concatenate(states) @ weights["linear"] + weights["linear_bias"], 0)
    return (raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def _last_state(windows: np.ndarray) -> np.ndarray:
    """Last hidden state (num_windows, 256) of the top layer for windows (num_windows, num_frames, 40)."""
    weights = _weights()
    inputs = np.ascontiguousarray(windows.transpose(1, 0, 2))  # time first
    for layer in range(_LAYERS):
        inputs = _layer(inputs, weights[f"ih{layer}"], weights[f"hh{layer}"], weights[f"bias{layer}"])
    return inputs[-1]


def _layer(inputs: np.ndarray, into: np.ndarray, across: np.ndarray, bias: np.ndarray) -> np.ndarray:
    """Hidden states (num_frames, num_windows, 256) of one LSTM layer over inputs (num_frames, num_windows, n)."""
    frames, count, width = inputs.shape
    gates = (inputs.reshape(-1, width) @ into + bias).reshape(frames, count, -1)
    states = np.empty((frames, count, SIZE), np.float32)
    hidden = np.zeros((count, SIZE), np.float32)
    cell = np.zeros((count, SIZE), np.float32)
    for frame in range(frames):
        gate = np.tanh(gates[frame] + hidden @ across)
        logistic = 0.5 * gate + 0.5
        cell = logistic[:, SIZE : 2 * SIZE] * cell + logistic[:, :SIZE] * gate[:, 2 * SIZE : 3 * SIZE]
        hidden = logistic[:, 3 * SIZE :] * np.tanh(cell)
        states[frame] = hidden
    return states


def _raised(audio: np.ndarray) -> np.ndarray:
    """The clip at -30 dBFS if it was quieter; the network was trained so."""
    rms = float(np.sqrt(np.mean(audio.astype(np.float64) ** 2)))
    return audio * np.float32(max(1.0, _LEVEL / max(rms, 1e-9)))


def _whole_windows(audio: np.ndarray) -> np.ndarray:
    """The clip cut or padded to the end of its last window; one shorter than a window is repeated."""
    window, step = _WINDOW * _HOP, _STEP * _HOP
    if len(audio) < window:
        return np.resize(audio, window)
    frames = len(audio) // _HOP + 1
    last = max(0, (frames - _WINDOW + _STEP) // _STEP) * step
    if last and (len(audio) - last) / window < _LEAST_COVERAGE:
        last -= step
    return np.pad(audio[: last + window], (0, max(0, last + window - len(audio))))


def mel_spectrogram(audio: np.ndarray) -> np.ndarray:
    """Mel power spectrogram as the network was trained on: linear power, 25 ms frames every 10 ms.

    Args:
        audio: float32 (num_samples,), mono at 16 kHz.

    Returns:
        float32 (1 + num_samples // 160, 40); frame i is centred on sample 160 i, zeros lie beyond the ends.
    """
    padded = np.pad(audio.astype(np.float32), _FRAME // 2)
    frames = np.lib.stride_tricks.sliding_window_view(padded, _FRAME)[::_HOP]
    window = (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(_FRAME) / _FRAME)).astype(np.float32)
    bands = mel_bands(_BANDS, _FRAME)
    blocks = [frames[at : at + 1024] for at in range(0, len(frames), 1024)]
    return np.concatenate([(np.abs(np.fft.rfft(block * window)) ** 2).astype(np.float32) @ bands for block in blocks])


@lru_cache(maxsize=4)
def mel_bands(count: int, size: int, highest: float = SAMPLE_RATE / 2) -> np.ndarray:
    """Triangular bands, evenly spaced on Slaney's mel scale and of equal area.

    The scale is linear below 1 kHz (200/3 Hz a mel) and logarithmic above (27 steps to 6.4 kHz), as in the
    Auditory Toolbox (Slaney 1998).

    Args:
        count: Number of bands.
        size: Number of samples of the Fourier transform.
        highest: Upper edge of the last band, in Hz.

    Returns:
        float32 (size // 2 + 1, count), to multiply power spectra with.
    """
    step = np.log(6.4) / 27
    top = highest * 3 / 200 if highest < 1000 else 15 + np.log(highest / 1000) / step
    mels = np.linspace(0, top, count + 2)
    edges = np.where(mels < 15, mels * 200 / 3, 1000 * np.exp(step * (np.maximum(mels, 15) - 15)))
    bins = np.arange(size // 2 + 1)[:, None] * SAMPLE_RATE / size
    rising = (bins - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins) / (edges[2:] - edges[1:-1])
    bands = np.maximum(0, np.minimum(rising, falling)) * 2 / (edges[2:] - edges[:-2])
    return bands.astype(np.float32)
