"""Loads files of functions inside their process, and says what is wrong with one, and in which line."""

from __future__ import annotations

import hashlib
import linecache
import sys
import traceback
import types
from pathlib import Path
from typing import Any

from portico.tool import ToolSpec, spec_of

WORDS_SHOWN = 200


class Changed(Exception):
    """The file is not the one that was decided about."""


class FunctionFile:
    """One loaded file: its tools, and the files next to it that it imported."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.folder = str(Path(path).parent)
        content = Path(path).read_bytes()
        self.digest = _digest(content)
        self.module = types.ModuleType(f"portico_function_{Path(path).stem}")
        self.module.__file__ = path
        sys.modules[self.module.__name__] = self.module
        if self.folder not in sys.path:
            sys.path.append(self.folder)  # behind all else: a file named like a library must not stand for it
        exec(compile(content, path, "exec"), self.module.__dict__)
        linecache.checkcache(path)

    def specs(self) -> dict[str, ToolSpec]:
        """The tools that are declared in this file, by name."""
        found: dict[str, ToolSpec] = {}
        for value in list(vars(self.module).values()):
            if isinstance(value, types.FunctionType) and value.__module__ == self.module.__name__:
                spec = _spec(value)
                if spec is not None:
                    found[spec.name] = spec
        return found

    def beside(self) -> dict[str, str]:
        """Digest of every file of the same folder that it brought in, by path."""
        found: dict[str, str] = {}
        for module in list(sys.modules.values()):
            origin = getattr(module, "__file__", None)
            if not isinstance(origin, str) or origin == self.path or not origin.endswith(".py"):
                continue
            if Path(origin).is_relative_to(self.folder):
                found[origin] = _digest(Path(origin).read_bytes())
        return found

    def check(self, digests: dict[str, str]) -> None:
        """Raises `Changed`."""
        if digests.get(self.path) != self.digest:
            raise Changed(self.path)
        for path, digest in digests.items():
            if path != self.path and _digest(Path(path).read_bytes()) != digest:
                raise Changed(path)


def where(error: BaseException, path: str) -> str:
    """File and line of the function's own file that an error comes from."""
    if isinstance(error, SyntaxError) and error.filename == path:
        return f"{Path(path).name}:{error.lineno or 1}"
    lines = [frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename == path]
    return f"{Path(path).name}:{lines[-1].lineno}" if lines else Path(path).name


def broken(error: BaseException, path: str) -> str:
    """What is wrong with a file that cannot be loaded, in one line."""
    words = " ".join(str(error).split())[:WORDS_SHOWN]
    return f"{where(error, path)}: {type(error).__name__}" + (f": {words}" if words else "")


def _spec(function: Any) -> ToolSpec | None:
    try:
        return spec_of(function)
    except TypeError:
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
