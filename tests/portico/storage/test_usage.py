from __future__ import annotations

import asyncio
from dataclasses import replace

from portico.storage.data_classes import DataClasses
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import Connection
from portico.storage.route_health import RouteHealth
from portico.storage.usage import KEPT_DAYS, AnswerRecord, ModelUsage, UsageRow

NOON = 1_800_000_000.0  # 2027-01-15, 08:00 UTC
DAY = 86400.0
ANSWER = AnswerRecord(
    key="turn-1.0.main.1",
    person="person-1",
    route="main",
    decision_id="decision-1",
    finish="stop",
    input_tokens=100,
    output_tokens=20,
    cost=0.5,
)


class Clock:
    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> float:
        return self.now


async def test_the_same_answer_is_counted_once(db: Database) -> None:
    usage = ModelUsage(db, clock=Clock())
    await asyncio.gather(*(usage.record(ANSWER) for _ in range(20)))
    await usage.record(replace(ANSWER, cost=99))
    assert await usage.rows(days=1) == (
        UsageRow("2027-01-15", "person-1", "main", 1, 0, 100, 20, 0.5),
    )  # fmt: skip


async def test_today_is_told_for_all_for_one_person_and_for_each_route(db: Database) -> None:
    clock = Clock()
    usage = ModelUsage(db, clock=clock)
    clock.now -= DAY
    await usage.record(replace(ANSWER, key="yesterday", cost=7))
    clock.now += DAY
    await usage.record(ANSWER)
    await usage.record(replace(ANSWER, key="b", person="person-2", cost=1.0))
    await usage.record(replace(ANSWER, key="c", route="cloud", cost=0.25))
    today = await usage.today("person-1")
    assert (today.total, today.person) == (1.75, 0.75)
    assert (today.of_route("main"), today.of_route("cloud"), today.of_route("none")) == (1.5, 0.25, 0.0)
    assert (await usage.today("nobody")).person == 0.0


async def test_a_day_with_nothing_costs_nothing(db: Database) -> None:
    today = await ModelUsage(db, clock=Clock()).today("person-1")
    assert (today.total, today.person, today.routes) == (0, 0, ())


async def test_reckoned_counts_are_told_apart(db: Database) -> None:
    usage = ModelUsage(db, clock=Clock())
    await usage.record(ANSWER)
    await usage.record(replace(ANSWER, key="b", estimated=True))
    (row,) = await usage.rows(days=1)
    assert (row.answers, row.estimated, row.input_tokens) == (2, 1, 200)


async def test_rows_are_of_the_days_asked_for_and_of_one_person(db: Database) -> None:
    clock = Clock()
    usage = ModelUsage(db, clock=clock)
    for number in range(5):
        clock.now = NOON - number * DAY
        await usage.record(replace(ANSWER, key=f"day-{number}", person=f"person-{number % 2}"))
    clock.now = NOON
    assert [row.day for row in await usage.rows(days=3)] == ["2027-01-15", "2027-01-14", "2027-01-13"]
    assert [row.day for row in await usage.rows(days=4, person="person-1")] == ["2027-01-14", "2027-01-12"]


async def test_single_answers_age_out_and_sums_stay(db: Database) -> None:
    clock = Clock()
    usage = ModelUsage(db, clock=clock)
    await usage.record(ANSWER)
    clock.now += (KEPT_DAYS + 1) * DAY
    await usage.record(replace(ANSWER, key="later"))

    def keys(connection: Connection) -> list[str]:
        return [row["key"] for row in connection.execute("SELECT key FROM model_answers")]

    assert await db.read(keys) == ["later"]
    assert len(await usage.rows(days=60)) == 2


async def test_what_today_cost_does_not_grow_with_what_was_asked(db: Database) -> None:
    usage = ModelUsage(db, clock=Clock())
    for number in range(300):
        await usage.record(replace(ANSWER, key=str(number)))

    def sums(connection: Connection) -> int:
        return int(connection.execute("SELECT count(*) FROM model_usage").fetchone()[0])

    assert await db.read(sums) == 1


async def test_failures_of_a_route_count_until_it_answers(db: Database) -> None:
    health = RouteHealth(db, clock=Clock())
    await health.failed("main", "no answer in time")
    await health.failed("main", "it answered 500")
    state = (await health.all())["main"]
    assert (state.word, state.failing, state.why, state.at) == ("failing", 2, "it answered 500", NOON)
    await health.answered("main")
    state = (await health.all())["main"]
    assert (state.word, state.answers, state.failing, state.why) == ("ok", 1, 0, "")


async def test_a_data_class_holds_for_one_conversation_until_it_is_taken_back(db: Database) -> None:
    classes = DataClasses(db)
    assert await classes.get("c1") is None
    await classes.set("c1", "shareable", decision_id="d1")
    assert (await classes.get("c1"), await classes.get("c2")) == ("shareable", None)
    await classes.set("c1", "local", decision_id="d2")
    assert await classes.get("c1") == "local"
