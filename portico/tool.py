"""A tool is one typed function with `@tool`; its name, schema and words come from signature and docstring.

    @tool(effects="read", risk="low")
    def weather(place: str, days: int = 1) -> str:
        '''What the weather will be.

        Args:
            place: city or airport
            days: how many days ahead
        '''

The function may be `async`. Where it has a parameter of type `ToolContext`, it learns who asks, in which
language, and can report progress, keep artifacts and use the person's workspace. It answers with anything that
JSON can hold, and with `File`s. This module needs pydantic and the standard library only.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, create_model
from pydantic.json_schema import GenerateJsonSchema

from portico.problems import problems_of
from portico.tool_types import (
    ApprovalRequired,
    AskAgain,
    BadParameters,
    File,
    Person,
    SandboxAccess,
    ToolContext,
    ToolError,
    ToolFailed,
    Workspace,
    WorkspaceFile,
)

__all__ = [
    "ApprovalRequired",
    "AskAgain",
    "BadParameters",
    "File",
    "Person",
    "SandboxAccess",
    "ToolContext",
    "ToolError",
    "ToolFailed",
    "ToolSpec",
    "Workspace",
    "WorkspaceFile",
    "spec_of",
    "tool",
]

Effects = Literal["none", "read", "write"]
Risk = Literal["low", "medium", "high"]
Reach = Literal["", "hosts", "sites"]
Function = TypeVar("Function", bound=Callable[..., Any])

NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_ARGUMENT = re.compile(r"(\w+)\s*(?:\([^)]*\))?:\s*(.*)")
_HEADINGS = frozenset(
    ["args:", "arguments:", "parameters:", "returns:", "raises:", "yields:", "example:", "examples:"]
)
_ARGUMENT_HEADINGS = frozenset({"args:", "arguments:", "parameters:"})
_ATTRIBUTE = "__portico_tool__"
_PROBLEMS_SHOWN = 3


@dataclass(frozen=True)
class ToolSpec:
    """A declared tool. `parameters` is a JSON schema; `timeout_s` is None where the tool sets none.

    In its function's process it holds the function. Elsewhere it is a description: pure data, from `from_json`.
    """

    name: str
    description: str
    parameters: dict[str, JsonValue]
    effects: Effects
    risk: Risk
    timeout_s: float | None = None
    repeatable: bool = False
    secrets: tuple[str, ...] = ()
    network: Reach = ""
    """Which of the settings' lists it may reach through its proxy: `hosts`, `sites`, or nothing."""
    concurrency: int = 4
    sandbox: bool = False
    file: str = ""
    source: str = "function"
    content_hash: str = ""
    """SHA-256 (hex) of all that decides what it does: its file, modules next to it that it imports, its packages."""
    unavailable: str = ""
    """Why it cannot run now, in one line; empty where it can."""
    function: Callable[..., Any] | None = field(default=None, repr=False, compare=False)
    context_parameter: str = field(default="", compare=False)
    returns: Any = field(default=None, repr=False, compare=False)
    model: type[BaseModel] = field(default=BaseModel, repr=False, compare=False)

    @property
    def is_async(self) -> bool:
        return inspect.iscoroutinefunction(self.function)

    def validate(
        self, parameters: dict[str, Any], *, files: Callable[..., File] | None = None
    ) -> dict[str, Any]:
        """The function's arguments. Raises `BadParameters`, which names what is wrong but never the value.

        `files` finds the content of a file that is given by its path or as an artifact.
        """
        try:
            valid = self.model.model_validate(parameters, context={"files": files})
        except ValidationError as error:
            raise BadParameters(_problems(error)) from None
        described = type(valid).model_fields
        return {str(info.alias): getattr(valid, name) for name, info in described.items()}

    def to_json(self) -> dict[str, Any]:
        """The description, as JSON holds it."""
        return {name: getattr(self, name) for name in _DESCRIBED}

    @classmethod
    def from_json(cls, described: Mapping[str, Any]) -> ToolSpec:
        """A description back; fields of another release are left out."""
        known = {name: value for name, value in described.items() if name in _DESCRIBED}
        given = {"secrets": tuple(known.get("secrets", ())), "network": reach_of(known.get("network", ""))}
        return cls(**{**known, **given})


_DESCRIBED = frozenset(
    one.name
    for one in fields(ToolSpec)
    if one.name not in ("function", "context_parameter", "returns", "model")
)


def reach_of(network: bool | str) -> Reach:
    """`@tool(network=…)` as a list's name; True, as older descriptions have it, is `hosts`."""
    return "hosts" if network is True else cast(Reach, network or "")


def tool(
    *,
    effects: Effects,
    risk: Risk,
    timeout_s: float | None = None,
    repeatable: bool = False,
    secrets: Sequence[str] = (),
    network: bool | Reach = False,
    concurrency: int = 4,
    sandbox: bool = False,
    unavailable: str = "",
) -> Callable[[Function], Function]:
    """Declare a function as a tool.

    `effects`: what it does to the world outside: nothing, reads it, changes it. `risk`: what a mistake would
    cost. `repeatable`: doing it twice does what doing it once does, so a lost attempt may be repeated.
    `secrets`: names of the owner's secrets that it may read. `network`: it gets a proxy to the hosts that policy
    allows out of `[tools] hosts`, with "sites" out of `[tools] sites`, which are for whole browsers.
    `concurrency`: how many calls run at once. `sandbox`: it needs the sandbox service.
    `unavailable`: why it cannot run on this machine, where the file finds that out when it is loaded.
    Raises `TypeError` for a function that cannot be a tool, when it is declared.
    """
    if effects not in get_args(Effects) or risk not in get_args(Risk):
        raise TypeError(f"effects is one of {get_args(Effects)}, risk one of {get_args(Risk)}")
    if timeout_s is not None and timeout_s <= 0:
        raise TypeError("timeout_s is more than 0")
    if network not in (True, False, *get_args(Reach)):
        raise TypeError(f"network is True, False or one of {get_args(Reach)}")
    if concurrency < 1:
        raise TypeError("concurrency is at least 1")
    if isinstance(secrets, str):
        raise TypeError("secrets is a list of names")
    declared = {
        "effects": effects,
        "risk": risk,
        "timeout_s": timeout_s,
        "repeatable": repeatable,
        "secrets": tuple(secrets),
        "network": reach_of(network),
        "concurrency": concurrency,
        "sandbox": sandbox,
        "unavailable": unavailable,
    }

    def declare(function: Function) -> Function:
        setattr(function, _ATTRIBUTE, _read(function, declared))
        return function

    return declare


def spec_of(function: Callable[..., Any]) -> ToolSpec:
    """The declaration of a function with `@tool`. Raises `TypeError` for any other."""
    spec = getattr(function, _ATTRIBUTE, None)
    if not isinstance(spec, ToolSpec):
        raise TypeError(f"{getattr(function, '__name__', function)!r} has no @tool")
    return spec


def _read(function: Callable[..., Any], declared: dict[str, Any]) -> ToolSpec:
    name = getattr(function, "__name__", "")
    if not NAME.fullmatch(name):
        raise TypeError(f"{name!r} cannot name a tool: lower-case letters, digits and _, at most 64")
    description, arguments = _read_docstring(name, inspect.getdoc(function) or "")
    definitions, context_parameter = _fields(name, function, arguments)
    model: type[BaseModel] = create_model(name, __config__=ConfigDict(extra="forbid"), **definitions)
    schema = model.model_json_schema(schema_generator=_Untitled)
    schema.pop("title", None)
    schema.setdefault("properties", {})
    return ToolSpec(
        name=name,
        description=description,
        parameters=schema,
        function=function,
        context_parameter=context_parameter,
        returns=_returns(function),
        model=model,
        **declared,
    )


def _fields(name: str, function: Callable[..., Any], arguments: dict[str, str]) -> tuple[dict[str, Any], str]:
    """Pydantic's field definitions, and the name of the parameter that takes the context."""
    try:
        hints = get_type_hints(function, include_extras=True)
    except NameError as error:
        raise TypeError(f"{name}: the type {error.name!r} is not known in its module at run time") from None
    definitions: dict[str, Any] = {}
    context_parameter = ""
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise TypeError(f"{name}: {parameter.name} must be an ordinary or keyword-only parameter")
        if parameter.name not in hints:
            raise TypeError(f"{name}: {parameter.name} needs a type")
        if _is_context(hints[parameter.name]):
            context_parameter = parameter.name
            continue
        description = _annotated_words(hints[parameter.name]) or arguments.get(parameter.name)
        default = ... if parameter.default is parameter.empty else parameter.default
        # The prefix keeps names such as `json` or `copy` from shadowing what every pydantic model has.
        definitions[f"p_{parameter.name}"] = (
            hints[parameter.name],
            Field(default, alias=parameter.name, description=description),
        )
    return definitions, context_parameter


def _returns(function: Callable[..., Any]) -> Any:
    """The declared type of the answer; None where there is none to hold it against."""
    declared = get_type_hints(function, include_extras=True).get("return")
    return None if declared in (Any, object) else declared


def _is_context(hint: Any) -> bool:
    return hint is ToolContext or ToolContext in get_args(hint)


def _annotated_words(hint: Any) -> str | None:
    """The plain string of an `Annotated`; a `Field(description=…)` in it is pydantic's to read."""
    if get_origin(hint) is not Annotated:
        return None
    for extra in get_args(hint)[1:]:
        words = extra if isinstance(extra, str) else getattr(extra, "description", None)
        if isinstance(words, str):
            return words
    return None


def _read_docstring(name: str, docstring: str) -> tuple[str, dict[str, str]]:
    """The words before the first heading, and what the `Args:` say of each parameter."""
    words: list[str] = []
    arguments: dict[str, str] = {}
    heading = current = ""
    for line in docstring.splitlines():
        text = line.strip()
        if text.lower() in _HEADINGS and line == line.lstrip():
            heading = text.lower()
        elif not heading:
            words.append(text)
        elif heading in _ARGUMENT_HEADINGS and text:
            current = _read_argument(line, text, current, arguments)
    description = re.sub(r"\s*\n\s*", " ", "\n".join(words).strip())
    if not description:
        raise TypeError(f"{name} needs a docstring: it is what a model reads to choose a tool")
    return description, arguments


def _read_argument(line: str, text: str, current: str, arguments: dict[str, str]) -> str:
    found = _ARGUMENT.fullmatch(text)
    depth = len(line) - len(line.lstrip())
    if found and (not current or depth <= 4):
        arguments[found[1]] = found[2]
        return found[1]
    if current:
        arguments[current] = f"{arguments[current]} {text}".strip()
    return current


def _problems(error: ValidationError) -> str:
    listed = problems_of(error, unknown="no such parameter")[:_PROBLEMS_SHOWN]
    return "; ".join(problem.line(otherwise="parameters") for problem in listed)[:300]


class _Untitled(GenerateJsonSchema):
    """Titles made from names tell a model nothing and cost tokens."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False
