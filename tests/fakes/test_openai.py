"""The scripted model server against the real client, behind the guard."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import httpx2
import openai
import pytest
from openai.types.chat import ChatCompletionChunk, ChatCompletionUserMessageParam

from portico.egress import guard
from portico.settings.settings import Settings
from tests.fakes.openai import FakeOpenAI, hang, status, too_many

QUESTION: ChatCompletionUserMessageParam = {"role": "user", "content": "How are you?"}


@pytest.fixture
def model() -> Iterator[FakeOpenAI]:
    with FakeOpenAI() as fake:
        yield fake


@pytest.fixture
async def client(model: FakeOpenAI) -> AsyncIterator[openai.AsyncOpenAI]:
    http = guard.client(guard.network(Settings(), allow=[model.url]))
    async with openai.AsyncOpenAI(
        base_url=model.base_url, api_key="none", http_client=http, max_retries=0
    ) as made:
        yield made


async def opened(client: openai.AsyncOpenAI) -> openai.AsyncStream[ChatCompletionChunk]:
    return await client.chat.completions.create(model="tiny", messages=[QUESTION], stream=True)


async def ask(client: openai.AsyncOpenAI) -> list[str]:
    stream = await opened(client)
    return [chunk.choices[0].delta.content async for chunk in stream if chunk.choices[0].delta.content]


async def test_streams_what_it_was_told_and_echoes_otherwise(
    model: FakeOpenAI, client: openai.AsyncOpenAI
) -> None:
    model.say("Hello", " there")
    assert await ask(client) == ["Hello", " there"]
    assert "".join(await ask(client)).startswith("You said: How are you?")
    assert [one.id async for one in client.models.list()] == ["tiny"]
    assert model.asked[0]["messages"] == [QUESTION]


async def test_fails_as_scripted(model: FakeOpenAI, client: openai.AsyncOpenAI) -> None:
    model.script("chat", status(500), too_many(3), hang())
    with pytest.raises(openai.InternalServerError):
        await ask(client)
    with pytest.raises(openai.RateLimitError) as caught:
        await ask(client)
    assert caught.value.response.headers["retry-after"] == "3"
    with pytest.raises(openai.APITimeoutError):
        await ask(client.with_options(timeout=0.2))


async def test_breaks_off_in_the_middle(model: FakeOpenAI, client: openai.AsyncOpenAI) -> None:
    model.say("one", "two", "three", break_after=1)
    with pytest.raises((openai.APIError, httpx2.HTTPError)):
        await ask(client)


async def test_sees_that_the_reader_left(model: FakeOpenAI, client: openai.AsyncOpenAI) -> None:
    model.say(*["word "] * 500, pause_s=0.01)
    stream = await opened(client)
    async for _ in stream:
        break
    await stream.close()
    await model.until(lambda: model.broken_off == 1, what="the end of the stream")
