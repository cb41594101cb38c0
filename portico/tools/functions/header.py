"""What a function file says of itself without being run: its tools, its inline script metadata, its problems.

Inline script metadata is https://packaging.python.org/en/latest/specifications/inline-script-metadata/ (PEP 723).
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from dataclasses import dataclass
from typing import Any, get_args

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from portico.tool import Effects, Reach, Risk, ToolSpec, reach_of

LARGEST_FILE = 1 << 20
_BLOCK = re.compile(r"(?m)^# /// (?P<type>[a-zA-Z0-9-]+)$\s(?P<content>(^#(| .*)$\s)+)^# ///$")
_FLAGS = ("timeout_s", "repeatable", "concurrency", "sandbox")


class BadFile(Exception):
    """It cannot be read as a file of functions; the message names the line."""


@dataclass(frozen=True)
class Outline:
    """What can be known of a file before it is loaded. Without tools it is a helper of others."""

    tools: tuple[ToolSpec, ...] = ()
    dependencies: tuple[str, ...] | None = None


def read_outline(name: str, content: bytes) -> Outline:
    """Raises `BadFile`."""
    if len(content) > LARGEST_FILE:
        raise BadFile(f"{name}: larger than {LARGEST_FILE} bytes")
    try:
        text = content.decode()
        tree = ast.parse(text)
    except UnicodeDecodeError:
        raise BadFile(f"{name}: not UTF-8") from None
    except SyntaxError as error:
        raise BadFile(f"{name}:{error.lineno or 1}: SyntaxError: {error.msg}") from None
    except (ValueError, RecursionError, MemoryError) as error:
        raise BadFile(f"{name}: {type(error).__name__}") from None
    tools = tuple(_outlined(node, call) for node, call in _declared(tree))
    return Outline(tools=tools, dependencies=_dependencies(name, text))


def _declared(tree: ast.Module) -> list[tuple[ast.FunctionDef | ast.AsyncFunctionDef, ast.Call | None]]:
    """Functions with `@tool(...)`, however the name was imported."""
    found = []
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        for decorator in node.decorator_list:
            called = decorator.func if isinstance(decorator, ast.Call) else decorator
            if getattr(called, "id", None) == "tool" or getattr(called, "attr", None) == "tool":
                found.append((node, decorator if isinstance(decorator, ast.Call) else None))
    return found


def _outlined(node: ast.FunctionDef | ast.AsyncFunctionDef, call: ast.Call | None) -> ToolSpec:
    """Enough for a list and for policy; the schema is known once the file can be loaded."""
    given: dict[str, Any] = {}
    for keyword in call.keywords if call else ():
        if keyword.arg and isinstance(keyword.value, ast.Constant):
            given[keyword.arg] = keyword.value.value
    effects: Any = given.get("effects")
    risk: Any = given.get("risk")
    words = (ast.get_docstring(node) or "").split("\n\n")[0]
    return ToolSpec(
        name=node.name[:64],
        description=" ".join(words.split()),
        parameters={"type": "object", "properties": {}},
        effects=effects if effects in get_args(Effects) else "write",
        risk=risk if risk in get_args(Risk) else "high",
        network=reach if (reach := reach_of(given.get("network", ""))) in get_args(Reach) else "hosts",
        **{name: given[name] for name in _FLAGS if isinstance(given.get(name), int | float)},
    )


def _dependencies(name: str, text: str) -> tuple[str, ...] | None:
    """What the script metadata asks for; None where there is none, and Portico's own environment does."""
    blocks = [match for match in _BLOCK.finditer(text) if match["type"] == "script"]
    if not blocks:
        return None
    if len(blocks) > 1:
        raise BadFile(f"{name}: two blocks of script metadata")
    lines = [line[2:] if line.startswith("# ") else line[1:] for line in blocks[0]["content"].splitlines()]
    line = text.count("\n", 0, blocks[0].start()) + 1
    try:
        found = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError as error:
        raise BadFile(f"{name}:{line}: the script metadata is not TOML: {error}") from None
    dependencies = found.get("dependencies", [])
    if not isinstance(dependencies, list) or not all(isinstance(one, str) for one in dependencies):
        raise BadFile(f"{name}:{line}: dependencies is a list of requirements")
    if any(one.lstrip().startswith("-") or "\n" in one for one in dependencies):
        raise BadFile(f"{name}:{line}: a dependency is a requirement, not an option")
    _check_python(f"{name}:{line}", found.get("requires-python", ""))
    return tuple(dependencies)


def _check_python(where: str, wanted: object) -> None:
    here = ".".join(map(str, sys.version_info[:3]))
    try:
        fits = SpecifierSet(str(wanted)).contains(here)
    except InvalidSpecifier:
        raise BadFile(f"{where}: requires-python is not a version specifier") from None
    if not fits:
        raise BadFile(f"{where}: it wants Python {str(wanted)[:40]}, this is {here}")
