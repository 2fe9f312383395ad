"""What a language model is asked: jinja2 templates in a folder per language beside this module.

Each template has a block `user` and, but for the repair, a block `system`. A name that begins with `_` is a piece that
others include. A folder of one's own may hold any of them; those that it leaves out are the shipped ones. The hash of
all texts is the version of the prompts: it stands in every row, and changed prompts make the rows anew.

Texts of rows (a scenario, a transcript, an earlier reply) come into a prompt as quoted data only, whatever a template
does with them: see `quoted`.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

from manifests.errors import UserError
from manifests.ids import content_hash
from manifests.labels import REPLY_EMOTIONS, display

FOLDER = Path(__file__).parent
SUFFIX = ".jinja2"
NAMES = ("query", "reply", "contrast", "think", "neutral", "plausible", "relevant", "repair")
"""The templates that there must be."""
JUDGED = ("content", "style", "repair")
"""Those of the judge of `echat evaluate`, in the folder `judge`; they share the pieces of the others."""

_REPAIR = f"repair{SUFFIX}"
_FAMILIES = {"age": "adult", "gender": "female", "emotion": "sad", "event": "sigh"}


def quoted(text: str) -> str:
    """A text as data: a JSON string between marks that it cannot close."""
    inner = json.dumps(text, ensure_ascii=False)
    return f"<data>{''.join(map(_plain, inner))}</data>"


def _plain(char: str) -> str:
    """A character as it may stand in a prompt: marks that turn the text around, say, are spelt out."""
    return f"\\u{ord(char):04x}" if char in "<>" or unicodedata.category(char)[0] == "C" else char


def shown_cues(cues: Mapping[str, str], language: str) -> list[dict[str, str]]:
    """Cues as templates take them: family, and the label's name in the language."""
    return [{"family": family, "label": display(family, label, language)} for family, label in cues.items()]


class Prompts:
    """The templates of one language, checked when loaded.

    Attributes:
        sources: Text of each template by file name, the pieces included.
        revision: 16 hex characters that change with any of the texts.
    """

    def __init__(self, language: str, own: Path | None = None, names: tuple[str, ...] = NAMES) -> None:
        """Read and check them; see `load_prompts`."""
        import jinja2
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        shipped = FOLDER / language
        if own is None and not shipped.is_dir():
            raise UserError(f"no prompts ship for the language {language!r}: set script.prompts to a folder of yours")
        self.where = own or shipped
        self.sources = _read(shipped) if shipped.is_dir() else {}
        if names == JUDGED:
            kept = {file: text for file, text in self.sources.items() if file.startswith("_") or file == _REPAIR}
            self.sources = kept | _read(FOLDER / "judge" / language)
        if own is not None:
            self.sources |= _own(own, names)
        self.names = names
        missing = [name for name in names if name + SUFFIX not in self.sources]
        if missing:
            raise UserError(f"{self.where}: has no {missing[0]}{SUFFIX}: add it")
        self.language = language
        self.revision = content_hash(self.sources)
        self._errors = jinja2.TemplateError
        self._environment = ImmutableSandboxedEnvironment(
            undefined=jinja2.StrictUndefined,
            loader=jinja2.DictLoader(self.sources),
            autoescape=False,  # no HTML: texts of rows are quoted before they come here
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._check()

    def render(self, name: str, **values: Any) -> list[dict[str, str]]:
        """The messages of a prompt, in the form of the chat-completions protocol.

        Raises:
            UserError: The template cannot be rendered; names file and reason.
        """
        file = name + SUFFIX
        try:
            template = self._environment.get_template(file)
            context = template.new_context({"language": self.language, **values})
            messages = []
            for block, role in (("system", "system"), ("user", "user")):
                if block in template.blocks:
                    text = "".join(template.blocks[block](context)).strip()
                    if text:
                        messages.append({"role": role, "content": text})
        except self._errors as error:
            line = f":{error.lineno}" if getattr(error, "lineno", None) else ""  # type: ignore[attr-defined]
            raise UserError(f"{self.where / file}{line}: the template cannot be used ({_words(error)})") from error
        except Exception as error:  # a template may divide by zero, or call what cannot be called
            raise UserError(f"{self.where / file}: the template cannot be used ({_words(error)})") from error
        if not messages or messages[-1]["role"] != "user":
            raise UserError(f"{self.where / file}: has no text in a block named user: add it")
        return messages

    def _check(self) -> None:
        """Render every template with sample values, so that a mistake is told before any work."""
        cues = shown_cues(_FAMILIES, self.language)
        words = quoted("words")
        for turns in ([], [{"query": words, "reply": words}]):
            for some in ([], cues):
                values = {
                    "topic": "travel", "scenario": words, "followup": words if turns else "",
                    "said": [words] * len(turns), "history": turns, "query": words, "reply": words, "cues": some,
                    "other_cues": cues, "strength": 0.8 if some else 0.0, "reply_emotion": "neutral",
                    "reply_emotions": list(REPLY_EMOTIONS), "max_chars": 300, "error": words,
                }  # fmt: skip
                for name in self.names:
                    self.render(name, **values)


def _read(folder: Path) -> dict[str, str]:
    return {path.name: _text(path) for path in sorted(folder.glob(f"*{SUFFIX}"))}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: cannot be read as UTF-8 text ({_words(error)})") from None


def _own(folder: Path, names: tuple[str, ...]) -> dict[str, str]:
    """The templates of a user's folder, all of them known by name."""
    if not folder.is_dir():
        raise UserError(f"{folder}: is no folder of prompts: make it, or remove script.prompts")
    own = _read(folder)
    if not own:
        raise UserError(f"{folder}: has no file that ends in {SUFFIX}: name one after a prompt, such as reply{SUFFIX}")
    for file in own:
        if not file.startswith("_") and file.removesuffix(SUFFIX) not in names:
            raise UserError(f"{folder / file}: is no prompt: use {', '.join(names)}, or begin a piece's name with _")
    return own


def _words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


@lru_cache(maxsize=8)
def load_prompts(language: str, own: Path | None = None, names: tuple[str, ...] = NAMES) -> Prompts:
    """The shipped prompts of a language, or a user's own in their place.

    Raises:
        UserError: A template is missing, misspelt or wrong; names the file.
    """
    return Prompts(language, own, names)
