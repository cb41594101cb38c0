"""Last state of each language model route, written by the processes that call it for those that show it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from portico.storage.engine.database import Database


@dataclass(frozen=True)
class RouteState:
    """`failing` counts the failures since the last answer; `why` is of the last one."""

    route: str
    answers: int
    failing: int
    why: str
    at: float

    @property
    def word(self) -> str:
        return "failing" if self.failing else "ok"


class RouteHealth:
    def __init__(self, db: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    async def answered(self, route: str) -> None:
        values = (route, self._clock())
        await self._db.write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO route_health (route, answers, failing, why, at) VALUES (?, 1, 0, '', ?) "
                    "ON CONFLICT (route) DO UPDATE SET answers = route_health.answers + 1, "
                    "failing = 0, why = '', at = excluded.at",
                    values,
                ).rowcount
            )
        )

    async def failed(self, route: str, why: str) -> None:
        values = (route, why, self._clock())
        await self._db.write(
            lambda connection: (
                connection.execute(
                    "INSERT INTO route_health (route, answers, failing, why, at) VALUES (?, 0, 1, ?, ?) "
                    "ON CONFLICT (route) DO UPDATE SET failing = route_health.failing + 1, "
                    "why = excluded.why, at = excluded.at",
                    values,
                ).rowcount
            )
        )

    async def all(self) -> dict[str, RouteState]:
        return await self._db.read(
            lambda connection: {
                row["route"]: RouteState(**dict(row))
                for row in connection.execute("SELECT route, answers, failing, why, at FROM route_health")
            }
        )
