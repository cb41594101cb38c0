"""Language models behind an OpenAI-compatible API: which there are, and one streamed answer of one of them.

`openai` is imported when a route is first used, off the event loop: it takes a second. Nothing is retried
here; `Unavailable` is Temporal's to repeat.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx2

from portico.clients.model_servers import find_models, places
from portico.clients.thinking import AnswerOnly
from portico.egress import client, network
from portico.errors import Misconfigured, NotFound, PorticoError, Unavailable
from portico.logs import logger
from portico.settings import RouteSettings, Settings
from portico.steps import RouteRef

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_TIMEOUT_S = 5.0
SECRET_PREFIXES = ("secret:", "env:", "file:")
NEAR_NAMES = (".local", ".lan", ".internal", ".home.arpa", ".localhost")
OUR_HEADERS = frozenset({"host", "content-type", "content-length", "accept", "accept-encoding", "connection"})

Messages = Sequence[Mapping[str, str]]

log = logger("llm")


@dataclass(frozen=True)
class Delta:
    """A piece of an answer. The last one carries the counts, if the server gives them, and why it ended.

    `finish`: "stop", "length" (the model's limit), "time_limit" (ours) or another word of the server's.
    """

    text: str = ""
    input_tokens: int | None = None
    output_tokens: int | None = None
    finish: str = ""


@dataclass
class _Route:
    settings: RouteSettings
    api_key: str
    http: httpx2.AsyncClient | None = None
    openai: AsyncOpenAI | None = None

    def same_as(self, other: _Route) -> bool:
        return self.settings == other.settings and self.api_key == other.api_key

    async def close(self) -> None:
        http, self.http, self.openai = self.http, None, None
        if http is not None:
            await http.aclose()


class ModelRoutes:
    """The routes of `[llm.routes.*]`, in their order. One object for a process and event loop."""

    def __init__(
        self,
        settings: Settings,
        secret: Callable[[str], str],
        *,
        newer: Callable[[], Settings | None] | None = None,
    ) -> None:
        """`secret` resolves `secret:NAME`, `env:NAME`, `file:PATH`. `newer` gives settings that have changed.

        Raises `Misconfigured` with a line that names the route.
        """
        self._secret = secret
        self._newer = newer
        self._settings = settings
        self._routes = _routes(settings, secret)
        self._retired: list[_Route] = []
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

    async def stream(self, route: RouteRef, messages: Messages) -> AsyncGenerator[Delta, None]:
        """One answer, piece by piece. Close it (`contextlib.aclosing`) to hang up on the server at once.

        `messages` have `role` and `content`. Raises `Unavailable` (away, busy, too slow to begin),
        `Misconfigured` (the server refuses: key, model, request) or `NotFound` (the settings lost the route).
        """
        entry = self._routes.get(route.name)
        if entry is None:
            raise NotFound(f"model route {route.name}")
        if entry.openai is None:
            await self._open(entry)
        answer = _Answer(route.name, entry)
        try:
            async for delta in answer.deltas(messages):
                yield delta
        finally:
            await answer.hang_up()

    async def close(self) -> None:
        for route in (*self._routes.values(), *self._retired):
            await route.close()
        self._retired.clear()

    async def _open(self, entry: _Route) -> None:
        settings = entry.settings
        openai = await asyncio.to_thread(_load_openai)
        if entry.openai is not None:
            return  # another answer was quicker
        timeout = httpx2.Timeout(settings.first_token_timeout_s, connect=CONNECT_TIMEOUT_S)
        entry.http = client(
            network(self._settings, allow=[settings.base_url]),
            timeout=timeout,
            event_hooks={"request": [_only_our_headers(entry.api_key)]},
        )
        entry.openai = openai.AsyncOpenAI(
            api_key=entry.api_key or "none",
            base_url=settings.base_url,
            timeout=timeout,
            max_retries=0,
            http_client=entry.http,
        )

    def _take_newer(self) -> None:
        settings = self._newer() if self._newer else None
        if settings is None:
            return
        try:
            routes = _routes(settings, self._secret)
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


class _Answer:
    """One request to one route."""

    def __init__(self, name: str, entry: _Route) -> None:
        self._name = name
        self._settings = entry.settings
        self._client = cast("AsyncOpenAI", entry.openai)
        self._stream: Any = None
        self._only_answer = AnswerOnly()
        self._finish = ""
        self._usage: Any = None

    async def deltas(self, messages: Messages) -> AsyncGenerator[Delta, None]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._settings.timeout_s
        begins_by = loop.time() + self._settings.first_token_timeout_s
        said = False
        while True:
            try:
                async with asyncio.timeout_at(ends_at if said else min(begins_by, ends_at)):
                    chunk = await self._next(messages)
            except TimeoutError:
                if not said:
                    raise Unavailable(f"model route {self._name}", "no first token in time") from None
                self._finish = "time_limit"
                chunk = None
            if chunk is None:
                break
            text, alive = self._read(chunk)
            if alive and not said:
                said = True
            if text:
                yield Delta(text)
        yield self._last()

    async def _next(self, messages: Messages) -> Any:
        """The next chunk; none at the end."""
        import openai

        try:
            if self._stream is None:
                self._stream = await self._client.chat.completions.create(
                    model=self._settings.model,
                    messages=cast(Any, list(messages)),
                    stream=True,
                    stream_options={"include_usage": True},
                )
            return await anext(self._stream, None)
        except openai.OpenAIError as error:
            raise _translated(self._name, self._settings, error) from None
        except (httpx2.HTTPError, ValueError) as error:
            raise Unavailable(f"model route {self._name}", f"{type(error).__name__} in its answer") from None

    def _read(self, chunk: Any) -> tuple[str, bool]:
        """The text that a person should see, and whether the model has begun (thinking counts)."""
        self._usage = getattr(chunk, "usage", None) or self._usage
        choices = getattr(chunk, "choices", None)
        if not choices:
            return "", False
        delta = getattr(choices[0], "delta", None)
        self._finish = getattr(choices[0], "finish_reason", None) or self._finish
        text = getattr(delta, "content", None) or ""
        thinks = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        return self._only_answer.feed(text), bool(text or thinks)

    def _last(self) -> Delta:
        return Delta(
            self._only_answer.rest(),
            input_tokens=getattr(self._usage, "prompt_tokens", None),
            output_tokens=getattr(self._usage, "completion_tokens", None),
            finish=self._finish,
        )

    async def hang_up(self) -> None:
        if self._stream is not None:
            await self._stream.close()


def _routes(settings: Settings, secret: Callable[[str], str]) -> dict[str, _Route]:
    return {
        name: _Route(route, _api_key(name, route, secret))
        for name, route in settings.llm.routes.items()
        if _usable(name, route)
    }


def _usable(name: str, route: RouteSettings) -> bool:
    """Raises `Misconfigured` for what cannot work, and for a place far away that nobody said is far away."""
    where = f"llm.routes.{name}"
    if route.kind != "openai":
        raise Misconfigured(f'{where}.kind: "{route.kind}" is not there yet; use "openai"')
    parts = urlsplit(route.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(f'{where}.base_url: give the server\'s URL, such as "http://127.0.0.1:11434/v1"')
    if "locality" not in route.model_fields_set and not _is_near(parts.hostname):
        raise Misconfigured(
            f'{where}.locality: {parts.hostname} is far; set locality = "cloud", or "local" if it is yours'
        )
    return True


def _is_near(host: str) -> bool:
    try:
        return not ipaddress.ip_address(host).is_global
    except ValueError:
        return "." not in host or host.lower().endswith(NEAR_NAMES)


def _api_key(name: str, route: RouteSettings, secret: Callable[[str], str]) -> str:
    if not route.api_key:
        return ""
    if not route.api_key.startswith(SECRET_PREFIXES):
        log.warning("llm.literal_key", route=name, mend=f"portico secrets set {name}")
        return route.api_key
    try:
        return secret(route.api_key)
    except PorticoError as error:
        raise Misconfigured(f"llm.routes.{name}.api_key: {error.message}") from None


def _load_openai() -> Any:
    import openai
    import openai.resources.chat.completions

    return openai


def _only_our_headers(api_key: str) -> Callable[[httpx2.Request], Any]:
    """The client adds what it finds in its environment (organization, headers) and facts of the machine."""

    async def keep(request: httpx2.Request) -> None:
        for header in set(request.headers) - OUR_HEADERS:
            del request.headers[header]
        request.headers["user-agent"] = "portico"
        if api_key:
            request.headers["authorization"] = f"Bearer {api_key}"

    return keep


def _translated(name: str, settings: RouteSettings, error: Exception) -> PorticoError:
    """What happened in our terms. The server's own words stay out: they may repeat the prompt."""
    import openai

    part = f"model route {name}"
    if isinstance(error, openai.APITimeoutError):
        return Unavailable(part, "no answer in time")
    if isinstance(error, openai.APIConnectionError):
        return _unreachable(part, settings, error)
    status = getattr(error, "status_code", None) or _status_in(error)
    if status == 429 and getattr(error, "code", None) != "insufficient_quota":
        return Unavailable(part, "it has too much to do", retry_after_s=_retry_after_s(error))
    if status is None or status >= 500 or status in (408, 409, 425):
        return Unavailable(part, f"it answered {status}" if status else "it broke off its answer")
    return Misconfigured(f"{part}: {_refusal(status, settings.model)}")


def _unreachable(part: str, settings: RouteSettings, error: BaseException) -> PorticoError:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, PorticoError) and not cause.retryable:
            return Misconfigured(f"{part}: {cause.message}")
        cause = cause.__cause__ or cause.__context__
    return Unavailable(part, f"nothing answers at {urlsplit(settings.base_url).netloc.rpartition('@')[2]}")


def _refusal(status: int, model: str) -> str:
    if status in (401, 403):
        return f"the server refused the API key ({status})"
    if status == 404:
        return f"the server knows no model {model!r}, or its base_url is wrong (404)"
    if status == 429:
        return "the quota of its account is used up"
    if status in (400, 413, 422):
        return f"the server refused the request ({status}); is it longer than the model's context?"
    return f"the server answered {status}"


def _status_in(error: Exception) -> int | None:
    """An error event in the middle of a stream tells its status in the body, if at all."""
    body = getattr(error, "body", None)
    code = body.get("code") if isinstance(body, dict) else None
    return code if isinstance(code, int) and 400 <= code <= 599 else None


def _retry_after_s(error: Exception) -> float | None:
    response = getattr(error, "response", None)
    given = response.headers.get("retry-after", "") if response is not None else ""
    return min(float(given), 3600.0) if given.replace(".", "", 1).isdigit() else None
