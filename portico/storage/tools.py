"""The catalog as the worker published it: what api and CLI know of tools."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass

from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.engine.statements import put
from portico.tool import ToolSpec

FRESH_S = 0.3


@dataclass(frozen=True)
class PublishedTools:
    """A snapshot. `published` is false until a worker has published."""

    specs: tuple[ToolSpec, ...] = ()
    problems: tuple[str, ...] = ()
    published: bool = False


class ToolTable:
    def __init__(self, db: Database) -> None:
        self._db = db
        self._known = PublishedTools()
        self._read_at = 0.0

    async def publish(self, specs: Sequence[ToolSpec], problems: Sequence[str]) -> None:
        """Replace what was there."""
        rows = [(spec.name, json.dumps(spec.to_json())) for spec in specs]
        wrong = list(enumerate(problems))

        def work(connection: Connection) -> None:
            connection.execute("DELETE FROM tools")
            connection.execute("DELETE FROM tool_problems")
            connection.executemany("INSERT INTO tools (name, spec) VALUES (?, ?)", rows)
            connection.executemany("INSERT INTO tool_problems (position, problem) VALUES (?, ?)", wrong)
            connection.execute(put("tools_published", ("id", "at"), key=("id",)), (1, time.time()))

        await self._db.write(work)
        self._read_at = 0.0

    async def read(self) -> PublishedTools:
        """At most a third of a second old."""
        if time.monotonic() - self._read_at > FRESH_S:
            self._known = await self._db.read(_all)
            self._read_at = time.monotonic()
        return self._known

    async def list(self) -> tuple[ToolSpec, ...]:
        return (await self.read()).specs

    async def get(self, name: str) -> ToolSpec | None:
        return next((spec for spec in await self.list() if spec.name == name), None)


def _all(connection: Connection) -> PublishedTools:
    specs = connection.execute("SELECT spec FROM tools ORDER BY name").fetchall()
    problems = connection.execute("SELECT problem FROM tool_problems ORDER BY position").fetchall()
    published = connection.execute("SELECT 1 FROM tools_published").fetchone()
    return PublishedTools(
        specs=tuple(ToolSpec.from_json(json.loads(row["spec"])) for row in specs),
        problems=tuple(str(row["problem"]) for row in problems),
        published=published is not None,
    )
