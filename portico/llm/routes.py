"""The language models that may be asked: which routes there are, and one streamed answer of one of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from portico.contracts.steps import RouteRef
from portico.egress.guard import network
from portico.errors import Busy, Misconfigured, NotFound, NotTaken, PorticoError, Unavailable
from portico.llm.circuit import Circuit
from portico.llm.configured import Route, routes_of
from portico.llm.detect import find_models, places
from portico.llm.meter import Meter, record_of
from portico.llm.openai import OpenAiAnswer
from portico.llm.places import RoutePlaces
from portico.llm.types import Bill, Delta, Messages, ModelCall, OfferedTool
from portico.logs import logger
from portico.settings.home import Home
from portico.settings.models import RouteSettings
from portico.settings.settings import Settings
from portico.storage.route_health import RouteHealth
from portico.storage.usage import ModelUsage

if TYPE_CHECKING:
    from portico.llm.triton import TritonModels

__all__ = ["Bill", "Delta", "Messages", "ModelCall", "ModelRoutes", "OfferedTool"]

MOST_WAITING = 48
"""For all routes together: each holds a slot of its worker, and deliveries need some of the 100."""

log = logger("llm")


class StreamedAnswer(Protocol):
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
        home: Home | None = None,
        locks: Path | None = None,
        usage: ModelUsage | None = None,
        health: RouteHealth | None = None,
    ) -> None:
        """`secret` resolves `secret:NAME`, `env:NAME`, `file:PATH`. `newer` gives settings that have changed.

        `home`: whose Triton serves the models of `kind = "triton"`. Processes with the same folder of `locks`
        share the routes' places; without one there is no limit. Raises `Misconfigured` with a line that names
        the route.
        """
        self._secret = secret
        self._newer = newer
        self._settings = settings
        self._home = home
        self._triton: TritonModels | None = None
        self._routes = routes_of(settings, secret)
        self._retired: list[Route] = []
        self._locks = locks
        self._usage = usage
        self._health = health
        self._places: dict[tuple[str, int, int], RoutePlaces] = {}
        self.circuit = Circuit()
        self.offered: tuple[str, ...] = ()

    def candidates(self) -> tuple[RouteRef, ...]:
        """The configured routes, first choice first. Whether one may be used is for policy to say."""
        self._take_newer()
        return tuple(
            RouteRef(name=name, model=route.settings.model, locality=route.settings.locality)
            for name, route in self._routes.items()
        )

    def settings_of(self, name: str) -> RouteSettings | None:
        entry = self._routes.get(name)
        return entry.settings if entry is not None else None

    def preferred_for(self, intent: str) -> str:
        """The route that the settings prefer for that intent; empty where they name none."""
        return self._settings.models.intents.get(intent, "")

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
        bill: Bill | None = None,
    ) -> AsyncGenerator[Delta, None]:
        """One answer, piece by piece. Close it (`contextlib.aclosing`) to hang up on the server at once.

        Waits for a place of the route first. What was answered is counted for `bill`, also where it broke off.
        `extra` holds fields of the OpenAI request that have no parameter here. Raises `Busy` (no place),
        `Unavailable` (away, busy, too slow to begin), `NotTaken` and `Misconfigured` (the server refuses: the
        request; key, model) or `NotFound` (the settings lost the route).
        """
        entry = self._routes.get(route.name)
        if entry is None:
            raise NotFound(f"model route {route.name}")
        options = {"max_tokens": max_tokens, "temperature": temperature, "seed": seed, "stop": stop}
        meter = Meter(messages, tools)
        places = entry.settings
        async with self.place(route.name, concurrency=places.concurrency, queue=places.queue):
            try:
                answer = await self._answer(route.name, entry, extra or {})
                async with _opened(answer, messages, tools=tools, **options) as deltas:
                    async for delta in deltas:
                        meter.add(delta)
                        yield delta
                meter.whole = True
            except PorticoError as error:
                await self._failed(route.name, error)
                raise
            finally:
                await self._count(route.name, entry.settings, meter, bill)

    async def close(self) -> None:
        for route in (*self._routes.values(), *self._retired):
            await route.server.close()
        self._retired.clear()
        if self._triton is not None:
            await self._triton.close()

    def place(self, name: str, *, concurrency: int, queue: int) -> AbstractAsyncContextManager[None]:
        """Hold one of that many places of a model during the block. Raises `Busy`."""
        if self._locks is None:
            return nullcontext()
        key = (name, concurrency, queue)
        if key not in self._places:
            self._places[key] = RoutePlaces(
                self._locks, name, places=concurrency, queue=queue, full=self._too_many_wait
            )
        return self._places[key].place()

    def _too_many_wait(self) -> bool:
        return sum(self.waiting().values()) >= MOST_WAITING

    def waiting(self) -> dict[str, int]:
        """How many wait for a place of each model in this process."""
        counts: dict[str, int] = {}
        for (name, *_), line in self._places.items():
            counts[name] = counts.get(name, 0) + line.waiting
        return counts

    async def _failed(self, name: str, error: PorticoError) -> None:
        """What is the request's own fault, or only a matter of waiting, says nothing about the route."""
        if isinstance(error, NotTaken | Busy) or not isinstance(error, Misconfigured | Unavailable):
            return
        self.circuit.failed(name, retry_after_s=getattr(error, "retry_after_s", None))
        if self._health is not None:
            with _aloud("llm.health_not_kept", name):
                await self._health.failed(name, error.message)

    async def _count(self, name: str, settings: RouteSettings, meter: Meter, bill: Bill | None) -> None:
        """Of what was begun. An answer is not lost because it could not be counted."""
        if meter.whole:
            self.circuit.answered(name)
            if self._health is not None:
                with _aloud("llm.health_not_kept", name):
                    await self._health.answered(name)
        if meter.begun and bill is not None and self._usage is not None:
            with _aloud("llm.usage_not_kept", name):
                await self._usage.record(record_of(name, settings, meter, bill))

    async def _answer(self, name: str, entry: Route, extra: Mapping[str, Any]) -> StreamedAnswer:
        if entry.settings.kind == "triton":
            return self._triton_answer(name, entry)
        allowed = network(self._settings, allow=[entry.settings.base_url])
        return OpenAiAnswer(name, entry.settings, await entry.server.open(allowed), extra=extra)

    def _triton_answer(self, name: str, entry: Route) -> StreamedAnswer:
        """Its module is imported with the first answer of Triton's: a gateway with other routes never needs it."""
        from portico.llm.triton import TritonAnswer, TritonModels

        if self._triton is None:
            if self._home is None:
                raise Misconfigured(f"llm.routes.{name}: there is no Triton here")
            self._triton = TritonModels(self._home, lambda: self._settings)
        return TritonAnswer(name, entry.settings, self._triton)

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


@asynccontextmanager
async def _opened(
    answer: StreamedAnswer, messages: Messages, **options: Any
) -> AsyncIterator[AsyncGenerator[Delta, None]]:
    """The deltas of an answer; leaving the block closes the connection."""
    deltas = answer.deltas(messages, **options)
    try:
        yield deltas
    finally:
        await deltas.aclose()
        await answer.hang_up()


@contextmanager
def _aloud(event: str, route: str) -> Iterator[None]:
    """An unavailable database is logged; the answer continues."""
    try:
        yield
    except Unavailable as error:
        log.warning(event, route=route, why=error.message)
