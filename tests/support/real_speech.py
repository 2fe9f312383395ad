"""Speech of a run and weights of real models, for the tests of engines (`make test-engines`)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from pipeline.audio import decode_flac, without

ROOT = Path(__file__).parents[2]
RUN = "ECHAT_TEST_RUN"
"""Names a run folder whose speech is heard: a built demo."""


def lacking() -> list[str]:
    """Why tests that hear real speech are skipped; empty when they are not."""
    found = [] if os.environ.get(RUN) else [f"{RUN} names no built demo"]
    homes = [find_spec(name) is not None for name, _ in _packages()]
    pairs = any(all(homes[at : at + 2]) for at in range(0, len(homes), 2))
    return found if pairs else [*found, "Whisper-base is not installed (requirements/whisper-base.txt)"]


def _packages() -> Sequence[tuple[str, str]]:
    """Those that hold Whisper-base, two by two."""
    sys.path.append(str(ROOT / "benchmarks"))
    from whisper_base import PARTS

    return PARTS


@dataclass(frozen=True)
class Line:
    """An utterance of a run: float32 (num_samples,) and its words."""

    samples: np.ndarray
    sample_rate: int
    text: str
    emotion: str


def rows(run: Path, stage: str, columns: list[str]) -> Iterator[dict]:
    """Rows of every cell of a stage."""
    for file in sorted((run / "stages" / stage).glob("*.parquet")):
        yield from pq.read_table(file, columns=columns).to_pylist()


def spoken_lines(run: Path) -> list[Line]:
    """Queries, without their sound events, and replies of a run."""
    key = ["id", "turn"]
    texts = {(r["id"], r["turn"]): r for r in rows(run, "script", [*key, "query_spoken", "reply_spoken"])}
    plans = {(r["id"], r["turn"]): r["emotion"] for r in rows(run, "plan", [*key, "emotion"])}
    found = []
    for role, more in (("query", ["event_start", "event_end"]), ("reply", [])):
        for row in rows(run, f"speak_{role}", [*key, "audio", *more]):
            samples, rate = decode_flac(row["audio"])
            if role == "query":
                samples = without(samples, rate, row["event_start"], row["event_end"])
            place = row["id"], row["turn"]
            emotion = plans.get(place, "none") if role == "query" else "none"
            found.append(Line(samples, rate, texts[place][f"{role}_spoken"], emotion))
    return found


@pytest.fixture(scope="session")
def lines() -> list[Line]:
    """Utterances of the run that the environment names."""
    run = os.environ.get(RUN)
    if not run:
        pytest.skip(f"{RUN} names no built demo: echat build demo --out runs/demo")
    return spoken_lines(Path(run))


@pytest.fixture(scope="session")
def whisper_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Whisper-base, whose weights are optional packages pinned by hash."""
    sys.path.append(str(ROOT / "benchmarks"))
    from whisper_base import whisper_folder

    folder, why = whisper_folder(None, sys.executable, tmp_path_factory.mktemp("whisper"))
    if folder is None:
        pytest.skip(why)
    return folder
