"""The gates: each says of a clip that it passes, that it fails and why, or that the question cannot be asked."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from manifests.errors import UserError
from manifests.labels import NONE, family_of
from pipeline.corpus import CorpusClip
from pipeline.ingest.base import letters
from pipeline.voicebank.config import CONFIRMED, BankConfig
from pipeline.voicebank.hear import Hearing, Panel

_LANGUAGES = {
    "ar": "Arabic", "cs": "Czech", "da": "Danish", "de": "German", "el": "Greek", "en": "English", "es": "Spanish",
    "fa": "Persian", "fi": "Finnish", "fr": "French", "he": "Hebrew", "hi": "Hindi", "hu": "Hungarian",
    "id": "Indonesian", "it": "Italian", "ja": "Japanese", "ko": "Korean", "nl": "Dutch", "no": "Norwegian",
    "pl": "Polish", "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sv": "Swedish", "ta": "Tamil",
    "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "ur": "Urdu", "vi": "Vietnamese", "zh": "Mandarin",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """Of one gate; `passed` is None where it cannot be applied, and `reason` then says why."""

    passed: bool | None
    reason: str = ""


PASSED = Outcome(True)


def failed(reason: str) -> Outcome:
    """A clip that is left out."""
    return Outcome(False, reason)


def unasked(reason: str) -> Outcome:
    """A clip that goes on without having been asked."""
    return Outcome(None, reason)


@dataclass
class Person:
    """What all clips of a speaker say of him."""

    genders: set[str] = field(default_factory=set)
    ages: set[str] = field(default_factory=set)
    splits: set[str] = field(default_factory=set)


@dataclass(frozen=True)
class Case:
    """A clip before the gates.

    Attributes:
        fault: Why its file cannot be used, or empty.
        hearing: None where there is a fault.
        trained: By slot, how its training card shows the corpus.
    """

    entry: CorpusClip
    fault: str
    hearing: Hearing | None
    person: Person
    config: BankConfig
    panel: Panel
    trained: Mapping[str, str]

    @property
    def heard(self) -> Hearing:
        assert self.hearing is not None
        return self.hearing


def judge(case: Case) -> dict[str, Outcome]:
    """The outcome of every gate that is on, in their order; after a first failure none, unless `alone`.

    A clip whose file cannot be used meets no further gate. An engine that raises fails the clip and no other.
    """
    outcomes: dict[str, Outcome] = {}
    for gate in case.config.gates:
        try:
            outcome = _GATES[gate](case)
        except UserError:
            raise
        except Exception as error:  # an engine may fail in any way
            outcome = failed(f"its engine failed with {type(error).__name__}")
        if outcome.passed is None and gate in case.config.require:
            outcome = failed(f"required, and {outcome.reason}")
        outcomes[gate] = outcome
        if outcome.passed is False and (gate == "intact" or not case.config.alone):
            break
    return outcomes


def _intact(case: Case) -> Outcome:
    return failed(case.fault) if case.fault else PASSED


def _stated(case: Case) -> Outcome:
    """A voice has a gender, an age and words, and one emotion at most; it is no sound event, nor two people."""
    entry, person = case.entry, case.person
    if len(person.genders) > 1 or len(person.ages) > 1:
        return failed("its corpus states several genders or ages of its speaker")
    if not person.genders:
        return failed("its corpus does not state its speaker's gender")
    if not person.ages and case.config.age is None:
        return failed("its corpus does not state its speaker's age (--age does for all)")
    if not entry.text:
        return failed("it has no transcript")
    if "emotion" in entry.unknown:
        return failed(f"its emotion {entry.unknown['emotion']!r} is none of our labels")
    if entry.labels.get("event", NONE) != NONE or "event" in entry.unknown:
        return failed("it holds a sound event")
    if entry.labels.get("speakers") == "several":
        return failed("its corpus says that several people speak")
    return PASSED


def _duration(case: Case) -> Outcome:
    shortest, longest = case.config.seconds
    if case.heard.seconds < shortest:
        return failed(f"shorter than {shortest:g} s")
    return failed(f"longer than {longest:g} s") if case.heard.seconds > longest else PASSED


def _pace(case: Case) -> Outcome:
    most = case.config.pace_max
    assert most is not None
    fits = letters(case.entry.text) <= most * case.heard.seconds
    return PASSED if fits else failed(f"its transcript has more than {most:g} letters a second")


def _snr(case: Case) -> Outcome:
    least = case.config.snr_db_min
    assert least is not None
    # Written so that a figure that is none fails.
    return PASSED if case.heard.quality.snr_db >= least else failed(f"SNR under {least:g} dB")


def _mos(case: Case) -> Outcome:
    least = case.config.mos_min
    assert least is not None
    return PASSED if case.heard.mos.ovrl >= least else failed(f"opinion score under {least:g}")


def _one_speaker(case: Case) -> Outcome:
    least = case.config.one_speaker_min
    assert least is not None
    if "speakers" in case.trained:
        return unasked(_trained(case, "speakers"))
    return PASSED if case.heard.speakers.probabilities["one"] >= least else failed("perhaps several speakers")


def _transcript(case: Case) -> Outcome:
    config, entry, recognizer = case.config, case.entry, case.panel.configs["recognizer"]
    if not entry.text:
        return failed("it has no transcript")
    if entry.language not in recognizer.languages:
        return unasked(f"{recognizer.engine} does not know {_LANGUAGES.get(entry.language, entry.language)}")
    heard = case.heard.transcript
    assert config.wer_max is not None
    if not heard.wer <= config.wer_max:
        return failed(f"word error rate above {config.wer_max:g}")
    if heard.mismatch > config.mismatch_max:
        return failed("it says something else than its transcript")
    return PASSED


def _confirmed(family: str) -> Callable[[Case], Outcome]:
    def gate(case: Case) -> Outcome:
        stated = case.entry.labels.get(family)
        if family in case.entry.unknown:
            return failed(f"the {family} {case.entry.unknown[family]!r} is none of our labels")
        if stated is None:
            return unasked(f"the corpus states no {family}")
        if family == "gender" and "child" in (case.entry.labels.get("age"), case.config.age):
            return unasked("a child's gender cannot be heard")
        engines = {slot: one for slot, one in case.panel.annotators.items() if family_of(slot) == family}
        deaf = {slot for slot, one in engines.items() if one.consistency_only and slot not in case.panel.anew}
        asked = [slot for slot in engines if slot not in deaf and slot not in case.trained]
        if not asked:
            slot, one = next(iter(engines.items()))
            trained = _trained(case, slot) if slot in case.trained else ""
            return unasked(trained or f"{one.engine} only knows how this package's own synthesis renders {family}")
        for slot in asked:
            if case.heard.label(slot).value != stated:
                return failed(f"{engines[slot].engine} hears another {family}")
        return PASSED

    return gate


def _trained(case: Case, slot: str) -> str:
    return f"the model of {case.panel.configs[slot].engine} was trained on {case.trained[slot]}"


_GATES: dict[str, Callable[[Case], Outcome]] = {
    "intact": _intact,
    "stated": _stated,
    "duration": _duration,
    "pace": _pace,
    "snr": _snr,
    "mos": _mos,
    "one_speaker": _one_speaker,
    "transcript": _transcript,
    **{family: _confirmed(family) for family in CONFIRMED},
}
