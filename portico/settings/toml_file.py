"""Edits `portico.toml` with tomlkit, so that comments, order and layout stay.

Every edit is verified: the new text has to parse to the old content plus the change, else the file is left alone.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AbstractTable, Table

from portico.errors import Misconfigured
from portico.private_files import PRIVATE, write_private

MARK = "portico-insert-here"


def set_keys(path: Path, table: tuple[str, ...], values: Mapping[str, str]) -> None:
    """Set these keys in a table, created where it is missing. Raises `Misconfigured` with the lines to write."""
    _edit(path, lambda text: with_keys(text, table, values), table, values)


def put_table_first(path: Path, parent: tuple[str, ...], name: str, values: Mapping[str, str]) -> None:
    """Make a table the first in its parent, in place of one of that name. Raises `Misconfigured` likewise."""
    _edit(path, lambda text: with_first_table(text, parent, name, values), (*parent, name), values)


def read_toml(path: Path) -> dict[str, Any]:
    """The file's content; empty where there is no file. Raises `Misconfigured`."""
    text = _read(path)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not TOML: {error}") from None


def with_keys(text: str, table: tuple[str, ...], values: Mapping[str, str]) -> str:
    """The text with the keys set. Raises `ValueError` if that cannot be done."""
    document = tomlkit.parse(text)
    here: Any = document
    for number, step in enumerate(table):
        if step not in here:
            here[step] = tomlkit.table(is_super_table=number < len(table) - 1)
        here = here[step]
        if not isinstance(here, AbstractTable | Mapping):
            raise ValueError(f"{step} is not a table")
    for key, value in values.items():
        here[key] = value
    wanted = tomllib.loads(text)
    _table_of(wanted, table).update(values)
    return _verified(document.as_string(), wanted)


def with_first_table(text: str, parent: tuple[str, ...], name: str, values: Mapping[str, str]) -> str:
    """The text with that table before all others of its parent. Raises `ValueError` if that cannot be done."""
    wanted = tomllib.loads(text)
    siblings = _table_of(wanted, parent)
    others = {key: one for key, one in siblings.items() if key != name}
    if name in siblings:
        text = _without_table(text, (*parent, name))
    siblings.clear()
    siblings.update({name: dict(values), **others})
    written = _written((*parent, name), values)
    if others:
        start, _ = _lines_of(text, (*parent, next(iter(others))))
        lines = text.splitlines(keepends=True)
        while start and lines[start - 1].lstrip().startswith("#"):  # such comments belong to the table below
            start -= 1
        return _verified("".join((*lines[:start], written, "\n", *lines[start:])), wanted)
    ended = text if not text or text.endswith("\n") else f"{text}\n"
    gap = "\n" if ended and not ended.endswith("\n\n") else ""
    return _verified(f"{ended}{gap}{written}", wanted)


def _without_table(text: str, table: tuple[str, ...]) -> str:
    start, end = _lines_of(text, table)
    lines = text.splitlines(keepends=True)
    return "".join((*lines[:start], *lines[end:]))


def _lines_of(text: str, table: tuple[str, ...]) -> tuple[int, int]:
    """First line of a table (its header) and the one after its last key. Raises `ValueError` for inline tables."""
    document = tomlkit.parse(text)
    item: Any = document
    for step in table:
        item = item[step]
    if not isinstance(item, Table) or item.is_super_table():
        raise ValueError("the table is written inline")
    body = item.as_string().splitlines()
    while body and (not body[-1].strip() or body[-1].lstrip().startswith("#")):
        body.pop()
    item.comment(MARK)
    marked = document.as_string().splitlines()
    start = next((number for number, line in enumerate(marked) if line.endswith(MARK)), None)
    if start is None:
        raise ValueError("the table has no header of its own")
    return start, start + 1 + len(body)


def _written(table: tuple[str, ...], values: Mapping[str, str]) -> str:
    document = tomlkit.document()
    here: Any = document
    for number, step in enumerate(table):
        here[step] = tomlkit.table(is_super_table=number < len(table) - 1)
        here = here[step]
    for key, value in values.items():
        here[key] = value
    return document.as_string()


def _table_of(content: dict[str, Any], table: tuple[str, ...]) -> dict[str, Any]:
    here: Any = content
    for step in table:
        here = here.setdefault(step, {})
        if not isinstance(here, dict):
            raise ValueError(f"{step} is not a table")
    return here  # type: ignore[no-any-return]


def _verified(text: str, wanted: Mapping[str, Any]) -> str:
    """Also the order of tables counts: routes are tried in it."""
    if _ordered(tomllib.loads(text)) != _ordered(wanted):
        raise ValueError("the file would mean something else")
    return text


def _ordered(content: Any) -> Any:
    routes = content.get("llm", {}).get("routes", {}) if isinstance(content, Mapping) else {}
    return copy.deepcopy(content), list(routes)


def _edit(
    path: Path, change: Callable[[str], str], table: tuple[str, ...], values: Mapping[str, str]
) -> None:
    before = _read(path)
    read_toml(path)
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
