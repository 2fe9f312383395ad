"""What the engines make of a clip, each asked once and only when a gate wants to know."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from annotators.base import Annotator, AnnotatorConfig, Label, Quality, Transcript
from annotators.clip import Clip, Reference
from annotators.fingerprint import audio_hash, trained_on
from annotators.mos import Mos
from manifests.errors import UserError
from manifests.files import sha256
from manifests.labels import slots
from pipeline.corpus import Corpus, CorpusClip, read_clip
from pipeline.enrol import Ears, Progress, enrol, in_turn, silent, speaker_reference
from pipeline.registry import resolve
from pipeline.retrain import Loso
from pipeline.voicebank.config import BankConfig
from pipeline.voicebank.memory import Memory

T = TypeVar("T")

_FEWEST = 3  # clips of which a reference can be made


class Panel:
    """The engines, loaded.

    Attributes:
        configs: By role, and annotators by slot (`gender`, `gender_2`).
        annotators: Those of `configs` that confirm labels, by slot.
        anew: Those of `annotators` that are trained anew for each speaker, by slot.
        opened: What is heard as it ships, by role or slot.
    """

    def __init__(self, config: BankConfig, file: Path | str) -> None:
        """Load what the gates that are on need.

        Raises:
            UserError: An engine is unknown or cannot run.
        """
        self.configs: dict[str, Any] = {}
        self._identities: dict[str, list[Any]] = {}
        self.annotators: dict[str, AnnotatorConfig] = {}
        gates = config.gates
        for gate, role in (("snr", "rater"), ("mos", "mos"), ("transcript", "recognizer")):
            if gate in gates:
                self.configs[role] = resolve(role, getattr(config, role), file, (role,))
        if "one_speaker" in gates:
            section = {**config.speakers, "family": "speakers"}
            self.configs["speakers"] = resolve("annotator.speakers", section, file, ("speakers",))
        for family, sections in config.confirm.items():
            for slot, section in zip(slots(family, len(sections)), sections, strict=True):
                engine: Any = resolve(f"annotator.{family}", {**section, "family": family}, file, ("confirm", family))
                self.configs[slot] = self.annotators[slot] = engine
        for role, engine in self.configs.items():
            for problem in engine.problems():
                raise UserError(f"{file}: {role}: {engine.engine} cannot run: {problem.what}; {problem.fix}")
        self.anew = self._anew(config, file)
        # What is trained anew or only knows synthesis is not asked as it ships.
        silent = {slot for slot, one in self.annotators.items() if one.consistency_only} | set(self.anew)
        self.opened: dict[str, Any] = {role: one.open() for role, one in self.configs.items() if role not in silent}

    def _anew(self, config: BankConfig, file: Path | str) -> dict[str, AnnotatorConfig]:
        found = {
            slot: one
            for slot, one in self.annotators.items()
            if one.family in config.retrain and type(one).fit is not AnnotatorConfig.fit
        }
        for family in config.retrain:
            if family not in {one.family for one in found.values()}:
                raise UserError(f"{file}: retrain: no annotator of {family} can be trained; leave {family} out")
        return found

    def identity(self, role: str) -> list[Any]:
        """What an engine's answers depend on, beside the clip."""
        if role not in self._identities:
            engine = self.configs[role]
            self._identities[role] = [engine.role, engine.keyed(), engine.revision()]
        return self._identities[role]

    @property
    def wants_references(self) -> bool:
        """Whether an engine hears a clip against its voice."""
        return any(getattr(engine, "needs_reference", False) for engine in self.configs.values())

    def document(self) -> dict[str, dict[str, str]]:
        """Of each engine, by role or slot: name, revision, licence and what it was trained on."""
        return {
            role: {
                "engine": one.engine,
                "revision": one.revision(),
                "licence": one.licence,
                "trained": "anew for each speaker, on the others of his corpus" if role in self.anew else "as shipped",
            }
            for role, one in self.configs.items()
        }


class Hearing:
    """One clip as the engines hear it."""

    def __init__(
        self, panel: Panel, memory: Memory, entry: CorpusClip, clip: Clip, anew: Mapping[str, Annotator]
    ) -> None:
        """Keep what it takes to ask.

        Args:
            anew: Annotators that were trained for this speaker, by slot.
        """
        self._panel, self._memory, self._entry, self._clip, self._anew = panel, memory, entry, clip, anew
        self._labels: dict[str, Label] = {}

    @cached_property
    def _samples(self) -> tuple[np.ndarray, int]:
        return read_clip(self._entry)

    @property
    def seconds(self) -> float:
        """Duration, of the file itself and not as its table states it."""
        samples, rate = self._samples
        return len(samples) / rate

    @property
    def sample_rate(self) -> int:
        """In Hz."""
        return self._samples[1]

    @cached_property
    def quality(self) -> Quality:
        return self._recall("rater", Quality, lambda rater: rater.rate(*self._samples))

    @cached_property
    def mos(self) -> Mos:
        return self._recall("mos", Mos, lambda mos: mos.score(*self._samples))

    @cached_property
    def transcript(self) -> Transcript:
        said = self._entry.text, self._entry.language

        def hear(engine: Any) -> Transcript:
            return replace(engine.transcribe(*self._samples, *said), words=None)  # their times are not read here

        return self._recall("recognizer", Transcript, hear, *said)

    @cached_property
    def speakers(self) -> Label:
        return self._recall("speakers", Label, self._annotated, self._reference)

    def label(self, slot: str) -> Label:
        """What an annotator that confirms labels answers."""
        if slot not in self._labels:
            if slot in self._anew:
                self._labels[slot] = self._anew[slot].annotate(self._clip)
            else:
                self._labels[slot] = self._recall(slot, Label, self._annotated, self._reference)
        return self._labels[slot]

    def _annotated(self, engine: Annotator) -> Label:
        return replace(engine.annotate(self._clip), embedding=None)  # a vector is no JSON, and nothing here reads it

    @property
    def _reference(self) -> str:
        return self._clip.reference.to_json() if self._clip.reference else ""

    def _recall(self, role: str, kind: Callable[..., T], ask: Callable[[Any], T], *also: str) -> T:
        """What an engine as it ships answers; `also` is what that depends on beside the file."""
        what = [*self._panel.identity(role), self._entry.sha256, *also]
        return self._memory.recall(what, kind, lambda: ask(self._panel.opened[role]))


@dataclass(frozen=True)
class Heard:
    """A clip of a corpus, ready to be judged.

    Attributes:
        fault: Why its file cannot be used, or empty.
        hearing: None for a clip with a fault.
    """

    entry: CorpusClip
    fault: str = ""
    hearing: Hearing | None = None


class Listener:
    """Hears the clips of one corpus, speaker by speaker.

    Attributes:
        trained: By slot, how its training card shows this corpus.
    """

    def __init__(
        self,
        panel: Panel,
        config: BankConfig,
        corpus: Corpus,
        known: dict[str, str],
        memory: Memory,
        progress: Progress = silent,
    ) -> None:
        """Read every file once.

        Args:
            known: By sha256, the clips of the corpora before; those of this one are added.

        Raises:
            UserError: A head that is to be trained anew cannot be.
        """
        self._panel, self._config, self._corpus = panel, config, corpus
        self._memory, self._progress = memory, progress
        self._faults: dict[str, str] = {}
        hashes = []
        for entry in progress("reading", corpus.clips):
            fault, sound = _check(entry, known)
            if fault:
                self._faults[entry.file] = fault
            else:
                known[entry.sha256] = entry.file
                hashes.append(sound)
        self._good = [entry for entry in corpus.clips if entry.file not in self._faults]
        self._own: dict[str, list[CorpusClip]] = {}
        for entry in self._good:
            self._own.setdefault(entry.speaker, []).append(entry)
        self.trained = {
            slot: shown
            for slot, engine in panel.configs.items()
            if isinstance(engine, AnnotatorConfig) and slot not in panel.anew
            and (shown := trained_on(engine.card(), corpus.name, hashes))
        }  # fmt: skip
        self._loso: Loso | None = None
        if panel.anew and self._good:
            enrolment = enrol(corpus, self._good, config.enrol, 0)
            self._loso = Loso(corpus, self._good, panel.anew, enrolment, progress)

    def heard(self) -> Iterator[Heard]:
        """Every clip, by speaker; the hearing of one is good until the next."""
        speaker, mine, ears, anew = None, _Voice((), 0), Ears(), {}
        for entry in self._progress("hearing", sorted(self._corpus.clips, key=lambda clip: (clip.speaker, clip.file))):
            if entry.file in self._faults:
                yield Heard(entry, self._faults[entry.file])
                continue
            if entry.speaker != speaker:
                speaker = entry.speaker
                ears = self._loso.ears if self._loso else Ears(remember=True)
                mine = _Voice(self._own[speaker], self._config.enrol if self._panel.wants_references else 0)
                anew = self._loso.without(speaker) if self._loso else {}
            # Measured only if an engine asks, unless the training has measured it.
            clip = (ears if self._loso else Ears()).clip(entry, mine.reference(entry, ears))
            yield Heard(entry, hearing=Hearing(self._panel, self._memory, entry, clip, anew))


class _Voice:
    """References of one speaker: of every clip, made of others of his clips, so that none vouches for itself."""

    def __init__(self, clips: Sequence[CorpusClip], takes: int) -> None:
        self._order = in_turn(clips, 0) if takes else []
        self._takes = min(takes, len(clips) // 2)
        self._made: dict[tuple[str, ...], Reference | None] = {}

    def reference(self, entry: CorpusClip, ears: Ears) -> Reference | None:
        """None for a speaker of too few clips."""
        if self._takes < _FEWEST:
            return None
        others = [clip for clip in self._order if clip.file != entry.file][: self._takes]
        key = tuple(clip.file for clip in others)
        if key not in self._made:
            self._made[key] = speaker_reference(others, ears)
        return self._made[key]


def _check(entry: CorpusClip, known: Mapping[str, str]) -> tuple[str, str]:
    """What is wrong with a clip's file, or empty; and the hash of its sound."""
    try:
        samples, rate = read_clip(entry)
        if sha256(entry.path) != entry.sha256:
            return "its file is not the one that was ingested", ""
    except (ValueError, OSError):
        return "its file is missing or cannot be read", ""
    if entry.sha256 in known:
        return "the same recording is in a corpus named before", ""
    return "", audio_hash(samples, rate)
