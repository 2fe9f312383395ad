"""From values to a page that stands alone: style and script are in it, and its policy lets nothing else in."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_PAGE = Path(__file__).parent / "page"


@dataclass(frozen=True)
class Written:
    """What was written: the page to open, dialogues or rows shown, clips that did not fit, bytes."""

    page: Path
    shown: int
    silent: int
    size: int


def render(template: str, scripts: Sequence[str], **values: Any) -> bytes:
    """A page of a template of this package; every value is escaped.

    Args:
        scripts: Files of this package that make the page's one script.
        values: `title`, `about`, `footer`, `skip` (id and name of what the first link leads to), `media` (where sounds
            may come from), and what the template's own blocks show.
    """
    from markupsafe import Markup

    style = (_PAGE / "page.css").read_text()
    script = "".join((_PAGE / name).read_text() for name in scripts)
    # Both are of this package, not of the data.
    own = {"style": Markup(style), "script": Markup(script), "style_hash": _hash(style), "script_hash": _hash(script)}
    return _templates().get_template(template).render(**own, **values).encode()


@cache
def _templates() -> Any:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PAGE), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True
    )


def _hash(text: str) -> str:
    """Of an inline element's content, as a content security policy names it."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
