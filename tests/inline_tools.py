"""Tools of a test, run in the test's own process: for gates and failures that a process of its own could not share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from pydantic import JsonValue
from pydantic_core import from_json, to_json

from portico.contracts.steps import ToolCall
from portico.tool import Person, ToolContext, ToolSpec, spec_of
from portico.tools.catalog import Catalog, RunningTool


class InlineSource:
    """Functions of the test."""

    name = "inline"

    def __init__(self, *functions: Callable[..., Any]) -> None:
        self._specs = [_hashed(spec_of(function)) for function in functions]

    def specs(self) -> Sequence[ToolSpec]:
        return self._specs

    def problems(self) -> Sequence[str]:
        return ()

    async def watch(self, changed: Callable[[], None]) -> None:
        await asyncio.Event().wait()

    async def execute(self, spec: ToolSpec, call: ToolCall, run: RunningTool) -> JsonValue:
        arguments = spec.validate(dict(call.invocation.parameters))
        kept: list[tuple[str, bytes, str]] = []
        if spec.context_parameter:
            arguments[spec.context_parameter] = ToolContext(
                invocation_id=call.invocation_id,
                person=Person(call.actor.id, call.actor.role),
                language=call.language,
                report=run.progress,
                keep=lambda *file: kept.append(file),
            )
        assert spec.function is not None
        output = spec.function(**arguments)
        output = await output if spec.is_async else output
        for file in kept:
            await run.artifact(*file)
        written: JsonValue = from_json(to_json(output))
        return written


def inline_catalog(*functions: Callable[..., Any]) -> Catalog:
    return Catalog((InlineSource(*functions),))


def _hashed(spec: ToolSpec) -> ToolSpec:
    return replace(spec, content_hash=f"hash-of-{spec.name}", file=f"tests/{spec.name}")
