"""Turn 1,000 of a conversation costs what turn 100 did: counted in steps of the database, not in time."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, cast

from channels.base import Rates
from portico.crypto.keyring import Keyring
from portico.settings.home import Home
from portico.storage.engine.database import Database
from portico.storage.engine.sqlcipher import connect
from portico.storage.inbox import Inbox
from portico.storage.memory import Memory, MemoryLine
from portico.storage.outbox import Outbox
from portico.storage.outbox_rows import NewRow

EARLY, LATE = 100, 1000
RATES = Rates(per_s=1e6, per_chat_per_s=1e6)


class CountingDatabase:
    """The database on one connection, without threads, counting what it does."""

    def __init__(self, connection: Any) -> None:
        self.steps = 0
        self._connection = connection
        connection.execute("PRAGMA synchronous = OFF")

    def count_steps(self, counting: bool) -> None:
        self._connection.set_progress_handler(self._count if counting else None, 1)

    def _count(self) -> int:
        self.steps += 1
        return 0

    async def read(self, work: Callable[[Any], Any]) -> Any:
        return work(self._connection)

    async def write(self, work: Callable[[Any], Any], *, durable: bool = False) -> Any:
        self._connection.execute("BEGIN IMMEDIATE")
        result = work(self._connection)
        self._connection.execute("COMMIT")
        return result


async def test_no_step_of_a_turn_grows_with_the_conversation(
    home: Home, keyring: Keyring, db: Database
) -> None:
    connection = connect(home.database, keyring.current("database"))
    counting = CountingDatabase(connection)
    costs = {}
    for number in range(LATE + 1):
        counting.count_steps(number in (EARLY, LATE))
        costs[number] = await turn(counting, number)
    connection.close()
    for step, early in costs[EARLY].items():
        assert costs[LATE][step] <= 1.2 * early, (step, early, costs[LATE][step])


async def turn(counting: CountingDatabase, number: int) -> dict[str, int]:
    database = cast(Database, counting)
    inbox, outbox, memory = Inbox(database), Outbox(database), Memory(database)
    turn_id, now = f"t{number}", float(number)
    row = NewRow("c", turn_id, 0, "send", '{"text": "hello"}')
    costs: dict[str, int] = {}

    async def step(name: str, doing: Awaitable[Any]) -> None:
        before = counting.steps
        await doing
        costs[name] = counting.steps - before

    await step("claim", inbox.claim("c", (f"u{number}",), turn_id, now=now, text="hello"))
    await step("recent", memory.recent("c", 20))
    begin = outbox.prepare_and_begin_first([row], rates=RATES, account_key="a", chat_key="c", now=now)
    await step("begin", begin)
    await step("finish", outbox.finish(row.row_id, attempt=1, state="sent", now=now))
    await step("tail", outbox.tail("c", number))
    await step("sent", outbox.recent("c", 20))
    lines = [MemoryLine("user", "hello", now), MemoryLine("assistant", "hi", now + 0.5)]
    await step("remember", memory.remember("c", turn_id, lines))
    await step("history", memory.history("c", limit=20))
    await step("list", memory.conversations("web"))
    return costs
