"""Edits `portico.toml` with tomlkit, so that comments, order and layout stay.

Every edit is verified: the new text has to parse to the old content plus the change, else the file is left alone.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import InlineTable

from portico.errors import Misconfigured
from portico.private_files import PRIVATE, write_private

LONE_LF = re.compile(r"(?<!\r)\n")


def set_keys(path: Path, table: tuple[str, ...], values: Mapping[str, str]) -> None:
    """Set these keys in a table, created where it is missing. Raises `Misconfigured` with the lines to write."""
    _edit(path, lambda text: with_keys(text, table, values), table, values)


def put_table_first(path: Path, parent: tuple[str, ...], name: str, values: Mapping[str, str]) -> None:
    """Make a table the first in its parent, in place of one of that name. Raises `Misconfigured` likewise."""
    _edit(path, lambda text: with_first_table(text, parent, name, values), (*parent, name), values)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content; empty where there is no file. Raises `Misconfigured`."""
    return _parsed(path, _read(path))


def with_keys(text: str, table: tuple[str, ...], values: Mapping[str, str]) -> str:
    """The text with the keys set. Raises `ValueError` if that cannot be done."""
    wanted = tomllib.loads(text)
    _table_of(wanted, table).update(values)
    lines = _lines(text)
    own = next((section for section in _sections(lines) if section.path == table), None)
    if own:
        edited = _edited("".join(lines[own.start : own.end]), table, values)
        after = "".join((*lines[: own.start], edited, *lines[own.end :]))
    elif tomlkit.parse(text).as_string() == text:
        after = _edited(text, table, values)
    else:  # tomlkit would move tables
        after = _appended(text, _written(table, values))
    return _verified(_with_newlines_of(text, after), wanted)


def with_first_table(text: str, parent: tuple[str, ...], name: str, values: Mapping[str, str]) -> str:
    """The text with that table before all others of its parent. Raises `ValueError` if that cannot be done."""
    wanted = tomllib.loads(text)
    siblings = _table_of(wanted, parent)
    others = {key: one for key, one in siblings.items() if key != name}
    siblings.clear()
    siblings.update({name: dict(values), **others})
    lines = _without_table(_lines(text), (*parent, name))
    written = _written((*parent, name), values)
    if others:
        start = _start_of(lines, (*parent, next(iter(others))))
        after = "".join((*lines[:start], written, "\n", *lines[start:]))
    else:
        after = _appended("".join(lines), written)
    return _verified(_with_newlines_of(text, after), wanted)


@dataclass(frozen=True)
class _Section:
    """Lines from a header to the last key below it, in indexes; no path for an array of tables."""

    path: tuple[str, ...]
    start: int
    end: int

    def is_under(self, table: tuple[str, ...]) -> bool:
        return self.path[: len(table)] == table


def _lines(text: str) -> list[str]:
    """Not `splitlines`: that also splits at characters that strings may contain."""
    return re.findall(r"[^\n]*\n|[^\n]+", text)


def _sections(lines: list[str]) -> list[_Section]:
    """What looks like a header is one where the text before it is complete: not within a string or an array."""
    starts = [
        number
        for number, line in enumerate(lines)
        if line.lstrip(" \t").startswith("[") and _is_toml("".join(lines[:number]))
    ]
    return [
        _Section(_path_of(lines[start]), start, _end_of(lines, start, following))
        for start, following in pairwise((*starts, len(lines)))
    ]


def _is_toml(text: str) -> bool:
    try:
        tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return False
    return True


def _path_of(header: str) -> tuple[str, ...]:
    here: Any = tomllib.loads(header)
    path = []
    while isinstance(here, dict) and here:
        [(step, here)] = here.items()
        path.append(step)
    return tuple(path) if isinstance(here, dict) else ()


def _end_of(lines: list[str], start: int, following: int) -> int:
    """Blank lines and comments at the end belong to the next section."""
    end = following
    while end > start + 1 and (not lines[end - 1].strip() or _is_comment(lines[end - 1])):
        end -= 1
    return end


def _is_comment(line: str) -> bool:
    return line.lstrip(" \t").startswith("#")


def _start_of(lines: list[str], table: tuple[str, ...]) -> int:
    """The first of the comment lines directly above a table. Raises `ValueError` for inline tables."""
    start = next((section.start for section in _sections(lines) if section.is_under(table)), None)
    if start is None:
        raise ValueError("the table has no header of its own")
    while start and _is_comment(lines[start - 1]):
        start -= 1
    return start


def _without_table(lines: list[str], table: tuple[str, ...]) -> list[str]:
    """The lines without a table and its subtables."""
    dropped = {
        number
        for section in _sections(lines)
        if section.is_under(table)
        for number in range(section.start, section.end)
    }
    return [line for number, line in enumerate(lines) if number not in dropped]


def _edited(text: str, table: tuple[str, ...], values: Mapping[str, str]) -> str:
    document = tomlkit.parse(text)
    here: Any = document
    for number, step in enumerate(table):
        if step not in here:
            if isinstance(here, InlineTable):
                here[step] = tomlkit.inline_table()
            else:
                here[step] = tomlkit.table(is_super_table=number < len(table) - 1)
        here = here[step]
    for key, value in values.items():
        here[key] = value
    return document.as_string()


def _appended(text: str, written: str) -> str:
    ended = text if not text or text.endswith("\n") else f"{text}\n"
    gap = "\n" if ended and not ended.endswith(("\n\n", "\n\r\n")) else ""
    return f"{ended}{gap}{written}"


def _written(table: tuple[str, ...], values: Mapping[str, str]) -> str:
    return _edited("", table, values)


def _table_of(content: dict[str, Any], table: tuple[str, ...]) -> dict[str, Any]:
    here: Any = content
    for step in table:
        here = here.setdefault(step, {})
        if not isinstance(here, dict):
            raise ValueError(f"{step} is not a table")
    return here  # type: ignore[no-any-return]


def _with_newlines_of(before: str, after: str) -> str:
    """New lines end as all others do; a file with both kinds gets LF."""
    if "\r\n" not in before or LONE_LF.search(before):
        return after
    return LONE_LF.sub("\r\n", after)


def _verified(text: str, wanted: Mapping[str, Any]) -> str:
    """Also the order of tables counts: routes are tried in it."""
    if _ordered(tomllib.loads(text)) != _ordered(wanted):
        raise ValueError("the file would mean something else")
    return text


def _ordered(content: Mapping[str, Any]) -> tuple[Mapping[str, Any], list[str]]:
    llm = content.get("llm")
    routes = llm.get("routes") if isinstance(llm, Mapping) else None
    return content, list(routes) if isinstance(routes, Mapping) else []


def _edit(
    path: Path, change: Callable[[str], str], table: tuple[str, ...], values: Mapping[str, str]
) -> None:
    before = _read(path)
    _parsed(path, before)
    try:
        after = change(before)
        if after != before:
            target = path.resolve()
            mode = target.stat().st_mode & 0o777 if target.exists() else PRIVATE
            write_private(target, after, mode=mode)
    except (ValueError, TOMLKitError):
        why = "is not shaped for this change"
    except OSError as error:  # in a container the settings are read-only
        why = f"cannot be written here ({error.strerror})"
    else:
        return
    raise Misconfigured(f"{path} {why}; add this by hand:\n{_written(table, values)}")


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode()  # newlines as they are
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not TOML: {error}") from None
