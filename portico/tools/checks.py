"""Holds parameters against a tool's JSON schema, before anybody is asked and anything is done.

The function's own process checks once more, with pydantic. Here no pattern is tried (one can be written so that it
never ends) and no reference leads out of the schema.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import JsonValue

from portico.tool import ToolSpec

MOST_FAULTS = 20
_KEPT = 256
_IS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_compiled: dict[tuple[str, str], Any] = {}


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong: where (`items.0.name`) and how. It never repeats the value."""

    path: str
    message: str


def faults(spec: ToolSpec, parameters: Mapping[str, JsonValue]) -> tuple[Fault, ...]:
    """Everything in which the parameters do not fit; empty where they do."""
    from referencing.exceptions import Unresolvable

    try:
        errors = sorted(
            _validator(spec).iter_errors(dict(parameters)), key=lambda error: list(map(str, error.path))
        )
        found = [fault for error in errors for fault in _faults(error)]
    except RecursionError:
        return (Fault("parameters", "nested too deeply"),)
    except Unresolvable:
        return ()
    return tuple(dict.fromkeys(found))[:MOST_FAULTS]


def _validator(spec: ToolSpec) -> Any:
    from jsonschema.validators import Draft202012Validator, extend
    from referencing import Registry

    key = (spec.name, spec.content_hash)
    if key not in _compiled or not spec.content_hash:
        without_patterns = extend(Draft202012Validator, {"pattern": None, "patternProperties": None})
        if len(_compiled) >= _KEPT:
            _compiled.clear()
        _compiled[key] = without_patterns(spec.parameters, registry=Registry())
    return _compiled[key]


def _faults(error: Any) -> list[Fault]:
    where = ".".join(str(step) for step in error.absolute_path)
    if error.validator == "required":
        missing = [name for name in error.validator_value if name not in error.instance]
        return [Fault(_below(where, name), "is missing") for name in missing]
    if error.validator == "additionalProperties" and isinstance(error.instance, dict):
        known = error.schema.get("properties", {})
        return [
            Fault(_below(where, name), "no such parameter") for name in error.instance if name not in known
        ]
    return [Fault(where or "parameters", _words(error))]


def _words(error: Any) -> str:
    value = error.validator_value
    if error.validator == "type":
        kinds = [value] if isinstance(value, str) else list(value)
        return "must be " + " or ".join(_IS.get(kind, kind) for kind in kinds)
    if error.validator in ("enum", "const"):
        choices = value if error.validator == "enum" else [value]
        return "must be one of " + ", ".join(str(choice) for choice in choices)[:200]
    if error.validator == "anyOf":
        return _any_of(error)
    return f"does not keep to {error.validator}: {str(value)[:100]}"


def _any_of(error: Any) -> str:
    kinds = [inner.get("type") for inner in error.validator_value if isinstance(inner, dict)]
    named = [_IS.get(kind, str(kind)) for kind in kinds if isinstance(kind, str)]
    return "must be " + " or ".join(named) if named else "fits none of its forms"


def _below(where: str, name: str) -> str:
    return f"{where}.{name}"[:200] if where else name[:200]
