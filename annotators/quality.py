"""Rater of signal quality on silero-vad: how much of a clip is speech, and how clean it is."""

from __future__ import annotations

import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any, Literal

import numpy as np

from annotators.audio import checked, prepare
from annotators.base import Quality, Rater, RaterConfig
from manifests.engine import Problem, Throughput
from manifests.errors import UserError

VERSION = 1  # of the code below: raise it when the same clip may be rated otherwise
SAMPLE_RATE = 16000  # Hz, of the detector
WINDOW = 512  # samples a decision: 32 ms
_CONTEXT = 64  # samples of the window before that the detector wants in front of each
_LEAD_IN = 8  # windows of silence before the clip: started amid speech, the detector misses up to 0.2 s of it
_THRESHOLD = 0.5  # probability from which a window is speech, as silero-vad itself does
_HANGOVER = 3  # windows: shorter pauses belong to the speech around them
_FULL_SCALE = 0.999
_NOISE_SECONDS = 0.1  # non-speech needed to measure its level
_SNR_RANGE = (-20.0, 100.0)  # dB
_SILENCE_DBFS = -120.0


class SileroRater:
    """The loaded detector. Its state starts afresh with each clip, so ratings depend on the clip only."""

    def __init__(self, session: Any) -> None:
        """Keep the session.

        Args:
            session: `onnxruntime.InferenceSession` of silero-vad's general model.
        """
        self._session = session

    def rate(self, samples: np.ndarray, sample_rate: int) -> Quality:
        """Rate one clip.

        Clipping and level are taken from the samples as they come, all channels; speech and the
        signal-to-noise ratio from mono at 16 kHz. A clip without speech has a ratio of -20 dB.

        Args:
            samples: Shape (num_samples,), float32 in [-1, 1]; (num_samples, 2) too.
            sample_rate: In Hz.

        Returns:
            The quality. Where there is no speech, `lead_seconds` is the length of the clip.

        Raises:
            ValueError: The clip is empty or holds NaN or infinite samples.
        """
        raw = checked(samples, sample_rate)
        audio = prepare(raw, sample_rate, SAMPLE_RATE)
        speech = bridge(self.probabilities(audio) >= _THRESHOLD, _HANGOVER)
        return quality_of(raw, sample_rate, audio, speech)

    def probabilities(self, audio: np.ndarray) -> np.ndarray:
        """Probability of speech in each window of 32 ms.

        Args:
            audio: float32 (num_samples,) at 16 kHz; the last window is filled with zeros.

        Returns:
            float32 (ceil(num_samples / 512),).
        """
        windows = _LEAD_IN - (-len(audio) // WINDOW)
        begin = _CONTEXT + _LEAD_IN * WINDOW
        padded = np.zeros(_CONTEXT + windows * WINDOW, np.float32)
        padded[begin : begin + len(audio)] = audio
        state, rate = np.zeros((2, 1, 128), np.float32), np.array(SAMPLE_RATE, np.int64)
        found = np.empty(windows, np.float32)
        for index in range(windows):
            chunk = padded[None, index * WINDOW : (index + 1) * WINDOW + _CONTEXT]
            out, state = self._session.run(None, {"input": chunk, "state": state, "sr": rate})
            found[index] = out[0, 0]
        return found[_LEAD_IN:]


def quality_of(raw: np.ndarray, sample_rate: int, audio: np.ndarray, speech: np.ndarray) -> Quality:
    """The quality of a clip from its samples and from what a detector calls speech.

    Args:
        raw: As `checked` returns them, all channels.
        sample_rate: Theirs, in Hz.
        audio: float32 (num_samples,), mono at 16 kHz.
        speech: bool (ceil(num_samples / 512),), of windows of `audio`.
    """
    seconds = len(raw) / sample_rate
    spoken = min(float(speech.sum()) * WINDOW / SAMPLE_RATE, seconds)
    lead = float(speech.argmax()) * WINDOW / SAMPLE_RATE if speech.any() else seconds
    power = float(np.mean(raw.astype(np.float64) ** 2))
    return Quality(
        speech_ratio=spoken / seconds,
        speech_seconds=spoken,
        lead_seconds=lead,
        clipped_ratio=float(np.mean(np.abs(raw) >= _FULL_SCALE)),
        snr_db=snr_db(audio, speech),
        rms_dbfs=max(10 * float(np.log10(power)), _SILENCE_DBFS) if power > 0 else _SILENCE_DBFS,
    )


def bridge(speech: np.ndarray, longest: int) -> np.ndarray:
    """Call pauses of at most `longest` windows between two windows of speech speech too.

    Args:
        speech: bool (num_windows,).
        longest: In windows.

    Returns:
        bool (num_windows,), a new array.
    """
    filled = speech.copy()
    at = np.flatnonzero(speech)
    for index in np.flatnonzero((np.diff(at) > 1) & (np.diff(at) <= longest + 1)):
        filled[at[index] : at[index + 1]] = True
    return filled


def snr_db(audio: np.ndarray, speech: np.ndarray) -> float:
    """Mean power of the speech windows over the power of the noise, in dB.

    The noise is the mean of the windows without speech where these last 100 ms or more; windows next to
    speech hold its onset and decay and do not count. Or it is the 10th percentile of all windows (the gaps
    between words) where that is less, for the detector may miss the first syllable, or where there is nothing
    else. So short bursts of noise go unnoticed, and a dense clip without gaps is underrated.

    Args:
        audio: float32 (num_samples,) at 16 kHz.
        speech: bool (ceil(num_samples / 512),).

    Returns:
        Clamped to [-20, 100]; -20 without speech.
    """
    if not speech.any():
        return _SNR_RANGE[0]
    starts = np.arange(len(speech)) * WINDOW
    sizes = np.diff(np.append(starts, len(audio)))
    power = np.add.reduceat(audio.astype(np.float64) ** 2, starts) / sizes
    near = speech.copy()
    near[1:] |= speech[:-1]
    near[:-1] |= speech[1:]
    noise = float(np.percentile(power, 10))
    if sizes[~near].sum() >= _NOISE_SECONDS * SAMPLE_RATE:
        noise = min(noise, float(np.average(power[~near], weights=sizes[~near])))
    level = float(np.average(power[speech], weights=sizes[speech]))
    if level <= 0 or noise <= 0:
        return _SNR_RANGE[1] if level > 0 else _SNR_RANGE[0]
    return float(np.clip(10 * np.log10(level / noise), *_SNR_RANGE))


class SileroQualityConfig(RaterConfig):
    """silero-vad's own ONNX model through onnxruntime, without its package's PyTorch code."""

    licence = "MIT (code and weights)"
    throughput = Throughput(120.0, "core", "CPU time, sentences of 2 to 4 s, one thread")

    engine: Literal["silero"] = "silero"

    def revision(self) -> str:
        """Version of the package (the weights come with it) and of this code."""
        try:
            package = importlib.metadata.version("silero-vad")
        except importlib.metadata.PackageNotFoundError:
            package = "missing"
        return f"silero-vad-{package}+v{VERSION}"

    def problems(self) -> list[Problem]:
        """onnxruntime or the package with the model is missing."""
        found = []
        if importlib.util.find_spec("onnxruntime") is None:
            found.append(Problem("the package onnxruntime is not installed", "pip install onnxruntime"))
        model = _model_file()
        if model is None or not model.is_file():
            what = "the package silero-vad is not installed" if model is None else f"{model} is missing"
            found.append(Problem(what, "pip install --force-reinstall --no-deps 'silero-vad>=6.2,<7'"))
        return found

    def open(self) -> Rater:
        """Load the model (2 MB), to run on one thread.

        Raises:
            UserError: onnxruntime or the model is missing.
        """
        for problem in self.problems():
            raise UserError(f"silero cannot run: {problem.what}; {problem.fix}")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        model = str(_model_file())
        return SileroRater(onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"]))


def _model_file() -> Path | None:
    """Where the package keeps its model; found without importing it, as that would import PyTorch."""
    spec = importlib.util.find_spec("silero_vad")
    return Path(spec.origin).parent / "data" / "silero_vad.onnx" if spec and spec.origin else None
