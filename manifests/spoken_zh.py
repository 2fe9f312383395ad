"""Mandarin: numbers, money, dates, times, percent and units in Han characters; called by `manifests.spoken`."""

from __future__ import annotations

import re
from collections.abc import Callable

_DIGITS = "零一二三四五六七八九"
_SIGNS = {"$": "美元", "£": "英镑", "€": "欧元", "¥": "元", "￥": "元"}
_UNITS = {
    "km/h": "公里每小时", "km": "公里", "cm": "厘米", "mm": "毫米", "kg": "公斤", "mg": "毫克", "ml": "毫升",
    "°C": "摄氏度", "℃": "摄氏度", "°F": "华氏度", "°": "度", "GB": "吉字节", "MB": "兆字节", "m": "米", "g": "克",
    "L": "升", "h": "小时", "min": "分钟",
}  # fmt: skip
_MEASURES = (
    "个小时|小时|分钟|公斤|公里|个|只|杯|位|次|天|周|张|本|件|条|块|点|岁|斤|米|瓶|双|口|名|家|辆|座|层|倍|遍|种|把"
)
_SYMBOLS = {"&": "和", "@": "艾特", "%": "百分号", "％": "百分号", "+": "加", "=": "等于", "×": "乘", "÷": "除以",
            "°": "度", "℃": "摄氏度", "²": "平方", "³": "立方", **_SIGNS}  # fmt: skip
_LONGEST = 12  # digits of a number that is read as one


def one_by_one(digits: str) -> str:
    """`2026` is 二零二六."""
    return "".join(_DIGITS[int(digit)] for digit in digits)


def _below_10000(value: int) -> str:
    out, pending = "", False
    for name, size in (("千", 1000), ("百", 100), ("十", 10), ("", 1)):
        digit = value // size % 10
        if digit:
            out += ("零" if pending and out else "") + _DIGITS[digit] + name
            pending = False
        else:
            pending = True
    return out


def cardinal(digits: str) -> str:
    """`10500` is 一万零五百; digit by digit with a leading zero and beyond 12 digits."""
    digits = digits.replace(",", "")
    if len(digits) > _LONGEST or (len(digits) > 1 and digits[0] == "0"):
        return one_by_one(digits)
    value = int(digits)
    if not value:
        return "零"
    out = ""
    for name, size in (("亿", 10**8), ("万", 10**4), ("", 1)):
        group = value // size % 10000
        if group:
            out += ("零" if out and (group < 1000) else "") + _below_10000(group) + name
    return re.sub("^一十", "十", out)


def number(text: str) -> str:
    """`3.14` is 三点一四."""
    whole, _, rest = text.partition(".")
    return cardinal(whole or "0") + (f"点{one_by_one(rest)}" if rest else "")


def _money(match: re.Match[str]) -> str:
    whole, _, rest = match[2].partition(".")
    amount = number(f"{whole}.{rest.rstrip('0')}")  # 5.50 is 五点五
    return f"{amount}{match[3] or ''}{_SIGNS[match[1]]}"


def _clock(match: re.Match[str]) -> str:
    hour, minute = cardinal(match[1].lstrip("0") or "0"), match[2]
    hour = "两" if hour == "二" else hour
    if minute == "00":
        return f"{hour}点"
    return f"{hour}点{'零' if minute[0] == '0' else ''}{cardinal(minute.lstrip('0'))}分"


def _date(year: str, month: str, day: str) -> str:
    return f"{one_by_one(year)}年{cardinal(month.lstrip('0') or '0')}月{cardinal(day.lstrip('0') or '0')}日"


def _phone(match: re.Match[str]) -> str:
    groups = re.findall(r"\d+", match[0])
    if len(groups) == 2 and groups[0][0] != "0" and groups[0][-1] == groups[1][-1] == "0":
        return match[0]  # 500-1000 is a range
    return "，".join(map(one_by_one, groups)) if sum(map(len, groups)) >= 7 else match[0]


_RUN = re.compile(rf"\d{{{_LONGEST + 1},}}")
_N = r"\d{1,3}(?:,\d{3}){1,4}(?:\.\d+)?|\d+(?:\.\d+)?"
_UNIT_NAMES = "|".join(re.escape(name) for name in sorted(_UNITS, key=len, reverse=True))
_SIGN = "|".join(map(re.escape, _SIGNS))
_HAN = "\u3400-\u9fff"
_DASH = r"\s?[-–—−~～]\s?"
_NUMERALS = "零〇一二三四五六七八九十百千万亿点两"
_SCALED = r"\d+(?:\.\d+)?\s?(?:[度%％℃°元分万亿米]|摄氏|华氏|美元)"  # what may be negative
_FIRST: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str], ...] = (
    # What a sign or a dash means, before the numbers beside it are words.
    (re.compile(rf"(?<!\d)({_SIGN})\s?[-−](?=\.?\d)"), r"-\1"),
    (re.compile(r"(?<![\w.])\.(?=\d)"), "0."),
    (re.compile(r"(?<![\d.,-])\d{1,3}(?:\.\d{1,3}){2,}(?![\d-]|\.\d)"),
     lambda m: "点".join(map(cardinal, m[0].split(".")))),
    (re.compile(rf"(?<!\d)(\d{{4}}){_DASH}(\d{{4}})(?=年)"), lambda m: f"{one_by_one(m[1])}到{one_by_one(m[2])}"),
    (re.compile(rf"(?<=[年月日号]){_DASH}(?=\d{{1,4}}[年月日号])|(?<=[点时分]){_DASH}(?=\d{{1,2}}[点时:：])"), "到"),
    (re.compile(rf"(?<=[:：][0-5]\d){_DASH}(?=\d)|(?<=\d[度%％℃]){_DASH}(?=\d)"
                r"|(?<=\d[度%％℃])\s?[~～]\s?(?=[-−])"), "到"),
    (re.compile(r"(比分[是为：:\s]{0,2})(\d{1,3})\s?[-:：]\s?(\d{1,3})(?![\d:：])"),
     lambda m: f"{m[1]}{cardinal(m[2])}比{cardinal(m[3])}"),
    (re.compile(r"(?<![\d:：-])(\d{1,3})-(\d{1,3})(?=(?:赢|胜|输|负|领先|落后|战平|打平|平局))"),
     lambda m: f"{cardinal(m[1])}比{cardinal(m[2])}"),
    (re.compile(r"(?<![\d:：])(\d{1,3})[:：](\d)(?![\d:：])"), lambda m: f"{cardinal(m[1])}比{cardinal(m[2])}"),
    (re.compile(r"(?<![\d.,/:：$£€¥￥-])\d{3}-\d{4}(?![\d-]|[.,]\d|\s?[%％度℃])"
                r"|(?<![\d.,/:：$£€¥￥-])\d{3,4}-\d{7,8}(?![\d-])"),
     _phone),
    (re.compile(rf"(?<![\d.,/:：-])({_SIGN})\s?({_N}){_DASH}(?:{_SIGN})?({_N})(?![\d:/-]|[.,]\d)"), r"\2到\1\3"),
    (re.compile(rf"(?<![\d.,/:：-])({_N}){_DASH}({_N})(?=\s?(?:%|％|{_UNIT_NAMES}))(?!\s?°?[A-Za-z]{{4}})"),
     lambda m: f"{m[1]}{'%' if m.string[m.end():].lstrip()[:1] in ('%', '％') else ''}到{m[2]}"),
    (re.compile(r"(?<=\d)\s?[~～]\s?(?=[-−]\d)"), "到"),
    (re.compile(rf"(?<![^\s{_HAN}，。！？、：；（(“‘])"
                rf"(?:(?<![{_NUMERALS}第])|(?<=周[一二三四五六])|(?<=期[一二三四五六]))"
                rf"[-−](?={_SCALED}|(?:{_SIGN})\d)"), "负"),
    (re.compile(r"(?<=[是为到得于温])[-−](?=\d)"), "负"),
)  # fmt: skip
_RULES: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str] | str], ...] = (
    (re.compile(rf"({_SIGN})\s?({_N})(万|亿)?"), _money),
    (
        re.compile(r"(?<![\d-])(\d{4})[-/](0?[1-9]|1[0-2])[-/]([0-2]?\d|3[01])(?![\d-])"),
        lambda m: _date(m[1], m[2], m[3]),
    ),
    (re.compile(r"(\d{4})(?=年)"), lambda m: one_by_one(m[1])),
    (re.compile(r"(?<![\d:：])([01]?\d|2[0-4])[:：]([0-5]\d)(?![\d:：])"), _clock),
    (re.compile(r"(?<!\d)1[3-9]\d{9}(?!\d)|(?<![\d.])\d{2,4}(?:[\s-]\d{3,5}){1,}(?!\d)"), _phone),
    (re.compile(rf"({_N})\s?[%％]"), lambda m: f"百分之{number(m[1])}"),
    (re.compile(r"(?<![\d/])(\d{1,4})/(\d{1,4})(?![\d/])"), lambda m: f"{cardinal(m[2])}分之{cardinal(m[1])}"),
    (re.compile(r"(?<=\d)\s?[-–—~～]\s?(?=\d)"), "到"),
    (re.compile(rf"({_N})\s?({_UNIT_NAMES})(?![A-Za-z])"), lambda m: number(m[1]) + _UNITS[m[2]]),
    (re.compile(rf"(?<![\d.第十月])2(?=(?:{_MEASURES}))"), "两"),
    (re.compile(r"(?<![\w])[-−](?=\d)"), "负"),
    (re.compile(_N), lambda m: number(m[0])),
)  # fmt: skip
_SYMBOL = re.compile("[" + re.escape("".join(_SYMBOLS)) + "]")
_JUNK = re.compile(r"[#*_^|\\~<>`{}\[\]]")
_AROUND = re.compile(rf"(?<=[{_HAN}])\s+(?=[\d$£€¥￥])|(?<=[\d%％])\s+(?=[{_HAN}])")


def words(text: str) -> str:
    """One pass over a text in one line; see `manifests.spoken.spoken`."""
    text = _AROUND.sub("", text)
    text = _RUN.sub(lambda match: one_by_one(match[0]), text)  # so that no rule below sees a run of any length
    for pattern, rule in (*_FIRST, *_RULES):
        text = pattern.sub(rule, text)
    text = _SYMBOL.sub(lambda match: _SYMBOLS[match[0]], text)
    text = _JUNK.sub(" ", text)
    return text
