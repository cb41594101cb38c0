"""Pinned descriptions of MCP tools: a description that changes has to be approved again.

The tools that a server has when it is first met are taken as they are: the owner has just written it into the
settings. What comes later, a changed tool or one more, waits for a yes.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from portico.errors import Conflict, NotFound
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.statements import put

_COLUMNS = (
    "name, server, tool, content_hash, description, parameters, "
    "pending_hash, pending_description, pending_parameters"
)
_PUT = (
    *("name", "server", "identity", "tool", "content_hash", "description", "parameters"),
    *("pending_hash", "pending_description", "pending_parameters"),
    *("seen_at", "approved_at", "approved_by", "decision_id"),
)


@dataclass(frozen=True)
class Described:
    """A tool as its server describes it. `name` is what it is called here."""

    name: str
    tool: str
    description: str
    parameters: Mapping[str, Any]

    @property
    def content_hash(self) -> str:
        """SHA-256 (hex) over everything about it that a model or a person is shown."""
        exact = json.dumps([self.tool, self.description, self.parameters], sort_keys=True)
        return hashlib.sha256(exact.encode()).hexdigest()


@dataclass(frozen=True)
class Pin:
    """`approved` is empty for a tool without approval, `pending` for one that has not changed."""

    server: str
    approved: Described | None
    pending: Described | None

    @property
    def name(self) -> str:
        described = self.approved or self.pending
        assert described is not None
        return described.name


class McpPins:
    def __init__(self, db: Database) -> None:
        self._db = db

    async def meet(self, server: str, identity: str, seen: Sequence[Described]) -> tuple[Pin, ...]:
        """Hold what a server says now against what is pinned, and keep what is new of it.

        `identity` stands for where the server is: after the owner changed that, it is met again. A tool that the
        server no longer has keeps its pin, so that coming back does not make it trusted.
        """

        def work(connection: Connection) -> tuple[Pin, ...]:
            query = "SELECT name, content_hash FROM mcp_pins WHERE server = ? AND identity = ?"
            known = {
                row["name"]: row["content_hash"] for row in connection.execute(query, (server, identity))
            }
            if not known:
                connection.execute("DELETE FROM mcp_pins WHERE server = ?", (server,))
            for one in seen:
                if not known:
                    _insert(connection, server, identity, one, approved=True)
                elif one.name not in known:
                    _insert(connection, server, identity, one, approved=False)
                else:
                    _note(connection, one, changed=known[one.name] != one.content_hash)
            return _pins(connection, server)

        return await self._db.write(work, durable=True)

    async def of_server(self, server: str) -> tuple[Pin, ...]:
        return await self._db.read(lambda connection: _pins(connection, server))

    async def get(self, name: str) -> Pin:
        """Raises `NotFound`."""

        def work(connection: Connection) -> Pin | None:
            row = connection.execute(f"SELECT {_COLUMNS} FROM mcp_pins WHERE name = ?", (name,)).fetchone()
            return _pin(row) if row is not None else None

        pin = await self._db.read(work)
        if pin is None:
            raise NotFound(f"a tool '{name[:64]}' of an MCP server")
        return pin

    async def approve(self, name: str, content_hash: str, *, by: str, decision_id: str) -> None:
        """Take the pending description with exactly this hash. Raises `NotFound`, `Conflict` for another one."""
        values = (time.time(), by, decision_id, name, content_hash)

        def work(connection: Connection) -> bool:
            change = (
                "UPDATE mcp_pins SET content_hash = pending_hash, description = pending_description, "
                "parameters = pending_parameters, pending_hash = '', pending_description = '', "
                "pending_parameters = '', approved_at = ?, approved_by = ?, decision_id = ? "
                "WHERE name = ? AND pending_hash = ? AND pending_hash != ''"
            )
            return connection.execute(change, values).rowcount == 1

        await self.get(name)
        if not await self._db.write(work, durable=True):
            raise Conflict(f"{name} says something else by now, or nothing of it waits for approval")


def _insert(connection: Connection, server: str, identity: str, one: Described, *, approved: bool) -> None:
    now = time.time()
    description = (one.content_hash, one.description, json.dumps(one.parameters))
    nothing = ("", "", "")
    connection.execute(
        put("mcp_pins", _PUT, key=("name",)),
        (
            *(one.name, server, identity, one.tool),
            *(description if approved else nothing),
            *(nothing if approved else description),
            *(now, now if approved else 0.0, "", ""),
        ),
    )


def _note(connection: Connection, one: Described, *, changed: bool) -> None:
    description = (one.content_hash, one.description, json.dumps(one.parameters)) if changed else ("", "", "")
    connection.execute(
        "UPDATE mcp_pins SET tool = ?, pending_hash = ?, pending_description = ?, pending_parameters = ?, seen_at = ? "
        "WHERE name = ?",
        (one.tool, *description, time.time(), one.name),
    )


def _pins(connection: Connection, server: str) -> tuple[Pin, ...]:
    rows: Iterable[Any] = connection.execute(
        f"SELECT {_COLUMNS} FROM mcp_pins WHERE server = ? ORDER BY name", (server,)
    )
    return tuple(_pin(row) for row in rows)


def _pin(row: Any) -> Pin:
    def described(prefix: str) -> Described | None:
        if not row[f"{prefix}hash" if prefix else "content_hash"]:
            return None
        return Described(
            name=row["name"],
            tool=row["tool"],
            description=row[f"{prefix}description"],
            parameters=json.loads(row[f"{prefix}parameters"]),
        )

    return Pin(server=row["server"], approved=described(""), pending=described("pending_"))
