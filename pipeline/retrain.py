"""Heads trained anew on the corpus that judges them, without the speaker that is judged (leave one speaker out)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from annotators.base import Annotator, AnnotatorConfig, Example
from annotators.clip import SAMPLE_RATE, Clip
from manifests.errors import UserError
from pipeline.corpus import Corpus, CorpusClip
from pipeline.enrol import Ears, Enrolment, Progress, silent, speaker_reference


class Loso:
    """One set of annotators for each speaker.

    Every clip is measured once, and its samples are dropped then. A clip is heard against the reference of its
    speaker, as when it is scored; the clips of the references are trained on but for the speaker's own.

    Attributes:
        slots: What stands for which, in words, by slot.
        ears: What heard the clips; it remembers what it measured.
    """

    def __init__(
        self,
        corpus: Corpus,
        clips: Sequence[CorpusClip],
        annotators: Mapping[str, AnnotatorConfig],
        enrolment: Enrolment,
        progress: Progress = silent,
    ) -> None:
        """Measure the clips.

        Args:
            clips: That can be used.
            annotators: Those that can be trained, by slot.

        Raises:
            UserError: There are fewer than two speakers, or a clip without one.
        """
        speakers = {clip.speaker for clip in clips}
        if len(speakers) < 2 or "" in speakers:
            raise UserError(
                f"{corpus.folder}: --retrain loso leaves one speaker out: every clip must have one, and there must be"
                " two or more"
            )
        self.slots = dict.fromkeys(annotators, "leave one speaker out")
        self.ears = Ears(remember=True)
        self._annotators = annotators
        references = {who: speaker_reference(enrolment.clips.get(who, ()), self.ears) for who in sorted(speakers)}
        families = {config.family for config in annotators.values()}
        self._clips: list[tuple[CorpusClip, Clip]] = []
        for entry in progress("measuring", [clip for clip in clips if families & clip.labels.keys()]):
            clip = self.ears.clip(entry, references[entry.speaker])
            kept = Clip(clip.audio[: SAMPLE_RATE // 100], clip.sample_rate, clip.reference)
            kept.cues, kept.embedding = clip.cues, clip.embedding
            self._clips.append((entry, kept))

    def without(self, speaker: str) -> dict[str, Annotator]:
        """Annotators that were trained on all other speakers.

        Raises:
            UserError: The others' clips do not suffice.
        """
        fitted: dict[str, Annotator] = {}
        for slot, config in self._annotators.items():
            examples = [
                Example(clip, entry.labels[config.family], entry.speaker)
                for entry, clip in self._clips
                if entry.speaker != speaker and config.family in entry.labels
            ]
            try:
                fitted[slot] = config.fit(examples)
            except ValueError as error:
                raise UserError(f"{slot} cannot be trained without the speaker {speaker!r}: {error}") from error
        return fitted


def retrainable(annotators: Mapping[str, AnnotatorConfig]) -> dict[str, AnnotatorConfig]:
    """Those that can be trained on clips, by slot.

    Raises:
        UserError: None can.
    """
    found = {slot: config for slot, config in annotators.items() if type(config).fit is not AnnotatorConfig.fit}
    if not found:
        names = ", ".join(f"{slot}={config.engine}" for slot, config in annotators.items())
        raise UserError(f"--retrain: none of {names} has a head that can be trained; leave the option out")
    return found
