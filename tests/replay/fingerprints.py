"""What workflow code does, as a hash: its syntax tree without docstrings, comments and places."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
FILE = Path(__file__).with_name("fingerprints.json")


def current() -> dict[str, str]:
    paths = sorted((CHECKOUT / "workflows").glob("*.py"))
    return {path.name: of(path.read_text()) for path in paths if path.name != "__init__.py"}


def saved() -> dict[str, str]:
    content: dict[str, str] = json.loads(FILE.read_text())
    return content


def save() -> None:
    FILE.write_text(json.dumps(current(), indent=2) + "\n")


def of(source: str) -> str:
    return hashlib.sha256(_written(ast.parse(source)).encode()).hexdigest()[:16]


def _written(node: object) -> str:
    """The same for every version of Python: empty fields, which newer versions add, are left out."""
    if isinstance(node, list):
        return f"[{','.join(filter(None, map(_written, node)))}]"
    if not isinstance(node, ast.AST):
        return repr(node)
    fields = (
        f"{name}={_written(value)}"
        for name, value in ast.iter_fields(node)
        if value not in (None, [], ()) and not (name == "kind" and isinstance(node, ast.Constant))
    )
    if (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    ):
        return ""  # a docstring, of whatever stands before it
    return f"{type(node).__name__}({','.join(fields)})"
