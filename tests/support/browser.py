"""A Chromium that opens a page, and says what it wrote to its console and whom it asked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

PHONE = {"width": 390, "height": 844}
Open = Callable[..., tuple[Any, list[str], list[str]]]


@contextmanager
def chromium() -> Iterator[Open]:
    """A function that opens a page as on a phone: (view, lines of its console, addresses asked for)."""
    playwright = pytest.importorskip("playwright.sync_api")
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        pytest.skip("no Chromium here: apt-get install chromium")
    with playwright.sync_playwright() as tools:
        browser = tools.chromium.launch(
            executable_path=program, args=["--no-sandbox", "--autoplay-policy=no-user-gesture-required"]
        )

        def opened(page: Path, **options: Any) -> tuple[Any, list[str], list[str]]:
            view = browser.new_page(viewport=PHONE, **options)
            said: list[str] = []
            asked: list[str] = []
            view.on("console", lambda message: said.append(message.text))
            view.on("pageerror", lambda error: said.append(str(error)))
            view.on("request", lambda request: asked.append(request.url))
            view.goto(page.as_uri())
            return view, said, asked

        try:
            yield opened
        finally:
            browser.close()
