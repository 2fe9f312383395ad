"""Builds as users start them, their processes, and ways to end these without asking."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from conftest import ECHAT, tree

from manifests.files import sha256
from manifests.ids import seed_of
from manifests.ledger import Ledger
from manifests.run import load_run
from pipeline.dag import build_dag
from pipeline.grid import Grid
from pipeline.verify_shards import tar_samples

SPOKEN = ("speak_query", "speak_reply")


def start(file: Path, out: Path, log: Path | None = None) -> subprocess.Popen:
    """A build in a process of its own; what it says goes to `log`, beside the run folder by default."""
    with (log or out.parent / "log").open("a") as stream:
        return subprocess.Popen(
            [ECHAT, "build", file, "--out", out], stdout=stream, stderr=stream, env=dict(os.environ)
        )


def below(driver: subprocess.Popen, what: str = "") -> list[psutil.Process]:
    """The living processes under a build whose command line holds a word, by process id."""
    found = []
    with suppress(psutil.Error):
        for process in psutil.Process(driver.pid).children(recursive=True):
            with suppress(psutil.Error):
                if what in " ".join([process.name(), *process.cmdline()[:1]]) and process.status() != "zombie":
                    found.append(process)
    return sorted(found, key=lambda process: process.pid)


def workers(driver: subprocess.Popen) -> list[psutil.Process]:
    """The Ray actors of a build."""
    return below(driver, "RayRunner")


def kill(process: psutil.Process) -> bool:
    """SIGKILL, to a process that may be gone; whether it was alive."""
    with suppress(psutil.NoSuchProcess):
        alive = process.status() != psutil.STATUS_ZOMBIE
        process.kill()
        return alive
    return False


def kill_all(driver: subprocess.Popen) -> bool:
    """SIGKILL the driver and every process under it: Ray's daemons and the workers; whether the driver was alive."""
    processes = below(driver)
    alive, *_ = [kill(process) for process in [psutil.Process(driver.pid), *processes]]
    driver.wait()
    return alive


def events(out: Path, kind: str) -> list[dict]:
    """The events of a kind in a run's log."""
    lines = (out / "events.jsonl").read_text().splitlines()
    return [event for event in map(json.loads, lines) if event["event"] == kind]


def wait_for(what: Callable[[], object], seconds: float) -> bool:
    """Wait until something is true; False if it is not in time."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if what():
            return True
        time.sleep(0.05)
    return False


def committed(file: Path, out: Path) -> dict[str, str]:
    """Cells that are committed and that the manifest still reads: sha256 of the data by stage, part and key."""
    if not (out / "stages").is_dir():
        return {}
    return {f"{name}/{part}@{cell.key}": cell.sha256 for part, name, cell in _cells(file, out)}


def spoken(file: Path, out: Path) -> set[str]:
    """Seeds of the utterances whose speech is in a committed cell."""
    if not (out / "stages").is_dir():
        return set()
    ledger = Ledger(out)
    return {
        str(seed_of(row["id"], row["turn"], name))
        for _, name, cell in _cells(file, out)
        if name in SPOKEN
        for row in ledger.load(cell, ["id", "turn"]).to_pylist()
    }


def _cells(file: Path, out: Path):
    dag, ledger = build_dag(load_run(file), file), Ledger(out)
    key = dag.plan.cell_key([])
    plan = [record for part in range(dag.planner.num_parts) if (record := ledger.find("plan", part, key))]
    for part, have in Grid(dag, ledger, plan).records.items():
        for name, cell in have.items():
            yield part, name, cell


def torn(out: Path) -> list[str]:
    """Files with a final name that are not whole: cells other than their record says, sets other than their sums."""
    bad = []
    for record in out.glob("stages/*/part-*.json"):
        try:
            said = json.loads(record.read_bytes())
            data = record.with_name(said["data"])
            if data.exists() and sha256(data) != said["sha256"]:
                bad.append(str(data))
        except ValueError:
            bad.append(str(record))
    for data in out.glob("stages/*/part-*.parquet"):
        if not sha256(data).startswith(data.name.split(".")[-2]):
            bad.append(str(data))
    for folder in (path for path in out.glob("shards/*") if not path.is_symlink() and "-" not in path.name):
        try:
            for line in (folder / "checksums.sha256").read_text().splitlines():
                digest, name = line.split("  ", 1)
                if sha256(folder / name) != digest:
                    bad.append(str(folder / name))
        except (OSError, ValueError):
            bad.append(str(folder))
    return bad


def dialogues(shards: Path) -> Counter[str]:
    """How often every dialogue stands in a set of shards."""
    import tarfile

    found: Counter[str] = Counter()
    for shard in sorted(shards.glob("*.tar")):
        with tarfile.open(shard, "r:") as archive:
            found.update(key for key, _ in tar_samples(archive))
    return found


@dataclass
class Harm:
    """What kills have cost, by comparison with an undisturbed run. All but `redone` must stay nothing.

    Attributes:
        lost: Committed cells that vanished or changed, and dialogues that no shard holds.
        duplicate: Utterances spoken again though a committed cell held them, and dialogues that stand twice.
        torn: Files under a final name that were not whole.
        differing: Files of the shards that are not those of the undisturbed run.
        redone: Utterances spoken again that were in flight at a kill; the price of a kill.
    """

    lost: list[str] = field(default_factory=list)
    duplicate: list[str] = field(default_factory=list)
    torn: list[str] = field(default_factory=list)
    differing: list[str] = field(default_factory=list)
    redone: int = 0

    def shards(self, out: Path, calm: Path) -> None:
        """Compare a finished run's shards with those of the undisturbed run."""
        have, want = dialogues(out / "shards" / "current"), dialogues(calm / "shards" / "current")
        self.lost += sorted(want.keys() - have.keys())
        self.duplicate += sorted(name for name, number in have.items() if number > 1)
        mine, theirs = tree(out / "shards" / "current"), tree(calm / "shards" / "current")
        self.differing += sorted(name for name in mine.keys() | theirs.keys() if mine.get(name) != theirs.get(name))

    @property
    def none(self) -> bool:
        """Whether nothing was lost, doubled, torn or changed."""
        return not (self.lost or self.duplicate or self.torn or self.differing)
