"""From how people say a sum, in English or Chinese, to symbols: `35 乘以 12`, `35 times 12` → `35 * 12`."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable

from activities.functions.arithmetic import LONGEST

_NUMBER = r"(\d+(?:\.\d+)?|\([^()]*\))"

_SIGNS = str.maketrans(
    {
        **dict.fromkeys("×✕✖·∙⋅∗", "*"),
        **dict.fromkeys("÷∕⁄", "/"),
        **dict.fromkeys("−–—﹣", "-"),
        "²": "^2",
        "³": "^3",
        "π": "pi",
        "［": "(",
        "］": ")",
        "【": "(",
        "】": ")",
    }
)

_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"〇": 0, "两": 2}
_UNITS = {"十": 10, "百": 100, "千": 1000}
_BIG_UNITS = {"万": 10_000, "亿": 100_000_000}
_NUMERAL = re.compile(r"[零〇一二两三四五六七八九十百千万亿]+(?:点[零〇一二三四五六七八九]+)?")

_ONES = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
]
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
_SMALL = {word: value for value, word in enumerate(_ONES)} | {
    word: 20 + 10 * n for n, word in enumerate(_TENS)
}
_LARGE = {"thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
_WORD = "|".join((*_SMALL, "hundred", *_LARGE))
_SPOKEN = re.compile(rf"\b(?:{_WORD})(?:(?:[\s-]+|\s+and\s+)(?:{_WORD}))*\b")

_PERCENT = "\ue000"
"""Stands for 百分之 while numerals are read, so that its 百 is not taken for a hundred."""

_CHINESE = (
    (r"百分之", _PERCENT),
    (r"(?:请问|请|帮我|麻烦|计算一下|计算|做个算术|算一下|算一算|算算|算出|算|结果|一共|总共|呢|吗)", " "),
    (r"^(.*\S.*?)[,，]?\s*(?:再|然后)", r"(\1) "),
    (r"(?:等于|得到|得|是)?\s*(?:多少|几)?\s*$", " "),
    (r"(?:等于|得|是)\s*(?:多少|几)", " "),
)

_CHINESE_SYMBOLS = (
    (rf"{_PERCENT}\s*{_NUMBER}", r"\1%"),
    (rf"{_NUMBER}\s*的\s*{_NUMBER}\s*次方", r"\1 ^ \2"),
    (rf"{_NUMBER}\s*的?\s*(?:算术)?平方根", r"√\1"),
    (rf"{_NUMBER}\s*的?\s*立方根", r"cbrt(\1)"),
    (rf"{_NUMBER}\s*的?\s*平方", r"\1 ^ 2"),
    (rf"{_NUMBER}\s*的?\s*(?:立方|三次方)", r"\1 ^ 3"),
    (rf"{_NUMBER}\s*的?\s*阶乘", r"\1!"),
    (rf"{_NUMBER}\s*和\s*{_NUMBER}\s*的和", r"\1 + \2"),
    (rf"{_NUMBER}\s*和\s*{_NUMBER}\s*的积", r"\1 * \2"),
    (rf"{_NUMBER}\s*和\s*{_NUMBER}\s*的差", r"\1 - \2"),
    (r"根号", "√"),
    (r"乘以|乘上|乘|的", " * "),
    (r"除以|除", " / "),
    (r"加上|加", " + "),
    (r"减去|减", " - "),
    (r"负", "-"),
)

_Made = str | Callable[[re.Match[str]], str]

_ENGLISH: tuple[tuple[str, _Made], ...] = (
    (
        r"\b(?:what(?:'s|s| is| are| does)|how much (?:is|are|does)|calculate|compute|work out|solve|"
        r"evaluate|please|can you|could you|tell me|the result of|the value of|do the sum|the sum of|sum of|"
        r"for me)\b",
        " ",
    ),
    (r"\b(?:makes?|equals?)\s*$", " "),
    (r"\b(?:to the power(?: of)?|raised to(?: the power of)?)\b", "^"),
    (r"\b(?:the|a|an)\b", " "),
    (r"\badd\b(.+)", lambda found: re.sub(r",| and | to ", " + ", found[1])),
    (rf"\bsubtract\s+{_NUMBER}\s+from\s+{_NUMBER}", r"\2 - \1"),
    (rf"\b(?:multiply|product of)\s+{_NUMBER}\s+(?:by|and|with)\s+{_NUMBER}", r"\1 * \2"),
    (rf"\bdivide\s+{_NUMBER}\s+by\s+{_NUMBER}", r"\1 / \2"),
    (rf"\bdifference (?:between|of)\s+{_NUMBER}\s+and\s+{_NUMBER}", r"\1 - \2"),
    (r"\bsquare root(?: of)?\b", "√"),
    (rf"\bcube root(?: of)?\s+{_NUMBER}", r"cbrt(\1)"),
    (rf"\bfactorial of\s+{_NUMBER}", r"\1!"),
    (rf"{_NUMBER}\s+factorial\b", r"\1!"),
    (r"\bsquared\b", "^ 2"),
    (r"\bcubed\b", "^ 3"),
    (r"\bper\s?cent\b", "%"),
    (r"\bhalf of\b", "0.5 *"),
    (r"\b(?:double|twice)\b", "2 *"),
    (r"\b(?:times|multiplied by|of)\b", "*"),
    (r"\b(?:divided by|over)\b", "/"),
    (r"\b(?:plus|and)\b", "+"),
    (r"\b(?:minus|less)\b", "-"),
    (r"\bmod(?:ulo)?\b", "mod"),
    (r"\bdegrees?\b|\bdeg\b", "°"),
)


def to_symbols(text: str) -> str:
    """The same sum with symbols. Words that are no arithmetic stay, for the parser to complain about."""
    said = unicodedata.normalize("NFKC", text.translate(_SIGNS)).translate(_SIGNS).lower().replace("’", "'")
    if len(said) > LONGEST:
        return said
    said = said.strip().strip("=?!。.,;:，？！： ") + ("!" if said.rstrip(" =?？").endswith("!") else "")
    for pattern, new in _CHINESE:
        said = re.sub(pattern, new, said)
    said = _NUMERAL.sub(lambda found: _chinese_number(found[0]), said)
    for pattern, new in _CHINESE_SYMBOLS:
        said = re.sub(pattern, new, said)
    said = _SPOKEN.sub(lambda found: _spoken_number(found[0]), said)
    for rule, made in _ENGLISH:
        said = re.sub(rule, made, said)
    said = re.sub(r"(?<=[\d)%!])\s*x\s*(?=[\d(√.])", " * ", said)
    return re.sub(r"\s+", " ", said).strip(" =?,;:")


def _chinese_number(numeral: str) -> str:
    """三百零五 → 305, 二〇二六 → 2026, 三点五 → 3.5."""
    whole, _, decimals = numeral.partition("点")
    value = _read_units(whole) if set(whole) & (_UNITS.keys() | _BIG_UNITS.keys()) else _read_digits(whole)
    return f"{value}.{_read_digits(decimals)}" if decimals else value


def _read_digits(digits: str) -> str:
    return "".join(str(_DIGITS[digit]) for digit in digits)


def _read_units(numeral: str) -> str:
    total = section = digit = 0
    for character in numeral:
        if character in _DIGITS:
            digit = _DIGITS[character]
        elif character in _UNITS:
            section += (digit or 1) * _UNITS[character]
            digit = 0
        else:
            below = total if character == "亿" else 0
            total += (below + section + digit) * _BIG_UNITS[character] - below
            section = digit = 0
    return str(total + section + digit)


def _spoken_number(words: str) -> str:
    """twenty-five → 25, two hundred and five thousand → 205000."""
    total = section = 0
    for word in re.split(r"[\s-]+", words):
        if word in _SMALL:
            section += _SMALL[word]
        elif word == "hundred":
            section = (section or 1) * 100
        elif word in _LARGE:
            total += (section or 1) * _LARGE[word]
            section = 0
    return str(total + section)
