"""Small finished runs of the tone engines, for tests of what comes after a build."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from conftest import ROOT, merged

from manifests.run import load_run
from pipeline.build import BuildResult, build

SMALL = {"plan": {"quotas": {"emotion": 6, "neutral": 2}}, "shard": {"rows": 4}}


def build_tones(folder: Path, **changes: Any) -> BuildResult:
    """Build, or build anew with other settings, a run of eight dialogues in `folder`/out."""
    base = merged(yaml.safe_load((ROOT / "manifests" / "runs" / "tone.yaml").read_text()), SMALL)
    (folder / "run.yaml").write_text(yaml.safe_dump(merged(base, changes)))
    return build(load_run(folder / "run.yaml"), folder / "run.yaml", folder / "out", quiet=True)
