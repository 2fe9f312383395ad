"""The references of a run's voices: which takes they are made of, and which of their cells are committed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.ledger import CellRecord, Ledger
from manifests.voices import Voice, VoiceTable
from pipeline.cell import CellJob
from pipeline.schedule import Node, Schedule
from pipeline.stages.voices import TAKES, VOICES, Voices, part_of


class References:
    """A cell per voice that the plan uses, beside the grid of dialogues.

    Attributes:
        used: The voices of each part of the plan, sorted.
        voices: By the number of their cell.
        takes: The plan of each voice's takes, likewise.
        records: Committed cells by voice.
    """

    def __init__(self, stage: Voices, ledger: Ledger, table: VoiceTable, plan: Iterable[CellRecord]) -> None:
        self.stage = stage
        self.ledger = ledger
        self.used = {
            record.part: tuple(sorted(set(ledger.load(record, ["query_voice"])["query_voice"].to_pylist()) - {""}))
            for record in plan
        }
        wanted = {name for names in self.used.values() for name in names}
        self.voices: dict[int, Voice] = {}
        for voice in table.voices:
            if voice.voice in wanted and self.voices.setdefault(part_of(voice.voice), voice) is not voice:
                raise UserError(f"{table.path}: the names {voice.voice} and another voice's clash; rename one of them")
        self.takes = {part: stage.takes(voice) for part, voice in self.voices.items()}
        self.records: dict[str, CellRecord] = {}
        for part in self.voices:
            self._find(part)

    def _take_key(self, part: int) -> str:
        return content_hash([TAKES, self.takes[part].to_pylist()])

    def _find(self, part: int) -> None:
        takes = self.ledger.find(TAKES, part, self._take_key(part))
        if takes is not None:
            record = self.ledger.find(VOICES, part, self.stage.cell_key([takes.sha256]))
            if record is not None:
                self.records[self.voices[part].voice] = record

    def take_records(self) -> list[CellRecord]:
        """The committed plans of the voices' takes."""
        found = (self.ledger.find(TAKES, part, self._take_key(part)) for part in self.voices)
        return [record for record in found if record]

    @property
    def complete(self) -> bool:
        """Whether the reference of every voice is there."""
        return len(self.records) == len(self.voices)

    def schedule(self, pool: str) -> Schedule:
        """What is left; commits the takes of those voices first."""
        done = {(VOICES, part) for part, voice in self.voices.items() if voice.voice in self.records}
        for part in self.voices:
            if (VOICES, part) not in done:
                self.ledger.commit(TAKES, part, self._take_key(part), self.takes[part], [], {})
        return Schedule([Node(VOICES, (), pool)], sorted(self.voices), done)

    def job(self, cell: tuple[str, int]) -> CellJob:
        """The job of one voice."""
        return CellJob(VOICES, cell[1], {TAKES: self._take_key(cell[1])})

    def add(self, part: int, record: CellRecord) -> None:
        """A voice's cell is committed."""
        self.records[self.voices[part].voice] = record

    def of_part(self, part: int) -> Mapping[str, CellRecord] | None:
        """The references that a part of the plan needs, or None while one of them is missing."""
        names = self.used[part]
        if any(name not in self.records for name in names):
            return None
        return {name: self.records[name] for name in names}
