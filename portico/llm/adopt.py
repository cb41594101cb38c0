"""Makes a found model a route: writes it into `portico.toml`, first in order, and leaves the rest alone."""

from __future__ import annotations

import json
import os
import re
import tempfile
import tomllib
from pathlib import Path
from typing import Any

from portico.errors import Misconfigured
from portico.llm.detect import Offer
from portico.logs import logger
from portico.settings.home import Home
from portico.settings.load import load_settings, settings_path
from portico.settings.settings import Settings

_ROUTE_HEADER = re.compile(r"^[ \t]*\[\s*llm\s*\.\s*routes\s*\.[^\]\n]+\]", re.MULTILINE)
_ANY_HEADER = re.compile(r"^[ \t]*\[", re.MULTILINE)

log = logger("settings")


def adopt(path: Path, offer: Offer) -> str:
    """Give the offer a route, the first to be tried; its name. Comments and other keys of the file stay.

    Raises `Misconfigured`, with what to write by hand, where the file is not shaped for that or not writable.
    """
    return put_route(path, offer.name, {"kind": "openai", "base_url": offer.base_url, "model": offer.model})


def put_route(path: Path, label: str, wanted: dict[str, str]) -> str:
    """The same with any table of a route; `label` is what its name is made of."""
    old = _read(path)
    name = re.sub(r"[^A-Za-z0-9_]+", "-", label).strip("-").lower()
    routes: dict[str, Any] = _parsed(path, old).get("llm", {}).get("routes", {})
    if routes.get(name) == wanted and next(iter(routes)) == name:
        return name
    table = _table(name, wanted)
    new = _with_table(_without_route(old, name), table)
    if not _is_what_was_meant(path, old, new, name, wanted):
        raise Misconfigured(
            f"{path} is not shaped for a new table; add this by hand, before other routes:\n{table}"
        )
    try:
        _replace(path, new)
    except OSError as error:
        raise Misconfigured(
            f"{path} cannot be written ({error.strerror}); add this by hand:\n{table}"
        ) from None
    return name


class SettingsFile:
    """Tells when `portico.toml` has changed, for a few microseconds a look."""

    def __init__(self, home: Home, config: Path | None = None) -> None:
        self._home = home
        self._config = config
        self._seen = self._stamp()

    def changed(self) -> Settings | None:
        """The settings, once for each change; none while nothing changed or the file cannot be used."""
        stamp = self._stamp()
        if stamp == self._seen:
            return None
        self._seen = stamp
        try:
            return load_settings(self._home, self._config)
        except Misconfigured as error:
            log.warning("settings.not_taken", why=error.message)
            return None

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            status = settings_path(self._home, self._config).stat()
        except OSError:
            return None
        return status.st_mtime_ns, status.st_size, status.st_ino


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        raise Misconfigured(f"{path} cannot be read: {error}") from None


def _parsed(path: Path, text: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Misconfigured(f"{path} is not TOML: {error}") from None


def _table(name: str, wanted: dict[str, str]) -> str:
    # A JSON string is a TOML basic string.
    lines = "".join(f"{key} = {json.dumps(value, ensure_ascii=False)}\n" for key, value in wanted.items())
    return f"[llm.routes.{name}]\n{lines}"


def _without_route(text: str, name: str) -> str:
    named = rf"^[ \t]*\[\s*llm\s*\.\s*routes\s*\.\s*\"?{re.escape(name)}\"?\s*\][^\n]*\n?"
    header = re.search(named, text, re.MULTILINE)
    if not header:
        return text
    following = _ANY_HEADER.search(text, header.end())
    end = _comments_above(text, following.start()) if following else len(text)
    return text[: header.start()] + text[end:]


def _with_table(text: str, table: str) -> str:
    first = _ROUTE_HEADER.search(text)
    if not first:
        gap = "\n" if text and not text.endswith("\n\n") else ""
        return f"{text}{'' if not text or text.endswith(chr(10)) else chr(10)}{gap}{table}"
    place = _comments_above(text, first.start())
    return f"{text[:place]}{table}\n{text[place:]}"


def _comments_above(text: str, place: int) -> int:
    """Where the comment lines directly above begin: they belong to what follows."""
    while place:
        line_start = text.rfind("\n", 0, place - 1) + 1
        if not text[line_start:place].lstrip().startswith("#"):
            return place
        place = line_start
    return place


def _is_what_was_meant(path: Path, old: str, new: str, name: str, wanted: dict[str, str]) -> bool:
    before = _parsed(path, old)
    try:
        after = tomllib.loads(new)
    except tomllib.TOMLDecodeError:
        return False
    others = before.setdefault("llm", {}).setdefault("routes", {})
    others.pop(name, None)
    routes = after.get("llm", {}).get("routes", {})
    first = next(iter(routes), None)
    return first == name and routes.pop(name) == wanted and after == before and list(routes) == list(others)


def _replace(path: Path, text: str) -> None:
    target = path.resolve()
    mode = target.stat().st_mode & 0o777 if target.exists() else 0o600
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=target.parent, prefix=".portico-toml-")
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.chmod(temporary, mode)
    os.replace(temporary, target)
