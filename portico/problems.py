"""What pydantic refused, in our words: one line for each problem, never with the input that was refused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

_WITHOUT_INPUT = {
    "union_tag_invalid": "is not one of the expected kinds",
    "uuid_parsing": "is not a UUID",
}
"""Instead of pydantic's own messages, which repeat the input."""


class PydanticError(Protocol):
    """pydantic's `ValidationError`, and FastAPI's `RequestValidationError`, whose `errors` takes no options."""

    def errors(self) -> Sequence[Any]: ...


@dataclass(frozen=True)
class Problem:
    """`place` is the path to the value, `kind` pydantic's own name of the rule, `text` what is wrong."""

    place: tuple[str, ...]
    kind: str
    text: str

    def line(self, *, under: str = "", otherwise: str = "") -> str:
        """`place: text`; `under` is put before the place, `otherwise` stands where there is no place."""
        where = ".".join((*([under] if under else []), *self.place)) or otherwise
        return f"{where}: {self.text}" if where else self.text

    def rule(self, *, otherwise: str = "body") -> str:
        """`place: kind`, for what people sent: a message of a rule might repeat it."""
        return f"{'.'.join(self.place)[:100] or otherwise}: {self.kind}"


def problems_of(error: PydanticError, *, unknown: str = "unknown key") -> list[Problem]:
    """Every problem, in pydantic's order. `unknown` is said of a field that does not exist."""
    words = {"extra_forbidden": unknown, "missing": "is missing", **_WITHOUT_INPUT}
    return [
        Problem(
            tuple(str(step) for step in one["loc"]),
            str(one["type"]),
            words.get(one["type"]) or str(one["msg"]).removeprefix("Value error, "),
        )
        for one in error.errors()
    ]


def first_problem(error: PydanticError) -> Problem:
    return problems_of(error)[0]
