"""What a tool's function gets to see, and what it may raise. Everything here is offered by `portico.tool`.

Imported in the process of a function, which may have an environment of its own: standard library and pydantic only.
"""

from __future__ import annotations

import mimetypes
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, ValidationInfo
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from portico.errors import PorticoError

OCTETS = "application/octet-stream"


class ToolError(PorticoError):
    """Base of what a tool raises on purpose. The message is shown to the person who asked."""


class ToolFailed(ToolError):
    """The tool did its best and it did not work. The same call again will not help."""

    code = "tool_failed"


class AskAgain(ToolError):
    """The call could work if it were put differently; the message tells the model or person how."""

    code = "ask_again"


class BadParameters(AskAgain):
    """The parameters do not fit the tool's schema."""

    code = "bad_parameters"


class ApprovalRequired(ToolError):
    """What was asked for needs a person's yes first."""

    code = "approval_required"


@dataclass(frozen=True)
class Person:
    """Who asks, as Portico knows them."""

    id: str = ""
    role: str = "guest"


@dataclass(frozen=True)
class WorkspaceFile:
    """A file of a person's workspace, without its content."""

    path: str
    size_bytes: int
    media_type: str
    modified_at: datetime


class Workspace(Protocol):
    """The person's own files. Paths are relative and cannot lead out; what is wrong raises `ToolFailed`."""

    def list(self, prefix: str = "") -> list[WorkspaceFile]: ...

    def read(self, path: str) -> bytes: ...

    def write(self, path: str, data: bytes, media_type: str = "") -> WorkspaceFile: ...

    def move(self, path: str, to: str) -> WorkspaceFile: ...

    def delete(self, path: str) -> None: ...

    def exists(self, path: str) -> bool: ...


@dataclass(frozen=True)
class SandboxAccess:
    """Where the sandbox service is, for the official SDK, and the metadata that each sandbox of this run gets."""

    api_url: str
    sandbox_url: str
    api_key: str = field(repr=False)
    metadata: dict[str, str] = field(default_factory=dict)


class File:
    """A file as a parameter or a result.

    As a parameter it is given as a path in the workspace, or as `{"artifact": "INVOCATION/NAME"}`. As a result,
    alone or inside a list, dict or model, it becomes an artifact of the run.
    """

    __slots__ = ("data", "media_type", "name")

    def __init__(self, name: str, data: bytes, media_type: str = "") -> None:
        self.name = name
        self.data = data
        self.media_type = media_type or media_type_of(name)

    def __repr__(self) -> str:
        return f"File({self.name!r}, {len(self.data)} bytes, {self.media_type})"

    @classmethod
    def __get_pydantic_core_schema__(
        cls, source: Any, handler: GetCoreSchemaHandler
    ) -> core_schema.CoreSchema:
        return core_schema.with_info_plain_validator_function(
            cls._validated,
            serialization=core_schema.plain_serializer_function_ser_schema(cls._serialized, info_arg=True),
        )

    @classmethod
    def __get_pydantic_json_schema__(
        cls, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        artifact = {
            "type": "object",
            "properties": {"artifact": {"type": "string"}},
            "required": ["artifact"],
            "additionalProperties": False,
        }
        return {"anyOf": [{"type": "string", "minLength": 1}, artifact], "format": "portico-file"}

    @classmethod
    def _validated(cls, value: Any, info: ValidationInfo) -> File:
        if isinstance(value, cls):
            return value
        load = (info.context or {}).get("files")
        if load is None:
            raise ValueError("there is no workspace to take a file from")
        if isinstance(value, str) and value:
            return load(path=value)  # type: ignore[no-any-return]
        if isinstance(value, dict) and set(value) == {"artifact"} and isinstance(value["artifact"], str):
            return load(artifact=value["artifact"])  # type: ignore[no-any-return]
        raise ValueError('a file is a path in the workspace, or {"artifact": "INVOCATION/NAME"}')

    @staticmethod
    def _serialized(value: File, info: core_schema.SerializationInfo) -> Any:
        context: Any = info.context
        keep = context.get("keep") if isinstance(context, dict) else None
        if keep is None:
            return {"name": value.name, "mediaType": value.media_type, "sizeBytes": len(value.data)}
        return keep(value)


def media_type_of(name: str) -> str:
    """What the name's ending says."""
    return mimetypes.guess_type(name)[0] or OCTETS


class _NoWorkspace:
    """Where a test gave none."""

    def _refuse(self, *_: Any, **__: Any) -> Any:
        raise ToolFailed(
            "there is no workspace here; give the context one (portico.testing has one in memory)"
        )

    list = read = write = move = delete = exists = _refuse


def _no_secret(name: str) -> str:
    raise ToolFailed(f"there is no secret {name} here")


def _no_artifact(name: str, data: bytes, media_type: str) -> None:
    return None


@dataclass(frozen=True)
class ToolContext:
    """What a tool knows of the call it serves. Made by Portico; in a test, by `portico.testing`."""

    invocation_id: str = ""
    person: Person = Person()
    language: str = "en"
    report: Callable[[str, float | None], None] = field(default=lambda _text, _fraction: None, repr=False)
    stop: threading.Event = field(default_factory=threading.Event, repr=False)
    workspace: Workspace = field(default_factory=_NoWorkspace, repr=False)
    scratch: Path = Path("/nonexistent")
    """A private directory, in memory where the machine allows it, gone after the call."""
    proxy_url: str = field(default="", repr=False)
    """The only way out to the network, for tools with `network=True`; empty where nothing is allowed."""
    sandbox: SandboxAccess | None = None
    secrets: Callable[[str], str] = field(default=_no_secret, repr=False)
    keep: Callable[[str, bytes, str], None] = field(default=_no_artifact, repr=False)

    def progress(self, text: str, fraction: float | None = None) -> None:
        """Report progress; `fraction` is between 0 and 1. Cheap, and callable from any thread."""
        self.report(text, fraction)

    @property
    def cancelled(self) -> bool:
        """True once the caller has gone. Long loops in ordinary functions should check it."""
        return self.stop.is_set()

    def raise_if_cancelled(self) -> None:
        if self.cancelled:
            raise ToolFailed("stopped")

    def secret(self, name: str) -> str:
        """A secret of the owner's store, if the tool declares it (`secrets=`). Raises `ToolFailed`."""
        return self.secrets(name)

    def artifact(self, name: str, data: bytes, media_type: str = "") -> None:
        """Keep a file with the result: encrypted, and there for who asked. The last one of a name counts."""
        self.keep(name, data, media_type or media_type_of(name))
