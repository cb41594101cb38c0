"""One streamed answer of a server that speaks OpenAI's API, and what its failures mean to us.

`openai` is imported when a route is first used, off the event loop: it takes a second. Nothing is retried
here; `Unavailable` is Temporal's to repeat.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

import httpx2

from portico.egress.guard import Network, client
from portico.errors import Misconfigured, NotTaken, PorticoError, TooLarge, Unavailable
from portico.llm.characters import WholeCharacters, mended
from portico.llm.thinking import AnswerOnly
from portico.llm.types import Delta, Messages, ModelCall, OfferedTool
from portico.retry_after import retry_after_s
from portico.settings.models import RouteSettings

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CONNECT_TIMEOUT_S = 5.0
MOST_CALLS = 32
LONGEST_CALLS = 256 * 1024
"""Of all arguments together: more is a server that does not stop."""
OUR_HEADERS = frozenset({"host", "content-type", "content-length", "accept", "accept-encoding", "connection"})


class OpenAiServer:
    """The client of one route: opened at the first answer, closed with the route."""

    def __init__(self, settings: RouteSettings, api_key: str) -> None:
        self._settings = settings
        self._api_key = api_key
        self._http: httpx2.AsyncClient | None = None
        self._openai: AsyncOpenAI | None = None

    async def open(self, network: Network) -> AsyncOpenAI:
        if self._openai is not None:
            return self._openai
        openai = await asyncio.to_thread(_load_openai)
        if self._openai is None:  # else another answer was quicker
            settings = self._settings
            timeout = httpx2.Timeout(settings.first_token_timeout_s, connect=CONNECT_TIMEOUT_S)
            headers = {"request": [_only_our_headers(self._api_key)]}
            self._http = client(network, timeout=timeout, event_hooks=headers)
            self._openai = openai.AsyncOpenAI(
                api_key=self._api_key or "none",
                base_url=settings.base_url,
                timeout=timeout,
                max_retries=0,
                http_client=self._http,
            )
        return cast("AsyncOpenAI", self._openai)

    async def close(self) -> None:
        http, self._http, self._openai = self._http, None, None
        if http is not None:
            await http.aclose()


class OpenAiAnswer:
    """One request to one route."""

    def __init__(
        self,
        name: str,
        settings: RouteSettings,
        openai: AsyncOpenAI,
        *,
        extra: Mapping[str, Any] | None = None,
    ) -> None:
        """`extra` holds further fields of the request that the server understands."""
        self._name = name
        self._settings = settings
        self._client = openai
        self._extra = dict(extra or {})
        self._stream: Any = None
        self._characters = WholeCharacters()
        self._only_answer = AnswerOnly()
        self._calls = _Calls()
        self._finish = ""
        self._usage: Any = None

    def deltas(
        self,
        messages: Messages,
        *,
        tools: Sequence[OfferedTool] = (),
        max_tokens: int | None = None,
        temperature: float | None = None,
        seed: int | None = None,
        stop: Sequence[str] = (),
    ) -> AsyncGenerator[Delta, None]:
        """The answer's pieces, and one last `Delta` with counts and tool calls."""
        wanted: dict[str, Any] = {
            "tools": [_tool(tool) for tool in tools] or None,
            "max_tokens": max_tokens,
            "temperature": temperature,
            "seed": seed,
            "stop": list(stop) or None,
            "extra_body": self._extra or None,
        }
        # Only what was asked for: servers differ in what they know.
        options = {name: value for name, value in wanted.items() if value is not None}
        return self._read_all(list(messages), options)

    async def _read_all(self, messages: list[Any], options: dict[str, Any]) -> AsyncGenerator[Delta, None]:
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + self._settings.timeout_s
        begins_by = loop.time() + self._settings.first_token_timeout_s
        said = False
        while True:
            try:
                async with asyncio.timeout_at(ends_at if said else min(begins_by, ends_at)):
                    chunk = await self._next(messages, options)
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

    async def hang_up(self) -> None:
        if self._stream is not None:
            await self._stream.close()

    async def _next(self, messages: list[Any], options: dict[str, Any]) -> Any:
        """The next chunk; none at the end."""
        import openai

        try:
            if self._stream is None:
                self._stream = await self._client.chat.completions.create(
                    model=self._settings.model,
                    messages=messages,
                    stream=True,
                    stream_options={"include_usage": True},
                    **options,
                )
            return await anext(self._stream, None)
        except openai.OpenAIError as error:
            raise _translated(self._name, self._settings, error) from None
        except UnicodeEncodeError:
            raise NotTaken(
                f"model route {self._name}: the text holds characters that are no Unicode"
            ) from None
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
        text = self._characters.feed(getattr(delta, "content", None) or "")
        thinks = getattr(delta, "reasoning_content", None) or getattr(delta, "reasoning", None)
        called = self._calls.feed(getattr(delta, "tool_calls", None))
        return self._only_answer.feed(text), bool(text or thinks or called)

    def _last(self) -> Delta:
        rest = self._only_answer.feed(self._characters.rest()) + self._only_answer.rest()
        return Delta(
            rest,
            input_tokens=getattr(self._usage, "prompt_tokens", None),
            output_tokens=getattr(self._usage, "completion_tokens", None),
            finish=mended(str(self._finish)),
            # A call that our time limit cut in two is none.
            calls=() if self._finish == "time_limit" else self._calls.whole(),
        )


@dataclass
class _Call:
    id: str = ""
    name: str = ""
    arguments: str = ""


class _Calls:
    """Puts tool calls together from their pieces.

    Pieces of one call share an `index`; some servers leave it out or give every call the same one, so a new
    id begins a new call as well.
    """

    def __init__(self) -> None:
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._size = 0

    def feed(self, pieces: Any) -> bool:
        """Whether there was anything."""
        for piece in pieces or ():
            call = self._call_of(getattr(piece, "index", None) or 0, getattr(piece, "id", None) or "")
            function = getattr(piece, "function", None)
            # The name is whole in its first piece; some servers repeat it in each.
            call.name = call.name or getattr(function, "name", None) or ""
            more = getattr(function, "arguments", None) or ""
            call.arguments += more
            self._size += len(more)
            if self._size > LONGEST_CALLS or len(self._calls) > MOST_CALLS:
                raise TooLarge("what the model asks of its tools", limit_bytes=LONGEST_CALLS)
        return bool(pieces)

    def whole(self) -> tuple[ModelCall, ...]:
        return tuple(
            ModelCall(mended(call.id) or f"call_{number}", mended(call.name), mended(call.arguments))
            for number, call in enumerate(self._calls)
        )

    def _call_of(self, index: int, call_id: str) -> _Call:
        call = self._at.get(index)
        if call is None or (call_id and call.id and call.id != call_id):
            call = self._at[index] = _Call()
            self._calls.append(call)
        call.id = call.id or call_id
        return call


def _tool(tool: OfferedTool) -> dict[str, Any]:
    function = {"name": tool.name, "description": tool.description, "parameters": tool.parameters}
    return {"type": "function", "function": function}


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
        why = f"it answered {status}" if status else "it broke off its answer"
        return Unavailable(part, why, retry_after_s=_retry_after_s(error))
    of_request = status in (400, 413, 422)
    return (NotTaken if of_request else Misconfigured)(f"{part}: {_refusal(status, settings.model)}")


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
    return retry_after_s(response.headers.get("retry-after")) if response is not None else None
