"""What an answer leaves behind, however it ends: its count, its route's health, its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from portico.crypto.keyring import open_keyring
from portico.errors import Busy, Misconfigured, NotTaken, PorticoError, Unavailable
from portico.llm import routes as routes_module
from portico.llm.routes import Bill, ModelRoutes
from portico.settings.home import Home
from portico.settings.settings import Settings
from portico.storage.engine.database import Database
from portico.storage.route_health import RouteHealth
from portico.storage.usage import ModelUsage, UsageRow
from tests.fakes.openai import FakeOpenAI, Said, hang, status

ASK = [{"role": "user", "content": "x" * 400}]


@pytest.fixture
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as server:
        yield server


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    home = Home(tmp_path / "home")
    home.make()
    opened = Database.open(home, open_keyring(home))
    yield opened
    opened.close()


@pytest.fixture
async def routes(model: FakeOpenAI, database: Database, tmp_path: Path) -> AsyncIterator[ModelRoutes]:
    route = {
        "kind": "openai", "base_url": model.base_url, "model": "tiny", "concurrency": 1, "queue": 0,
        "first_token_timeout_s": 0.3, "input_cost_per_mtok": 10_000, "output_cost_per_mtok": 1_000_000,
    }  # fmt: skip
    made = ModelRoutes(
        Settings.model_validate({"llm": {"routes": {"main": route}}}),
        str,
        locks=tmp_path / "locks",
        usage=ModelUsage(database),
        health=RouteHealth(database),
    )
    yield made
    await made.close()


async def ask(routes: ModelRoutes, key: str = "one", **options: Any) -> str:
    bill = Bill(key=key, person="person-1", decision_id="decision-1")
    async with aclosing(routes.stream(routes.candidates()[0], ASK, bill=bill, **options)) as answer:
        return "".join([delta.text async for delta in answer])


async def counted(database: Database) -> list[UsageRow]:
    return list(await ModelUsage(database).rows(days=1))


async def state(database: Database) -> tuple[str, str]:
    found = (await RouteHealth(database).all()).get("main")
    return (found.word, found.why) if found else ("unknown", "")


async def test_a_whole_answer_is_counted_once_with_its_price(
    model: FakeOpenAI, routes: ModelRoutes, database: Database
) -> None:
    for _ in range(2):  # the same key: an activity that was executed twice
        model.say("a", "b", "c")
        await ask(routes)
    (row,) = await counted(database)
    assert (row.answers, row.input_tokens, row.output_tokens, row.estimated) == (1, 1, 3, 0)
    assert row.cost == pytest.approx(0.01 + 3)
    assert await state(database) == ("ok", "")


async def test_an_answer_that_breaks_off_is_counted_and_its_route_rests(
    model: FakeOpenAI, routes: ModelRoutes, database: Database
) -> None:
    model.say("y" * 40, "z", break_after=1)
    with pytest.raises(Unavailable):
        await ask(routes)
    (row,) = await counted(database)
    assert (row.estimated, row.output_tokens) == (1, 10)
    assert 100 <= row.input_tokens <= 115
    assert (await state(database))[0] == "failing"
    assert routes.circuit.failing() == {"main"}
    await ask(routes, key="two")
    assert (await state(database), routes.circuit.failing()) == (("ok", ""), frozenset())


async def test_a_stop_is_counted_frees_the_place_and_says_nothing_against_the_route(
    model: FakeOpenAI, routes: ModelRoutes, database: Database
) -> None:
    model.say("some ", "words ", stop_after=1)
    reader = asyncio.create_task(ask(routes))
    await model.until(lambda: model.open_streams == 1)
    await asyncio.sleep(0.1)
    reader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reader
    (row,) = await counted(database)
    assert (row.answers, row.estimated) == (1, 1)
    assert routes.circuit.failing() == frozenset()
    assert await ask(routes, key="two")


@pytest.mark.parametrize(
    ("step", "error", "word"),
    [
        (status(500), Unavailable, "failing"),
        (status(401), Misconfigured, "failing"),
        (hang(), Unavailable, "failing"),
        (status(400), NotTaken, "unknown"),
    ],
)
async def test_what_never_began_costs_nothing(
    model: FakeOpenAI,
    routes: ModelRoutes,
    database: Database,
    step: Any,
    error: type[PorticoError],
    word: str,
) -> None:
    model.script("chat", step)
    with pytest.raises(error):
        await ask(routes)
    assert await counted(database) == []
    assert (await state(database))[0] == word
    assert bool(routes.circuit.failing()) is (word == "failing")
    assert await ask(routes, key="two"), "its place is free"


async def test_who_finds_no_place_says_nothing_against_the_route(
    model: FakeOpenAI, routes: ModelRoutes, database: Database
) -> None:
    model.say("slow", pause_s=0.2)
    first = asyncio.create_task(ask(routes))
    await model.until(lambda: model.open_streams == 1)
    with pytest.raises(Busy):
        await ask(routes, key="two")
    assert await first == "slow"
    assert (routes.circuit.failing(), (await state(database))[0]) == (frozenset(), "ok")


async def test_all_who_wait_together_are_bounded_over_the_routes(
    model: FakeOpenAI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes_module, "MOST_WAITING", 3)
    route = {"kind": "openai", "base_url": model.base_url, "model": "tiny", "concurrency": 1, "queue": 9}
    settings = Settings.model_validate({"llm": {"routes": {"a": route, "b": route}}})
    routes = ModelRoutes(settings, str, locks=tmp_path / "locks")

    async def wait_for(name: str) -> None:
        async with routes.place(name, concurrency=1, queue=9):
            await asyncio.sleep(0.05)

    waiting = [asyncio.create_task(wait_for(name)) for name in ("a", "b", "a", "b", "a")]
    async with asyncio.timeout(5):
        while sum(routes.waiting().values()) < 3:  # noqa: ASYNC110 - a state of another object
            await asyncio.sleep(0.005)
    with pytest.raises(Busy):
        await wait_for("b")
    await asyncio.gather(*waiting)


async def test_an_answer_is_not_lost_with_the_database(
    model: FakeOpenAI, routes: ModelRoutes, database: Database
) -> None:
    model.answer(Said(("still", " here")))
    database.close()
    assert await ask(routes) == "still here"
