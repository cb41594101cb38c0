"""Every contract that is stored for later, with a sample in which all fields are filled."""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, JsonValue
from pydantic.fields import FieldInfo

from portico.contracts import messages, steps, tool_steps
from workflows import decide, state

RELEASE = "0.1.0"
PAYLOADS = Path(__file__).parent / "payloads"
BASES = {messages.Contract, messages.WireContract}
NOT_STORED = {messages.InboundEvent, decide.Plan}
"""They live in one process and are never written."""

M = TypeVar("M", bound=BaseModel)


def all_contracts() -> dict[str, type[BaseModel]]:
    found: dict[str, type[BaseModel]] = {}
    for module in (messages, steps, tool_steps, state):
        for name, one in inspect.getmembers(module, inspect.isclass):
            if (
                issubclass(one, BaseModel)
                and one.__module__ == module.__name__
                and one not in BASES | NOT_STORED
            ):
                assert found.setdefault(name, one) is one, f"two contracts are named {name}"
    return found


def sample(model: type[M]) -> M:
    """All fields filled, none with its default."""
    return model.model_validate(
        {_key(model, name): _filled(field) for name, field in model.model_fields.items()}
    )


def written(model: BaseModel) -> Any:
    return json.loads(model.model_dump_json())


def save_payloads() -> None:
    folder = PAYLOADS / RELEASE
    folder.mkdir(parents=True, exist_ok=True)
    for name, model in all_contracts().items():
        (folder / f"{name}.json").write_text(json.dumps(written(sample(model)), indent=1) + "\n")
    (folder / "choices.json").write_text(json.dumps(choices(), indent=1) + "\n")


def choices() -> dict[str, list[str]]:
    """What each field with a fixed set of values may hold."""
    return {
        f"{name}.{field}": sorted(set(_choices(info.annotation)))
        for name, model in all_contracts().items()
        for field, info in model.model_fields.items()
        if set(_choices(info.annotation))
    }


def _choices(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Literal:
        yield from map(str, get_args(annotation))
    elif inspect.isclass(annotation) and issubclass(annotation, Enum):
        yield from (str(one.value) for one in annotation)
    elif get_origin(annotation) in (Union, types.UnionType, Annotated):
        for inner in get_args(annotation):
            yield from _choices(inner)


def with_fields_added(value: Any) -> Any:
    """The same as a newer release would write it: a field more in every object."""
    if isinstance(value, BaseModel):
        fields = {
            _key(type(value), name): with_fields_added(getattr(value, name))
            for name in type(value).model_fields
        }
        extra = type(value).model_config.get("extra") == "allow"
        return fields if extra else {**fields, "added_later": {"by": ["a newer release"]}}
    if isinstance(value, list | tuple):
        return [with_fields_added(one) for one in value]
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, Enum) else value


def only_required(value: BaseModel) -> Any:
    """The same as the first release wrote it, where every other field was added later."""
    model = type(value)
    whole = written(value)
    return {
        key: whole[key]
        for key, field in ((_key(model, name), field) for name, field in model.model_fields.items())
        if field.is_required()
    }


def _key(model: type[BaseModel], name: str) -> str:
    config, field = model.model_config, model.model_fields[name]
    return field.alias or name if config.get("serialize_by_alias") else name


def _filled(field: FieldInfo) -> Any:
    return _value(field.annotation, field.default)


def _value(annotation: Any, default: Any = None) -> Any:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return next((one for one in inner if one != default), inner[0])
    if origin in (Union, types.UnionType, Annotated):
        if annotation == JsonValue:
            return {"any": ["thing", 1, None]}
        return _value(next(one for one in inner if one is not type(None)))
    if origin is tuple:
        return [_value(inner[0]), _value(inner[0])]
    if origin is dict:
        return {"key": _value(inner[1])}
    return _plain(annotation, default)


def _plain(annotation: Any, default: Any) -> Any:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        return sample(annotation)
    if inspect.isclass(annotation) and issubclass(annotation, Enum):
        return next(one for one in annotation if one != default)
    samples: dict[Any, Any] = {
        str: "a text · 文字",
        int: 7,
        float: 1.5,
        bool: default is not True,
        datetime: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
    }
    return samples.get(annotation, {"any": ["thing", 1, None]})
