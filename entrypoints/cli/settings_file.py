"""How commands write into `portico.toml`: one table at a time, and every comment stays where it was."""

from __future__ import annotations

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from portico.errors import Misconfigured

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(#.*)?$")


def write_table(path: Path, table: str, values: Mapping[str, str]) -> None:
    """Put these keys into `[table]` of the file, made where there is none. Raises `Misconfigured`."""
    before = path.read_text() if path.exists() else ""
    try:
        after = with_table(before, table, values)
        _replace(path, after)
    except (ValueError, tomllib.TOMLDecodeError):
        why = "is written in a way that I leave alone"
    except OSError as error:  # in a container the settings are only to be read
        why = f"cannot be written here ({error.strerror})"
    else:
        return
    lines = "; ".join(f"{key} = {_quoted(value)}" for key, value in values.items())
    raise Misconfigured(f"{path} {why}; put this under [{table}]: {lines}")


def _replace(path: Path, text: str) -> None:
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.touch(mode=0o600)
    beside.write_text(text)
    if path.exists():
        beside.chmod(path.stat().st_mode & 0o777)
    beside.replace(path)


def with_table(text: str, table: str, values: Mapping[str, str]) -> str:
    """The text with the keys in `[table]`. Raises `ValueError` where the result would not say so."""
    lines = text.removesuffix("\n").split("\n") if text else []
    start = next((number for number, line in enumerate(lines) if _header(line) == table), None)
    if start is None:
        lines += ([""] if lines and lines[-1].strip() else []) + [f"[{table}]"]
        start = len(lines) - 1
    end = next((n for n in range(start + 1, len(lines)) if lines[n].lstrip().startswith("[")), len(lines))
    for key, value in values.items():
        line = f"{key} = {_quoted(value)}"
        at = next((n for n in range(start + 1, end) if re.match(rf"\s*{re.escape(key)}\s*=", lines[n])), None)
        if at is None:
            lines.insert(start + 1 + list(values).index(key), line)
            end += 1
        else:
            lines[at] = line + _comment(lines[at])
    result = "\n".join(lines) + "\n"
    _check(text, result, table, values)
    return result


def _check(before: str, after: str, table: str, values: Mapping[str, str]) -> None:
    """The text says what was wanted, and says all else as it did."""
    wanted: dict[str, Any] = tomllib.loads(before)
    here = wanted
    for name in table.split("."):
        here = here.setdefault(name, {})
    here.update(values)
    if tomllib.loads(after) != wanted:
        raise ValueError(table)


def _header(line: str) -> str:
    found = _HEADER.match(line)
    return ".".join(part.strip().strip("\"'") for part in found.group(1).split(".")) if found else ""


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False)


def _comment(line: str) -> str:
    """A comment behind a value that is a plain string, or nothing."""
    found = re.match(r"""\s*[\w-]+\s*=\s*("[^"\\]*"|'[^']*')(\s*#.*)$""", line)
    return found.group(2) if found else ""
