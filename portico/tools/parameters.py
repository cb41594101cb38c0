"""Converts typed words to parameters, with the types of the tool's JSON schema. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import orjson
from pydantic import JsonValue

_YES = frozenset({"true", "yes", "on", "1", "是"})
_NO = frozenset({"false", "no", "off", "0", "否"})


def typed(
    schema: Mapping[str, Any],
    *,
    pairs: Sequence[tuple[str, str]] = (),
    loose: Sequence[str] = (),
    given: Mapping[str, JsonValue] | None = None,
) -> dict[str, JsonValue]:
    """Words as the schema's types. Words without a name are the text of the one parameter that can take them.

    What does not look like its type stays a text: `portico.tools.checks` then says what was expected.
    """
    properties = _properties(schema)
    parameters = dict(given or {})
    for name, word in pairs:
        parameters[name] = _value(word, _resolved(schema, properties.get(name, {})))
    if loose:
        name = _taker(schema, properties, parameters)
        parameters[name] = _value(" ".join(loose), _resolved(schema, properties.get(name, {})))
    return parameters


def usage(name: str, schema: Mapping[str, Any]) -> str:
    """How a person types the call: `/tool time place=…`; what may be left out stands in brackets."""
    required = set(schema.get("required", ()))
    words = [one if one in required else f"[{one}" for one in _properties(schema)]
    shown = [f"{word}=…" + ("]" if word.startswith("[") else "") for word in words]
    return " ".join([f"/tool {name}", *shown])


def _taker(schema: Mapping[str, Any], properties: Mapping[str, Any], taken: Mapping[str, Any]) -> str:
    """The parameter for words without a name; "…" if it is ambiguous."""
    required = [name for name in schema.get("required", ()) if name not in taken]
    free = required if len(required) == 1 else [name for name in properties if name not in taken]
    return str(free[0]) if len(free) == 1 else "…"


def _value(word: str, schema: Mapping[str, Any]) -> JsonValue:
    kinds = _kinds(schema)
    for kind in ("boolean", "integer", "number", "array", "object", "null"):
        if kind in kinds:
            found, value = _READERS[kind](word)
            if found:
                return cast(JsonValue, value)
    return word


def _boolean(word: str) -> tuple[bool, JsonValue]:
    low = word.strip().lower()
    return low in _YES | _NO, low in _YES


def _json_of(*types: type) -> Any:
    def read(word: str) -> tuple[bool, JsonValue]:
        try:
            value: JsonValue = orjson.loads(word)
        except orjson.JSONDecodeError:
            return False, None
        return isinstance(value, types) and not (isinstance(value, bool) and bool not in types), value

    return read


def _array(word: str) -> tuple[bool, JsonValue]:
    """A JSON array, or words between commas."""
    found, value = _json_of(list)(word)
    if found:
        return True, value
    return not word.lstrip().startswith(("[", "{")), [
        part.strip() for part in word.split(",") if part.strip()
    ]


_READERS: dict[str, Any] = {
    "boolean": _boolean,
    "integer": _json_of(int),
    "number": _json_of(int, float),
    "array": _array,
    "object": _json_of(dict),
    "null": lambda word: (word.strip().lower() == "null", None),
}


def _kinds(schema: Mapping[str, Any]) -> set[str]:
    """The JSON types that a value may have."""
    kind = schema.get("type")
    kinds = {kind} if isinstance(kind, str) else set(kind or ())
    for choice in (*schema.get("anyOf", ()), *schema.get("oneOf", ())):
        kinds |= _kinds(choice)
    if not kinds and "enum" in schema:
        kinds = {"integer" if isinstance(value, int) else "string" for value in schema["enum"]}
    return kinds


def _properties(schema: Mapping[str, Any]) -> Mapping[str, Any]:
    properties = schema.get("properties")
    return properties if isinstance(properties, Mapping) else {}


def _resolved(schema: Mapping[str, Any], one: Any) -> Mapping[str, Any]:
    """A property's schema, one `$ref` into `$defs` followed."""
    reference = one.get("$ref", "") if isinstance(one, Mapping) else ""
    if reference.startswith("#/$defs/"):
        return dict(schema.get("$defs", {}).get(reference.removeprefix("#/$defs/"), {}))
    return one if isinstance(one, Mapping) else {}
