"""Which engines a run of the tests exercises: those of a cluster only where they are installed, and asked for."""

from __future__ import annotations

import os

import pytest

HEAVY = bool(os.environ.get("ECHAT_TEST_ENGINES"))
heavy = pytest.mark.skipif(not HEAVY, reason="an engine of a cluster: make test-engines")
