"""Lets a language model answer, and shows web chats the text while it grows.

A web chat gets live updates, at most `PIECES_PER_S` a second, never stored, replaced by the final reply:

    {"kind": "delta", "turn": TURN_ID, "offset": N, "text": PIECE}

`offset` counts the code points that came before the piece in this attempt. 0 begins the text, also when a
repeated attempt begins it anew; a reader whose text is not `offset` long has missed a piece and waits for the
next 0 or for the reply.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, nullcontext
from datetime import UTC, datetime

from temporalio import activity

from activities.heartbeat import beating
from activities.prompts import messages, requests
from channels.facts import LIVE
from portico.contracts.messages import ConversationRef
from portico.contracts.steps import Generated, GenerateInput
from portico.errors import NotTaken, TooLarge
from portico.llm.routes import Bill, Delta, ModelRoutes, OfferedTool
from portico.storage.live.hub import LivePublisher
from portico.texts import catalog
from portico.tool import ToolSpec

PIECES_PER_S = 20
LONGEST_ANSWER = 100_000

Typing = Callable[[ConversationRef], AbstractAsyncContextManager[None]]


class GenerateSteps:
    """The step that asks a model."""

    def __init__(
        self,
        routes: ModelRoutes,
        live: LivePublisher,
        *,
        tool_spec: Callable[[str], ToolSpec | None] = lambda _name: None,
        typing: Typing = lambda _conversation: nullcontext(),
    ) -> None:
        """`tool_spec` gives the words and schema of an offered tool."""
        self._routes = routes
        self._live = live
        self._tool_spec = tool_spec
        self._typing = typing
        self._toolless: set[tuple[str, str]] = set()
        """Routes and models that refused a request because of its tools."""

    @activity.defn(name="generate")
    async def generate(self, step: GenerateInput) -> Generated:
        """The whole answer, or the calls that it needs first. A stop hangs up on the model at once; a failure is
        Temporal's to repeat."""
        shown = ShownText(self._live, step.conversation, step.turn_id)
        offered = self._offered(step)
        last = Delta()
        try:
            deltas = self._deltas(step, offered)
            async with beating(), self._typing(step.conversation), aclosing(deltas):
                async for delta in deltas:
                    shown.add(delta.text)
                    last = delta
        finally:
            shown.end()
        calls = requests(last.calls, offered, round_number=len(step.rounds))
        text = shown.text.strip() if calls else in_full(shown.text, last.finish, language=step.language)
        return Generated(
            text=text,
            route=step.route.name,
            input_tokens=last.input_tokens,
            output_tokens=last.output_tokens,
            calls=calls,
        )

    def _offered(self, step: GenerateInput) -> dict[str, ToolSpec]:
        """The tools as they were when policy was asked; one that has changed since is left out."""
        if (step.route.name, step.route.model) in self._toolless:
            return {}
        found = ((offer, self._tool_spec(offer.name)) for offer in step.tools)
        return {
            spec.name: spec
            for offer, spec in found
            if spec is not None and spec.content_hash == offer.content_hash
        }

    async def _deltas(self, step: GenerateInput, offered: dict[str, ToolSpec]) -> AsyncGenerator[Delta, None]:
        """Not every model takes tools: a server that refuses a request with them is asked again without."""
        said = False
        try:
            async with aclosing(self._stream(step, offered)) as answer:
                async for delta in answer:
                    said = True
                    yield delta
            return
        except NotTaken:
            if said or not offered:
                raise
        offered.clear()
        async with aclosing(self._stream(step, offered)) as answer:
            async for delta in answer:
                yield delta
        self._toolless.add((step.route.name, step.route.model))

    def _stream(self, step: GenerateInput, offered: dict[str, ToolSpec]) -> AsyncGenerator[Delta, None]:
        told = messages(step, today=datetime.now(UTC).date(), offered=bool(offered))
        tools = [OfferedTool(spec.name, spec.description, spec.parameters) for spec in offered.values()]
        # What a broken-off attempt wrote was paid for as well, so each counts for itself.
        key = f"{step.turn_id}.{len(step.rounds)}.{step.route.name}.{activity.info().attempt}.{len(tools)}"
        bill = Bill(key=key, person=step.person, decision_id=step.decision_id)
        return self._routes.stream(step.route, told, tools=tools, bill=bill)


ENDED_EARLY = frozenset({"length", "time_limit"})
"""Reasons of an end after which the answer is not whole."""


def in_full(text: str, finish: str, *, language: str) -> str:
    """The answer as it is sent: an early end and an empty answer are said, not hidden."""
    answer = text.strip()
    if not answer:
        return catalog.text("generated", "empty", language)
    if finish not in ENDED_EARLY:
        return answer
    return f"{answer}\n\n{catalog.text('generated', f'ended_by_{finish}', language)}"


class ShownText:
    """The answer so far, and what of it the reader has been sent. Pieces are gathered to spare the pages."""

    def __init__(self, live: LivePublisher, conversation: ConversationRef, turn_id: str) -> None:
        self.text = ""
        self._live = live
        self._conversation = conversation
        self._turn_id = turn_id
        self._sent = 0
        self._timer: asyncio.TimerHandle | None = None
        self._not_before = 0.0

    def add(self, piece: str) -> None:
        """Take a piece; it is sent now, or together with others when 1/20 s is over."""
        if not piece:
            return
        self.text += piece
        if len(self.text) > LONGEST_ANSWER:
            raise TooLarge("the model's answer", limit_bytes=LONGEST_ANSWER)
        if self._conversation.channel not in LIVE or self._timer is not None:
            return
        loop = asyncio.get_running_loop()
        if (wait_s := self._not_before - loop.time()) <= 0:
            self._send()
        else:
            self._timer = loop.call_later(wait_s, self._send)

    def end(self) -> None:
        """Send what is left."""
        if self._timer is not None:
            self._send()

    def _send(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        piece, offset = self.text[self._sent :], self._sent
        self._sent = len(self.text)
        self._not_before = asyncio.get_running_loop().time() + 1 / PIECES_PER_S
        update = {"kind": "delta", "turn": self._turn_id, "offset": offset, "text": piece}
        self._live.publish(self._conversation.id, update)
