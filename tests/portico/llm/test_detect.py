from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from aiohttp import web

from portico.llm.detect import Offer, Server, find_models
from portico.llm.routes import ModelRoutes
from portico.settings.settings import Settings
from tests.fakes.openai import FakeOpenAI
from tests.fakes.server import FakeServer


class FakeModels(FakeServer):
    """Answers `/v1/models` with whatever it is given."""

    def __init__(self, body: Any, *, status: int = 200) -> None:
        super().__init__()
        self.body = body
        self.status = status

    def routes(self, app: web.Application) -> None:
        app.router.add_get("/v1/models", self._models)

    async def _models(self, request: web.Request) -> web.Response:
        if isinstance(self.body, str):
            return web.Response(text=self.body, status=self.status)
        return web.json_response(self.body, status=self.status)


@pytest.fixture
def free_port() -> Iterator[int]:
    with FakeModels("") as server:
        port = server.port
    yield port


async def test_a_server_is_found_with_its_models() -> None:
    with FakeOpenAI(models=["tiny", "large:latest"]) as model:
        offers = await find_models(servers=[Server("ollama", model.port)], timeout_s=5)
    assert offers == (Offer("ollama", "tiny", model.base_url), Offer("ollama", "large", model.base_url))
    assert [offer.name for offer in offers] == ["ollama/tiny", "ollama/large"]


async def test_what_a_server_says_of_itself_counts_more_than_its_port() -> None:
    body = {"data": [{"id": "qwen", "owned_by": "vllm"}, {"id": "llama.gguf", "owned_by": "llamacpp"}]}
    with FakeModels(body) as server:
        offers = await find_models(servers=[Server("lmstudio", server.port)], timeout_s=5)
    assert [offer.name for offer in offers] == ["vllm/qwen", "llama.cpp/llama.gguf"]


async def test_models_that_do_not_chat_are_not_offered() -> None:
    names = ["nomic-embed-text:latest", "text-embedding-3", "bge-m3", "whisper-1", "mistral"]
    with FakeModels({"data": [{"id": name} for name in names]}) as server:
        offers = await find_models(servers=[Server("ollama", server.port)], timeout_s=5)
    assert [offer.model for offer in offers] == ["mistral"]


@pytest.mark.parametrize(
    "body",
    [
        "<html>",
        "",
        "[]",
        {"data": "no"},
        {"data": [1, {}, {"id": 5}, {"id": "x" * 300}, {"id": "a\nb"}]},
        "[" * 10_000,
    ],
)
async def test_another_kind_of_server_offers_nothing(body: Any) -> None:
    with FakeModels(body) as server:
        assert await find_models(servers=[Server("vllm", server.port)], timeout_s=5) == ()


async def test_a_door_that_asks_for_a_key_offers_nothing() -> None:
    with FakeModels({"data": [{"id": "m"}]}, status=401) as server:
        assert await find_models(servers=[Server("vllm", server.port)], timeout_s=5) == ()


async def test_our_own_port_is_not_asked(free_port: int) -> None:
    with FakeModels({"data": [{"id": "m"}]}) as server:
        assert (
            await find_models(servers=[Server("x", server.port)], skip_ports=frozenset({server.port})) == ()
        )


async def test_looking_takes_no_longer_than_its_limit(free_port: int) -> None:
    from socket import create_server

    with create_server(("127.0.0.1", 0)) as silent:
        begun = time.monotonic()
        servers = [Server("a", silent.getsockname()[1]), Server("b", free_port)]
        assert await find_models(servers=servers) == ()
        assert time.monotonic() - begun < 1.5


async def test_detection_can_be_switched_off() -> None:
    routes = ModelRoutes(Settings.model_validate({"models": {"detect": False}}), str)
    begun = time.monotonic()
    await routes.detect()
    assert routes.offered == ()
    assert time.monotonic() - begun < 0.05
