"""Live updates from worker to api over a Unix socket: best effort, encrypted, never stored.

They only make a page quicker: the outbox is the durable state. Whenever one may be missing, subscribers get
`{"kind": "resync"}` and look there. Kinds: `outbox`, `delta` (turn, text), `status` (turn, state), `resync`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

from cryptography.exceptions import InvalidTag

from portico.crypto.keyring import Keyring
from portico.logs import logger
from portico.settings.home import Home

Update = dict[str, Any]
Send = Callable[[str, Update], Awaitable[None]]
RESYNC: Update = {"kind": "resync"}
WAITING_UPDATES = 512
"""Queue limit per subscriber; on overflow the subscriber resyncs from the outbox."""
RETRY_S = 0.25
_FRAME_BYTES = 1 << 20
_CONTEXT = b"portico live v1|"

log = logger("live")


class LivePublisher:
    """The worker's end. Publishing is one queue operation; one task does the rest."""

    lost: tuple[type[Exception], ...] = (OSError,)

    def __init__(self, home: Home, keyring: Keyring) -> None:
        self._path = home.live_socket
        self._frames = Frames(keyring)
        self._waiting: asyncio.Queue[tuple[str, Update]] = asyncio.Queue(WAITING_UPDATES)
        self._pump: asyncio.Task[None] | None = None
        self._missed = False
        self._not_before = 0.0

    def publish(self, conversation_id: str, update: Update) -> None:
        """Queue an update. Never waits; without a listener it is dropped."""
        loop = asyncio.get_running_loop()
        if self._pump is None or self._pump.done():
            if loop.time() < self._not_before:
                return
            self._pump = loop.create_task(self._deliver())
        try:
            self._waiting.put_nowait((conversation_id, update))
        except asyncio.QueueFull:
            self._missed = True

    async def close(self) -> None:
        if self._pump is not None:
            self._pump.cancel()
            await asyncio.gather(self._pump, return_exceptions=True)

    async def _deliver(self) -> None:
        loop = asyncio.get_running_loop()
        try:
            async with self._line() as send:
                while True:
                    conversation_id, update = await self._waiting.get()
                    if self._missed:
                        self._missed = False
                        await send("", RESYNC)
                    await send(conversation_id, update)
        except self.lost as error:
            log.debug("live.nobody_listens", cause=type(error).__name__)
        finally:
            self._not_before = loop.time() + RETRY_S
            while not self._waiting.empty():
                self._waiting.get_nowait()

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Send]:
        """How updates get to the api, while it lasts. Raises one of `lost` when it ends."""
        with _reachable(self._path) as path:
            _, writer = await asyncio.open_unix_connection(path)

        async def send(conversation_id: str, update: Update) -> None:
            writer.write(self._frames.pack(conversation_id, update))
            await writer.drain()

        try:
            yield send
        finally:
            writer.transport.abort()  # closing would wait for a reader that hangs


class Subscription:
    """One reader's updates, inside `with`. A slow reader loses updates and gets `resync` in their place."""

    def __init__(self, hub: LiveHub, conversation_id: str) -> None:
        self._hub = hub
        self._conversation_id = conversation_id
        self._waiting: asyncio.Queue[Update] = asyncio.Queue(WAITING_UPDATES)

    def __enter__(self) -> Subscription:
        self._hub._subscriptions[self._conversation_id].add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        readers = self._hub._subscriptions[self._conversation_id]
        readers.discard(self)
        if not readers:
            del self._hub._subscriptions[self._conversation_id]

    def __aiter__(self) -> AsyncIterator[Update]:
        return self

    async def __anext__(self) -> Update:
        return await self._waiting.get()

    def _give(self, update: Update) -> None:
        if self._waiting.full():
            while not self._waiting.empty():
                self._waiting.get_nowait()
            update = RESYNC
        self._waiting.put_nowait(update)


class LiveHub:
    """The api's end: forwards what workers publish to the subscribers of the conversation."""

    def __init__(self, home: Home, keyring: Keyring) -> None:
        self._path = home.live_socket
        self._frames = Frames(keyring)
        self._subscriptions: defaultdict[str, set[Subscription]] = defaultdict(set)
        self._server: asyncio.Server | None = None
        self._connected: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen. A socket file of a killed process is replaced."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._path.unlink(missing_ok=True)
        with _reachable(self._path) as path:
            self._server = await asyncio.start_unix_server(self._accept, path)
        self._path.chmod(0o600)

    async def stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for task in self._connected:
            task.cancel()
        await asyncio.gather(*self._connected, return_exceptions=True)

    def subscribe(self, conversation_id: str) -> Subscription:
        """`with hub.subscribe(id) as updates: async for update in updates`; read the outbox once inside."""
        return Subscription(self, conversation_id)

    def tell(self, conversation_id: str, update: Update) -> None:
        """An update of the api itself. An empty conversation means everyone."""
        if conversation_id:
            readers = self._subscriptions.get(conversation_id, set())
        else:
            readers = {reader for group in self._subscriptions.values() for reader in group}
        for reader in readers:
            reader._give(update)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connected.add(task)
        self.tell("", RESYNC)  # updates that a worker sent before it connected are lost
        try:
            while (frame := await self._frames.read(reader)) is not None:
                self.tell(*frame)
        finally:
            self._connected.discard(task)
            self.tell("", RESYNC)
            writer.close()


class Frames:
    """Four bytes of length, one of the key id's length, the key id, and the encrypted update."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def pack(self, conversation_id: str, update: Update) -> bytes:
        """The frame with its length."""
        key = self._keyring.current("live")
        key_id = key.id.encode()
        sealed = key.encrypt(json.dumps([conversation_id, update]).encode(), context=_CONTEXT + key_id)
        body = bytes([len(key_id)]) + key_id + sealed
        return len(body).to_bytes(4) + body

    async def read(self, reader: asyncio.StreamReader) -> tuple[str, Update] | None:
        """The next update; None at the end of the connection or for a frame that is not encrypted with our key."""
        try:
            length = int.from_bytes(await reader.readexactly(4))
            if length > _FRAME_BYTES:
                log.warning("live.refused", cause="too long")
                return None
            return self.unpack(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return None

    def unpack(self, body: bytes) -> tuple[str, Update] | None:
        """An update from a frame without its length; None for what was not made with our key."""
        try:
            key_id, sealed = body[1 : 1 + body[0]], body[1 + body[0] :]
            key = self._keyring.by_id(key_id.decode())
            conversation_id, update = json.loads(key.decrypt(sealed, context=_CONTEXT + key_id))
        except (InvalidTag, KeyError, IndexError, ValueError) as error:
            log.warning("live.refused", cause=type(error).__name__)
            return None
        return conversation_id, update


@contextlib.contextmanager
def _reachable(path: Path) -> Iterator[str]:
    """A name of the socket that is short enough for the kernel (108 bytes), however long the home's path is."""
    directory = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{directory}/{path.name}"
    finally:
        os.close(directory)
