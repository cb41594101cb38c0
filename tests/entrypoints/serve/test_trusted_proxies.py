"""Whose word about the client's address counts: a real server, called from several addresses of this machine."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
import pytest
import uvicorn
from fastapi import FastAPI, Request
from pydantic import ValidationError

from entrypoints.serve.api import server_config
from portico.settings.settings import Settings
from tests.portico.servers import free_port
from tests.support import until

PROXY, OTHER = "127.0.7.1", "127.0.8.1"


@contextmanager
def edge(*trusted: str) -> Iterator[str]:
    app = FastAPI()

    @app.get("/who")
    async def who(request: Request) -> str:
        return request.client.host if request.client else ""

    settings = Settings(port=free_port(), trusted_proxies=trusted)
    server = uvicorn.Server(server_config(app, settings))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        until(lambda: server.started, timeout_s=10)
        yield f"http://127.0.0.1:{settings.port}/who"
    finally:
        server.should_exit = True
        thread.join()


def asked(url: str, *forwarded: str, peer: str = PROXY) -> str:
    transport = httpx2.HTTPTransport(local_address=peer)
    with httpx2.Client(transport=transport, timeout=10) as client:
        return str(client.get(url, headers=[("X-Forwarded-For", one) for one in forwarded]).json())


def test_by_default_nobody_is_believed() -> None:
    with edge() as url:
        assert asked(url, "203.0.113.9") == PROXY


def test_only_a_trusted_proxy_is_believed() -> None:
    with edge("127.0.7.0/24") as url:
        assert asked(url) == PROXY
        assert asked(url, "203.0.113.9") == "203.0.113.9"
        assert asked(url, "203.0.113.9", peer=OTHER) == OTHER, "a forged header of somebody else"


@pytest.mark.parametrize(
    "chain",
    [
        ("198.51.100.1, 203.0.113.9",),
        ("198.51.100.1, 203.0.113.9, 127.0.7.5",),
        ("198.51.100.1", "203.0.113.9"),
        ("127.0.7.9, 203.0.113.9",),
        ("unknown, 203.0.113.9",),
    ],
)
def test_what_a_client_puts_before_is_not(chain: tuple[str, ...]) -> None:
    """The rightmost hop that is no proxy of ours is the client, whatever it says of itself."""
    with edge("127.0.7.0/24") as url:
        assert asked(url, *chain) == "203.0.113.9"


@pytest.mark.parametrize("network", ["*", "0.0.0.0/0", "::/0", "caddy", "10.0.0.7/8", ""])
def test_what_is_no_network_is_refused(network: str) -> None:
    with pytest.raises(ValidationError, match="trusted_proxies"):
        Settings(trusted_proxies=(network,))
