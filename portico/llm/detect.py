"""Finds model servers on this machine: who listens on the usual ports of 127.0.0.1, and which models it has.

Finding is not using: an offer becomes a route only when a person says so (`model_choice.adopt`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import httpx2

from portico.egress.guard import Network, client
from portico.errors import Forbidden

LOOK_TIMEOUT_S = 0.3
LONGEST_ANSWER = 1 << 20
MOST_MODELS = 50

_NOT_FOR_CHAT = re.compile(r"embed|rerank|whisper|(?:^|[/-])(?:bge|e5|minilm|clip)-", re.IGNORECASE)
_MODEL_NAME = re.compile(r"[\w.:/@+ -]{1,200}")
_KNOWN_OWNERS = {
    "vllm": "vllm",
    "llamacpp": "llama.cpp",
    "library": "ollama",
    "organization_owner": "lmstudio",
}


@dataclass(frozen=True)
class Server:
    """A usual place of a kind of server."""

    kind: str
    port: int


@dataclass(frozen=True)
class Offer:
    """A model that could be used."""

    server: str
    model: str
    base_url: str

    @property
    def name(self) -> str:
        return f"{self.server}/{self.model}"


SERVERS: tuple[Server, ...] = (
    Server("ollama", 11434),
    Server("lmstudio", 1234),
    Server("vllm", 8000),
    Server("llama.cpp", 8080),
    Server("llama.cpp", 8081),
    Server("llama.cpp", 8082),
)


def places(ports: Iterable[int]) -> tuple[Server, ...]:
    """The usual places, and further ports of this machine. A server that does not say what it is is `local`."""
    return (*SERVERS, *(Server("local", port) for port in ports))


async def find_models(
    *,
    skip_ports: frozenset[int] = frozenset(),
    servers: Iterable[Server] = SERVERS,
    timeout_s: float = LOOK_TIMEOUT_S,
) -> tuple[Offer, ...]:
    """What is offered right now. Asks all places at once, at most `timeout_s`; `skip_ports` are our own."""
    wanted = [server for server in servers if server.port not in skip_ports]
    allow = frozenset(f"127.0.0.1:{server.port}" for server in wanted)
    async with client(Network(allow=allow), timeout=httpx2.Timeout(timeout_s)) as http:
        found = await asyncio.gather(*(_ask(http, server, timeout_s) for server in wanted))
    return tuple({offer.name: offer for offers in found for offer in offers}.values())


async def _ask(http: httpx2.AsyncClient, server: Server, timeout_s: float) -> list[Offer]:
    base_url = f"http://127.0.0.1:{server.port}/v1"
    try:
        async with asyncio.timeout(timeout_s):
            body = await _get(http, f"{base_url}/models")
    except (httpx2.HTTPError, TimeoutError, ValueError, Forbidden):
        return []
    entries = body.get("data") if isinstance(body, dict) else None
    if not isinstance(entries, list):
        return []
    offers = [_offer(server, base_url, entry) for entry in entries[:MOST_MODELS]]
    return [offer for offer in offers if offer is not None]


async def _get(http: httpx2.AsyncClient, url: str) -> Any:
    import orjson

    async with http.stream("GET", url, headers={"accept": "application/json"}) as response:
        if response.status_code != httpx2.codes.OK:
            return None
        content = b""
        async for piece in response.aiter_bytes():
            content += piece
            if len(content) > LONGEST_ANSWER:
                return None
    return orjson.loads(content)


def _offer(server: Server, base_url: str, entry: Any) -> Offer | None:
    model = entry.get("id") if isinstance(entry, dict) else None
    if not isinstance(model, str) or not _MODEL_NAME.fullmatch(model) or _NOT_FOR_CHAT.search(model):
        return None
    kind = _KNOWN_OWNERS.get(str(entry.get("owned_by")), server.kind)
    return Offer(kind, model.removesuffix(":latest") if kind == "ollama" else model, base_url)
