"""English: numbers, money, times, dates, units, abbreviations and symbols in words; called by `manifests.spoken`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from typing import Any

MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
_MONTH = "|".join(f"{name}|{name[:3]}\\.?" for name in MONTHS) + "|Sept\\.?"
_SIGNS = {"$": ("dollar", "cent"), "£": ("pound", "penny"), "€": ("euro", "cent"), "¥": ("yen", "")}
_UNITS = {
    "km/h": "kilometer per hour", "mph": "mile per hour", "km": "kilometer", "cm": "centimeter", "mm": "millimeter",
    "m": "meter", "ft": "foot", "kg": "kilogram", "mg": "milligram", "g": "gram", "lbs": "pound", "lb": "pound",
    "oz": "ounce", "ml": "milliliter", "l": "liter", "L": "liter", "kHz": "kilohertz", "MHz": "megahertz",
    "GHz": "gigahertz", "Hz": "hertz", "kB": "kilobyte", "MB": "megabyte", "GB": "gigabyte", "TB": "terabyte",
    "kW": "kilowatt", "ms": "millisecond", "min": "minute", "sec": "second", "s": "second", "hrs": "hour", "hr": "hour",
    "h": "hour", "°C": "degree Celsius", "°F": "degree Fahrenheit", "°": "degree", "sq m": "square meter",
}  # fmt: skip
_IRREGULAR = {"foot": "feet", "penny": "pence", "yen": "yen", "hertz": "hertz", "kilohertz": "kilohertz",
              "megahertz": "megahertz", "gigahertz": "gigahertz"}  # fmt: skip
_SCALES = {"k": "thousand", "m": "million", "bn": "billion", "b": "billion"}
_VULGAR = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3", "⅛": "1/8", "⅜": "3/8", "⅝": "5/8", "⅞": "7/8"}
_SYMBOLS = {
    "&": "and", "@": "at", "%": "percent", "°": "degrees", "=": "equals", "+": "plus", "×": "times", "÷": "divided by",
    "$": "dollars", "£": "pounds", "€": "euros", "¥": "yen", "²": "squared", "³": "cubed", "©": "copyright",
}  # fmt: skip
_DROPPED = "#*_^|\\~<>`{}[]"
_LONGEST = 12  # digits of a number that is read as one

_ABBREVIATIONS: tuple[tuple[str, str], ...] = (
    (r"\b([A-Z][a-z]+)\sDr\.(?=\s*$)", r"\1 Drive."), (r"\b([A-Z][a-z]+)\sDr\.(?=[,;!?])", r"\1 Drive"),
    (r"\bDr\.(?=\s[A-Z])", "Doctor"), (r"\bMr\.", "Mister"), (r"\bMrs\.", "Missus"), (r"\bMs\.", "Miz"),
    (r"\bProf\.", "Professor"), (r"\bSt\.(?=\s[A-Z])", "Saint"), (r"(?<=[a-z]\s)St\.", "Street"),
    (r"(?<=[a-z]\s)Ave\.", "Avenue"), (r"(?<=[a-z]\s)Rd\.", "Road"), (r"\b[Ee]\.g\.", "for example"),
    (r"\b[Ii]\.e\.", "that is"), (r"\betc\.(?=\s*$|\s+[A-Z])", "et cetera."), (r"\betc\.", "et cetera"),
    (r"\bvs\.?(?=\s)", "versus"), (r"\bapprox\.", "approximately"), (r"\bJr\.", "Junior"), (r"\bSr\.", "Senior"),
    (r"\bdept\.", "department"), (r"\bw/o\b", "without"), (r"\bw/(?=\s|\w)", "with "),
)  # fmt: skip

TRIGGER = re.compile(
    r"[0-9&@%$=+#*_^|\\~<>`{}\[\]/]|[^\x00-\x7f]|\b(?:Dr|Mr|Mrs|Ms|Prof|St|Ave|Rd|[Ee]\.g|[Ii]\.e|etc|approx|Jr|Sr|dept)\."
    r"|\bvs\b|\b[apAP]\.[mM]\."
)
"""What a text must hold for `words` to change it: those without it cost nothing."""


@lru_cache(maxsize=1)
def _inflect() -> Any:
    import inflect  # takes a second to import: not for texts of plain words

    return inflect.engine()


@lru_cache(maxsize=4096)
def cardinal(digits: str) -> str:
    """A number without sign or point in words; digit by digit with a leading zero and beyond 12 digits."""
    digits = digits.replace(",", "")
    if len(digits) > _LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return one_by_one(digits)
    return _inflect().number_to_words(int(digits), andword="").replace(",", "")


def one_by_one(digits: str) -> str:
    """`007` is zero zero seven."""
    names = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
    return " ".join(names[int(digit)] for digit in digits)


@lru_cache(maxsize=1024)
def ordinal(digits: str) -> str:
    """`21` is twenty-first."""
    plain = cardinal(digits)
    if len(digits) > _LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return plain
    return _inflect().ordinal(plain)


def number(text: str) -> str:
    """`1,234.50` is one thousand two hundred thirty-four point five zero."""
    whole, _, rest = text.partition(".")
    words = cardinal(whole or "0")
    return f"{words} point {one_by_one(rest)}" if rest else words


def year(digits: str) -> str:
    """`1999` is nineteen ninety-nine, `2005` two thousand five, `2026` twenty twenty-six."""
    high, low = digits[:2], digits[2:]
    if digits[1:3] == "00":
        return cardinal(digits)
    if low == "00":
        return f"{cardinal(high)} hundred"
    return f"{cardinal(high)} {'oh ' if low[0] == '0' else ''}{cardinal(low.lstrip('0'))}"


def _plural(noun: str, count: str) -> str:
    if count == "1":
        return noun
    head, _, tail = noun.partition(" ")
    if head == "square":
        return f"square {tail}s"
    return _IRREGULAR.get(head, head + "s") + (f" {tail}" if tail else "")


def _money(match: re.Match[str]) -> str:
    name, small = _SIGNS[match["sign"]]
    whole, cents, scale = match["whole"].replace(",", ""), match["cents"] or "", match["scale"]
    if scale:
        amount = number(f"{whole}.{cents}" if cents else whole)
        return f"{amount} {_SCALES.get(scale.lower(), scale.lower())} {_plural(name, '2')}"
    if len(cents) != 2 or not small:
        return f"{number(f'{whole}.{cents}' if cents else whole)} {_plural(name, '2' if cents else whole)}"
    parts = []
    if whole.strip("0") or not cents.strip("0"):
        parts.append(f"{cardinal(whole)} {_plural(name, whole)}")
    if cents.strip("0"):
        parts.append(f"{cardinal(cents.lstrip('0'))} {_plural(small, cents.lstrip('0'))}")
    return " and ".join(parts)


def _clock(match: re.Match[str]) -> str:
    hour, minute, half = match["hour"], match["minute"], (match["half"] or "")[:1].upper()
    tail = f" {half}M" if half else ""
    hour = cardinal(hour.lstrip("0") or "0")
    if minute in (None, "00"):
        return hour + (tail or (" o'clock" if int(match["hour"]) <= 12 else " hundred"))
    return f"{hour} {'oh ' if minute[0] == '0' else ''}{cardinal(minute.lstrip('0'))}{tail}"


def _month(name: str) -> str:
    return next(month for month in MONTHS if month[:3].lower() == name[:3].lower())


def _date(day: str, month: int | str, of_year: str | None) -> str:
    if isinstance(month, int):
        month = MONTHS[month - 1]
    return f"{month} {ordinal(day.lstrip('0') or '0')}" + (f", {year(of_year)}" if of_year else "")


def _iso(match: re.Match[str]) -> str:
    return _date(match["day"], int(match["month"]), match["year"])


def _slashed(match: re.Match[str]) -> str:
    first, second = int(match[1]), int(match[2])
    if first > 12 >= second >= 1:
        first, second = second, first
    if not (1 <= first <= 12 and 1 <= second <= 31):
        return " ".join(cardinal(part.lstrip("0") or "0") for part in match.groups())
    return _date(str(second), first, match[3])


def _fraction(match: re.Match[str]) -> str:
    top, bottom = match["top"], match["bottom"]
    whole = f"{cardinal(match['whole'])} and " if match["whole"] else ""
    if not 2 <= int(bottom) <= 20 or int(top) >= int(bottom) or top == "0":
        return f"{(match['whole'] and cardinal(match['whole']) + ' ') or ''}{cardinal(top)} {cardinal(bottom)}"
    names = {"2": ("half", "halves"), "4": ("quarter", "quarters")}
    one, many = names.get(bottom, (ordinal(bottom), ordinal(bottom) + "s"))
    if top == "1":
        return f"{whole}{'a' if whole else 'one'} {one}"
    return f"{whole}{cardinal(top)} {many}"


def _phone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    if sum(map(len, groups)) < 7:
        return match[0]
    return ("plus " if match[0].startswith("+") else "") + ", ".join(map(one_by_one, groups))


def _unit(match: re.Match[str]) -> str:
    return f"{number(match['number'])} {_plural(_UNITS[match['unit']], match['number'])}"


def _apart(match: re.Match[str]) -> str:
    """A number between blanks, for it may touch letters; but right after a quote that opens."""
    before = match.string[max(0, match.start() - 2) : match.start()]
    opens = before[-1:] in ("'", "\u2018", "\u201c", "(") and not before[:-1].strip()
    return f"{'' if opens else ' '}{number(match[0])} "


def _decade(match: re.Match[str]) -> str:
    words = year(match[1]) if len(match[1]) == 4 else cardinal(match[1])
    return words[:-1] + "ies" if words.endswith("y") else words + "s"


def _local_phone(match: re.Match[str]) -> str:
    """Digit by digit; round numbers on both sides, `500-1000`, are a range."""
    if match[0][0] != "0" and match[1][-1] == match[2][-1] == "0":
        return match[0]
    return f"{one_by_one(match[1])}, {one_by_one(match[2])}"


def _range(match: re.Match[str]) -> str:
    """`5 to 10` for later rules; the currency goes to the second number, and years are read as such."""
    sign, low, unit, high = match["sign"] or match["sign2"], match["low"], match["unit"] or "", match["high"]
    if sign:
        keep = unit or re.search(r"\.\d\d", low)  # $5.50 is said with its cents
        return f"{sign if keep else ''}{low}{unit} to {sign}{high}"
    if low == high:
        return f"{low} {high}"  # fifty fifty
    later = high if len(high) == 4 else low[:2] + high
    if match["years"] is None or unit or not re.fullmatch(_YEAR, low) or not (later.isdigit() and low < later):
        return f"{low}{unit} to {high}"
    if len(high) == 4:
        return f"{year(low)} to {year(high) if re.fullmatch(_YEAR, high) else high}"
    return f"{year(low)} to {high}" if len(high) == 2 else f"{low} to {high}"


_PORTION = re.compile(r"\s(?:of|the|an?|cups?|inch|inches|miles?|hours?)\b")


def _day(match: re.Match[str]) -> str:
    """A date after `on` or `since`; `on 4/5 of the pages` stays a fraction."""
    month, day = int(match[2]), int(match[3])
    if month < day <= 10 and _PORTION.match(match.string, match.end()):
        return match[0]
    return f"{match[1]}{_date(str(day), month, None)}" if 1 <= month <= 12 and 1 <= day <= 31 else match[0]


_N = r"\d{1,3}(?:,\d{3}){1,4}(?:\.\d+)?|\d+(?:\.\d+)?"
_YEAR = r"1[1-9]\d\d|20\d\d"
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_HALF = r"[aApP]\.?\s?[mM]\b\.?"
_COUNTED = (  # what follows a number that is no year
    r"\s(?:people|persons|students|children|different|times|more|miles|years|days|hours|minutes|calories|dollars|pounds|euros|"
    r"kilometers|kilometres|meters|metres|feet|steps|words|pages|points|votes|grams|seconds|weeks|months|percent|thousand|million)\b"
)
_BEFORE_YEAR = (  # at the end of a sentence, where nothing that is counted follows
    r"to|for|around|about|till|circa|early|mid|late|back|spring|summer|autumn|fall|winter|Christmas|Easter|is|not|and|or"
)
_CODE = (  # what is named by digits, which count nothing
    r"(?:(?:[Pp]ass|[Pp]ost|[Zz]ip\s?|[Aa]ccess\s|[Aa]rea\s)?[Cc]ode|PIN|[Pp]in|[Pp]assword|[Ee]xtension|[Ss]erial|[Zz]ip"
    r"|(?:[Aa]ccount|[Bb]ooking|[Cc]onfirmation|[Oo]rder|[Pp]hone|[Rr]eference|[Tt]racking)\snumber)"
)
_BEFORE = r"(?<![\w.,:/$£€¥-])(?<!\d\s)(?<!\d\)\s)"
_DASH = r"\s?[-–—−]\s?"
Rule = tuple[re.Pattern[str], "Callable[[re.Match[str]], str] | str"]
_RUNS = (  # of more digits than a number has; taken first, so that no rule below sees a run of any length
    (re.compile(rf"(?<=\d)\.(?=\d{{{_LONGEST + 1},}})"), " point "),
    (re.compile(rf"\d{{{_LONGEST + 1},}}"), lambda m: f" {one_by_one(m[0])} "),
)
_FIRST: tuple[Rule, ...] = (  # what a sign or a dash means, before the numbers beside it are words
    (re.compile(r"(?<!\d)([$£€¥])\s?[-−](?=\.?\d)"), r"-\1"),
    (re.compile(r"(?<![\w.)])\.(?=\d)"), "0."),
    (re.compile(r"(?<![\d.,$£€¥-])\d{1,3}(?:\.\d{1,3}){2,}(?![\d-]|\.\d)"),
     lambda m: f" {' point '.join(map(cardinal, m[0].split('.')))} "),
    (re.compile(r"(?<![\d/])9/11(?![\d/])"), "nine eleven"), (re.compile(r"(?<![\d-])9-1-1(?![\d-])"), "nine one one"),
    (re.compile(r"\b((?:[Oo]n|[Ss]ince|[Uu]ntil|[Bb]efore|[Aa]fter|[Bb]y)\s)(\d{1,2})/(\d{1,2})(?![\d/])"), _day),
    (re.compile(rf"{_BEFORE}(\d{{3}})-(\d{{4}})(?![\d-]|[.,]\d|\s?[%°]|\s\d)"), _local_phone),
    (re.compile(rf"{_BEFORE}(\d{{3,4}})-(\d{{7,8}})(?![\d-]|[.,]\d|\s?[%°]|\s\d)"), _local_phone),
    (re.compile(rf"\b({_MONTH})\s(\d{{1,2}}){_DASH}(\d{{1,2}})(?![\d:/%]|[-.,]\d|(?:st|nd|rd|th)\b)"),
     lambda m: f"{_month(m[1])} {m[2]} to {ordinal(m[3].lstrip('0') or '0')}"),
    (re.compile(rf"(?<=\d/\d){_DASH}(?=\d/\d)"), " to "),
    (re.compile(rf"(?<=:[0-5]\d){_DASH}(?=\d)|(?:(?<=\d[aApP][mM])|(?<=\d\s[aApP][mM])){_DASH}(?=\d)"), " to "),
    (re.compile(rf"{_BEFORE}(\d{{1,2}}){_DASH}(?=\d{{1,2}}:[0-5]\d(?![\d:]))"), r"\1 to "),
    (re.compile(rf"{_BEFORE}(?P<sign>[$£€¥])?(?P<low>{_N})(?P<unit>\s?(?:[%k]|{_UNIT_NAMES}))?{_DASH}"
                rf"(?P<sign2>[$£€¥])?(?P<high>{_N})(?![\d/:]|[-.,]\d|\s\d)(?P<years>(?!{_COUNTED}|\s?[%°]))?"), _range),
    (re.compile(r"(?<=\d)\s?[–—]\s?(?=[-−]\d)"), " to "),
    (re.compile(r"(?<![^\s(\"'\u201c\u2018])[-−](?=[$£€¥]?\d)"), "minus "),
)  # fmt: skip
_RULES: tuple[Rule, ...] = (
    (re.compile(r"(?<=[\w])@(?=[\w.-]+\.[A-Za-z]{2,})"), " at "),
    (re.compile(r"(?<=[A-Za-z])\.(?=(?:com|org|net|edu|gov|io|de|uk|cn)\b)"), " dot "),
    (re.compile(r"(?P<sign>[$£€¥])\s?(?P<whole>\d{1,3}(?:,\d{3})+|\d+)(?:\.(?P<cents>\d+))?"
                r"(?:\s?(?P<scale>thousand|million|billion|trillion|[kmKM]|bn)\b)?"), _money),
    (re.compile(r"(?<![\d.-])(?P<year>\d{4})-(?P<month>0[1-9]|1[0-2])-(?P<day>[0-2]\d|3[01])(?![\d-])"), _iso),
    (re.compile(r"(?<![\d/.])(\d{1,2})/(\d{1,2})/(\d{4})(?![\d/])"), _slashed),
    (re.compile(rf"\b(?P<month>{_MONTH})\s(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\b(?!:)(?:,?\s(?P<year>{_YEAR})\b)?"),
     lambda m: _date(m["day"], _month(m["month"]), m["year"])),
    (re.compile(rf"\b(?P<day>[0-3]?\d)(?:st|nd|rd|th)?\s(?P<month>{_MONTH})(?![a-z])(?:,?\s(?P<year>{_YEAR})\b)?"),
     lambda m: _date(m["day"], _month(m["month"]), m["year"])),
    (re.compile(rf"\b(?P<month>{'|'.join(MONTHS)})\s(?P<year>{_YEAR})\b"), lambda m: f"{m['month']} {year(m['year'])}"),
    (re.compile(rf"(?<![\d:])(?P<hour>[01]?\d|2[0-4]):(?P<minute>[0-5]\d)(?![\d:])(?:\s?(?P<half>{_HALF}))?"), _clock),
    (re.compile(rf"(?<![\d.:,])(?P<hour>1[0-2]|0?\d)(?P<minute>)\s?(?P<half>{_HALF})"),
     lambda m: f"{cardinal(m['hour'].lstrip('0') or '0')} {m['half'][0].upper()}M"),
    (re.compile(r"\b[aA]\.[mM]\."), "AM"), (re.compile(r"\b[pP]\.[mM]\."), "PM"),
    (re.compile(r"(?<![\w.])\+?\(?\d{1,4}\)?(?:[\s.-]\(?\d{2,5}\)?){2,}(?![\w])|(?<![\w.])\+\d{7,}"), _phone),
    (re.compile(r"(?:(?<!\w)['\u2019])?\b(\d{3}0|\d0)['\u2019]?s\b"), _decade),
    (re.compile(r"\b24/7\b"), "twenty-four seven"),
    (re.compile(r"(?<![\d/.])(?:(?P<whole>\d+)\s)?(?P<top>\d{1,4})/(?P<bottom>\d{1,4})(?![\d/])"), _fraction),
    (re.compile(rf"(?P<number>{_N})\s?%"), lambda m: f"{number(m['number'])} percent"),
    (re.compile(rf"(?P<number>{_N})\s?(?P<unit>{_UNIT_NAMES})(?![\w'])"), _unit),
    (re.compile(r"\b(\d[\d,]*)(?:st|nd|rd|th)\b"), lambda m: ordinal(m[1].replace(",", ""))),
    (re.compile(rf"\b({_CODE}\s(?:(?:number|is|was)\s)?)(\d{{3,}})(?![\w/:%]|[.,-]\d|\s?[%°]|\s\d|{_COUNTED})"),
     lambda m: m[1] + one_by_one(m[2])),
    (re.compile(rf"\b((?:[Ii]n|[Ss]ince|[Bb]y|[Ff]rom|[Uu]ntil|[Bb]efore|[Aa]fter|[Yy]ear|[Dd]uring|[Oo]f|[Ii]t's|was)\s)"
                rf"({_YEAR})(?:(\s(?:and|or|to)\s)({_YEAR}))?(?!\d|[,.]\d|{_COUNTED})"),
     lambda m: m[1] + year(m[2]) + (m[3] + year(m[4]) if m[4] else "")),
    (re.compile(rf"((?:,|\b(?:{_BEFORE_YEAR}))\s)({_YEAR})(?=[.!?]+(?:\s|$))"), lambda m: m[1] + year(m[2])),
    (re.compile(r"(?:\b[Nn]o\.\s?|#)(?=\d)"), "number "), (re.compile(r"#(?=[^\W\d])"), "hashtag "),
    (re.compile(r"(?<=\d)\s?[-–—]\s?(?=\d)"), " to "), (re.compile(r"(?<=\d)\s?[x×]\s?(?=\d)"), " by "),
    (re.compile(r"(?<![\w.)])[-−](?=\d)"), "minus "), (re.compile(r"~(?=\d)"), "about "),
    (re.compile(_N), _apart),
)  # fmt: skip
_SHORT = tuple((re.compile(pattern), words) for pattern, words in _ABBREVIATIONS)
_AROUND = re.compile(r"\s+([,.;:!?)\u201d]|['\u2019](?!\w)|['\u2019](?=(?:s|ll|d|re|ve|m)\b)|-(?=\w)|$)")
_SYMBOL = re.compile("[" + re.escape("".join(_SYMBOLS)) + "]")
_JUNK = re.compile("[" + re.escape(_DROPPED) + "]")


def words(text: str) -> str:
    """One pass over a text in one line; see `manifests.spoken.spoken`."""
    if not TRIGGER.search(text):
        return text
    for char, plain in _VULGAR.items():
        text = re.sub(rf"(?<=\d){char}", f" {plain}", text).replace(char, plain)
    for pattern, short in _SHORT:
        text = pattern.sub(short, text)
    if any("0" <= char <= "9" for char in text):
        for pattern, rule in (*_RUNS, *_FIRST, *_RULES):
            text = pattern.sub(rule, text)
        text = _AROUND.sub(r"\1", text)
    else:
        for pattern, rule in (_RULES[0], _RULES[1], _RULES[10], _RULES[11], _RULES[19]):
            text = pattern.sub(rule, text)
    text = re.sub(r"\band/or\b", "and or", text)
    text = re.sub(r"(?<=[A-Za-z])/(?=[A-Za-z])", " or ", text).replace("/", " ")
    text = _SYMBOL.sub(lambda match: f" {_SYMBOLS[match[0]]} ", text)
    text = _JUNK.sub(" ", text)
    text = "".join(_other(char) for char in text)
    return " ".join(text.split())


def _other(char: str) -> str:
    """Numbers that are no digits (circled ones, Roman numerals as one character) as their digits."""
    if char.isascii() or unicodedata.category(char) not in ("No", "Nl"):
        return char
    value = unicodedata.numeric(char, None)
    return f" {int(value)} " if value is not None and value == int(value) else " "
