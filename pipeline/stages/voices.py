"""`voices`: what each voice sounds like over all emotions, so that annotators hear a cue against its voice.

A cell is one voice; its rows are takes: fixed shipped sentences in every emotion that the speaker renders. The
takes themselves are planned by the driver (`takes`), as the dialogues are.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from annotators.clip import Clip, Reference, measures_revision
from manifests import schema
from manifests.errors import UserError
from manifests.ids import content_hash, seed_of
from manifests.ledger import CellRecord, Ledger
from manifests.voices import Voice
from pipeline.stage import EngineStage, Row, RowWorker
from synthesis.base import Speaker, SpeakerConfig, Utterance

TAKES, VOICES = "takes", "voices"
INTENSITY = 0.85  # the middle of the range that runs draw from, unless they say otherwise
_FEWEST_TAKES = 3  # to know how much a voice varies


@dataclass(frozen=True)
class Voices(EngineStage):
    """Speak the takes of each voice and measure them.

    Attributes:
        language: Of the takes.
        takes_per_emotion: How many takes of each emotion.
    """

    engine: SpeakerConfig
    language: str
    takes_per_emotion: int

    name = VOICES
    version = 1
    reads = tuple(f"{TAKES}.{name}" for name in schema.TAKES.names)
    writes = schema.VOICES

    def keyed(self) -> dict[str, Any]:
        return {**super().keyed(), "measures": measures_revision()}

    def open(self) -> VoicesWorker:
        return VoicesWorker(self.engine.open())

    def audio_seconds(self, row: Any) -> float:
        return row["seconds"] or 0.0

    @property
    def shipped(self) -> Path | None:
        return self.engine.references

    def takes(self, voice: Voice) -> pa.Table:
        """The plan of a voice's takes; a function of the voice's labels, the speaker's emotions and the texts."""
        texts = shipped_texts(self.language)
        first = seed_of(TAKES, voice.voice)
        rows = []
        for turn in range(self.takes_per_emotion * len(self.engine.capabilities.emotions)):
            emotion = self.engine.capabilities.emotions[turn // self.takes_per_emotion]
            rows.append({
                "id": voice.voice, "turn": turn, "row_key": "", "error": "",
                "voice": voice.voice, "recipe": voice.recipe, "language": self.language, "age": voice.age,
                "gender": voice.gender,
                "emotion": emotion, "intensity": 0.0 if emotion == "neutral" else INTENSITY,
                "text": texts[(first + turn) % len(texts)], "seed": seed_of(TAKES, voice.voice, turn),
            })  # fmt: skip
        return pa.Table.from_pylist(rows, schema.stage_schema(schema.TAKES))


@lru_cache(maxsize=4)
def shipped_texts(language: str) -> tuple[str, ...]:
    """The sentences of the takes.

    Raises:
        UserError: None ship for the language.
    """
    path = files("manifests") / "voices" / f"takes.{language}.txt"
    if not path.is_file():
        raise UserError(f"no reference sentences ship for the language {language!r}: add {path}")
    return tuple(line for line in path.read_text(encoding="utf-8").splitlines() if line)


def part_of(voice: str) -> int:
    """Number of the cell of a voice, whatever other voices there are."""
    return int(content_hash(["voice", voice], 7), 16)


class VoicesWorker(RowWorker):
    """Speaks and measures; the audio itself is not kept."""

    def __init__(self, speaker: Speaker) -> None:
        self.speaker = speaker

    def make(self, row: Row) -> dict[str, Any]:
        """Measures of one take."""
        take = {name: row[f"{TAKES}.{name}"] for name in schema.TAKES.names}
        speech = self.speaker.speak(Utterance(**take))
        clip = Clip(speech.samples, speech.sample_rate)
        cues = {name: round(float(value), 6) for name, value in clip.cues.items() if np.isfinite(value)}
        return {
            "seconds": clip.seconds,
            "cues": json.dumps(cues, sort_keys=True),
            "embedding": [float(value) for value in clip.embedding],
        }


def reference(ledger: Ledger, record: CellRecord) -> str:
    """The reference of one voice as text for its rows; empty when too few takes could be spoken."""
    rows = ledger.load(record, ["error", "cues", "embedding"]).to_pylist()
    return fold([(json.loads(row["cues"]), row["embedding"]) for row in rows if not row["error"]])


def fold(takes: Sequence[tuple[dict[str, float], Sequence[float]]]) -> str:
    """Mean and deviation over takes of (cues, embedding), as `Reference.to_json` writes them."""
    if len(takes) < _FEWEST_TAKES:
        return ""
    names = sorted({name for cues, _ in takes for name in cues})
    values = {name: [cues[name] for cues, _ in takes if name in cues] for name in names}
    known = {name: np.array(have) for name, have in values.items() if len(have) >= _FEWEST_TAKES}
    mean = np.mean([embedding for _, embedding in takes], axis=0)
    length = float(np.linalg.norm(mean))
    return Reference(
        mean={name: float(have.mean()) for name, have in known.items()},
        deviation={name: float(have.std(ddof=1)) for name, have in known.items()},
        embedding=np.asarray(mean / length if length > 0 else mean, np.float32),
        takes=len(takes),
    ).to_json()
