"""Engines as the contract tests run them: every engine of a role, those that ship no weights with tiny random ones.

An engine that is registered is in the suite. One that needs weights gets a line in `TINY`; a line whose engine needs
packages beyond this one's own is run where `ECHAT_TEST_ENGINES` is set alone (`make test-engines`).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from engines_gate import HEAVY, heavy
from real_speech import lacking

from manifests.engine import EngineConfig
from pipeline.registry import all_engines, resolve


@dataclass(frozen=True)
class Tiny:
    """How to make weights of an engine.

    Attributes:
        target: `module:function` that writes them into a folder, which is not there yet, and returns settings.
        packages: Whether the engine needs packages that `make setup` does not install.
    """

    target: str
    packages: bool = True


TINY: dict[tuple[str, str], Tiny] = {
    ("recognizer", "whisperx"): Tiny("tiny_engines:whisper"),
    ("annotator.emotion", "emotion2vec"): Tiny("tiny_engines:emotion2vec"),
    ("annotator.age", "wav2vec2_age_gender"): Tiny("tiny_engines:age_gender", packages=False),
    ("annotator.gender", "wav2vec2_age_gender"): Tiny("tiny_engines:age_gender", packages=False),
    ("annotator.speakers", "pyannote"): Tiny("tiny_engines:diarization"),
    ("rater", "pyannote"): Tiny("tiny_engines:shipped_segmentation"),
}
_SIGNALS = ("tone", "level")  # engines of signals that are no speech: tests of their own


def unexercised() -> list[str]:
    """Names of the engines that this run leaves out, or of what it lacks to hear real speech by them."""
    if HEAVY:
        return [f"real speech, for {why}" for why in lacking()]
    return sorted({"cosyvoice", "s3"} | {name for (_, name), tiny in TINY.items() if tiny.packages})


def cases(*prefixes: str) -> list[Any]:
    """Parameters (role, name) of every engine whose role begins with one of the prefixes."""
    found = []
    for role, name in all_engines():
        if role.startswith(prefixes) and name not in _SIGNALS:
            tiny = TINY.get((role, name))
            marks = [heavy] if tiny is not None and tiny.packages else []
            found.append(pytest.param(role, name, id=f"{role}-{name}", marks=marks))
    return found


@dataclass
class Engines:
    """Engines opened once, with weights made below a folder.

    Attributes:
        folder: Of weights.
    """

    folder: Path
    _configs: dict[tuple[str, str], EngineConfig] = field(default_factory=dict)
    _opened: dict[tuple[str, str], Any] = field(default_factory=dict)

    def config(self, role: str, name: str) -> EngineConfig:
        """The engine's config, checked as a manifest's is."""
        if (role, name) not in self._configs:
            settings: dict[str, Any] = {"engine": name}
            if role.startswith("annotator."):
                settings["family"] = role.partition(".")[2]
            if (role, name) in TINY:
                module, _, function = TINY[role, name].target.partition(":")
                settings |= getattr(import_module(module), function)(self.folder / f"{role}-{name}")
            self._configs[role, name] = resolve(role, settings, "contract", (role,))
        return self._configs[role, name]

    def open(self, role: str, name: str) -> Any:
        """The engine, loaded."""
        if (role, name) not in self._opened:
            self._opened[role, name] = self.config(role, name).open()
        return self._opened[role, name]


@pytest.fixture(scope="session")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Engines:
    """Opens engines, each once a session."""
    return Engines(tmp_path_factory.mktemp("weights"))
