"""Runs of the tone engines under attack: killed at random moments, finished, and compared with an undisturbed one."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil
import yaml
from conftest import CHAOS, ROOT, calls, merged
from killing import Harm, below, committed, kill, kill_all, spoken, start, torn, wait_for

from manifests.errors import UserError
from manifests.run import load_run
from pipeline.build import build
from pipeline.verify import verify

_NAMES = {"worker": "RayRunner", "raylet": "raylet", "gcs_server": "gcs_server"}
KILLS_A_RUN = {"ray": 7, "inline": 10}
VICTIMS = {"everything": 3, "driver": 3, "worker": 3, "raylet": 2, "gcs_server": 1}
"""Who is killed, with how many times the chance of the others."""
QUOTAS = {"emotion": 12, "age": 4, "gender": 4, "event": 4, "neutral": 4}


def manifest(folder: Path, name: str, pause_s: float = 0.0, quotas: Any = QUOTAS, **executor: Any) -> Path:
    """A run manifest of 28 dialogues, or of others, in parts of about four."""
    base = yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text())
    speaker = {"engine": "chaos", "pause_s": pause_s}
    changes = {"plan": {"quotas": quotas}, **CHAOS, "speak_query": speaker, "speak_reply": speaker}
    path = folder / name
    path.write_text(yaml.safe_dump(merged(base, {**changes, "shard": {"rows": 8}, "executor": executor})))
    return path


def strike(driver: subprocess.Popen, victim: str, draw: random.Random) -> bool:
    """SIGKILL one of the processes of a build; False if none that was alive was there to take it."""
    if victim == "everything":
        return kill_all(driver)
    if victim in ("driver", "inline"):
        killed = kill(psutil.Process(driver.pid))
        driver.wait()
        return killed
    targets = below(driver, _NAMES[victim])
    return bool(targets) and kill(draw.choice(targets))


class Campaign:
    """Runs under attack, and the account of it."""

    def __init__(self, folder: Path, seed: int, quotas: Mapping[str, int] = QUOTAS, pause_s: float = 0.25) -> None:
        self.folder, self.random, self.quotas = folder, random.Random(seed), dict(quotas)
        self.pause_s = pause_s
        os.environ["ECHAT_CHAOS"] = str(folder)
        file = manifest(folder, "calm.yaml", quotas=self.quotas, kind="inline")
        assert not build(load_run(file), file, folder / "calm", quiet=True).findings
        self.kind = "ray"
        self.harm, self.killed, self.codes = Harm(), Counter(), Counter()
        self.runs = 0

    @property
    def file(self) -> Path:
        """The manifest of the run that is under attack."""
        return manifest(self.folder, f"{self.kind}.yaml", self.pause_s, self.quotas, kind=self.kind, deadline_s=60)

    def attack(self, kind: str, victims: Sequence[str]) -> None:
        """One run of an executor, in which one after the other is killed, then finished and compared."""
        self.kind = kind
        out = self.folder / f"run-{self.runs:03d}"
        had: dict[str, str] = {}
        for victim in victims:
            had = self._strike(out, had, victim)
        before, already = spoken(self.file, out), len(calls(self.folder))
        code = self._end(start(self.file, out), 900)
        self._account(out, had, before, already)
        if code or (findings := verify(out)):
            log = (self.folder / "log").read_text()[-3000:]
            raise AssertionError(f"{out}: the last build ended with {code}: {findings if not code else log}")
        self.harm.shards(out, self.folder / "calm")
        self.runs += 1
        shutil.rmtree(out)

    def victims(self, most: int) -> tuple[str, list[str]]:
        """The executor of the next run, and who is to be killed in it."""
        kind = "inline" if self.runs % 2 else "ray"
        number = min(most, KILLS_A_RUN[kind])
        if kind == "inline":
            return kind, ["inline"] * number
        return kind, self.random.choices(list(VICTIMS), list(VICTIMS.values()), k=number)

    def _strike(self, out: Path, had: dict[str, str], victim: str) -> dict[str, str]:
        """Build, kill somebody at some moment, and look at what is left; cells that are committed now."""
        fraction = self.random.random()
        before, already = spoken(self.file, out), len(calls(self.folder))
        driver = start(self.file, out)
        # Half of the kills come at any moment, start of Python included; half once speech is being made.
        if fraction < 0.5:
            time.sleep(0.5 + (24 if self.kind == "ray" else 14) * fraction)
        else:
            wait_for(lambda: len(calls(self.folder)) > already or driver.poll() is not None, 120)
            time.sleep(10 * (fraction - 0.5))
        if victim in _NAMES:
            wait_for(lambda: below(driver, _NAMES[victim]) or driver.poll() is not None, 60)
        if driver.poll() is not None:
            self.codes[f"finished before the kill: {driver.returncode}"] += 1
            return self._account(out, had, before, already)
        killed = strike(driver, victim, self.random)
        if killed:
            self.killed[victim] += 1
        else:
            self.codes[f"no {victim} was alive to be killed"] += 1
        if killed and victim == "worker" and fraction < 0.75:
            time.sleep(2)  # its replacement is on the way, or already speaks
            kill_all(driver)
        elif victim in _NAMES:
            code = self._end(driver, 300)
            self.codes[f"{victim} {'killed' if killed else 'gone'}: build ended with {code}"] += 1
        self.say()
        return self._account(out, had, before, already)

    def _end(self, driver: subprocess.Popen, limit_s: float) -> int:
        try:
            return driver.wait(timeout=limit_s)
        except subprocess.TimeoutExpired:
            kill_all(driver)
            self.harm.lost.append("a build hung")
            return -1

    def _account(self, out: Path, had: dict[str, str], before: set[str], already: int) -> dict[str, str]:
        """Compare the folder with what was known of it."""
        if not out.exists():
            return had
        self.harm.torn += torn(out)
        try:
            have = committed(self.file, out)
        except UserError as error:
            self.harm.lost.append(str(error))
            return had
        self.harm.lost += [cell for cell, digest in had.items() if have.get(cell) != digest]
        now = calls(self.folder)[already:]
        self.harm.duplicate += sorted(before & set(now))
        self.harm.redone += len(now) - len(spoken(self.file, out) - before)
        return have

    def say(self) -> None:
        """One line of progress."""
        harm = self.harm
        sys.stdout.write(
            f"{sum(self.killed.values()):3d} kills, {self.runs} runs: {len(harm.lost)} lost, {len(harm.duplicate)}"
            f" duplicate, {len(harm.torn)} torn, {len(harm.differing)} files differ\n"
        )
        sys.stdout.flush()

    def document(self, seed: int, wall_s: float) -> dict[str, Any]:
        """The results."""
        harm = self.harm
        return {
            "seed": seed,
            "kills": sum(self.killed.values()),
            "killed": dict(sorted(self.killed.items())),
            "runs": self.runs,
            "lost": len(harm.lost),
            "duplicate": len(harm.duplicate),
            "torn": len(harm.torn),
            "shard_files_that_differ": len(harm.differing),
            "utterances_redone_per_kill": round(harm.redone / max(1, sum(self.killed.values())), 2),
            "builds_that_ended": dict(sorted(self.codes.items())),
            "details": [*harm.lost, *harm.duplicate, *harm.torn, *harm.differing][:50],
            "wall_s": round(wall_s, 1),
            "machine": {
                "cores": os.cpu_count(),
                "load_1_5_15": [round(load, 2) for load in os.getloadavg()],
                "python": sys.version.split()[0],
                **{name: version(name) for name in ("ray", "apache-beam", "pyarrow", "webdataset")},
            },
        }
