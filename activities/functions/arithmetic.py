"""Reads and works out an arithmetic expression: a small parser of its own, so that nothing is ever executed.

Numbers are exact fractions until a function such as `sin` makes them approximate. Length, depth and digits
are bounded, so that no input can take long.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

Number = Fraction | float
ZERO = Fraction(0)

LONGEST = 300
DEEPEST = 40
MOST_BITS = 14_000
"""About 4,200 digits: Python itself refuses to write an integer of more than 4,300."""
LARGEST_FACTORIAL = 1_000

_TOKEN = re.compile(
    r"\s*(?:(\d+(?:\.\d+)?(?:[eE][+-]?\d{1,3})?|\.\d+)|([a-z]+[0-9]*)|(\*\*|//|[-+*/%^!()√°,]))"
)


class ArithmeticProblem(Exception):
    """Why an expression has no value. `code` is a word that the tool puts into the person's language."""

    def __init__(self, code: str, detail: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.detail = detail[:30]


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Value:
    """`percent` marks a bare percentage, which `+` and `-` take of their left side: 100 + 10% is 110."""

    number: Number
    percent: bool = False


def evaluate(expression: str) -> Number:
    """Raises nothing but `ArithmeticProblem`."""
    if len(expression) > LONGEST:
        raise ArithmeticProblem("too_long")
    try:
        return _Parser(_tokens(expression)).whole()
    except ZeroDivisionError:
        raise ArithmeticProblem("zero_division") from None
    except OverflowError:
        raise ArithmeticProblem("too_large") from None


def shown(number: Number) -> tuple[str, bool]:
    """The number in digits, and whether these are all of it."""
    if isinstance(number, float):
        return _rounded(number), False
    if number.denominator == 1:
        return str(number.numerator), True
    places = _decimal_places(number.denominator)
    if places is None or places > 30:
        return _rounded(number), False
    scaled = abs(number.numerator) * 10**places // number.denominator
    digits = str(scaled).rjust(places + 1, "0")
    sign = "-" if number < 0 else ""
    return f"{sign}{digits[:-places]}.{digits[-places:]}", True


def _rounded(number: Number) -> str:
    try:
        value = float(number)
    except OverflowError:
        return str(round(number))
    return "0" if abs(value) < 1e-14 and isinstance(number, float) else f"{value:.12g}"


def _decimal_places(denominator: int) -> int | None:
    """How many decimal places write 1/denominator in full; none where no number of them does."""
    twos = fives = 0
    while denominator % 2 == 0:
        denominator, twos = denominator // 2, twos + 1
    while denominator % 5 == 0:
        denominator, fives = denominator // 5, fives + 1
    return max(twos, fives) if denominator == 1 else None


def _tokens(expression: str) -> list[Token]:
    tokens: list[Token] = []
    position = 0
    text = expression.rstrip()
    while position < len(text):
        found = _TOKEN.match(text, position)
        if not found:
            raise ArithmeticProblem("unreadable", text[position:].strip())
        group = found.lastindex or 0
        kind = ("number", "name", "sign")[group - 1]
        tokens.append(Token(kind, found[group], found.start(group), found.end()))
        position = found.end()
    return tokens


class _Parser:
    """Recursive descent that works out as it reads. Lowest first: sum, product, sign, power, suffix, atom."""

    def __init__(self, tokens: list[Token]) -> None:
        self._tokens = tokens
        self._at = 0
        self._depth = 0
        self._in_call = False

    def whole(self) -> Number:
        if not self._tokens:
            raise ArithmeticProblem("empty")
        value = self._sum()
        if self._at < len(self._tokens):
            raise ArithmeticProblem("unreadable", self._tokens[self._at].text)
        return value.number

    def _sum(self) -> Value:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ArithmeticProblem("too_long")
        left = self._product()
        while sign := self._take("+", "-"):
            right = self._product()
            relative = right.percent and not left.percent
            amount = _bounded(left.number * right.number) if relative else right.number
            left = Value(_bounded(left.number + amount if sign == "+" else left.number - amount))
        self._depth -= 1
        return left

    def _product(self) -> Value:
        left = self._signed()
        while sign := self._take("*", "/", "//", "%", "mod") or self._unsaid_times():
            right = self._signed().number
            left = Value(_bounded(_PRODUCTS[sign](left.number, right)))
        return left

    def _unsaid_times(self) -> str:
        """`2(3 + 4)` and `2pi`."""
        text = self._peek()
        return "*" if text in ("(", "√") or text in CONSTANTS or text in FUNCTIONS else ""

    def _signed(self) -> Value:
        negative = False
        while sign := self._take("-", "+"):
            negative ^= sign == "-"
        value = self._power()
        return Value(-value.number, value.percent) if negative else value

    def _power(self) -> Value:
        base = self._suffixed()
        if not self._take("^", "**"):
            return base
        self._depth += 1
        if self._depth > DEEPEST:
            raise ArithmeticProblem("too_long")
        exponent = self._signed().number
        self._depth -= 1
        return Value(power(base.number, exponent))

    def _suffixed(self) -> Value:
        value = Value(self._atom())
        while True:
            if self._take("!"):
                value = Value(factorial(value.number))
            elif self._take("°"):
                value = Value(value.number * math.pi / 180)
            elif self._peek() == "%" and not self._operand_follows():
                self._at += 1
                value = Value(value.number / 100, percent=True)
            else:
                return value

    def _operand_follows(self) -> bool:
        """After a `%`: `10 % 3` is a remainder, `10% * 3` and `10% - 3` a percentage."""
        if self._at + 1 >= len(self._tokens):
            return False
        following = self._tokens[self._at + 1]
        return (following.kind != "sign" and following.text != "mod") or following.text in ("(", "√")

    def _atom(self) -> Number:
        token = self._next()
        if token.kind == "number":
            return self._number(token)
        if token.kind == "name":
            return self._named(token)
        if token.text == "(":
            return self._bracket()
        if token.text == "√":
            return square_root(self._root_operand())
        raise ArithmeticProblem("unreadable", token.text)

    def _root_operand(self) -> Number:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ArithmeticProblem("too_long")
        number = self._atom()
        self._depth -= 1
        return number

    def _number(self, token: Token) -> Number:
        digits = token.text
        while not self._in_call and digits.isdigit() and self._thousands_follow():
            digits += self._tokens[self._at + 1].text
            self._at += 2
        return _bounded(Fraction(digits))

    def _thousands_follow(self) -> bool:
        """`1,000`: a comma and exactly three digits, without a space. In a call a comma parts arguments."""
        pair = self._tokens[self._at : self._at + 2]
        before = self._tokens[self._at - 1]
        return (
            len(pair) == 2
            and pair[0].text == ","
            and re.fullmatch(r"\d{3}(?:\.\d+)?", pair[1].text) is not None
            and before.end == pair[0].start
            and pair[0].end == pair[1].start
        )

    def _bracket(self) -> Number:
        outer, self._in_call = self._in_call, False
        value = self._sum().number
        self._in_call = outer
        if not self._take(")"):
            raise ArithmeticProblem("bracket")
        return value

    def _named(self, token: Token) -> Number:
        if token.text in CONSTANTS:
            return CONSTANTS[token.text]
        function = FUNCTIONS.get(token.text)
        if function is None or not self._take("("):
            raise ArithmeticProblem("unreadable", token.text)
        outer, self._in_call = self._in_call, True
        arguments = [self._sum().number]
        while self._take(","):
            arguments.append(self._sum().number)
        self._in_call = outer
        if not self._take(")"):
            raise ArithmeticProblem("bracket")
        try:
            return _bounded(function(*arguments))
        except TypeError:
            raise ArithmeticProblem("arguments", token.text) from None
        except ValueError:
            raise ArithmeticProblem("undefined") from None

    def _peek(self) -> str:
        return self._tokens[self._at].text if self._at < len(self._tokens) else ""

    def _take(self, *texts: str) -> str:
        if (text := self._peek()) in texts:
            self._at += 1
            return text
        return ""

    def _next(self) -> Token:
        if self._at >= len(self._tokens):
            raise ArithmeticProblem("incomplete")
        self._at += 1
        return self._tokens[self._at - 1]


def _bounded(number: Number) -> Number:
    """Exact while it is small enough to be exact, else approximate. Raises `OverflowError` beyond that."""
    if isinstance(number, float):
        if not math.isfinite(number):
            raise OverflowError
        return number
    if max(number.numerator.bit_length(), number.denominator.bit_length()) > MOST_BITS:
        return float(number)
    return number


def power(base: Number, exponent: Number) -> Number:
    """Exact for whole exponents of bounded results; `ArithmeticProblem` where the result is not real."""
    if isinstance(base, Fraction) and isinstance(exponent, Fraction):
        if exponent.denominator == 1:
            bits = max(base.numerator.bit_length(), base.denominator.bit_length()) * abs(exponent.numerator)
            if bits <= MOST_BITS:
                return Fraction(base**exponent.numerator)
        elif exponent == Fraction(1, 2):
            return square_root(base)
    try:
        result = float(base) ** float(exponent)
    except ValueError:
        raise ArithmeticProblem("undefined") from None
    if isinstance(result, complex):
        raise ArithmeticProblem("undefined")
    return _bounded(result)


def square_root(number: Number) -> Number:
    if number < 0:
        raise ArithmeticProblem("undefined")
    if isinstance(number, Fraction):
        above, below = math.isqrt(number.numerator), math.isqrt(number.denominator)
        if above * above == number.numerator and below * below == number.denominator:
            return Fraction(above, below)
    return math.sqrt(number)


def cube_root(number: Number) -> Number:
    root = math.copysign(abs(float(number)) ** (1 / 3), float(number))
    return Fraction(round(root)) if round(root) ** 3 == number else root


def factorial(number: Number) -> Number:
    if isinstance(number, float) or number.denominator != 1 or number < 0:
        raise ArithmeticProblem("undefined")
    if number > LARGEST_FACTORIAL:
        raise ArithmeticProblem("too_large")
    return Fraction(math.factorial(number.numerator))


def rounded(number: Number, places: Number = ZERO) -> Number:
    """Half away from zero, as people round."""
    if places != int(places) or not -30 <= places <= 30:
        raise ArithmeticProblem("undefined")
    step = Fraction(10) ** int(places)
    whole = math.floor(abs(Fraction(number)) * step + Fraction(1, 2))
    return Fraction(whole if number >= 0 else -whole) / step


def _logarithm(number: Number, base: Number = Fraction(10)) -> Number:
    if base == 10:
        return math.log10(number)
    return math.log2(number) if base == 2 else math.log(number) / math.log(base)


def _approximate(function: Callable[[float], float]) -> Callable[[Number], Number]:
    return lambda number: function(float(number))


_PRODUCTS: dict[str, Callable[[Number, Number], Number]] = {
    "*": lambda a, b: a * b,
    "/": lambda a, b: a / b,
    "//": lambda a, b: Fraction(a // b),
    "%": lambda a, b: a % b,
    "mod": lambda a, b: a % b,
}

CONSTANTS: dict[str, Number] = {"pi": math.pi, "e": math.e, "tau": math.tau}

FUNCTIONS: dict[str, Callable[..., Number]] = {
    "sqrt": square_root,
    "cbrt": cube_root,
    "abs": abs,
    "round": rounded,
    "floor": lambda number: Fraction(math.floor(number)),
    "ceil": lambda number: Fraction(math.ceil(number)),
    "min": lambda first, *rest: min((first, *rest)),
    "max": lambda first, *rest: max((first, *rest)),
    "sum": lambda first, *rest: sum(rest, first),
    "avg": lambda first, *rest: sum(rest, first) / (1 + len(rest)),
    "factorial": factorial,
    "pow": power,
    "exp": _approximate(math.exp),
    "ln": _approximate(math.log),
    "log": _logarithm,
    "log2": lambda number: _logarithm(number, Fraction(2)),
    "log10": _logarithm,
    "sin": _approximate(math.sin),
    "cos": _approximate(math.cos),
    "tan": _approximate(math.tan),
    "asin": _approximate(math.asin),
    "acos": _approximate(math.acos),
    "atan": _approximate(math.atan),
}
"""Angles are in radians unless marked with °; `log` is to base 10."""
