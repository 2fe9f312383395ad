"""Making one cell: read the inputs, copy what is already made, compute the rest, commit."""

from __future__ import annotations

import os
import socket
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import pyarrow as pa

from manifests import schema
from manifests.clock import ENGINE, clock
from manifests.errors import UserError, WorkFailedError
from manifests.ledger import CellRecord, Ledger
from manifests.masking import masked
from pipeline.gpu import GpuMeter, free_memory, out_of_memory
from pipeline.join import join_rows
from pipeline.stage import REFERENCE, Metered, Row, Stage, Worker, identity_digest, value_bytes
from pipeline.stages.voices import VOICES, reference
from pipeline.values import Columns

WORKER_DIED = "WorkerDied"
_MAX_TEXT = 4000  # of a traceback kept in a record


@dataclass(frozen=True)
class CellJob:
    """What a worker is told: small, and the same for every executor.

    Attributes:
        inputs: Key of the input cell of each upstream stage.
        voices: Part and key of the reference of each voice in this part, for a stage that reads references.
        one_by_one: Give the engine one row at a time, since a worker died on this cell.
        poison: Rows (id, turn) that killed their worker more than once; they are quarantined unseen.
        related: Parts whose earlier cells may hold rows of this one (the part itself, and its relatives after a
            doubling of the number of parts).
    """

    stage: str
    part: int
    inputs: dict[str, str] = field(default_factory=dict)
    one_by_one: bool = False
    poison: tuple[tuple[str, int], ...] = ()
    related: tuple[int, ...] = ()
    voices: dict[str, tuple[int, str]] = field(default_factory=dict)


@dataclass
class _Failure:
    kind: str
    message: str
    trace: str


def run_cell(
    stage: Stage,
    job: CellJob,
    ledger: Ledger,
    open_worker: Callable[[], Worker],
    crumb: Callable[[Sequence[tuple[str, int]]], None] = lambda ids: None,
    no_memory: Callable[[], None] = lambda: None,
) -> CellRecord:
    """Make and commit one cell, or return the record of whoever was first.

    Args:
        open_worker: Returns the stage's worker, loading it on first use; not called when no row needs it.
        crumb: Told the rows in hand before each batch, so that a death can be laid at their door.
        no_memory: Called when a row by itself finds no memory. It may end the process: perhaps an engine has leaked it
            all, and the row is not to blame. If it returns, the row has failed.

    Raises:
        UserError: An input that cannot be read, a missing model, a disk that says no. Never for a row.
        WorkFailedError: What the stage needs is gone (a server, say), so that no row could be made.
    """
    started, began = time.time(), time.process_time()
    clock.take()
    records = [ledger.find(name, job.part, job.inputs[name]) for name in stage.upstream]
    if any(record is None for record in records):
        raise UserError(f"{ledger.folder(stage.name)}: the inputs of part {job.part} vanished; run build again")
    inputs = [record for record in records if record is not None]
    voices = _voices(ledger, job)
    key = stage.cell_key([record.sha256 for record in (*inputs, *voices.values())])
    done = ledger.find(stage.name, job.part, key)
    if done is not None:
        return done
    for record in (*inputs, *voices.values()):
        ledger.check(record)
    rows, errors = join_rows(ledger, inputs, stage.reads)
    if REFERENCE in stage.reads:
        _refer(ledger, rows, voices)
    row_keys = _row_keys(stage, rows, errors)
    made = _copy_earlier(stage, ledger, job, row_keys, errors)
    copied = len(made)
    todo = [place for place in range(len(rows)) if place not in made and not errors[place]]
    failures = _poisonous(job, rows, todo)
    todo = [place for place in todo if place not in failures]
    with GpuMeter() if todo else nullcontext(None) as meter:
        spent = _make(stage, job, rows, todo, open_worker, (crumb, no_memory), made, failures) if todo else {}
    table = _table(stage, rows, row_keys, errors, made, failures)
    metrics = {
        "made": len(made) - copied,
        "copied": copied,
        "skipped": sum(map(bool, errors)),
        "audio_s": round(sum(stage.audio_seconds(made[place]) for place in todo if place in made), 3),
        "wall_s": round(time.time() - started, 3),
        "cpu_s": round(time.process_time() - began, 3),
        "spent_s": clock.take(),
        "finished": round(time.time(), 3),
        **spent,
        **(meter.metrics if meter else {}),
        "worker": f"{socket.gethostname()}:{os.getpid()}",
    }
    listed = _list_failures(stage, ledger, job, rows, failures)
    return ledger.commit(stage.name, job.part, key, table, listed, metrics)


def _refer(ledger: Ledger, rows: list[dict[str, Any]], voices: dict[str, CellRecord]) -> None:
    """Give each row the reference of its voice."""
    references = {voice: reference(ledger, record) for voice, record in voices.items()}
    for row in rows:
        # A recorded query has no voice of the speaker's, and so no reference.
        row[REFERENCE] = references[row["plan.query_voice"]] if row["plan.query_voice"] else ""


def _make(
    stage: Stage,
    job: CellJob,
    rows: Sequence[Row],
    todo: Sequence[int],
    open_worker: Callable[[], Worker],
    hooks: tuple[Callable[[Sequence[tuple[str, int]]], None], Callable[[], None]],
    made: dict[int, Any],
    failures: dict[int, _Failure],
) -> dict[str, Any]:
    """Add the rows to make to `made` or `failures`; returns what a metered worker has spent."""
    worker = open_worker()
    if isinstance(worker, Metered):
        worker.take_metrics()  # of a cell that was given up
    batches = _Batches(worker, stage, rows, *hooks, 1 if job.one_by_one else stage.batch_rows)
    start = 0
    while start < len(todo):
        batch = todo[start : start + batches.size]
        for place, out in batches.run(batch):
            if isinstance(out, _Failure):
                failures[place] = out
            else:
                made[place] = out
        start += len(batch)
    halved = {"batches_halved": batches.halved} if batches.halved else {}
    return {**(worker.take_metrics() if isinstance(worker, Metered) else {}), **halved}


def _poisonous(job: CellJob, rows: Sequence[Row], todo: Sequence[int]) -> dict[int, _Failure]:
    """The rows to make that have killed a worker twice, with that for a reason."""
    poison = set(job.poison)
    why = "its worker died, or outlasted executor.deadline_s, twice on this row; see logs/ and events.jsonl"
    return {
        place: _Failure(WORKER_DIED, why, "") for place in todo if (rows[place]["id"], rows[place]["turn"]) in poison
    }


def _voices(ledger: Ledger, job: CellJob) -> dict[str, CellRecord]:
    """The reference cells of the voices of this part, in the order of the job."""
    found: dict[str, CellRecord] = {}
    for voice, (part, key) in job.voices.items():
        record = ledger.find(VOICES, part, key)
        if record is None:
            raise UserError(f"{ledger.folder(VOICES)}: the reference of the voice {voice} vanished; run build again")
        found[voice] = record
    return found


def _row_keys(stage: Stage, rows: Sequence[Row], errors: Sequence[str]) -> list[str]:
    prefix = identity_digest(stage)
    keys = []
    for row, error in zip(rows, errors, strict=True):
        digest = blake2b(prefix, digest_size=16)
        for value in (row["id"], row["turn"], error, *(row[column] for column in stage.reads)):
            data = value_bytes(value)
            digest.update(len(data).to_bytes(8, "big"))
            digest.update(data)
        keys.append(digest.hexdigest())
    return keys


def _copy_earlier(
    stage: Stage, ledger: Ledger, job: CellJob, row_keys: Sequence[str], errors: Sequence[str]
) -> dict[int, dict[str, Any]]:
    """Rows that an earlier cell of this part made from the same inputs, by place."""
    wanted = {key: place for place, (key, error) in enumerate(zip(row_keys, errors, strict=True)) if not error}
    made: dict[int, dict[str, Any]] = {}
    shelves = [ledger, Ledger(stage.shipped)] if stage.shipped else [ledger]
    related = job.related or (job.part,)
    for shelf, record in ((place, record) for place in shelves for record in place.history(stage.name, related)):
        if len(made) == len(wanted):
            break
        have = shelf.load(record, ["row_key", "error"])
        earlier = zip(have["row_key"].to_pylist(), have["error"].to_pylist(), strict=True)
        hits = [
            (number, wanted[key])
            for number, (key, error) in enumerate(earlier)
            if not error and key in wanted and wanted[key] not in made
        ]
        if hits:
            full = shelf.load(shelf.check(record)).select(stage.writes.names).take([number for number, _ in hits])
            for (_, place), row in zip(hits, full.to_pylist(), strict=True):
                made[place] = row
    return made


@dataclass
class _Batches:
    """Runs the rows of a cell in batches of `size`, which memory may make smaller for the rest of the cell."""

    worker: Worker
    stage: Stage
    rows: Sequence[Row]
    crumb: Callable[[Sequence[tuple[str, int]]], None]
    no_memory: Callable[[], None]
    size: int
    halved: int = 0

    def __post_init__(self) -> None:
        self._columns = Columns(self.stage.writes)

    def run(self, places: Sequence[int]) -> Iterator[tuple[int, dict[str, Any] | _Failure]]:
        """Run a batch; when it fails, its halves; a single row that fails is a failure."""
        batch = [self.rows[place] for place in places]
        self.crumb([(row["id"], row["turn"]) for row in batch])
        try:
            with clock(ENGINE):
                out = self.worker.process(batch)
            if len(out) != len(batch):
                raise ValueError(f"the engine gave {len(out)} results for {len(batch)} rows")
            short = next((result for result in out if isinstance(result, Exception) and out_of_memory(result)), None)
            if short is not None and len(batch) > 1:
                raise short
            found = [_failed(it) if isinstance(it, Exception) else self._columns.checked(it) for it in out]
        except (UserError, WorkFailedError):
            raise
        except Exception as error:
            failure, memory = _failed(error), out_of_memory(error)
            if isinstance(error, MemoryError) and len(places) == 1:
                self.no_memory()
        else:
            yield from zip(places, found, strict=True)
            return
        # Outside of the handler, whose error holds the frames, and so the tensors, of the batch that failed.
        out = short = None
        if memory:
            free_memory()
            self.halved += len(places) > 1
            self.size = max(1, min(self.size, len(places) // 2))
        if len(places) == 1:
            yield places[0], failure
            return
        half = len(places) // 2
        yield from self.run(places[:half])
        yield from self.run(places[half:])


def _failed(error: Exception) -> _Failure:
    # Masked before it is cut: half of a secret would be left.
    trace = masked("".join(traceback.format_exception(error)))[-_MAX_TEXT:]
    return _Failure(type(error).__name__, _plain(masked(str(error))[:1000]), _plain(trace))


def _plain(text: str) -> str:
    """Text that UTF-8 can hold: an engine's message may carry half a character."""
    return text.encode("utf-8", "backslashreplace").decode()


def _table(
    stage: Stage,
    rows: Sequence[Row],
    row_keys: Sequence[str],
    errors: Sequence[str],
    made: Mapping[int, Mapping[str, Any]],
    failures: Mapping[int, _Failure],
) -> pa.Table:
    target = schema.stage_schema(stage.writes)
    empty = dict.fromkeys(stage.writes.names)
    columns: dict[str, list[Any]] = {
        "id": [row["id"] for row in rows],
        "turn": [row["turn"] for row in rows],
        "row_key": list(row_keys),
        "error": [
            f"{stage.name}:{failures[place].kind}" if place in failures else error for place, error in enumerate(errors)
        ],
    }
    for name in stage.writes.names:
        columns[name] = [made.get(place, empty)[name] for place in range(len(rows))]
    return pa.table(columns, schema=target)


def _list_failures(
    stage: Stage, ledger: Ledger, job: CellJob, rows: Sequence[Row], failures: Mapping[int, _Failure]
) -> list[dict[str, Any]]:
    """Failures for the record; the attempt counts the records that were set aside before."""
    if not failures:
        return []
    before: dict[tuple[str, int], int] = {}
    for record in ledger.history(stage.name, job.related or (job.part,)):
        for item in record.failures:
            row = (item["id"], item["turn"])
            before[row] = max(before.get(row, 0), item["attempt"])
    return [
        {
            "id": rows[place]["id"],
            "turn": rows[place]["turn"],
            "stage": stage.name,
            "type": failure.kind,
            "message": failure.message,
            "traceback": failure.trace,
            "attempt": before.get((rows[place]["id"], rows[place]["turn"]), 0) + 1,
            "time": round(time.time(), 3),
        }
        for place, failure in sorted(failures.items())
    ]
