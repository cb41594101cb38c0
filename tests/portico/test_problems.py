"""What pydantic refused is said once, in the same words everywhere, and never with the input."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from enum import Enum
from ipaddress import IPv4Address
from typing import Annotated, Any, Literal
from uuid import UUID

import pytest
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, TypeAdapter, ValidationError, field_validator

from portico.problems import Problem, first_problem, problems_of

INPUT = "s3cr3t-input"


class Cat(BaseModel):
    kind: Literal["cat"]


class Dog(BaseModel):
    kind: Literal["dog"]


class Color(Enum):
    RED = "red"


class Account(BaseModel):
    model_config = ConfigDict(extra="forbid")
    port: int
    name: str = ""

    @field_validator("name")
    @classmethod
    def _is_short(cls, name: str) -> str:
        if len(name) > 3:
            raise ValueError("longer than 3 characters")
        return name


def error_of(kind: Any, value: object) -> ValidationError:
    with pytest.raises(ValidationError) as caught:
        TypeAdapter(kind).validate_python(value)
    return caught.value


@pytest.mark.parametrize(
    "kind",
    [
        int,
        float,
        bool,
        dict[str, int],
        list[int],
        datetime,
        Decimal,
        Color,
        IPv4Address,
        UUID,
        HttpUrl,
        Literal["a", "b"],
        int | bool,
        Account,
        Annotated[str, Field(max_length=3)],
        Annotated[str, Field(pattern="^x$")],
    ],
)
def test_no_problem_repeats_the_input(kind: Any) -> None:
    for problem in problems_of(error_of(kind, INPUT)):
        assert INPUT not in problem.line()
        assert INPUT not in problem.rule()


def test_an_unknown_kind_is_not_repeated() -> None:
    kind = Annotated[Cat | Dog, Field(discriminator="kind")]
    assert first_problem(error_of(kind, {"kind": INPUT})).text == "is not one of the expected kinds"
    assert first_problem(error_of(UUID, "\u2603")).text == "is not a UUID"


def test_every_problem_has_place_rule_and_our_words() -> None:
    error = error_of(dict[str, Account], {"main": {"name": INPUT, "prot": 1}})
    assert problems_of(error) == [
        Problem(("main", "port"), "missing", "is missing"),
        Problem(("main", "name"), "value_error", "longer than 3 characters"),
        Problem(("main", "prot"), "extra_forbidden", "unknown key"),
    ]
    assert first_problem(error).line(under="accounts") == "accounts.main.port: is missing"
    assert first_problem(error).rule() == "main.port: missing"
    assert problems_of(error, unknown="no such parameter")[2].text == "no such parameter"


def test_a_problem_without_a_place_is_named_by_the_caller() -> None:
    problem = first_problem(error_of(int, INPUT))
    assert problem.line(otherwise="parameters").startswith("parameters: Input should be a valid integer")
    assert problem.rule() == "body: int_parsing"
    assert Problem(("x" * 500,), "missing", "").rule() == f"{'x' * 100}: missing"
