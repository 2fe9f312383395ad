"""Does a text hold what finds a person: addresses, numbers of telephones, cards, accounts, identities?

A reason names the kind and never the datum, so that nothing personal gets into verdicts and statistics.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise

from manifests.textconfig import TextConfig
from pipeline.hygiene.base import Said

_EMAIL = re.compile(r"[\w.+-]{1,64}\s?(?:@|\(at\)|\[at\])\s?[\w-]{1,63}(?:\.[\w-]{1,63})+")
_MAILERS = "gmail|googlemail|yahoo|hotmail|outlook|icloud|aol|protonmail|proton|gmx|live|msn|qq|foxmail|sina|1[26][36]"
_SPELLED_EMAIL = re.compile(
    rf"[\w.+-]{{1,64}}\s+at\s+(?:{_MAILERS})\s+dot\s+[a-z]{{2,4}}\b"
    # Other names are web shops too: `look at acme dot com`.
    r"|\b(?:e-?mail|write to|mail (?:me|to|is)|address)\b.{0,40}\w\s+at\s+[\w-]{1,63}\s+dot\s+[a-z]{2,4}\b"
    rf"|\w\s?(?:艾特|at|@)\s?(?:{_MAILERS})\s?点\s?(?:com|net|cn)",
    re.IGNORECASE,
)
_DIGIT = re.compile(r"\d")
_DIGITS = re.compile(r"\+?\(?\d[\d\s().\-/]{5,40}\d")
_NUMBER = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")  # 1,000,000
_DATES = re.compile(r"\b\d{1,4}[-./]\d{1,2}[-./]\d{1,4}\b|\b(?:19|20)\d\d\s?[-–/]\s?(?:19|20)\d\d\b")
_IBAN = re.compile(r"\b[A-Z]{2}\d{2}(?:\s?[A-Z0-9]{4}){2,7}(?:\s?[A-Z0-9]{1,3})?\b")
_SSN = re.compile(r"(?<![\d-])\d{3}-\d{2}-\d{4}(?![\d-])")
_ZH_ID = re.compile(r"(?<!\d)\d{17}[\dXx](?!\d)")
_OCTET = r"(?:25[0-5]|2[0-4]\d|1?\d?\d)"
_IP = re.compile(rf"(?<![Vv]ersion )(?<![Rr]elease )(?<![\d.])(?:{_OCTET}\.){{3}}{_OCTET}(?![\d.])")
_STREET = re.compile(
    r"\b\d{1,5}[a-z]?\s+(?:(?:[NSEW]\.?|North|South|East|West)\s+)?(?:[A-Z][a-z]+\s+){1,3}"
    r"(?:Street|St|Avenue|Ave|Road|Rd|Lane|Ln|Drive|Dr|Boulevard|Blvd|Court|Ct|Terrace|Crescent)\b"
    r"|[\u4e00-\u9fff]{2,8}(?:路|街|大道|巷|弄)\s?\d{1,5}\s?(?:号|弄)"
)
_WORDS_EN = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_SPELLED_EN = re.compile(rf"\b(?:(?:{'|'.join(_WORDS_EN)}|oh|double|triple)\b[\s,.\-]*){{7,}}", re.IGNORECASE)
_WORDS_ZH = "零一二三四五六七八九"
_SPELLED_ZH = re.compile(r"[零〇一二三四五六七八九幺]{8,}")


def personal(said: Said, config: TextConfig) -> Iterator[str]:
    """Nothing by which a person is found."""
    digits = _DIGIT.search(said.text)  # without one, as most texts are, few kinds are possible
    kinds = [name for name, found, of_digits in _KINDS if (digits or not of_digits) and found(said.text)]
    # The parts of a card number look like a telephone number too: the first kind is enough.
    yield from kinds[:1]


def _email(text: str) -> bool:
    written = any(mark in text for mark in ("@", "(at)", "[at]")) and _EMAIL.search(text)
    return bool(written or (("dot" in text.lower() or "点" in text) and _SPELLED_EMAIL.search(text)))


def _card(text: str) -> bool:
    return any(13 <= len(digits) <= 19 and luhn(digits) for digits in _runs(text))


def luhn(digits: str) -> bool:
    """Whether the check digit of a card number is right."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0 and len(set(digits)) > 1


def _iban(text: str) -> bool:
    return any(iban(match[0]) for match in _IBAN.finditer(text))


def iban(text: str) -> bool:
    """Whether the check digits of an account number are right (ISO 13616)."""
    packed = "".join(text.split()).upper()
    if not 15 <= len(packed) <= 34:
        return False
    return int("".join(str(int(char, 36)) for char in packed[4:] + packed[:4])) % 97 == 1


def _identity(text: str) -> bool:
    return bool(_SSN.search(text)) or any(_resident(match[0]) for match in _ZH_ID.finditer(text))


def _resident(number: str) -> bool:
    """Whether the check digit of a Chinese resident's number is right (GB 11643)."""
    if not number.isascii():
        return False
    total = sum(int(digit) * (2 ** (17 - place) % 11) for place, digit in enumerate(number[:17]))
    return "10X98765432"[total % 11] == number[17].upper()


def _phone(text: str) -> bool:
    return any(map(_is_phone, _written(text))) or _spelled(text)


def _is_phone(run: str) -> bool:
    """Digits in the forms of telephone numbers: with a country, ten of the United States, eleven of China."""
    digits = re.sub(r"\D", "", run)
    if run.startswith("+"):
        return 8 <= len(digits) <= 15
    if re.fullmatch(r"1?\(?\d{3}\)?[\s.\-/]?\d{3}[\s.\-]?\d{4}", run.strip()) and len(digits) in (10, 11):
        return True
    if re.fullmatch(r"1[3-9]\d[\s-]?\d{4}[\s-]?\d{4}", run):
        return True
    if re.fullmatch(r"\d{3}[\s.\-]\d{4}", run):
        return True
    return run.startswith("0") and 9 <= len(digits) <= 12 and bool(re.search(r"[\s()\-/.]", run))


def _spelled(text: str) -> bool:
    """Seven or more digits said one by one, unless somebody counts."""
    for match in _SPELLED_EN.finditer(text):
        names = re.findall(r"[a-z]+", match[0].lower())
        if not _counts([_WORDS_EN.index(name) for name in names if name in _WORDS_EN]):
            return True
    spoken = (match[0].replace("〇", "零").replace("幺", "一") for match in _SPELLED_ZH.finditer(text))
    return any(not _counts([_WORDS_ZH.index(char) for char in run]) for run in spoken)


def _counts(digits: list[int]) -> bool:
    """Whether digits go up or down by one, or stay, all the way: counting, or 'one, one, one'."""
    return len({second - first for first, second in pairwise(digits)}) <= 1


def _written(text: str) -> list[str]:
    """Runs of digits with what stands between them, without large numbers and dates."""
    cleared = _DATES.sub(" x ", _NUMBER.sub(" x ", text))
    return [match[0].strip() for match in _DIGITS.finditer(cleared)]


def _runs(text: str) -> Iterator[str]:
    for run in _written(text):
        digits = "".join(str(int(char)) for char in run if char.isdecimal())
        if not re.search(r"\s{2}|[().]", run):
            yield digits


def _address(text: str) -> bool:
    return bool(_STREET.search(text))


def _ip(text: str) -> bool:
    return bool(_IP.search(text))


_KINDS = (
    ("email", _email, False), ("identity number", _identity, True), ("card number", _card, True),
    ("account number", _iban, True), ("telephone number", _phone, False), ("street address", _address, True),
    ("network address", _ip, True),
)  # fmt: skip
"""Name, check, and whether nothing without a digit can be of it."""
