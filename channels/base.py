"""What a channel is: the protocol that every platform's module implements, and what it is given.

A channel knows its platform and nothing else: no Temporal, no FastAPI, no database. Way in: `receive` (verify,
decrypt, split into events) and `parse` (one event into a message). Way out: `render` (a reply into calls of the
platform) and `send` (one call, and an honest word about its end).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from pydantic import BaseModel

from portico.contracts import (
    Attachment,
    Ignored,
    InboundEvent,
    Message,
    NotSent,
    Outgoing,
    Reply,
    Sent,
    Unknown,
)


@dataclass(frozen=True)
class RawRequest:
    """An HTTP request as it came: header names in lower case, the body untouched."""

    method: str
    path: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class HttpAnswer:
    """What the platform gets back."""

    status: int = 200
    body: bytes = b""
    media_type: str = "application/json"


@dataclass(frozen=True)
class Received:
    """A verified request. With a handshake there are no events and its answer is sent at once."""

    events: tuple[InboundEvent, ...] = ()
    handshake: HttpAnswer | None = None
    ack: HttpAnswer = field(default_factory=HttpAnswer)


@dataclass(frozen=True)
class Account:
    """One configured account of a channel. `settings` is the channel's own model, secrets resolved."""

    channel: str
    name: str
    settings: Any


@dataclass(frozen=True)
class Rates:
    """How fast an account and each of its chats may be sent to; 0 switches a limit off."""

    per_s: float = 0
    per_chat_per_s: float = 0
    burst: int = 5


@dataclass(frozen=True)
class Descriptor:
    """What can be said of a channel without loading it: `module` is imported when it is first used."""

    name: str
    title: str
    module: str
    settings: type[BaseModel]
    webhook: bool = True
    listens: bool = False
    idempotent_sends: bool = False
    body_bytes: int = 1024 * 1024


class Channel(Protocol):
    """Way in and way out of one platform. Methods but `send` are pure."""

    def receive(self, request: RawRequest, account: Account) -> Received:
        """Raises `Refused` (verification failed, for whatever reason) or `Unreadable`."""
        ...

    def parse(self, event: InboundEvent, account: Account) -> Message | Ignored:
        """Raises `Unreadable` for a body that is no longer, or not yet, understood."""
        ...

    def render(self, reply: Reply) -> tuple[Outgoing, ...]:
        """One item for each call of the platform, in order. `chat` is filled in by the caller."""
        ...

    async def send(self, outgoing: Outgoing, account: Account, *, key: str) -> Sent | NotSent | Unknown:
        """One call. `key` is the same whenever the same part is sent again. Raises nothing on purpose."""
        ...

    def rates(self, account: Account) -> Rates: ...


@runtime_checkable
class Marks(Protocol):
    """Channels that can show people that a part may be a repeat."""

    def marked(self, outgoing: Outgoing) -> Outgoing: ...


@runtime_checkable
class Fetches(Protocol):
    """Channels whose attachments have to be fetched from the platform."""

    async def fetch(self, attachment: Attachment, account: Account, *, limit_bytes: int) -> bytes:
        """Raises `Unavailable`, `TooLarge` or `NotFound`."""
        ...


Sink = Callable[[tuple[InboundEvent, ...]], Awaitable[None]]
"""Returns when Temporal has stored the events; raises `Unavailable` when it has not."""


@runtime_checkable
class Listener(Protocol):
    """Channels that are not called but ask: polls and sockets."""

    async def listen(self, account: Account, sink: Sink) -> None:
        """Runs until cancelled. Moves its cursor only when `sink` has returned."""
        ...
