"""`portico tools new`: a function file and its test, ready to run."""

from __future__ import annotations

from pathlib import Path

from portico.errors import BadInput, Conflict
from portico.tool import NAME

FUNCTION = '''"""{title}."""

from __future__ import annotations

from portico.tool import AskAgain, ToolContext, tool


@tool(effects="none", risk="low", timeout_s=10, repeatable=True)
def {name}(context: ToolContext, text: str, times: int = 1) -> str:
    """Say something, several times.

    Args:
        text: what to say
        times: how often
    """
    if not 1 <= times <= 100:
        raise AskAgain("times lies between 1 and 100")
    context.progress("saying it")
    return " ".join([text] * times)
'''

TEST = """from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

from portico.testing import run_tool
from portico.tool import AskAgain

SPEC = importlib.util.spec_from_file_location("{name}", Path(__file__).with_name("{name}.py"))
assert SPEC is not None and SPEC.loader is not None
MODULE = importlib.util.module_from_spec(SPEC)
sys.modules["{name}"] = MODULE
SPEC.loader.exec_module(MODULE)


def test_it_says_it() -> None:
    assert run_tool(MODULE.{name}, text="hello", times=2).output == "hello hello"


def test_it_asks_again() -> None:
    with pytest.raises(AskAgain):
        run_tool(MODULE.{name}, text="hello", times=0)
"""


def write_tool(name: str, folder: Path) -> tuple[Path, Path]:
    """The function's file and its test. Raises `BadInput` or `Conflict`; nothing is written over."""
    if not NAME.fullmatch(name) or name.startswith("test_"):
        raise BadInput(f"{name!r} cannot name a tool: lower-case letters, digits and _, at most 64")
    function, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in (function, test):
        if path.exists():
            raise Conflict(f"{path} is there already")
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    test.write_text(TEST.format(name=name))
    function.write_text(FUNCTION.format(name=name, title=name.replace("_", " ").capitalize()))
    return function, test
