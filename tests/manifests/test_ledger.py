"""The ledger: a cell is committed once, whole, and whatever is damaged is named."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests import schema
from manifests.errors import UserError
from manifests.files import TEMPORARY
from manifests.ledger import FORMAT, CellRecord, Ledger

KEY, OTHER = "0123456789abcdef", "fedcba9876543210"
SCHEMA = schema.stage_schema(
    pa.schema(
        [
            pa.field("text", pa.string()),
            pa.field("audio", pa.large_binary()),
            pa.field("tokens", pa.list_(pa.int32())),
            pa.field("score", pa.float64()),
        ]
    )
)
TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=8)
ROWS = st.lists(
    st.tuples(
        TEXT,
        st.none() | st.binary(max_size=20),
        st.none() | st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
        st.none() | st.floats(allow_nan=False),
    ),
    max_size=5,
)
FAILURES = st.lists(st.fixed_dictionaries({"id": TEXT, "turn": st.integers(0, 9), "message": TEXT}), max_size=2)
METRICS = st.dictionaries(TEXT, st.integers() | TEXT | st.floats(allow_nan=False, allow_infinity=False), max_size=3)


def table(*rows: tuple[Any, ...]) -> pa.Table:
    """A stage table with these values of text, audio, tokens and score."""
    return pa.table(
        {
            "id": [f"{number:020x}" for number in range(len(rows))],
            "turn": [0] * len(rows),
            "row_key": ["k"] * len(rows),
            "error": [""] * len(rows),
            **{name: [row[place] for row in rows] for place, name in enumerate(SCHEMA.names[4:])},
        },
        schema=SCHEMA,
    )


def said(text: str) -> pa.Table:
    """A stage table of one row."""
    return table((text, text.encode(), [1], 0.5))


def commit(ledger: Ledger, text: str = "one", key: str = KEY, part: int = 7) -> CellRecord:
    """A committed cell of one row."""
    return ledger.commit("speak", part, key, said(text), [], {"text": text})


def record_file(ledger: Ledger, record: CellRecord) -> Path:
    """Where a committed cell's record is."""
    return ledger.folder(record.stage) / f"part-{record.part:04d}@{record.key}.json"


def names(ledger: Ledger) -> list[str]:
    """All files of the stage."""
    return sorted(path.name for path in ledger.folder("speak").iterdir())


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(tmp_path / "run")


@settings(deadline=None, max_examples=25)
@given(ROWS, FAILURES, METRICS, st.integers(0, 20_000))
def test_what_is_committed_is_found_and_loads_as_it_was(rows, failures, metrics, part) -> None:
    with tempfile.TemporaryDirectory() as folder:
        made = Ledger(Path(folder)).commit("speak", part, KEY, table(*rows), failures, metrics)
        again = Ledger(Path(folder))
        assert again.find("speak", part, KEY) == made
        assert (made.rows, made.failures) == (len(rows), failures)
        assert made.metrics == {**metrics, "commit_s": made.metrics["commit_s"]}
        loaded = again.load(made)
        assert loaded.equals(table(*rows))
        assert loaded.schema.metadata == SCHEMA.metadata
        assert [item.metadata for item in loaded.schema] == [item.metadata for item in SCHEMA]
        assert list(again.history("speak", [part])) == [made]
        assert again.parts("speak") == {part}


def test_a_data_file_is_named_by_its_content(ledger: Ledger) -> None:
    record = commit(ledger)
    path = ledger.data_path(record)
    assert record.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert record.sha256[:12] in path.name
    assert record.size == path.stat().st_size
    assert names(ledger) == [f"part-0007@{KEY}.{record.sha256[:12]}.parquet", f"part-0007@{KEY}.json"]


def test_equal_tables_are_equal_bytes(tmp_path: Path) -> None:
    assert commit(Ledger(tmp_path / "a")).sha256 == commit(Ledger(tmp_path / "b")).sha256
    assert commit(Ledger(tmp_path / "c"), "two").sha256 != commit(Ledger(tmp_path / "a")).sha256


def test_a_cell_is_known_by_stage_part_and_key(ledger: Ledger) -> None:
    commit(ledger)
    assert ledger.find("speak", 7, OTHER) is None
    assert ledger.find("speak", 8, KEY) is None
    assert ledger.find("rate", 7, KEY) is None


def test_some_columns_can_be_loaded_alone(ledger: Ledger) -> None:
    assert ledger.load(commit(ledger), ["text", "id"]).to_pydict() == {"text": ["one"], "id": ["0" * 20]}


@pytest.mark.parametrize("text", ["one", "two"])
def test_the_first_commit_of_a_cell_stands(ledger: Ledger, text: str) -> None:
    first = commit(ledger, "one")
    before = ledger.data_path(first).read_bytes()
    assert commit(ledger, text) == first
    assert ledger.find("speak", 7, KEY) == first
    assert ledger.data_path(first).read_bytes() == before
    assert ledger.load(first)["text"].to_pylist() == ["one"]


def test_keys_and_parts_do_not_disturb_each_other(ledger: Ledger) -> None:
    records = [commit(ledger, f"{key}{part}", key, part) for key in (KEY, OTHER) for part in (7, 8)]
    for record in records:
        assert ledger.find("speak", record.part, record.key) == record
        assert ledger.load(record)["text"].to_pylist() == [f"{record.key}{record.part}"]


def test_a_cell_whose_data_is_deleted_is_made_again(ledger: Ledger) -> None:
    ledger.data_path(commit(ledger, "one")).unlink()
    assert list(ledger.history("speak", [7])) == []
    assert ledger.find("speak", 7, KEY) is None
    second = commit(ledger, "two")
    assert ledger.find("speak", 7, KEY) == second
    assert ledger.load(second)["text"].to_pylist() == ["two"]


def test_a_record_without_data_does_not_stop_a_commit(ledger: Ledger) -> None:
    ledger.data_path(commit(ledger, "one")).unlink()
    assert commit(ledger, "two") == ledger.find("speak", 7, KEY)


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_data_that_is_cut_is_named(ledger: Ledger, keep: int) -> None:
    path = ledger.data_path(commit(ledger))
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(UserError) as error:
        ledger.find("speak", 7, KEY)
    assert str(path) in str(error.value)
    assert "delete this file" in str(error.value)
    path.unlink()
    assert ledger.find("speak", 7, KEY) is None, "the advice must work"


@pytest.mark.parametrize("place", ["all", "end"])
def test_data_that_is_overwritten_is_named(ledger: Ledger, place: str) -> None:
    record = commit(ledger)
    path = ledger.data_path(record)
    data = path.read_bytes()
    path.write_bytes(bytes(len(data)) if place == "all" else data[:-8] + bytes(8))
    with pytest.raises(UserError) as error:
        ledger.load(record)
    assert str(path) in str(error.value)


def test_data_that_vanishes_while_it_is_read_is_named(ledger: Ledger) -> None:
    record = commit(ledger)
    ledger.data_path(record).unlink()
    with pytest.raises(UserError, match="cannot be read") as error:
        ledger.load(record)
    assert record.data in str(error.value)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b'{"format": 1',
        b"null",
        b"[]",
        b'"text"',
        b"7",
        bytes(50),
        b"{}",
        b'{"format": 1}',
        b'{"format": 1, "stage": "speak"}',
        b"\xff\xfe\x00",
        "type",
    ],
)
@pytest.mark.parametrize("how", ["find", "history"])
def test_garbage_in_a_record_is_named(ledger: Ledger, data: Any, how: str) -> None:
    record = commit(ledger)
    path = record_file(ledger, record)
    path.write_bytes(json.dumps({**asdict(record), "data": 5}).encode() if data == "type" else data)
    with pytest.raises(UserError) as error:
        _ = ledger.find("speak", 7, KEY) if how == "find" else list(ledger.history("speak", [7]))
    assert str(path) in str(error.value)


def test_an_unknown_field_in_a_record_is_refused(ledger: Ledger) -> None:
    record = commit(ledger)
    record_file(ledger, record).write_text(json.dumps({**asdict(record), "colour": "red"}))
    with pytest.raises(UserError, match="readable record"):
        ledger.find("speak", 7, KEY)


@pytest.mark.parametrize("version", [FORMAT + 1, 0, "1", None])
def test_a_record_of_another_format_is_refused(ledger: Ledger, version: Any) -> None:
    record = commit(ledger)
    path = record_file(ledger, record)
    path.write_text(json.dumps({**asdict(record), "format": version}))
    with pytest.raises(UserError, match=f"format {version}, this version reads format {FORMAT}") as error:
        ledger.find("speak", 7, KEY)
    assert str(path) in str(error.value)
    assert path.exists(), "what another version wrote is not deleted"


@pytest.mark.parametrize("version", ["99", None])
def test_a_table_of_another_schema_version_is_refused(ledger: Ledger, version: str | None) -> None:
    metadata = {"echat.schema_version": version} if version else None
    record = ledger.commit("speak", 7, KEY, said("one").replace_schema_metadata(metadata), [], {})
    for columns in (None, ["id"]):
        with pytest.raises(UserError, match=f"schema version {version or 'none'}") as error:
            ledger.load(record, columns)
        assert str(ledger.data_path(record)) in str(error.value)


def test_a_retired_cell_is_not_found_and_not_forgotten(ledger: Ledger) -> None:
    first = commit(ledger, "one")
    ledger.retire(first)
    assert ledger.find("speak", 7, KEY) is None
    assert list(ledger.history("speak", [7])) == [first]
    assert ledger.parts("speak") == {7}
    assert ledger.load(first)["text"].to_pylist() == ["one"]
    second = commit(ledger, "two")
    assert ledger.find("speak", 7, KEY) == second
    ledger.retire(second)
    assert sorted(record.metrics["text"] for record in ledger.history("speak", [7])) == ["one", "two"]


def test_a_cell_can_be_retired_as_often_as_it_is_made(ledger: Ledger) -> None:
    for number in range(12):
        ledger.retire(commit(ledger, str(number)))
    assert sorted(int(record.metrics["text"]) for record in ledger.history("speak", [7])) == list(range(12))


def test_retiring_overwrites_no_retired_record(ledger: Ledger) -> None:
    for text in ("one", "two"):
        ledger.retire(commit(ledger, text))
    next(ledger.folder("speak").glob("*.retired-0.json")).unlink()  # as the advice for a damaged record says
    ledger.retire(commit(ledger, "three"))
    assert sorted(record.metrics["text"] for record in ledger.history("speak", [7])) == ["three", "two"]


def test_history_tells_of_the_parts_asked_for_in_a_stable_order(ledger: Ledger) -> None:
    for part in (3, 12_345, 1, 2):
        for key in (OTHER, KEY):
            commit(ledger, f"{part}", key, part)
    gone = commit(ledger, "gone", KEY, 4)
    ledger.data_path(gone).unlink()
    (ledger.folder("speak") / "part-notes.json").write_text("not a record")
    found = [(record.part, record.key) for record in ledger.history("speak", [12_345, 4, 1])]
    assert found == [(1, KEY), (1, OTHER), (12_345, KEY), (12_345, OTHER)]
    assert ledger.parts("speak") == {1, 2, 3, 4, 12_345}


def test_an_empty_folder_has_no_cells(ledger: Ledger) -> None:
    assert ledger.find("speak", 0, KEY) is None
    assert list(ledger.history("speak", [0])) == []
    assert ledger.parts("speak") == set()


@pytest.mark.parametrize("where", ["write_table", "replace", "link", "fsync"])
def test_a_full_disk_leaves_the_cell_to_be_made(ledger: Ledger, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(pq if where == "write_table" else os, where, full)
        with pytest.raises(UserError, match="disk is full") as error:
            commit(ledger)
    assert str(ledger.folder("speak")) in str(error.value)
    assert ledger.find("speak", 7, KEY) is None
    assert not any(name.startswith(TEMPORARY) for name in names(ledger))
    assert commit(ledger) == ledger.find("speak", 7, KEY)


def check_one_winner(ledger: Ledger, won: list[CellRecord]) -> None:
    """All were told of one record, which is there, whole, with its own data."""
    found = ledger.find("speak", 7, KEY)
    assert found is not None
    assert all(record == found for record in won)
    assert [name for name in names(ledger) if name.endswith(".json")] == [f"part-0007@{KEY}.json"]
    assert not any(name.startswith(TEMPORARY) for name in names(ledger))
    assert ledger.load(found)["text"].to_pylist() == [found.metrics["text"]]
    assert hashlib.sha256(ledger.data_path(found).read_bytes()).hexdigest() == found.sha256


@pytest.mark.parametrize("same", [True, False])
def test_threads_that_commit_one_cell_at_once_agree_on_one_record(ledger: Ledger, same: bool) -> None:
    start, won = threading.Barrier(8), []

    def race(number: int) -> None:
        start.wait()
        won.append(commit(Ledger(ledger.run), "same" if same else f"text {number}"))

    threads = [threading.Thread(target=race, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 8
    check_one_winner(ledger, won)


RACER = """
import sys
from dataclasses import asdict
import json
sys.path.insert(0, sys.argv[1])
from test_ledger import KEY, Ledger, Path, commit
ledger = Ledger(Path(sys.argv[2]))
print("ready", flush=True)
sys.stdin.readline()
print(json.dumps(asdict(commit(ledger, sys.argv[3]))))
"""


def test_processes_that_commit_one_cell_at_once_agree_on_one_record(ledger: Ledger) -> None:
    folder = Path(__file__).parent
    racers = [
        subprocess.Popen(
            [sys.executable, "-c", RACER, folder, ledger.run, f"text {number}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for number in range(3)
    ]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        assert racer.stdin is not None
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [CellRecord(**json.loads(racer.communicate()[0])) for racer in racers]
    check_one_winner(ledger, won)


def test_a_text_that_is_no_utf8_is_named_by_its_file(ledger: Ledger) -> None:
    whole = table(("a", b"", [], 0.0))
    offsets, broken = pa.py_buffer(b"\0\0\0\0\1\0\0\0"), pa.py_buffer(b"\xe2")
    text = pa.StringArray.from_buffers(1, offsets, broken)
    rows = whole.set_column(whole.schema.get_field_index("text"), "text", text).cast(SCHEMA)
    record = ledger.commit("s", 0, KEY, rows, [], {})
    with pytest.raises(UserError, match=r"\.parquet: cannot be read \(.*UTF8"):
        ledger.load(record)
    assert ledger.load(record, ["id"]).num_rows == 1
