"""`mos`: predicted opinion scores of a sample of the rows; the rater is slow, and a sample tells of the set."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from manifests import schema
from manifests.ids import seed_of
from pipeline.audio import decode_flac
from pipeline.stage import EngineStage, Row, RowWorker

if TYPE_CHECKING:
    from annotators.mos import MosConfig

ROLES = ("query", "reply")


@dataclass(frozen=True)
class Mos(EngineStage):
    """Score query and reply of every row whose id falls into the sample."""

    engine: MosConfig

    name = "mos"
    version = 1
    reads = ("speak_query.audio", "speak_reply.audio")
    writes = schema.MOS

    def open(self) -> MosWorker:
        return MosWorker(self)


class MosWorker(RowWorker):
    """Scores the rows of the sample; the model is loaded for the first of them."""

    def __init__(self, stage: Mos) -> None:
        self.share = stage.engine.share
        self.rater = stage.engine.open()

    def make(self, row: Row) -> dict[str, Any]:
        """Scores of one row, or nulls."""
        if not sampled(row["id"], self.share):
            return dict.fromkeys(schema.MOS.names)
        out: dict[str, Any] = {}
        for role in ROLES:
            scores = asdict(self.rater.score(*decode_flac(row[f"speak_{role}.audio"])))
            out |= {f"{role}_{name}": float(value) for name, value in scores.items()}
        return out


def sampled(dialogue: str, share: float) -> bool:
    """Whether a dialogue is in a sample of this share; a larger sample contains the smaller one."""
    return seed_of("mos", dialogue) / 2**63 < share
