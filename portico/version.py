"""Which Portico this is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def portico_version() -> str:
    try:
        return version("portico")
    except PackageNotFoundError:  # run from a checkout that is only on the path
        return "0+checkout"
