"""How a stream ends: read to its end, left, stalled, or never begun. It is closed each time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import Any

import pytest

from api.openai import stream
from api.openai.stream import ClientGone, EventStream, while_connected


class Reader:
    """The other end of an ASGI connection. `takes` pieces, then reads no more; `leaves` after that."""

    def __init__(self, *, takes: int = 1000, leaves: bool = False) -> None:
        self.got: list[bytes] = []
        self._takes = takes
        self._leaves = leaves
        self._left = asyncio.Event()

    async def receive(self) -> dict[str, Any]:
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            return
        if len(self.got) >= self._takes:
            if self._leaves:
                self._left.set()
            await asyncio.Event().wait()
        self.got.append(message["body"])


class Answer:
    def __init__(self, pieces: int) -> None:
        self.closed = 0
        self.made = 0
        self._pieces = pieces

    async def events(self) -> AsyncGenerator[bytes, None]:
        for number in range(self._pieces):
            self.made += 1
            yield f"data: {number}\n\n".encode()

    async def close(self) -> None:
        self.closed += 1


async def sent(answer: Answer, reader: Reader) -> None:
    response = EventStream(answer.events(), close=answer.close, headers={})
    async with asyncio.timeout(5):
        await response({"type": "http"}, reader.receive, reader.send)


async def test_all_of_it_is_sent_and_closed() -> None:
    answer, reader = Answer(3), Reader()
    await sent(answer, reader)
    assert reader.got == [b"data: 0\n\n", b"data: 1\n\n", b"data: 2\n\n", b""]
    assert answer.closed == 1


async def test_a_reader_that_stalls_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stream, "STALLED_AFTER_S", 0.1)
    answer, reader = Answer(100), Reader(takes=2)
    await sent(answer, reader)
    assert (answer.made, answer.closed) == (3, 1)


async def test_a_reader_that_leaves_stops_it_at_once() -> None:
    answer, reader = Answer(100), Reader(takes=2, leaves=True)
    await sent(answer, reader)
    assert (answer.made, answer.closed) == (3, 1)


async def test_an_edge_that_stops_closes_it() -> None:
    answer, reader = Answer(100), Reader(takes=0)
    running = asyncio.create_task(sent(answer, reader))
    await asyncio.sleep(0.05)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert answer.closed == 1


async def test_work_for_a_client_that_is_gone_is_cancelled() -> None:
    ended = asyncio.Event()

    class Request:
        async def receive(self) -> dict[str, str]:
            return {"type": "http.disconnect"}

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    with pytest.raises(ClientGone):
        await while_connected(Request(), work())  # type: ignore[arg-type]
    assert ended.is_set()
