"""One stack with tools of the tests' own, an MCP server that it uses, and a receiver of its results."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.tools.support import Doors
from tests.fakes.hook import FakeReceiver
from tests.portico.tools.mcp.test_source import Strange
from tests.support import RunningStack

FUNCTIONS = '''
"""Tools of the tests."""

import base64
import time

from portico.tool import ToolContext, tool

PIXEL = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)


@tool(effects="none", risk="low", timeout_s=60)
def nap(seconds: float, context: ToolContext) -> str:
    """Sleeps, and says all the while which run it is."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        context.progress(context.invocation_id, 0.5)
        context.raise_if_cancelled()
        time.sleep(0.05)
    return "rested"


@tool(effects="none", risk="high")
def launch(target: str) -> str:
    """Does what no member may."""
    return f"launched at {target}"


@tool(effects="write", risk="medium")
def change(what: str) -> str:
    """Changes something, after somebody said yes."""
    return f"changed {what}"


@tool(effects="none", risk="low")
def paint(size: int, context: ToolContext) -> dict[str, int]:
    """Makes a picture and a text."""
    context.artifact("pixel.png", PIXEL, "image/png")
    context.artifact("words.txt", b"x" * size, "text/plain")
    return {"size": size, "large": 2**60}


@tool(effects="none", risk="low")
def fill(size: int) -> str:
    """Says very much."""
    return "x" * size
'''
SETTINGS = """
[limits]
body_bytes = 262144
request_timeout_s = 2
[tools]
callback_hosts = ["127.0.0.1:{receiver}"]
[mcp.servers.pal]
command = {command}
effects = "none"
risk = "low"
"""
READY_S = 30


@pytest.fixture(scope="session")
def doors(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Doors]:
    folder: Path = tmp_path_factory.mktemp("doors")
    strange = Strange(folder)
    strange.offer(echo="Says it again.", picture="Makes a picture.")
    with FakeReceiver() as receiver:
        command = str([sys.executable, *strange.command[1:]]).replace("'", '"')
        running = RunningStack(
            folder / "home", settings=SETTINGS.format(receiver=receiver.port, command=command)
        )
        running.home.functions.mkdir(exist_ok=True)
        (running.home.functions / "of_tests.py").write_text(FUNCTIONS)
        try:
            running.start()
            doors = Doors(running, receiver, strange)
            _await_tools(doors, {"nap", "pal_echo", "calculator"})
            yield doors
        finally:
            running.stop()


def _await_tools(doors: Doors, names: set[str]) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        with doors.client() as owner:
            there = {tool["name"] for tool in owner.get("/v1/tools").json() if not tool["unavailable"]}
        if names <= there:
            return
        time.sleep(0.1)
    raise AssertionError(f"not there: {names - there}")
