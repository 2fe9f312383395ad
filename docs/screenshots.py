"""Pictures of the report for README and docs, by a headless Chromium: `make screenshots`."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

FOLDER = Path(__file__).parent / "images"
SIZE = {"width": 1200, "height": 900}


def main(page: Path, ablation: Path | None = None) -> None:
    """Photograph a report: its head, the distributions, samples on a dark phone; and what an ablation found."""
    from playwright.sync_api import sync_playwright

    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        sys.exit("no Chromium here: apt-get install chromium")
    FOLDER.mkdir(exist_ok=True)
    with sync_playwright() as tools:
        browser = tools.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        desk = browser.new_page(viewport=SIZE)  # type: ignore[arg-type]
        desk.goto(page.absolute().as_uri())
        for name in ("funnel", "labels", "pairs"):
            desk.evaluate(f"document.getElementById('{name}').scrollIntoView()")
            desk.screenshot(path=FOLDER / f"report-{name}.png")
        phone = browser.new_page(viewport={"width": 390, "height": 844}, color_scheme="dark")
        phone.goto(page.absolute().as_uri())
        phone.evaluate("document.getElementById('cards').scrollIntoView()")
        phone.screenshot(path=FOLDER / "report-phone.png")
        if ablation is not None:
            desk.goto(ablation.absolute().as_uri())
            desk.screenshot(path=FOLDER / "report-ablation.png")
        browser.close()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
