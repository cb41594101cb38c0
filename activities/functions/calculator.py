"""Sums, without a language model: `17*23`, `12 times 8`, `15% of 80`, `35 乘以 12`, `sqrt(2)`."""

from __future__ import annotations

import re

from activities.functions.arithmetic import LONGEST, ArithmeticProblem, evaluate, shown
from activities.functions.arithmetic_words import to_symbols
from portico.tool import AskAgain, ToolContext, ToolFailed, tool

LONGEST_TEXT = 200

_PROBLEMS = {
    "en": {
        "empty": "tell me what to calculate, for example 17 * 23",
        "incomplete": "the calculation ends too early",
        "unreadable": "I cannot read '{detail}' as part of a calculation",
        "bracket": "a bracket is not closed",
        "arguments": "{detail} takes another number of values",
        "too_long": "the calculation is too long",
        "zero_division": "there is no dividing by zero",
        "too_large": "the result is too large",
        "undefined": "this has no real result",
    },
    "zh": {
        "empty": "请告诉我要算什么，例如 17 * 23",
        "incomplete": "算式不完整",
        "unreadable": "算式中的“{detail}”我看不懂",
        "bracket": "括号没有闭合",
        "arguments": "{detail} 的参数个数不对",
        "too_long": "算式太长了",
        "zero_division": "不能除以零",
        "too_large": "结果太大了",
        "undefined": "没有实数结果",
    },
}
_DEFINITE = frozenset({"zero_division", "too_large", "undefined"})
"""What no other wording would change."""


@tool(effects="none", risk="low", timeout_s=5, repeatable=True)
def calculator(expression: str, context: ToolContext) -> dict[str, str | bool]:
    """Work out an arithmetic expression, exactly where that is possible.

    Args:
        expression: such as 17*23, (1.5+2)/4, 2^10, sqrt(2), 15% of 80, 5!, 7 times 8, 35 乘以 12
    """
    try:
        if len(expression) > LONGEST:
            raise ArithmeticProblem("too_long")
        symbols = to_symbols(expression)
        result, exact = shown(evaluate(symbols))
    except ArithmeticProblem as problem:
        words = _PROBLEMS.get(context.language, _PROBLEMS["en"])[problem.code].format(detail=problem.detail)
        raise (ToolFailed if problem.code in _DEFINITE else AskAgain)(words) from None
    sign = "=" if exact and len(result) <= LONGEST_TEXT else "≈"
    return {
        "text": f"{_pretty(symbols)} {sign} {_short(result)}",
        "result": result,
        "exact": exact,
        "expression": symbols,
    }


def _pretty(symbols: str) -> str:
    """As in a schoolbook; the stars of CommonMark would not be shown."""
    spaced = re.sub(r"(?<!/)/(?!/)", " ÷ ", symbols.replace("**", "^").replace("*", " × "))
    return " ".join(spaced.split())


def _short(digits: str) -> str:
    if len(digits) <= LONGEST_TEXT:
        return digits
    sign, digits = ("-", digits[1:]) if digits.startswith("-") else ("", digits)
    return f"{sign}{digits[0]}.{digits[1:12]} × 10^{len(digits) - 1}"
