"""The grid of one run: its stages, its parts, and which of their cells are committed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.ledger import CellRecord, Ledger
from manifests.workers import Pool
from pipeline.cell import CellJob
from pipeline.dag import Dag
from pipeline.references import References
from pipeline.schedule import Node, Schedule, big_first, relatives
from pipeline.stage import REFERENCE, Stage

SHARD = "shard"


def pool_of(pools: tuple[Pool, ...], stage: str) -> Pool:
    """The pool that runs a stage: the one that names it, else the one that names none."""
    naming = [pool for pool in pools if stage in pool.stages]
    return (naming or [pool for pool in pools if not pool.stages])[0]


@dataclass
class Grid:
    """The records of one run's cells, as far as they are committed."""

    dag: Dag
    ledger: Ledger
    plan: list[CellRecord]

    @classmethod
    def open(cls, dag: Dag, run: Path) -> Grid:
        """The grid of a run folder as it is now, perhaps without some parts of the plan; changes nothing."""
        ledger, key = Ledger(run), dag.plan.cell_key([])
        found = (ledger.find("plan", part, key) for part in range(dag.planner.num_parts))
        return cls(dag, ledger, [record for record in found if record])

    @property
    def complete(self) -> bool:
        """Whether every cell of every part is committed."""
        whole = len(self.plan) == self.dag.planner.num_parts
        return whole and all(len(have) == len(self.dag.by_name) for have in self.records.values())

    def __post_init__(self) -> None:
        self.records: dict[int, dict[str, CellRecord]] = {record.part: {"plan": record} for record in self.plan}
        self.references = (
            References(self.dag.voices, self.ledger, self.dag.planner.voices, self.plan) if self.dag.voices else None
        )
        self.find_cells()

    def find_cells(self) -> None:
        """Look up every cell that is committed; to be called again when the references are complete."""
        for stage in self.dag.stages:
            for part in self.records:
                self._find(stage, part)

    def _find(self, stage: Stage, part: int) -> None:
        have, voices = self.records[part], self._voices(stage, part)
        if voices is not None and all(upstream in have for upstream in stage.upstream):
            inputs = [*(have[upstream] for upstream in stage.upstream), *voices.values()]
            record = self.ledger.find(stage.name, part, stage.cell_key([item.sha256 for item in inputs]))
            if record is not None:
                have[stage.name] = record

    def _voices(self, stage: Stage, part: int) -> Mapping[str, CellRecord] | None:
        """The references that a cell reads; None while they are not all made."""
        if REFERENCE not in stage.reads or self.references is None:
            return {}
        return self.references.of_part(part)

    def cells(self, part: int) -> dict[str, CellRecord]:
        """The committed cells of a part in the order of the stages, whatever order they were committed in."""
        have = self.records[part]
        return {name: have[name] for name in self.dag.by_name if name in have}

    @property
    def all_cells(self) -> dict[int, dict[str, CellRecord]]:
        """`cells` of every part."""
        return {part: self.cells(part) for part in self.records}

    @property
    def done(self) -> set[tuple[str, int]]:
        """Committed cells of the grid's stages."""
        return {(name, part) for part, have in self.records.items() for name in have if name != "plan"}

    def schedule(self) -> Schedule:
        """What is left, in the manifest's pools."""
        manifest = self.dag.manifest
        nodes = [
            Node(stage.name, stage.upstream, pool_of(manifest.workers, stage.name).name) for stage in self.dag.stages
        ]
        parts = big_first({record.part: record.rows for record in self.plan})
        return Schedule(nodes, parts, self.done, ahead=manifest.executor.ahead)

    def job(self, cell: tuple[str, int], known_parts: Mapping[str, set[int]]) -> CellJob:
        """The job of a cell whose inputs are committed."""
        name, part = cell
        stage = self.dag.by_name[name]
        inputs = {upstream: self.records[part][upstream].key for upstream in stage.upstream}
        related = relatives(part, len(self.plan), known_parts[name])
        voices = self._voices(stage, part)
        assert voices is not None, "references are made before the grid"
        return CellJob(
            name, part, inputs, related=related, voices={name: (item.part, item.key) for name, item in voices.items()}
        )
