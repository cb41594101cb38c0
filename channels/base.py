"""What a channel is: the protocol that every platform's module implements, and what it is given.

A channel knows its platform and nothing else: no Temporal, no FastAPI, no database. Way in: `receive`
(verify, decrypt, split into events) and `parse` (one event into a message). Way out: `render` (a reply into
calls of the platform) and `send` (one call, and an honest word about its end).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

from pydantic import Field

from portico.contracts.messages import (
    Attachment,
    BlobRef,
    Ignored,
    InboundEvent,
    Message,
    NotSent,
    Outgoing,
    Reply,
    Sent,
    Unknown,
)
from portico.egress.guard import Network
from portico.settings.table import Table


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
    """A verified request. With a handshake there are no events and its answer is sent at once.

    `quiet` says, for counting, why a request that was understood holds nothing to tell anybody.
    """

    events: tuple[InboundEvent, ...] = ()
    handshake: HttpAnswer | None = None
    ack: HttpAnswer = field(default_factory=HttpAnswer)
    quiet: str = ""


class AccountSettings(Table):
    """Settings that accounts of every channel have."""

    admit: Literal["paired", "anyone"] = Field(
        "paired", description="who may talk: people who paired, or anyone"
    )
    data_class: Literal["local", "shareable"] = Field(
        "local", description="shareable: what is said here may go to a cloud route, where policy allows it"
    )

    def at_edge(self) -> dict[str, str]:
        """What an edge needs that only verifies this account's webhooks, by key; no more than that."""
        return {}


@dataclass(frozen=True)
class Account:
    """One configured account of a channel. `settings` is the channel's own model, secrets resolved.

    `network` names the addresses that its owner configured, and the proxy.
    """

    channel: str
    name: str
    settings: Any
    network: Network = field(default_factory=Network)


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
    settings: type[AccountSettings]
    webhook: bool = True
    listens: bool = False
    idempotent_sends: bool = False
    body_bytes: int = 1024 * 1024


ReadBlob = Callable[[BlobRef], Awaitable[bytes]]
"""Gives the plain content of a blob; raises `Unavailable` or `NotFound`."""


class Channel(Protocol):
    """Way in and way out of one platform. Methods but `send` and `close` are pure."""

    def receive(self, request: RawRequest, account: Account) -> Received:
        """Raises `Refused` (verification failed, for whatever reason) or `Unreadable`."""
        ...

    def parse(self, event: InboundEvent, account: Account) -> Message | Ignored:
        """Raises `Unreadable` for a body that is no longer, or not yet, understood."""
        ...

    def render(self, reply: Reply) -> tuple[Outgoing, ...]:
        """One item for each call of the platform, in order. `chat` is filled in by the caller."""
        ...

    async def send(
        self, outgoing: Outgoing, account: Account, *, key: str, read_blob: ReadBlob | None = None
    ) -> Sent | NotSent | Unknown:
        """One call. `key` is the same whenever the same part is sent again. Raises nothing on purpose."""
        ...

    def rates(self, account: Account) -> Rates: ...

    async def close(self) -> None:
        """Close what `send` keeps open in the running event loop."""
        ...


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


@runtime_checkable
class Shows(Protocol):
    """Channels that can show a person that something is going on. Best effort: these raise nothing."""

    async def typing(self, account: Account, chat: str) -> None: ...

    async def acknowledge(self, event: InboundEvent, account: Account) -> None:
        """Tell the platform that a press of a button has arrived."""
        ...


@runtime_checkable
class Connects(Protocol):
    """Channels whose platform is given the webhook's address, and that know their own name."""

    def uses_webhook(self, account: Account, public_url: str) -> bool: ...

    async def identify(self, account: Account) -> Account:
        """The account with what the platform says of it. Raises `Misconfigured` or `Unavailable`."""
        ...

    async def connect(self, account: Account, *, public_url: str) -> Account:
        """Identify, then ask the platform to call `public_url`, or not to call when it is polled."""
        ...
