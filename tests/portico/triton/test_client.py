"""The client of the models: what it raises when Triton is unavailable, slow or asked for nonsense."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable

import numpy as np
import pytest

from portico.errors import BadInput, Unavailable
from portico.triton.client import UnderstandClient
from tests.support import RunningStack


@pytest.fixture
async def client(inner_stack: RunningStack) -> AsyncIterator[UnderstandClient]:
    client = UnderstandClient(inner_stack.address("triton"))
    yield client
    await client.close()


async def test_says_that_triton_is_away() -> None:
    client = UnderstandClient("127.0.0.1:1")

    with pytest.raises(Unavailable, match="triton is unavailable"):
        await client.understand(["hello"])
    assert not await client.ready()
    await client.close()


async def test_gives_up_on_a_server_that_never_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = UnderstandClient(f"127.0.0.1:{silent.getsockname()[1]}", timeout_s=0.3)
        started = time.monotonic()

        with pytest.raises(Unavailable):
            await client.understand(["hello"])

        assert time.monotonic() - started < 2
        await client.close()


async def test_refuses_what_is_no_unicode_text(client: UnderstandClient) -> None:
    with pytest.raises(BadInput):
        await client.understand(["half a pair: \ud83d"])


async def test_a_model_that_is_not_loaded_is_waited_for(client: UnderstandClient) -> None:
    with pytest.raises(Unavailable):
        await client.embed(["hello"], model="no_such_model")


async def test_understands_in_order(client: UnderstandClient) -> None:
    greeting, question = await client.understand(["你好", "what time is it"])

    assert (greeting.intent, question.intent) == ("greetings", "time")
    assert greeting.embedding.shape == (384,)
    assert greeting.embedding.dtype == np.float32
    assert greeting.head_version == question.head_version


async def test_splits_what_is_more_than_a_batch(client: UnderstandClient) -> None:
    results = await client.understand(["hello", "thank you"] * 50)

    assert [result.intent for result in results] == ["greetings", "thanks"] * 50


async def test_no_texts_are_no_call() -> None:
    assert await UnderstandClient("127.0.0.1:1").understand([]) == []


async def test_ignores_proxies_of_the_environment(
    inner_stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    client = UnderstandClient(inner_stack.address("triton"))

    assert (await client.understand(["hello"]))[0].intent == "greetings"
    await client.close()


async def test_goes_on_when_triton_is_back(make_stack: Callable[..., RunningStack]) -> None:
    stack = make_stack(only=("triton",))
    client = UnderstandClient(stack.address("triton"))
    assert await client.ready()
    built = (stack.home.models / "manifest.json").stat().st_mtime_ns

    stack.kill("triton")
    with pytest.raises(Unavailable):
        await client.understand(["hello"])
    await asyncio.to_thread(stack.wait_ready, "triton")

    await asyncio.wait_for(_until_ready(client), 5)
    assert (await client.understand(["hello"]))[0].intent == "greetings"
    assert (stack.home.models / "manifest.json").stat().st_mtime_ns == built  # a start does not rebuild
    await client.close()


async def _until_ready(client: UnderstandClient) -> None:
    while not await client.ready():
        pass  # each question takes its time while the channel connects
