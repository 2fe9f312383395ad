"""Predicted opinion scores of speech quality: DNSMOS P.835 (Reddy, Gopal & Cutler 2022) on ONNX Runtime.

The model hears windows of 9.01 s. The published front end doubles a shorter clip until it fills one, and then rates a
window at each second of what came out: up to nine windows of one clip over and over. Here such a clip is repeated to
fill one window, which is rated once (`windows: one`). The score then depends on where the window cuts the repeated
clip: over 28 clips of 1.5 to 2.6 s it differed from the published mean by 0.04 on average and 0.14 at most in
`ovrl`, and their mean by 0.004, at a seventh of the cost. `windows: published` gives the published mean; of its
windows, those that begin at the same place of the clip are rated once.
"""

from __future__ import annotations

import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from pydantic import Field

from annotators.audio import prepare
from manifests.engine import EngineConfig, Problem, Throughput
from manifests.errors import UserError

VERSION = 1  # of the code below: raise it when the same clip may get another score
SAMPLE_RATE = 16000  # Hz
SECONDS = 9.01
WINDOW = 144160  # samples of that, which the model takes
_SHA256 = "269fbebdb513aa23cddfbb593542ecc540284a91849ac50516870e1ac78f6edd"
_MODEL = Path(__file__).parent / "data" / "dnsmos" / "sig_bak_ovr.onnx"

# From the model's output to a score, highest power first, as published with it.
_SIG = (-0.08397278, 1.22083953, 0.0052439)
_BAK = (-0.13166888, 1.60915514, -0.39604546)
_OVRL = (-0.06766283, 1.11546468, 0.04602535)


@dataclass(frozen=True)
class Mos:
    """Predicted mean opinion scores, 1 (bad) to 5 (excellent); noise and silence can fall a little below 1.

    Attributes:
        ovrl: Overall quality.
        sig: Quality of the speech itself.
        bak: Freedom from background noise.
    """

    ovrl: float
    sig: float
    bak: float


class MosRater(Protocol):
    """A loaded rater of quality as people would hear it."""

    def score(self, samples: np.ndarray, sample_rate: int) -> Mos:
        """Score one clip; the result depends on these arguments only."""
        ...


class MosConfig(EngineConfig):
    """Config of a rater of opinion scores.

    Attributes:
        share: Of the rows that are scored, drawn by the hash of their id.
    """

    role = "mos"

    share: float = Field(default=0.25, ge=0, le=1, description="Share of the rows that are scored, drawn by their id.")

    def open(self) -> MosRater:
        raise NotImplementedError


class Dnsmos:
    """The loaded model."""

    def __init__(self, session: Any, windows: str = "one") -> None:
        """Keep the session.

        Args:
            session: `onnxruntime.InferenceSession` of `sig_bak_ovr.onnx`.
            windows: As `DnsmosConfig.windows`.
        """
        self._session = session
        self._published = windows == "published"

    def score(self, samples: np.ndarray, sample_rate: int) -> Mos:
        """Score one clip: the mean over its windows.

        Args:
            samples: Shape (num_samples,) or (num_samples, 2), in [-1, 1]; what is beyond is clipped, as it would be
                when played.
            sample_rate: In Hz.

        Raises:
            ValueError: The clip is empty or holds NaN or infinite samples.
        """
        audio = np.clip(prepare(samples, sample_rate, SAMPLE_RATE), -1.0, 1.0)
        total, weights = np.zeros(3), 0
        for window, weight in _distinct(audio) if self._published else _windows(_repeated(audio)):
            sig, bak, ovrl = self._session.run(None, {"input_1": window[None]})[0][0].astype(np.float64)
            scores = np.polyval(_OVRL, ovrl), np.polyval(_SIG, sig), np.polyval(_BAK, bak)
            total += weight * np.array(scores)
            weights += weight
        return Mos(*(float(value) for value in total / weights))


def _repeated(audio: np.ndarray) -> np.ndarray:
    """The clip, repeated to fill a window if it is shorter."""
    return audio if len(audio) >= WINDOW else np.resize(audio, WINDOW)


def _doubled(audio: np.ndarray) -> np.ndarray:
    """The clip, doubled until it fills a window."""
    while len(audio) < WINDOW:
        audio = np.concatenate([audio, audio])
    return audio


def _windows(audio: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """Windows of 9.01 s that begin at each second, each with its weight, as published down to the rounding.

    Whole seconds alone decide how many there are, and some come out a sample short in floating point and are left out.
    """
    count = int(len(audio) // SAMPLE_RATE - SECONDS) + 1
    whole = [
        second for second in range(count) if int((second + SECONDS) * SAMPLE_RATE) - second * SAMPLE_RATE >= WINDOW
    ]
    starts = [second * SAMPLE_RATE for second in whole if second * SAMPLE_RATE + WINDOW <= len(audio)]
    return [(audio[at : at + WINDOW], 1) for at in starts]


def _distinct(audio: np.ndarray) -> list[tuple[np.ndarray, int]]:
    """The published windows; of a repeated clip, those that begin at the same place of it are rated once."""
    if len(audio) >= WINDOW:
        return _windows(audio)
    found: dict[int, tuple[np.ndarray, int]] = {}
    for second, (window, _) in enumerate(_windows(_doubled(audio))):
        place = second * SAMPLE_RATE % len(audio)
        found[place] = (window, found[place][1] + 1 if place in found else 1)
    return list(found.values())


class DnsmosConfig(MosConfig):
    """DNSMOS P.835, not the personalised one; the model ships with this package."""

    licence = "MIT (code and weights)"
    throughput = Throughput(5.0, "core", "CPU time of one window for each clip of 2 to 3 s, one thread")

    engine: Literal["dnsmos"] = "dnsmos"
    windows: Literal["one", "published"] = Field(
        default="one",
        description="How often a clip under 9.01 s is rated: once, or as often as the published front end does.",
    )

    def revision(self) -> str:
        """Version of this code and the hash of the model."""
        return f"dnsmos-p835-v{VERSION}+{_SHA256[:12]}"

    def problems(self) -> list[Problem]:
        """onnxruntime or the model is missing, or it is another model."""
        found = []
        if importlib.util.find_spec("onnxruntime") is None:
            found.append(Problem("the package onnxruntime is not installed", "pip install onnxruntime"))
        again = "pip install --force-reinstall --no-deps echat-pipeline"
        if not _MODEL.is_file():
            found.append(Problem(f"{_MODEL} is missing", again))
        elif hashlib.sha256(_MODEL.read_bytes()).hexdigest() != _SHA256:
            found.append(Problem(f"{_MODEL} is not the pinned model", again))
        return found

    def open(self) -> MosRater:
        """Load the model (1.2 MB), to run on one thread.

        Raises:
            UserError: onnxruntime or the model is missing, or it is another model.
        """
        for problem in self.problems():
            raise UserError(f"dnsmos cannot run: {problem.what}; {problem.fix}")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(_MODEL), options, providers=["CPUExecutionProvider"])
        return Dnsmos(session, self.windows)
