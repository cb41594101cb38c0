"""Usage and cost of language models: a row for each response, a sum for each day (UTC).

The sums are stored as well, so that reading the cost of today does not scan the rows.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection

KEPT_DAYS = 30
"""How long single answers are kept; the sums stay."""
PRUNED_AT_ONCE = 100


@dataclass(frozen=True)
class AnswerRecord:
    """One answer, whole or broken off. The same `key` is counted once.

    `estimated`: the server gave no counts, so they were reckoned from the text.
    """

    key: str
    person: str
    route: str
    decision_id: str
    finish: str
    input_tokens: int
    output_tokens: int
    cost: float = 0.0
    estimated: bool = False


@dataclass(frozen=True)
class UsageRow:
    """The sum of a day (UTC), person and route. `estimated` tells how many of the answers had no counts."""

    day: str
    person: str
    route: str
    answers: int
    estimated: int
    input_tokens: int
    output_tokens: int
    cost: float


@dataclass(frozen=True)
class CostToday:
    """What has been spent today, by all, by one person and by each route."""

    total: float = 0.0
    person: float = 0.0
    routes: tuple[tuple[str, float], ...] = ()

    def of_route(self, name: str) -> float:
        return dict(self.routes).get(name, 0.0)


class ModelUsage:
    def __init__(self, db: Database, *, clock: Callable[[], float] = time.time) -> None:
        self._db = db
        self._clock = clock

    async def record(self, answer: AnswerRecord) -> None:
        """Count an answer; recording the same key again changes nothing."""
        now = self._clock()
        await self._db.write(lambda connection: _record(connection, answer, now))

    async def today(self, person: str) -> CostToday:
        day = _day(self._clock())

        def work(connection: Connection) -> CostToday:
            rows = connection.execute(
                "SELECT route, sum(cost) AS cost, sum(CASE WHEN person = ? THEN cost ELSE 0 END) AS own "
                "FROM model_usage WHERE day = ? GROUP BY route ORDER BY route",
                (person, day),
            ).fetchall()
            return CostToday(
                total=sum(row["cost"] for row in rows),
                person=sum(row["own"] for row in rows),
                routes=tuple((row["route"], row["cost"]) for row in rows),
            )

        return await self._db.read(work)

    async def rows(self, *, days: int, person: str | None = None) -> tuple[UsageRow, ...]:
        """The sums of today and the days before, newest first; of one person where one is named."""
        first = (datetime.fromtimestamp(self._clock(), UTC) - timedelta(days=days - 1)).date().isoformat()

        def work(connection: Connection) -> tuple[UsageRow, ...]:
            rows = connection.execute(
                "SELECT day, person, route, sum(answers), sum(CASE WHEN estimated = 1 THEN answers ELSE 0 END), "
                "sum(input_tokens), sum(output_tokens), sum(cost) FROM model_usage "
                "WHERE day >= ? AND (CAST(? AS TEXT) IS NULL OR person = ?) "
                "GROUP BY day, person, route ORDER BY day DESC, route, person",
                (first, person, person),
            )
            return tuple(UsageRow(*row) for row in rows)

        return await self._db.read(work)


def _day(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).date().isoformat()


def _record(connection: Connection, answer: AnswerRecord, now: float) -> None:
    added = connection.execute(
        "INSERT INTO model_answers (key, at, person, route, decision_id, finish, input_tokens, "
        "output_tokens, cost, estimated) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
        (
            answer.key,
            now,
            answer.person,
            answer.route,
            answer.decision_id,
            answer.finish,
            answer.input_tokens,
            answer.output_tokens,
            answer.cost,
            int(answer.estimated),
        ),
    ).rowcount
    if not added:
        return
    connection.execute(
        "INSERT INTO model_usage (day, person, route, estimated, answers, input_tokens, output_tokens, cost) "
        "VALUES (?, ?, ?, ?, 1, ?, ?, ?) ON CONFLICT (day, person, route, estimated) DO UPDATE SET "
        "answers = model_usage.answers + 1, "
        "input_tokens = model_usage.input_tokens + excluded.input_tokens, "
        "output_tokens = model_usage.output_tokens + excluded.output_tokens, "
        "cost = model_usage.cost + excluded.cost",
        (
            _day(now),
            answer.person,
            answer.route,
            int(answer.estimated),
            answer.input_tokens,
            answer.output_tokens,
            answer.cost,
        ),
    )
    connection.execute(
        "DELETE FROM model_answers WHERE key IN "
        "(SELECT key FROM model_answers WHERE at < ? ORDER BY at LIMIT ?)",
        (now - KEPT_DAYS * 86400, PRUNED_AT_ONCE),
    )
