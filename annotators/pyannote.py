"""Speakers and speech by pyannote.audio: diarization of a clip, and its voice activity detector as a rater.

Arrays go in as they are: nothing is read through torchcodec. Checkpoints of pyannote are pickles; one that names
anything but tensors and pyannote's own descriptions is refused before it is loaded, as is a pipeline whose description
names other classes or other places than those that were checked.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Sequence
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import Field

from annotators import heads, packages
from annotators.audio import checked, prepare
from annotators.base import Annotator, AnnotatorConfig, Label, Quality, Rater, RaterConfig
from annotators.clip import SAMPLE_RATE, Clip
from annotators.quality import WINDOW, quality_of
from manifests.engine import Problem, Throughput, unkeyed
from manifests.errors import UserError
from manifests.torchaudio_cpu import import_torchaudio
from manifests.weights import Weights, digest
from manifests.yamlfile import load_yaml

VERSION = 1  # of the code below: raise it when the same clip may get another label or rating
CLASSES = ("one", "several")
_PIPELINE = (
    "config.yaml", "segmentation/pytorch_model.bin", "embedding/pytorch_model.bin", "plda/plda.npz",
    "plda/xvec_transform.npz",
)  # fmt: skip
_CHECKPOINT = "pytorch_model.bin"  # of a segmentation model
_SHIPPED = "whisperx"  # names the one in that package's wheel
_CLASS = "pyannote.audio.pipelines.SpeakerDiarization"
_MODELS = "pyannote.audio.models."
_PARTS = ("segmentation", "embedding", "plda")
_SOFTNESS = 0.25  # seconds around the limit within which an answer is unsure

Interval = tuple[float, float]
"""Start and end in seconds."""


def union(intervals: Sequence[Interval]) -> list[Interval]:
    """Intervals joined where they touch, in order."""
    out: list[Interval] = []
    for start, end in sorted(intervals):
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(end, out[-1][1]))
        else:
            out.append((start, end))
    return out


def total(intervals: Sequence[Interval]) -> float:
    """Seconds in intervals, each counted as often as it stands."""
    return sum(end - start for start, end in intervals)


class PyannoteSpeakers:
    """The loaded diarization pipeline; it starts afresh with each clip."""

    def __init__(self, pipeline: Any, least_seconds: float, embedding: bool) -> None:
        """Keep the pipeline.

        Args:
            pipeline: `pyannote.audio.Pipeline` of speaker diarization.
            least_seconds: Speech of anybody but the main speaker from which several are heard.
            embedding: Whether labels carry the main speaker's embedding.
        """
        self._pipeline, self._least, self._embedding = pipeline, least_seconds, embedding

    def annotate(self, clip: Clip) -> Label:
        """Label one clip; `none` at even odds where nobody speaks."""
        if clip.soundless:
            return heads.unsure(CLASSES)
        found = self._pipeline(_file(clip.audio))
        turns: dict[str, list[Interval]] = {}
        for segment, _, speaker in found.speaker_diarization.itertracks(yield_label=True):
            turns.setdefault(speaker, []).append((segment.start, segment.end))
        if not turns:
            return heads.unsure(CLASSES)
        label = judge(turns, self._least)
        if not self._embedding or found.speaker_embeddings is None:
            return label
        main = max(turns, key=lambda speaker: total(turns[speaker]))
        row = found.speaker_diarization.labels().index(main)
        vector = np.asarray(found.speaker_embeddings[row], np.float32)
        kept = vector if np.isfinite(vector).all() else None
        return Label(label.value, label.probabilities, label.evidence, kept)


def judge(turns: dict[str, list[Interval]], least_seconds: float) -> Label:
    """One speaker or several, from who speaks when.

    Several are heard where all but the main speaker talk for `least_seconds` or more; the probability is a logistic
    function of that time, by a rule that was fitted on nothing.

    Args:
        turns: By speaker, not empty.
    """
    spoken = sorted((total(union(mine)) for mine in turns.values()), reverse=True)
    speech = total(union([turn for mine in turns.values() for turn in mine]))
    others = sum(spoken[1:])
    several = float(1 / (1 + np.exp(-(others - least_seconds) / _SOFTNESS)))
    evidence = {
        "num_speakers": float(len(spoken)),
        "speech_seconds": speech,
        "other_seconds": others,
        "overlap_seconds": max(0.0, sum(spoken) - speech),
    }
    return heads.label({"one": 1 - several, "several": several}, evidence)


class PyannoteRater:
    """The loaded voice activity detector."""

    def __init__(self, detector: Any) -> None:
        """Keep `pyannote.audio.pipelines.VoiceActivityDetection`."""
        self._detector = detector

    def speech(self, audio: np.ndarray) -> list[Interval]:
        """When somebody speaks.

        Args:
            audio: float32 (num_samples,), mono at 16 kHz.
        """
        if Clip(audio, SAMPLE_RATE).soundless:
            return []
        found = self._detector(_file(audio)).get_timeline().support()
        length = len(audio) / SAMPLE_RATE
        return [(max(0.0, one.start), min(length, one.end)) for one in found if one.start < length]

    def rate(self, samples: np.ndarray, sample_rate: int) -> Quality:
        """Rate one clip as `annotators.quality.SileroRater.rate` does, with this detector.

        Raises:
            ValueError: The clip is empty or holds NaN or infinite samples.
        """
        raw = checked(samples, sample_rate)
        audio = prepare(raw, sample_rate, SAMPLE_RATE)
        middles = (np.arange(-(-len(audio) // WINDOW)) + 0.5) * WINDOW / SAMPLE_RATE
        speech = np.zeros(len(middles), bool)
        for start, end in self.speech(audio):
            speech |= (middles >= start) & (middles < end)
        return quality_of(raw, sample_rate, audio, speech)


def _file(audio: np.ndarray) -> dict[str, Any]:
    import torch

    return {"waveform": torch.from_numpy(np.ascontiguousarray(audio))[None], "sample_rate": SAMPLE_RATE}


def _load() -> Any:
    """pyannote.audio, which would report its use to its makers otherwise."""
    os.environ["PYANNOTE_METRICS_ENABLED"] = "0"
    import_torchaudio()
    return import_module("pyannote.audio")


def check_checkpoint(file: Path) -> None:
    """Refuse a checkpoint that could run code when it is loaded.

    Raises:
        UserError: It is no checkpoint, names something else than data, or a model that is none of pyannote's.
    """
    import torch
    from torch.serialization import get_unsafe_globals_in_checkpoint, safe_globals

    try:
        named = get_unsafe_globals_in_checkpoint(file)
    except Exception as error:  # a broken pickle raises nearly anything
        raise UserError(
            f"{file}: is not a checkpoint that can be checked ({error}): take it from its publisher"
        ) from error
    strange = sorted(set(named) - DATA_GLOBALS)
    if strange:
        raise UserError(f"{file}: is a pickle that would call {strange[0]}: take the model from its publisher")
    places = [name.rpartition(".") for name in named]
    if any(module.startswith("pyannote") for module, _, _ in places):
        import_torchaudio()  # must come before pyannote
    try:
        with safe_globals([getattr(import_module(module), name) for module, _, name in places]):
            document = torch.load(file, map_location="cpu", mmap=True, weights_only=True)
    except Exception as error:  # as above
        raise UserError(f"{file}: cannot be read ({error}): take it from its publisher") from error
    # pyannote imports the module that a checkpoint names as its model's.
    try:
        module = document["pyannote.audio"]["architecture"]["module"]
    except (LookupError, TypeError):
        module = ""
    if not str(module).startswith(_MODELS):
        raise UserError(f"{file}: is a model of {module or 'no module'}, not of {_MODELS}*: take it from its publisher")


def check_pipeline(folder: Path) -> None:
    """Refuse a pipeline that would load something else than the checkpoints in its folder.

    Raises:
        UserError: Its description names another class, another place, or preprocessors; a checkpoint could run code.
    """
    file = folder / "config.yaml"
    document = load_yaml(file)
    pipeline = document.get("pipeline") if isinstance(document, dict) else None
    params = pipeline.get("params") if isinstance(pipeline, dict) else None
    if not isinstance(pipeline, dict) or pipeline.get("name") != _CLASS or not isinstance(params, dict):
        raise UserError(f"{file}: pipeline is not {_CLASS} with params: take a folder in the layout of community-1")
    for part in _PARTS:  # one that is absent would be taken from the Hub
        if params.get(part) != f"$model/{part}":
            raise UserError(f"{file}: {part} is not $model/{part}: keep all parts of the model in its folder")
    if "preprocessors" in document:
        raise UserError(f"{file}: has preprocessors, which may name any class: delete them")
    for part in ("segmentation", "embedding"):
        check_checkpoint(folder / part / "pytorch_model.bin")


DATA_GLOBALS = frozenset({
    "builtins.dict", "builtins.int", "builtins.list", "collections.defaultdict", "torch.torch_version.TorchVersion",
    "typing.Any", "omegaconf.base.ContainerMetadata", "omegaconf.base.Metadata", "omegaconf.dictconfig.DictConfig",
    "omegaconf.listconfig.ListConfig", "omegaconf.nodes.AnyNode", "pyannote.audio.core.model.Introspection",
    "pyannote.audio.core.task.Problem", "pyannote.audio.core.task.Resolution",
    "pyannote.audio.core.task.Specifications",
})  # fmt: skip
"""What pickles of pyannote's models name beside tensors."""


class PyannoteSpeakersConfig(AnnotatorConfig):
    """One voice or several, voices at once included, by speaker diarization."""

    role = "annotator.speakers"
    licence = "code MIT (pyannote.audio); weights CC-BY-4.0 (community-1)"
    throughput = Throughput(10.0, "gpu", "a guess, not measured")

    engine: Literal["pyannote"] = "pyannote"
    model: str = unkeyed(
        "pyannote/speaker-diarization-community-1",
        "A folder in the layout of community-1, or OWNER/NAME[@COMMIT]; what is in it is in the revision",
    )
    least_seconds: float = Field(
        default=0.5, gt=0, description="Speech of anybody but the main speaker from which several are heard"
    )
    embedding: bool = Field(default=False, description="Keep the main speaker's embedding beside the label")
    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto", "Where it runs; auto takes a GPU that is there")

    @property
    def keeps_embedding(self) -> bool:
        """Whether its labels carry an embedding."""
        return self.embedding

    @cached_property
    def _weights(self) -> Weights:
        return Weights(self.model, _PIPELINE)

    @property
    def where(self) -> str:
        """The folder with the weights."""
        return self._weights.where

    def revision(self) -> str:
        """Versions of this code and of pyannote.audio, and the weights."""
        return f"pyannote-v{VERSION}+pyannote-audio-{packages.version('pyannote.audio')}+{self._weights.revision()}"

    def problems(self) -> list[Problem]:
        """A package or the weights are missing; nothing is loaded."""
        return [*packages.missing(("pyannote.audio", "torchaudio")), *self._weights.problems()]

    def open(self) -> Annotator:
        """Load the pipeline.

        Raises:
            UserError: A package or weights are missing, or the model could run code.
        """
        for problem in self.problems():
            raise UserError(f"pyannote cannot run: {problem.what}; {problem.fix}")
        folder = self._weights.found()
        check_pipeline(folder)
        pipeline = _load().Pipeline.from_pretrained(folder)
        pipeline.to(import_module("torch").device(packages.device_of(self.device)))
        return PyannoteSpeakers(pipeline, self.least_seconds, self.embedding)


class PyannoteRaterConfig(RaterConfig):
    """Quality with pyannote's segmentation as the detector; the wheel of whisperx brings one."""

    licence = "code MIT (pyannote.audio); weights BSD-2-Clause (the wheel of whisperx)"
    throughput = Throughput(20.0, "core", "a guess, not measured")

    engine: Literal["pyannote"] = "pyannote"
    model: str = unkeyed(
        _SHIPPED,
        "A segmentation checkpoint (not powerset), a folder with one, or OWNER/NAME[@COMMIT], which is in the revision;"
        " whisperx: the one in its wheel",
    )
    onset: float = Field(default=0.5, gt=0, lt=1, description="Probability at which speech begins")
    offset: float = Field(default=0.363, gt=0, lt=1, description="Probability below which it ends")
    shortest_speech: float = Field(default=0.1, ge=0, description="Seconds; shorter speech is dropped")
    shortest_pause: float = Field(default=0.1, ge=0, description="Seconds; shorter pauses belong to the speech")
    device: Literal["auto", "cpu", "cuda"] = unkeyed("auto", "Where it runs; auto takes a GPU that is there")

    @property
    def _weights(self) -> Weights:
        """The checkpoint, or the folder or model of the hub that has it."""
        if self.model != _SHIPPED:
            return Weights(self.model, (_CHECKPOINT,))
        spec = importlib.util.find_spec("whisperx")
        home = Path(spec.origin).parent if spec and spec.origin else Path("whisperx")
        return Weights(str(home / "assets" / _CHECKPOINT))

    def _file(self) -> Path | None:
        place = self._weights.place()
        return place / _CHECKPOINT if place and place.is_dir() else place

    @property
    def where(self) -> str:
        """The checkpoint."""
        return str(self._file() or "not found")

    def revision(self) -> str:
        """Versions of this code and of pyannote.audio, and the checkpoint: its hash, or its commit on the hub."""
        file = self._file()
        weights = digest([file]) if file and self._weights.hub is None else self._weights.revision()
        return f"pyannote-vad-v{VERSION}+pyannote-audio-{packages.version('pyannote.audio')}+{weights}"

    def problems(self) -> list[Problem]:
        """A package or the checkpoint is missing; nothing is loaded."""
        found = packages.missing(("pyannote.audio", "torchaudio"))
        if self.model != _SHIPPED:
            return found + self._weights.problems()
        if self._file() is None:
            found.append(
                Problem("the wheel of whisperx, which brings the segmentation checkpoint, is not there", packages.FIX)
            )
        return found

    def open(self) -> Rater:
        """Load the detector.

        Raises:
            UserError: A package or the checkpoint is missing, or the checkpoint could run code.
        """
        for problem in self.problems():
            raise UserError(f"pyannote cannot run: {problem.what}; {problem.fix}")
        file = self._file()
        assert file is not None
        check_checkpoint(file)
        model = _load().Model.from_pretrained(file)
        detector = import_module("pyannote.audio.pipelines").VoiceActivityDetection(segmentation=model)
        detector.instantiate({
            "onset": self.onset, "offset": self.offset, "min_duration_on": self.shortest_speech,
            "min_duration_off": self.shortest_pause,
        })  # fmt: skip
        detector.to(import_module("torch").device(packages.device_of(self.device)))
        return PyannoteRater(detector)
