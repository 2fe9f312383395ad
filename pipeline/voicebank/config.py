"""What a bank of voices asks of a recording: the gates with their thresholds, and who hears them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, PositiveInt, ValidationError, field_validator, model_validator

from manifests.errors import UserError, from_pydantic
from manifests.labels import AGES, CUES, LANGUAGES, SPLITS
from manifests.run import Limit, Ratio, Strict
from manifests.yamlfile import load_yaml
from pipeline.ingest.base import FASTEST

GATES = ("intact", "stated", "duration", "pace", "snr", "mos", "one_speaker", "transcript", "gender", "age", "emotion")
"""In their order: what costs little comes first, so that a clip that fails it need not be heard by the others."""
CONFIRMED = ("gender", "age", "emotion")
"""Families whose label annotators may confirm."""

CONFIRM = {
    "gender": ({"engine": "voice"}, {"engine": "f0_formants"}),
    "age": ({"engine": "voice"},),
    "emotion": ({"engine": "cues"},),
}
"""Who confirms them, unless the user names others."""


class BankConfig(Strict):
    """The gates; a threshold that is null switches its gate off, and the report then says so."""

    seconds: tuple[Limit, Limit] = (3.0, 12.0)
    """Shortest and longest prompt."""
    pace_max: Limit | None = FASTEST
    """Most letters of the transcript for each second: more cannot be said, so that the clip is a part of it at best. A
    Han character counts as four. Asked in every language, known to the recognizer or not."""
    snr_db_min: Limit | None = 20.0
    """Least level of speech over that of the pauses, by `rater`."""
    mos_min: Limit | None = 2.8
    """Least overall opinion score that `mos` predicts."""
    one_speaker_min: Ratio | None = 0.5
    """Least probability that one person alone is heard, by `speakers`."""
    wer_max: Limit | None = 0.3
    """Most word errors of the transcript; null for no gate."""
    mismatch_max: Limit = 0.5
    """Greatest probability that something else than the transcript is said, where the recognizer tells."""
    rater: dict[str, Any] = Field(default={"engine": "silero"})
    mos: dict[str, Any] = Field(default={"engine": "dnsmos"})
    speakers: dict[str, Any] = Field(default={"engine": "encoder"})
    recognizer: dict[str, Any] = Field(default={"engine": "pocketsphinx"})
    confirm: dict[str, tuple[dict[str, Any], ...]] = Field(default=CONFIRM)
    """Annotators by family; a label is confirmed when every one of them answers with it."""
    retrain: tuple[str, ...] = ()
    """Families whose annotators are trained anew for each speaker, on the other speakers of his corpus."""
    enrol: int = Field(default=12, ge=0)
    """Other clips of the speaker that make the reference that a clip is heard against; 0 for none."""
    require: tuple[str, ...] = ()
    """Gates that a clip must pass where it otherwise would be let through because the gate cannot be applied."""
    per_label: PositiveInt = 3
    """Most prompts of a speaker in one emotion; the best by opinion score are kept."""
    language: Literal["en", "zh"] | None = None
    """That the voices are to speak in runs; else that of the prompt, or English where runs do not know that."""
    age: str | None = None
    """Of speakers of whom the corpus does not say it."""
    splits: dict[str, Ratio] = Field(default={"train": 0.8, "validation": 0.1, "test": 0.1})
    """Shares, for speakers of whom the corpus does not say the split; as in the runs that use the bank."""
    alone: bool = True
    """Whether every gate hears every clip, so that the report tells what each lets pass alone."""
    plugins: tuple[str, ...] = ()
    """Python modules to import first; they may register engines of your own."""

    @field_validator("confirm", mode="before")
    @classmethod
    def _lists(cls, confirm: Any) -> Any:
        if not isinstance(confirm, dict):
            return confirm
        return {family: (engine,) if isinstance(engine, dict) else engine for family, engine in confirm.items()}

    @field_validator("age")
    @classmethod
    def _age(cls, age: str | None) -> str | None:
        if age is not None and age not in AGES:
            raise ValueError(f"use one of {', '.join(AGES)}")
        return age

    @model_validator(mode="after")
    def _sense(self) -> BankConfig:
        if self.seconds[0] > self.seconds[1]:
            raise ValueError("seconds needs the smaller number first")
        for family in self.confirm:
            if family not in CONFIRMED:
                raise ValueError(f"confirm names {family!r}: use {', '.join(CONFIRMED)}")
        for family in self.retrain:
            if family not in self.confirm:
                raise ValueError(f"retrain names {family!r}, which confirm does not")
        for gate in self.require:
            if gate not in self.gates:
                raise ValueError(f"require names {gate!r}: use one of {', '.join(self.gates)}")
        if set(self.splits) - set(SPLITS) or abs(sum(self.splits.values()) - 1) > 1e-9:
            raise ValueError(f"splits gives shares of {', '.join(SPLITS)} that sum to 1")
        return self

    @property
    def gates(self) -> tuple[str, ...]:
        """Those that are switched on, in their order."""
        off = {gate for gate, key in _OFF.items() if getattr(self, key) is None}
        off |= {family for family in CONFIRMED if not self.confirm.get(family)}
        return tuple(gate for gate in GATES if gate not in off)


_OFF = {
    "pace": "pace_max",
    "snr": "snr_db_min",
    "mos": "mos_min",
    "one_speaker": "one_speaker_min",
    "transcript": "wer_max",
}
"""The keys whose null switches a gate off."""


def changes_of(stated: Mapping[str, Any], off: str) -> dict[str, Any]:
    """What the options of the command line change, for `load_config`.

    Args:
        stated: By key of `BankConfig`; None and empty ones change nothing. Texts of lists have commas between.
        off: Names of gates to switch off, likewise.

    Raises:
        UserError: A gate that cannot be switched off, or no pair of numbers.
    """
    changes = {key: value for key, value in stated.items() if value not in (None, "")}
    for key in ("require", "retrain"):
        if key in changes:
            changes[key] = _names(changes[key])
    if "seconds" in changes:
        try:
            low, high = map(float, changes["seconds"].split(","))
        except ValueError:
            raise UserError(f"--seconds {changes['seconds']!r} is not two numbers with a comma: 3,12") from None
        changes["seconds"] = low, high
    unconfirmed = []
    for gate in _names(off):
        if gate in _OFF:
            changes[_OFF[gate]] = None
        elif gate in CONFIRMED:
            unconfirmed.append(gate)
        else:
            raise UserError(f"--off {gate!r} is no gate that can be switched off: use {', '.join((*_OFF, *CONFIRMED))}")
    return {**changes, "off": unconfirmed}


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def load_config(file: Path | None, changes: dict[str, Any]) -> BankConfig:
    """The gates of a YAML file, or the usual ones, with what the command line changes.

    Args:
        changes: By key of `BankConfig`, from `changes_of`; `off` has families that nobody is to confirm.

    Raises:
        UserError: An unknown key or a wrong value; names file and key.
    """
    document = load_yaml(file) if file else {}
    if document is None:
        document = {}
    if not isinstance(document, dict):
        raise UserError(f"{file}: is a mapping of gates and thresholds, not {type(document).__name__}")
    off = changes.pop("off", ())
    document |= changes
    if off:
        kept = document.get("confirm", CONFIRM)
        document["confirm"] = (
            {name: one for name, one in kept.items() if name not in off} if isinstance(kept, dict) else kept
        )
    try:
        return BankConfig.model_validate(document)
    except ValidationError as error:
        raise from_pydantic(file or "ingest voices", error) from None


def spoken_language(config: BankConfig, prompt: str) -> str:
    """The language in which a voice serves runs."""
    return config.language or (prompt if prompt in LANGUAGES else LANGUAGES[0])


assert set(CONFIRMED) < set(CUES)
