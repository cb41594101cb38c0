"""The language models that may be asked: which routes there are, and one streamed answer of one of them."""

from __future__ import annotations

import importlib
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from typing import Any, Protocol

from portico.clients.llm_openai import OpenAiAnswer
from portico.clients.llm_routes import Route, routes_of
from portico.clients.llm_types import Delta, Messages, ModelCall, OfferedTool
from portico.clients.model_servers import find_models, places
from portico.egress import network
from portico.errors import Misconfigured, NotFound
from portico.logs import logger
from portico.settings import Settings
from portico.steps import RouteRef

__all__ = ["Delta", "Messages", "ModelCall", "ModelRoutes", "OfferedTool"]

TRITON_MODULE = "portico.clients.llm_triton"
"""Imported with the first answer of Triton's: a gateway with other routes never needs it."""

log = logger("llm")


class Answer(Protocol):
    """One request to one route."""

    def deltas(
        self,
        messages: Messages,
        *,
        tools: Sequence[OfferedTool],
        max_tokens: int | None,
        temperature: float | None,
        seed: int | None,
        stop: Sequence[str],
    ) -> AsyncGenerator[Delta, None]: ...

    async def hang_up(self) -> None: ...


class ModelRoutes:
    """The routes of `[llm.routes.*]`, in their order. One object for a process and event loop."""

    def __init__(
        self,
        settings: Settings,
        secret: Callable[[str], str],
        *,
        newer: Callable[[], Settings | None] | None = None,
        triton: str = "",
    ) -> None:
        """`secret` resolves `secret:NAME`, `env:NAME`, `file:PATH`. `newer` gives settings that have changed.

        `triton` is host:port of the one Triton. Raises `Misconfigured` with a line that names the route.
        """
        self._secret = secret
        self._newer = newer
        self._settings = settings
        self._triton = triton
        self._routes = routes_of(settings, secret)
        self._retired: list[Route] = []
        self.offered: tuple[str, ...] = ()

    def candidates(self) -> tuple[RouteRef, ...]:
        """The configured routes, first choice first. Whether one may be used is for policy to say."""
        self._take_newer()
        return tuple(
            RouteRef(name=name, model=route.settings.model, locality=route.settings.locality)
            for name, route in self._routes.items()
        )

    async def detect(self) -> None:
        """Look for model servers on this machine, to offer them. Takes 300 ms at most; nothing is used."""
        if not self._settings.models.detect:
            return
        ours = frozenset({self._settings.port, self._settings.grpc_port})
        servers = places(self._settings.models.ports)
        self.offered = tuple(offer.name for offer in await find_models(skip_ports=ours, servers=servers))

    async def stream(
        self,
        route: RouteRef,
        messages: Messages,
        *,
        tools: Sequence[OfferedTool] = (),
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
        extra: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """One answer, piece by piece. Close it (`contextlib.aclosing`) to hang up on the server at once.

        Raises `Unavailable` (away, busy, too slow to begin), `Misconfigured` (the server refuses: key, model,
        request) or `NotFound` (the settings lost the route).
        """
        entry = self._routes.get(route.name)
        if entry is None:
            raise NotFound(f"model route {route.name}")
        answer = await self._answer(route.name, entry, extra or {})
        deltas = answer.deltas(
            messages, tools=tools, max_tokens=max_tokens, temperature=temperature, seed=seed, stop=stop
        )
        try:
            async for delta in deltas:
                yield delta
        finally:
            await deltas.aclose()
            await answer.hang_up()

    async def close(self) -> None:
        for route in (*self._routes.values(), *self._retired):
            await route.server.close()
        self._retired.clear()

    async def _answer(self, name: str, entry: Route, extra: Mapping[str, Any]) -> Answer:
        if entry.settings.kind == "triton":
            return self._triton_answer(name, entry)
        allowed = network(self._settings, allow=[entry.settings.base_url])
        return OpenAiAnswer(name, entry.settings, await entry.server.open(allowed), extra=extra)

    def _triton_answer(self, name: str, entry: Route) -> Answer:
        try:
            module = importlib.import_module(TRITON_MODULE)
        except ModuleNotFoundError as error:
            if error.name != TRITON_MODULE:
                raise
            raise Misconfigured(
                f"llm.routes.{name}.kind: this Portico has no language model on Triton"
            ) from None
        answer: Answer = module.TritonAnswer(name, entry.settings, address=self._triton)
        return answer

    def _take_newer(self) -> None:
        settings = self._newer() if self._newer else None
        if settings is None:
            return
        try:
            routes = routes_of(settings, self._secret)
        except Misconfigured as error:
            log.warning("llm.settings_not_taken", why=error.message)
            return
        for name, old in self._routes.items():
            if name in routes and routes[name].same_as(old):
                routes[name] = old
            else:
                self._retired.append(old)  # an answer may still be streaming from it
        self._settings, self._routes = settings, routes
        log.info("llm.routes", names=list(routes))
