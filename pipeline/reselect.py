"""The same run under another selection, in a folder of its own: its speech is shared, its shards are new."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from manifests.errors import UserError
from manifests.files import TEMPORARY, sha256, temporary, write_atomic, writing
from manifests.ids import content_hash
from manifests.yamlfile import load_yaml

_SHARED = ("inputs", "stages")


def reselected(run: Path, select: Mapping[str, Any], out: Path) -> Path:
    """Shards of a finished run with some keys of its `select` set anew.

    What the run made is linked, not copied, so that only selection and packing are done again (and the listening to
    rows that the run had rejected before). The run itself is not touched.

    Args:
        select: Keys to set; None removes one.
        out: Folder in which the new run's folder is made, or gone on with.

    Raises:
        UserError: `run` is no run folder, or the selection is not valid.
        WorkFailedError: The build failed.
    """
    from manifests.run import load_run
    from pipeline.build import build

    if not (run / "run.yaml").is_file():
        raise UserError(f"{run}: is not a run folder (it has no run.yaml): select works on the shards of a run")
    manifest = load_yaml(run / "run.yaml")
    changed = {**(manifest.get("select") or {}), **select}
    manifest["select"] = {key: value for key, value in changed.items() if value is not None}
    folder = out / f"{run.name}-{_state(run, manifest)}"
    if not folder.is_dir():
        with writing(folder):
            spare = temporary(folder)
            spare.mkdir(parents=True)
            for name in _SHARED:
                if (run / name).is_dir():
                    shutil.copytree(run / name, spare / name, copy_function=_link, ignore=_unfinished)
            write_atomic(spare / "run.yaml", yaml.safe_dump(manifest, sort_keys=False, allow_unicode=True).encode())
            os.rename(spare, folder)
    file = folder / "run.yaml"
    result = build(load_run(file), file, folder, quiet=True)
    return result.shards


def _state(run: Path, manifest: Mapping[str, Any]) -> str:
    """Of all that the new run follows from: a run that was planned, topped up or withdrawn from anew is another one."""
    inputs = sorted(path for path in (run / "inputs").rglob("*") if path.is_file())
    shards = run / "shards" / "current" / "dataset.json"
    known = [(str(path.relative_to(run)), sha256(path)) for path in (*inputs, *([shards] if shards.is_file() else []))]
    return content_hash([str(run.resolve()), manifest, known], 12)


def _unfinished(_: str, names: list[str]) -> list[str]:
    return [name for name in names if name.startswith(TEMPORARY)]


def _link(source: str, target: str) -> None:
    """A second name for a file that is never changed; a copy where the disk knows no such thing."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)
