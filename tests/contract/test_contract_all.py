"""Every engine, whatever its role: what it says of itself before and after it is loaded."""

from __future__ import annotations

import subprocess
import sys

import pytest
from engine_cases import TINY, Engines, cases

from manifests.errors import UserError
from pipeline.registry import engine_class

ROLES = ("recognizer", "annotator.", "rater", "mos")


@pytest.mark.parametrize(("role", "name"), cases(*ROLES))
def test_an_engine_that_is_whole_has_no_problems_and_one_revision(engines: Engines, role: str, name: str) -> None:
    config = engines.config(role, name)
    before = config.revision()
    assert config.problems() == []
    assert config.licence
    assert config.throughput.realtime > 0
    engines.open(role, name)
    assert config.revision() == before
    assert "missing" not in before


@pytest.mark.parametrize(("role", "name"), [pytest.param(*key, id="-".join(key)) for key in TINY])
def test_missing_weights_are_told_with_the_remedy_and_nothing_is_loaded(role: str, name: str, tmp_path) -> None:
    config = engine_class(role, name)(engine=name, model=str(tmp_path / "nowhere"))  # type: ignore[call-arg]
    problems = config.problems()
    assert problems
    assert all(problem.what and problem.fix for problem in problems)
    assert "missing" in config.revision()
    with pytest.raises(UserError, match="cannot run"):
        config.open()


@pytest.mark.parametrize(("role", "name"), [pytest.param(*key, id="-".join(key)) for key in TINY])
def test_looking_for_problems_imports_no_framework(role: str, name: str) -> None:
    script = f"""
import sys
from pipeline.registry import engine_class
engine_class({role!r}, {name!r})(engine={name!r}).problems()
print(sorted(set(sys.modules) & {{"torch", "transformers", "funasr", "whisperx", "pyannote.audio", "ctranslate2"}}))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
