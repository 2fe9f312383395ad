"""What every engine declares of itself, whatever its role."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field


def unkeyed(default: Any, description: str, **kwargs: Any) -> Any:
    """A config field that changes how fast a result comes, never the result; it is in no cell key."""
    return Field(default=default, description=description, json_schema_extra={"keyed": False}, **kwargs)


@dataclass(frozen=True)
class Throughput:
    """How fast an engine is, stated by its author and used by `echat plan`.

    Attributes:
        realtime: Seconds of audio handled per second on one unit.
        unit: What one worker occupies: a CPU core or a GPU.
        source: Where the figure comes from.
    """

    realtime: float
    unit: Literal["core", "gpu"]
    source: str


@dataclass(frozen=True)
class Capabilities:
    """What a speaker can render; `plan` refuses a quota for anything else. Values as in `manifests.labels`."""

    languages: tuple[str, ...]
    ages: tuple[str, ...]
    genders: tuple[str, ...]
    emotions: tuple[str, ...]
    events: tuple[str, ...] = ()
    publishable: bool = True

    def of(self, family: str) -> tuple[str, ...]:
        """The values of one cue family (`age`, `gender`, `emotion`, `event`)."""
        return {"age": self.ages, "gender": self.genders, "emotion": self.emotions, "event": self.events}[family]


@dataclass(frozen=True)
class Problem:
    """Why an engine cannot run here, and the command or step that mends it."""

    what: str
    fix: str


class EngineConfig(BaseModel):
    """Base of an engine's config: its fields are its settings, unknown keys are refused.

    Subclasses narrow `engine` to a `Literal`, set the class variables and implement `revision` and `open`.
    The config object is cheap: heavy libraries are imported inside `open` and `problems` alone.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    role: ClassVar[str]  # "speaker", "recognizer", "annotator.gender", "rater", "codec", "script"
    throughput: ClassVar[Throughput]
    licence: ClassVar[str]  # of the code and of the weights

    engine: str

    @property
    def batch_rows(self) -> int:
        """Rows that it is given at once; one, unless it gains from more. It cuts them into batches of its own."""
        return 1

    def keyed(self) -> dict[str, Any]:
        """The settings that decide the result (all but those declared with `unkeyed`), for the cell key."""
        skip = {
            name
            for name, field in type(self).model_fields.items()
            if isinstance(field.json_schema_extra, dict) and field.json_schema_extra.get("keyed") is False
        }
        return self.model_dump(mode="json", exclude=skip)

    def revision(self) -> str:
        """Names the code and weights that decide the result; a changed revision re-makes the cells."""
        raise NotImplementedError

    def problems(self) -> list[Problem]:
        """What keeps this engine from running on this machine; empty when it can. Must not load the model."""
        return []

    @property
    def where(self) -> str:
        """Where its weights were found and by which rule, for people."""
        return "in the package"

    def open(self) -> Any:
        """Load the model; called once a worker. Raises `UserError` when something is missing."""
        raise NotImplementedError
