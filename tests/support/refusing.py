"""Commands that must be refused."""

from __future__ import annotations

from typer.testing import CliRunner

from pipeline.cli import app


def refuse(*args: object, names: tuple[str, ...]) -> str:
    """Run the command; it must exit with 2 and say one sentence that holds the names."""
    result = CliRunner().invoke(app, [str(arg) for arg in args])
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("error: ")
    for name in names:
        assert name in lines[0], lines[0]
    return lines[0]
