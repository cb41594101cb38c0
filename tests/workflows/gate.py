"""Holds a step until the test lets it go."""

from __future__ import annotations

import asyncio
from typing import Any

from activities.functions import time as time_tool
from activities.functions.calculator import calculator
from portico.tool import ToolContext, tool
from portico.tools.catalog import Catalog
from tests.inline_tools import inline_catalog

PNG = b"\x89PNG\r\n\x1a\n of the tests"


class Gate:
    """Keeps the `time` tool waiting while it is closed: a long tool that really runs."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.open.set()
        self.waiting = 0
        self.notes: list[str] = []

    def catalog(self) -> Catalog:
        """In this process: a gate could not be shared with another."""
        gate = self

        async def time(context: ToolContext, place: str = "") -> Any:
            """The time in a place, once the gate is open.

            Args:
                place: a city
            """
            gate.waiting += 1
            try:
                await gate.open.wait()
            finally:
                gate.waiting -= 1
            return time_tool.time(context, place)

        def note(text: str, times: int = 1) -> str:
            """Write a note. It changes something, so somebody has to agree.

            Args:
                text: what to write
                times: how often
            """
            gate.notes += [text] * times
            return f"noted: {text}"

        async def slow_note(text: str) -> str:
            """Write a note once the gate is open.

            Args:
                text: what to write
            """
            gate.waiting += 1
            try:
                await gate.open.wait()
            finally:
                gate.waiting -= 1
            gate.notes.append(text)
            return f"noted: {text}"

        def picture(context: ToolContext, name: str = "dot.png") -> str:
            """Make a picture.

            Args:
                name: its file's name
            """
            context.artifact(name, PNG, "image/png")
            return "Here it is."

        def post(text: str) -> str:
            """Post something where others read it, which more than one person should want.

            Args:
                text: what to post
            """
            gate.notes.append(text)
            return f"posted: {text}"

        gated = tool(effects="none", risk="low", timeout_s=60, repeatable=True)(time)
        low = tool(effects="write", risk="low", timeout_s=60)
        return inline_catalog(
            calculator,
            gated,
            low(note),
            low(slow_note),
            tool(effects="none", risk="low")(picture),
            tool(effects="write", risk="medium")(post),
        )
