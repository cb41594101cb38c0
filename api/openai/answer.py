"""One answer of a route: begun with the first route that gives a first word, then read to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from dataclasses import dataclass

from api.deps import AppDeps
from api.openai.requests import RequestedAnswer
from portico.contracts.steps import AllowedRoute
from portico.errors import Busy, Misconfigured, NotTaken, PorticoError, TooLarge, Unavailable
from portico.llm.meter import Meter
from portico.llm.routes import Bill, Delta, ModelCall
from portico.storage.access import Principal

LONGEST_ANSWER = 4 * 1024 * 1024
OUR_WORDS = {"": "stop", "time_limit": "length"}
"""Why an answer ended, in OpenAI's words."""


@dataclass(frozen=True)
class OpenAiUsage:
    """`estimated`: the server gave no counts, so they were reckoned from the text."""

    input_tokens: int
    output_tokens: int
    estimated: bool


@dataclass(frozen=True)
class WholeAnswer:
    text: str
    calls: tuple[ModelCall, ...]
    finish: str
    usage: OpenAiUsage


class Answering:
    """An answer that has begun. Close it, whatever comes."""

    def __init__(
        self,
        allowed: AllowedRoute,
        wanted: RequestedAnswer,
        deltas: AsyncGenerator[Delta, None],
        first: Delta,
    ) -> None:
        self.route = allowed.route.name
        self.decision_id = allowed.decision.decision_id
        self._deltas = deltas
        self._first: Delta | None = first
        self._meter = Meter(wanted.messages, wanted.tools)

    async def deltas(self) -> AsyncGenerator[Delta, None]:
        """All of it, the first word included; once."""
        first, self._first = self._first, None
        if first is not None:
            self._meter.add(first)
            yield first
        async for delta in self._deltas:
            self._meter.add(delta)
            yield delta

    async def whole(self) -> WholeAnswer:
        pieces: list[str] = []
        size = 0
        async for delta in self.deltas():
            pieces.append(delta.text)
            size += len(delta.text)
            if size > LONGEST_ANSWER:
                raise TooLarge("the model's answer", limit_bytes=LONGEST_ANSWER)
        last = self._meter.last
        return WholeAnswer("".join(pieces), last.calls, self.finish, self.usage)

    @property
    def finish(self) -> str:
        word = self._meter.last.finish
        return OUR_WORDS.get(word, word)

    @property
    def usage(self) -> OpenAiUsage:
        tokens = self._meter.tokens()
        return OpenAiUsage(tokens.input, tokens.output, tokens.estimated)

    async def close(self) -> None:
        await self._deltas.aclose()


async def begin(
    deps: AppDeps, person: Principal, allowed: tuple[AllowedRoute, ...], wanted: RequestedAnswer
) -> Answering:
    """The answer of the first route that begins one. Raises what the last one raised, or `Busy` if any is."""
    failures: list[PorticoError] = []
    for one in allowed:
        try:
            return await _begin(deps, person, one, wanted)
        except (Unavailable, Misconfigured) as error:
            failures.append(error)
    raise next((error for error in failures if isinstance(error, Busy)), failures[-1])


async def _begin(
    deps: AppDeps, person: Principal, allowed: AllowedRoute, wanted: RequestedAnswer
) -> Answering:
    settings = deps.routes.settings_of(allowed.route.name)
    if settings is not None and settings.kind == "triton":
        _check_simple(allowed.route.name, wanted)
    deltas = deps.routes.stream(
        allowed.route,
        wanted.messages,
        tools=wanted.tools,
        max_tokens=wanted.max_tokens,
        temperature=wanted.temperature,
        seed=wanted.seed,
        stop=wanted.stop,
        extra=wanted.extra,
        bill=Bill(
            key=allowed.decision.decision_id,
            person=person.person_id,
            decision_id=allowed.decision.decision_id,
        ),
    )
    begun = False
    try:
        first = await anext(deltas)
        begun = True
    finally:
        if not begun:
            await deltas.aclose()
    return Answering(allowed, wanted, deltas, first)


def _check_simple(route: str, wanted: RequestedAnswer) -> None:
    """What changes the meaning of an answer and Triton's models cannot do is refused, not left out."""
    shape = wanted.extra.get("response_format", {}).get("type", "text")
    if shape != "text":
        raise NotTaken(f"model route {route}: it has no response_format {str(shape)[:32]!r}")
    if "tool_choice" in wanted.extra:
        raise NotTaken(f"model route {route}: it cannot be made to call a tool")
