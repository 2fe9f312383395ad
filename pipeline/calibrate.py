"""`echat calibrate annotators`: what every annotator makes of recordings that people labelled.

Audio is read clip by clip, first to hash it and to find files that cannot be read, then to annotate. Annotators that
hear a cue against its voice get a reference of each speaker, made of clips that are then not scored (enrolment).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from annotators.base import Annotator, AnnotatorConfig
from annotators.clip import Clip
from annotators.fingerprint import fingerprint, trained_on
from manifests.errors import UserError
from manifests.labels import HEARD, NONE, heard_labels, slots
from pipeline.corpus import Corpus, CorpusClip, read_corpus
from pipeline.enrol import Audit, Ears, Enrolment, Progress, audit, enrol, silent, speaker_reference
from pipeline.registry import all_engines, resolve
from pipeline.retrain import Loso, retrainable
from pipeline.scores import Tally

ENROL = 12
"""Clips a speaker that make his reference: two of each of six emotions."""
_CODE_READER = "tone"  # reads the signalling tones of the test speaker; it hears no voice


@dataclass(frozen=True)
class Request:
    """What to calibrate.

    Attributes:
        folder: Of the corpus.
        name: Of the corpus, or None for its own.
        speakers: Their clips alone, or None for all.
        annotators: As `choose_annotators` takes them.
        enrol: Clips a speaker that make his reference.
        seed: Draws those.
        retrain: Whether heads are trained anew, without the speaker that is scored.
    """

    folder: Path
    name: str | None = None
    speakers: Sequence[str] | None = None
    annotators: str | None = None
    enrol: int = ENROL
    seed: int = 0
    retrain: bool = False


@dataclass
class Calibration:
    """The outcome.

    Attributes:
        tallies: Scores by slot.
        without_reference: Scored clips whose speaker has no reference.
        skipped: By `family=engine`, why it was left out.
    """

    corpus: Corpus
    audit: Audit
    enrolment: Enrolment
    annotators: Mapping[str, AnnotatorConfig]
    tallies: Mapping[str, Tally]
    retrained: Mapping[str, str] = field(default_factory=dict)
    without_reference: int = 0
    scored: int = 0
    skipped: Mapping[str, str] = field(default_factory=dict)


def calibrate(request: Request, progress: Progress = silent) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Do what is asked.

    Returns:
        The outcome as JSON, and the slots of the annotators, which are keys of it.

    Raises:
        UserError: The corpus, the annotators or what is asked of them is wrong.
    """
    corpus = read_corpus(request.folder, request.name, request.speakers)
    annotators, skipped = choose_annotators(request.annotators, corpus.families)
    seen = audit(corpus, progress)
    retrained = retrainable(annotators) if request.retrain else {}
    refuse_trained(corpus, seen, {slot: c for slot, c in annotators.items() if slot not in retrained}, request.retrain)
    wanted = request.enrol if any(config.needs_reference for config in annotators.values()) else 0
    enrolment = enrol(corpus, seen.clips, wanted, request.seed)
    retrain = Loso(corpus, seen.clips, retrained, enrolment, progress) if retrained else None
    result = score(corpus, seen, annotators, enrolment, retrain, progress)
    result.skipped = skipped
    return document(result), tuple(annotators)


def choose_annotators(asked: str | None, families: Sequence[str]) -> tuple[dict[str, AnnotatorConfig], dict[str, str]]:
    """The annotators to calibrate, by slot, and why others were left out.

    Args:
        asked: `family=engine` pairs with commas between; None for every engine of the families.
        families: That the corpus has labels of.

    Raises:
        UserError: A pair is wrong, an engine that was named cannot run, or none is left.
    """
    pairs = _parse(asked) if asked is not None else _all_of(families)
    found: dict[str, list[AnnotatorConfig]] = {}
    skipped: dict[str, str] = {}
    for family, name in pairs:
        section = {"engine": name, "family": family}
        try:
            config: Any = resolve(f"annotator.{family}", section, "--annotators", (family,))
            problems = config.problems()
            if problems:
                raise UserError("; ".join(f"{one.what}: {one.fix}" for one in problems))
        except UserError as error:
            if asked is not None:
                raise UserError(f"--annotators: {family}={name} cannot run ({error})") from None
            skipped[f"{family}={name}"] = str(error)
            continue
        found.setdefault(family, []).append(config)
    if not found:
        why = "; ".join(f"{pair}: {reason}" for pair, reason in skipped.items())
        raise UserError(f"no annotator is left to calibrate ({why or 'the corpus has no label of any family'})")
    named: dict[str, AnnotatorConfig] = {}
    for family, configs in found.items():
        named |= zip(slots(family, len(configs)), configs, strict=True)
    return named, skipped


def _all_of(families: Sequence[str]) -> list[tuple[str, str]]:
    return [
        (family, name)
        for family in families
        for role, name in all_engines()
        if role == f"annotator.{family}" and name != _CODE_READER
    ]


def _parse(asked: str) -> list[tuple[str, str]]:
    pairs = []
    for item in asked.split(","):
        family, equals, name = (part.strip() for part in item.partition("="))
        if not equals or family not in HEARD or not name:
            known = ", ".join(HEARD)
            raise UserError(f"--annotators: {item.strip()!r} is not FAMILY=ENGINE with a family of {known}")
        if (family, name) in pairs:
            raise UserError(f"--annotators: names {family}={name} twice; name it once")
        pairs.append((family, name))
    return pairs


def refuse_trained(corpus: Corpus, seen: Audit, annotators: Mapping[str, AnnotatorConfig], retrain: bool) -> None:
    """Refuse to judge a model by recordings that it was trained on.

    Raises:
        UserError: A model's training card shows the corpus, by its name or by the sound of its clips.
    """
    for slot, config in annotators.items():
        shown = trained_on(config.card(), corpus.name, seen.hashes)
        if shown:
            what = "leave it out of --annotators, as it cannot be retrained here"
            if not retrain:
                what = "judge it by another corpus, or retrain it for each speaker with --retrain loso"
            raise UserError(f"{corpus.folder}: the model of {slot}={config.engine} was trained on {shown}: {what}")


def score(
    corpus: Corpus,
    seen: Audit,
    annotators: Mapping[str, AnnotatorConfig],
    enrolment: Enrolment,
    retrain: Loso | None = None,
    progress: Progress = silent,
) -> Calibration:
    """Annotate every clip that is not enrolled and count the answers.

    Args:
        retrain: Makes annotators that never heard a speaker, of the slots that it can; None for those that ship.
    """
    clips = [clip for clip in seen.clips if clip.file not in enrolment.files]
    tallies = {slot: Tally(config.family, _occurring(config.family, clips)) for slot, config in annotators.items()}
    shipped = {slot: c.open() for slot, c in annotators.items() if retrain is None or slot not in retrain.slots}
    out = Calibration(corpus, seen, enrolment, annotators, tallies, retrain.slots if retrain else {})
    labelled = {config.family for config in annotators.values()} & set(corpus.families)
    ears = retrain.ears if retrain else Ears()
    speaker, reference, loaded = None, None, shipped
    # By speaker, so that one reference and one set of retrained heads is held at a time.
    for entry in progress("annotating", sorted(clips, key=lambda clip: clip.speaker)):
        if entry.speaker != speaker:
            speaker = entry.speaker
            reference = speaker_reference(enrolment.clips.get(speaker, ()), ears)
            loaded = {**shipped, **(retrain.without(speaker) if retrain else {})}
        out.without_reference += reference is None
        out.scored += 1
        _annotate(entry, ears.clip(entry, reference), loaded, tallies, labelled)
    return out


def _occurring(family: str, clips: Sequence[CorpusClip]) -> tuple[str, ...]:
    """The labels of a family that some clips have."""
    have = {clip.labels.get(family) for clip in clips}
    return tuple(label for label in heard_labels(family) if label in have)


def _annotate(
    entry: CorpusClip,
    clip: Clip,
    loaded: Mapping[str, Annotator],
    tallies: Mapping[str, Tally],
    labelled: set[str],
) -> None:
    """Count the answers of all annotators to one clip; a clip whose label of a family is none of ours is left out."""
    for slot, tally in tallies.items():
        truth = entry.labels.get(tally.family)
        if truth is None and tally.family in labelled:
            continue
        label = loaded[slot].annotate(clip)
        if abs(sum(label.probabilities.values()) - 1) > 1e-3 or label.value not in (*label.probabilities, NONE):
            raise RuntimeError(f"{entry.file}: {slot}: answers {label}, which is no label with probabilities")
        tally.add(truth, entry.speaker, label)


def document(result: Calibration) -> dict[str, Any]:
    """The outcome as JSON: what was done, and the scores by slot."""
    audit_ = result.audit
    about = {
        "corpus": {
            "name": result.corpus.name,
            "listed": len(result.corpus.clips),
            "scored": result.scored,
            "speakers": list(result.corpus.speakers),
            "unknown_labels": result.corpus.unknown(),
            "broken": [{"file": file, "why": why} for file, why in audit_.broken],
            "duplicates": [{"file": file, "of": other} for file, other in audit_.duplicates],
            "fingerprint": fingerprint(audit_.hashes),
        },
        "enrolment": {
            "protocol": result.enrolment.sentence(),
            "clips_per_speaker": result.enrolment.asked,
            "seed": result.enrolment.seed,
            "speakers": len(result.enrolment.clips),
            "clips": len(result.enrolment.files),
            "scored_without_reference": result.without_reference if result.enrolment.asked else result.scored,
        },
        "skipped": dict(result.skipped),
    }
    for slot, config in result.annotators.items():
        about[slot] = {
            "engine": config.engine,
            "revision": config.revision(),
            "licence": config.licence,
            "consistency_only": config.consistency_only,
            "needs_reference": config.needs_reference,
            "trained": result.retrained.get(slot, "as shipped"),
            **result.tallies[slot].document(),
        }
    return about
