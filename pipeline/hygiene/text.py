"""Checks of the characters of a text: is it there, can a voice speak it, does it hide something."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from manifests.textconfig import TextConfig
from pipeline.hygiene.base import Said

_PUNCTUATION = frozenset(".,!?;:'\"-‐‑–—…()’‘“”«»¿¡&%$€£¥￥°℃℉/+，。！？；：、（）「」『』《》〈〉·～—％＋－")
_CONTROL = ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp")
_SPECIAL = re.compile(
    r"<\s*/?\s*think(?:\s+end)?\s*/?>?|<&&>|<\|[^<>]{0,40}\|>|<[|｜][^<>]{0,40}[|｜]>|</?s>|<bos>|<eos>|<unk>|<pad>"
    r"|\[/?INST\]|<<SYS>>|<[A-Z][A-Z0-9_]{1,30}>|<[\u4e00-\u9fff]{1,12}>",
)
_MARKUP = (
    ("tag", re.compile(r"</?[a-zA-Z][^<>]{0,200}>|<!--|<!\[CDATA\[|<\?xml")),
    ("entity", re.compile(r"&(?:[a-zA-Z]{2,10}|#\d{1,7}|#x[0-9a-fA-F]{1,6});")),
    ("emphasis", re.compile(r"\*\*|__|~~|(?<![\w*])\*[^*\s][^*\n]{0,80}\*")),
    ("heading or list", re.compile(r"^\s*(?:#{1,6}\s|[-*•]\s|\d{1,2}[.)]\s|>\s)", re.MULTILINE)),
    ("link or stage direction", re.compile(r"[\[\]【】]")),
    ("slot", re.compile(r"\{[^{}]{0,60}\}|\{\{|\}\}|<[a-z_]+>")),
    ("table", re.compile(r"\|[^|\n]*\||-{3,}|={3,}|_{3,}")),
)
_URL = re.compile(
    r"(?:https?|ftp|file)\s?:\s?/|\bwww\.\w"
    r"|\b[a-z0-9][a-z0-9-]{0,60}\.(?:com|org|net|edu|gov|info|biz|io|ai|app|dev|cn|de|uk|fr|jp|ru|eu)\b(?!\.\w)"
    r"|\b[\w-]{1,60}\.(?:html?|php|pdf|exe|zip|docx?|xlsx?|json|csv|py|js|mp3|wav|png|jpe?g)\b",
    re.IGNORECASE | re.ASCII,
)
_CODE = re.compile(
    r"```|`[^`\n]{1,80}`|[=!]==?|\+=|->|=>|&&|\|\||::|\(\)|;\s*\n|[)\w]\s*;\s*$|[{}]"
    r"|^\s*(?:def|class|function|var|const|let|return|public)\s+\w+\s*[(={]|^\s*from\s+[\w.]+\s+import\s|#include\b"
    r"|\bSELECT\b.{1,80}\bFROM\b|\b(?:DROP|ALTER) TABLE\b|\bsudo\s|\brm -rf\b|\\[ntrx\"']|%[sd]\b",
    re.MULTILINE,
)
_MOJIBAKE = re.compile(r"[ÃÂ][\u0080-\u00bf]|â€|ï»¿|锟斤拷")


def length(said: Said, config: TextConfig) -> Iterator[str]:
    """Something to say, neither too short nor too long."""
    low, high = config.characters
    count = len(said.text.strip())
    if not any(char.isalnum() for char in said.text):
        yield "no letter or digit"
    elif not low <= count <= high:
        yield f"{count} not in {low}..{high}"


def speakable(said: Said, config: TextConfig) -> Iterator[str]:
    """Few characters that no voice speaks: symbols, emoji, marks stacked upon each other."""
    visible = "".join(said.text.split())
    if said.text.isascii():  # which is quicker to look through, and has no marks
        bad = len(_ASCII_UNSPEAKABLE.findall(visible))
    else:
        bad = sum(_unspeakable(char, before) for char, before in zip(visible, ["", *visible], strict=False))
    if visible and bad / len(visible) > config.unspeakable_max:
        yield f"{bad / len(visible):.3f} > {config.unspeakable_max:g}"
    if _MOJIBAKE.search(said.text):
        yield "wrong encoding"


def _unspeakable(char: str, before: str) -> bool:
    kind = unicodedata.category(char)
    if kind[0] == "M":  # one mark belongs to its letter, a second one seldom
        return not before or unicodedata.category(before)[0] == "M"
    return not (kind[0] == "L" or kind == "Nd" or char in _PUNCTUATION)


_ODD = "".join(char for char in map(chr, range(128)) if _unspeakable(char, ""))
_ASCII_UNSPEAKABLE = re.compile(f"[{re.escape(_ODD)}]")


def controls(said: Said, config: TextConfig) -> Iterator[str]:
    """No control, invisible or direction characters: what a reader does not see, a voice or a model may."""
    if said.text.isascii() and said.text.isprintable():
        return
    found = sorted({char for char in said.text if char == "\ufffd" or unicodedata.category(char) in _CONTROL})
    if found:
        yield " ".join(f"U+{ord(char):04X}" for char in found[:3])


def special(said: Said, config: TextConfig) -> Iterator[str]:
    """No think mark, label tag or token of a chat template: it would end a part of the training sequence."""
    if match := _SPECIAL.search(said.text):
        yield " ".join(match[0].split())[:20]


def markup(said: Said, config: TextConfig) -> Iterator[str]:
    """No tags, Markdown, stage directions or slots that nobody filled."""
    yield from (kind for kind, pattern in _MARKUP if pattern.search(said.text))


def urls(said: Said, config: TextConfig) -> Iterator[str]:
    """No address or file name, which nobody says like that."""
    if _URL.search(said.text):
        yield "web address or file name"


def code(said: Said, config: TextConfig) -> Iterator[str]:
    """No program code."""
    if _CODE.search(said.text):
        yield "program code"
