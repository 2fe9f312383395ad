"""Rows and writers for tests of the language-model writer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from chat_server import ChatServer
from planning import BASE, drawn

from manifests.run import RunManifest
from manifests.schema import PLAN
from pipeline.dag import build_dag
from pipeline.writers.openai import OpenAIConfig, OpenAIWriter

Row = dict[str, Any]


def rows(number: int | None = None, quotas: dict[str, Any] | None = None, **plan: Any) -> list[Row]:
    """Rows of a plan, as the stage is given them."""
    changes = {"quotas": quotas or {"emotion": 12, "neutral": 2}, **plan}
    manifest = RunManifest.model_validate({**BASE, "plan": {**BASE["plan"], **changes}})
    found = drawn(build_dag(manifest, "mine.yaml").planner)
    return [{key: row[key] for key in ("id", "turn")} | {f"plan.{n}": row[n] for n in PLAN.names} for row in found][
        :number
    ]


def config(server: ChatServer | str, folder: Path, **changes: Any) -> OpenAIConfig:
    """A config that asks a test server and wastes no time."""
    url = server if isinstance(server, str) else server.url
    fast = {"backoff_s": 0.01, "timeout_s": 5, "retries": 3, "cache": folder / "cache"}
    return OpenAIConfig.model_validate({"engine": "openai", "base_url": url, "model": "stub", **fast, **changes})


def write(config: OpenAIConfig, todo: list[Row]) -> tuple[list[Any], dict[str, Any]]:
    """What a new writer writes, and what it spent."""
    writer = OpenAIWriter(config)
    try:
        return writer.write(todo), writer.take_metrics()["llm"]
    finally:
        writer.close()
