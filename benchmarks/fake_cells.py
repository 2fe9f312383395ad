"""Cells as the tone engines would make them, without their sound: what `select` reads, for a million rows."""

from __future__ import annotations

from concurrent.futures import ProcessPoolExecutor
from hashlib import sha256
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa

from manifests import schema
from manifests.labels import CUES
from manifests.ledger import CellRecord, Ledger
from manifests.run import load_run
from pipeline.cell import CellJob, run_cell
from pipeline.dag import Dag, build_dag
from pipeline.grid import Grid

_HELD: dict[str, Any] = {}


def fill(grid: Grid, file: Path, processes: int = 2) -> None:
    """Commit every cell of a planned run: real texts, and of sound the columns alone."""
    arguments = (str(file), str(grid.ledger.run))
    with ProcessPoolExecutor(processes, get_context("spawn"), _open, arguments) as pool:
        for part, cells in zip(grid.records, pool.map(_fill_part, grid.records.values(), chunksize=8), strict=True):
            grid.records[part] |= cells


def _open(file: str, run: str) -> None:
    dag = build_dag(load_run(Path(file)), file)
    _HELD.update(dag=dag, ledger=Ledger(Path(run)), writer=dag.by_name["script"].open())


def _fill_part(have: dict[str, CellRecord]) -> dict[str, CellRecord]:
    dag, ledger = _HELD["dag"], _HELD["ledger"]
    plan = have["plan"]
    job = CellJob("script", plan.part, {"plan": plan.key})
    cells = {"plan": plan, "script": run_cell(dag.by_name["script"], job, ledger, lambda: _HELD["writer"])}
    said, asked = ledger.load(cells["script"]), ledger.load(plan)
    for stage in dag.stages[1:]:
        key = stage.cell_key([cells[name].sha256 for name in stage.upstream])
        table = _table(dag, stage, asked, said)
        cells[stage.name] = ledger.commit(stage.name, plan.part, key, table, [], {})
    return cells


def _table(dag: Dag, stage: Any, asked: pa.Table, said: pa.Table) -> pa.Table:
    number = asked.num_rows
    texts = {role: said[f"{role}_spoken"].to_pylist() for role in ("query", "reply")}
    symbols = {role: [len(text.encode()) + 10 for text in texts[role]] for role in texts}
    columns: dict[str, Any] = {}
    if stage.name in ("speak_query", "speak_reply"):
        role = stage.name.removeprefix("speak_")
        columns["seconds"] = [count * 0.04 for count in symbols[role]]
        names = zip(asked["id"].to_pylist(), asked["turn"].to_pylist(), strict=True)
        columns["audio_sha256"] = [sha256(f"{name}.{turn}.{role}".encode()).hexdigest() for name, turn in names]
        columns["sample_rate"] = [16_000] * number
    elif stage.name == "transcribe":
        columns |= {"query_transcript": texts["query"], "reply_transcript": texts["reply"]}
        columns |= dict.fromkeys(("query_mismatch", "query_oov", "reply_mismatch", "reply_oov"), [None] * number)
    elif stage.name == "annotate":
        for family in CUES:
            columns[f"heard_{family}"] = asked[family].to_pylist()
            columns[f"heard_{family}_p"] = [1.0] * number
            columns |= dict.fromkeys((f"heard_{family}_probabilities", f"heard_{family}_evidence"), ["{}"] * number)
    elif stage.name == "rate":
        good = {"speech_ratio": 0.9, "snr_db": 40.0, "rms_dbfs": -23.0}
        columns |= {f"{role}_{name}": [value] * number for role in texts for name, value in good.items()}
    elif stage.name == "tokenize":
        columns |= {"token_rate": [25] * number, "codebook_size": [258] * number}
    wanted = schema.stage_schema(stage.writes)
    columns |= {"id": asked["id"], "turn": asked["turn"], "row_key": [""] * number, "error": [""] * number}
    arrays = [_column(columns, field, number) for field in wanted]
    return pa.Table.from_arrays(arrays, schema=wanted)


def _column(columns: dict[str, Any], field: pa.Field, number: int) -> Any:
    """A column that is given, or zeros of its type."""
    if field.name in columns:
        values = columns[field.name]
        return values if isinstance(values, pa.ChunkedArray) else pa.array(values, field.type)
    empty: Any = [] if pa.types.is_list(field.type) else 0
    if pa.types.is_string(field.type):
        empty = ""
    elif pa.types.is_large_binary(field.type):
        empty = b""
    return pa.array([empty] * number, field.type)
