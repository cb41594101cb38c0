from __future__ import annotations

from typing import Annotated, Any, Literal

import pytest
from pydantic import Field

from portico.tool import BadParameters, ToolContext, ToolFailed, ToolSpec, spec_of, tool


@tool(effects="read", risk="medium", timeout_s=3)
async def forecast(
    context: ToolContext,
    place: str,
    json: Annotated[int, "how many lines"] = 1,
    copy: Annotated[list[str] | None, Field(description="who else hears it", max_length=2)] = None,
    *,
    unit: Literal["c", "f"] = "c",
) -> str:
    """What the weather
    will be.

    Args:
        place: city or
            airport
        unit (str): scale: Celsius or Fahrenheit
    Returns:
        words
    """
    return place


def test_a_declaration_tells_everything_once() -> None:
    spec = spec_of(forecast)
    assert (spec.name, spec.description) == ("forecast", "What the weather will be.")
    assert (spec.effects, spec.risk, spec.timeout_s, spec.repeatable) == ("read", "medium", 3, False)
    assert spec.is_async
    assert spec.context_parameter == "context"


def test_the_schema_comes_from_signature_and_docstring() -> None:
    schema: Any = spec_of(forecast).parameters
    assert schema["required"] == ["place"]
    assert schema["additionalProperties"] is False
    words = {name: each.get("description") for name, each in schema["properties"].items()}
    assert words == {
        "place": "city or airport",
        "json": "how many lines",
        "copy": "who else hears it",
        "unit": "scale: Celsius or Fahrenheit",
    }
    assert schema["properties"]["unit"]["enum"] == ["c", "f"]
    assert "title" not in schema["properties"]["place"]


def test_parameters_are_read_as_a_model_sends_them() -> None:
    arguments = spec_of(forecast).validate({"place": "Oslo", "json": "3"})
    assert arguments == {"place": "Oslo", "json": 3, "copy": None, "unit": "c"}


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "place: is missing"),
        ({"place": 4}, "place:"),
        ({"place": "x", "unit": "k"}, "unit:"),
        ({"place": "x", "copy": ["a", "b", "c"]}, "copy:"),
        ({"place": "x", "weather": 1}, "weather: no such parameter"),
    ],
)
def test_wrong_parameters_are_named(parameters: dict[str, Any], words: str) -> None:
    with pytest.raises(BadParameters, match=words) as raised:
        spec_of(forecast).validate(parameters)
    assert raised.value.code == "bad_parameters"


def test_the_value_of_a_wrong_parameter_is_not_repeated() -> None:
    with pytest.raises(BadParameters) as raised:
        spec_of(forecast).validate({"place": "x", "json": "secret-value"})
    assert "secret-value" not in str(raised.value)


def test_a_declared_function_stays_an_ordinary_function() -> None:
    @tool(effects="none", risk="low")
    def double(number: int) -> int:
        """Twice the number."""
        return number * 2

    assert double(4) == 8


def undocumented(place: str) -> str:
    return place


def untyped(place) -> str:  # type: ignore[no-untyped-def]
    """Words."""
    return str(place)


def catch_all(**places: str) -> str:
    """Words."""
    return str(places)


def Named(place: str) -> str:  # noqa: N802 - the name is what is refused
    """Words."""
    return place


@pytest.mark.parametrize("function", [undocumented, untyped, catch_all, Named])
def test_what_cannot_be_a_tool_is_refused_when_it_is_declared(function: Any) -> None:
    with pytest.raises(TypeError, match=function.__name__):
        tool(effects="none", risk="low")(function)


def test_effects_and_risk_are_words_of_a_list() -> None:
    with pytest.raises(TypeError, match="effects"):
        tool(effects="some", risk="low")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="timeout_s"):
        tool(effects="none", risk="low", timeout_s=0)


def test_a_function_without_declaration_is_no_tool() -> None:
    with pytest.raises(TypeError, match="@tool"):
        spec_of(undocumented)


def test_a_cancelled_context_says_so() -> None:
    context = ToolContext()
    context.raise_if_cancelled()
    context.stop.set()
    assert context.cancelled
    with pytest.raises(ToolFailed):
        context.raise_if_cancelled()


@pytest.mark.parametrize(
    ("declared", "reach"), [(False, ""), (True, "hosts"), ("hosts", "hosts"), ("sites", "sites"), ("", "")]
)
def test_a_tool_says_which_list_of_the_settings_it_reaches(declared: Any, reach: str) -> None:
    @tool(effects="read", risk="low", network=declared)
    def looks() -> None:
        """Looks."""

    assert spec_of(looks).network == reach


def test_an_unknown_reach_is_refused() -> None:
    with pytest.raises(TypeError, match="network is"):
        tool(effects="read", risk="low", network="everywhere")  # type: ignore[arg-type]


def test_a_description_of_an_older_release_is_read() -> None:
    described = {"name": "x", "description": "", "parameters": {}, "effects": "read", "risk": "low"}
    assert ToolSpec.from_json({**described, "network": True}).network == "hosts"
    assert ToolSpec.from_json({**described, "network": False}).network == ""
    assert ToolSpec.from_json(described).network == ""
