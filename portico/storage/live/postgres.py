"""Live updates between processes on several machines: PostgreSQL's NOTIFY, with encrypted payloads.

The same best effort as over the socket: whenever an update may be missing, subscribers get `resync`.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg

from portico.crypto.keyring import Keyring
from portico.logs import logger
from portico.settings.home import Home
from portico.storage.live.hub import RESYNC, RETRY_S, LiveHub, LivePublisher, Send, Update

CHANNEL = "portico_live"
PAYLOAD_BYTES = 7_900
"""The server takes less than 8,000; a longer update becomes a `resync` of its conversation."""
LENGTH_BYTES = 4
CONNECT_TIMEOUT_S = 5
ALIVE_EVERY_S = 15.0

log = logger("live")


class PostgresPublisher(LivePublisher):
    """The worker's end."""

    lost = (psycopg.Error, OSError)

    def __init__(self, home: Home, keyring: Keyring, url: str) -> None:
        super().__init__(home, keyring)
        self._url = url

    @asynccontextmanager
    async def _line(self) -> AsyncIterator[Send]:
        connection = await _connect(self._url)

        async def send(conversation_id: str, update: Update) -> None:
            payload = self._packed(conversation_id, update)
            if len(payload) > PAYLOAD_BYTES:
                payload = self._packed(conversation_id, RESYNC)
            await connection.execute("SELECT pg_notify(%s, %s)", (CHANNEL, payload))

        try:
            yield send
        finally:
            await connection.close()

    def _packed(self, conversation_id: str, update: Update) -> str:
        return base64.b64encode(self._frames.pack(conversation_id, update)[LENGTH_BYTES:]).decode()


class PostgresHub(LiveHub):
    """The api's end; each api process receives every update and keeps those of its subscribers."""

    def __init__(self, home: Home, keyring: Keyring, url: str) -> None:
        super().__init__(home, keyring)
        self._url = url
        self._listening: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Listen in the background: a database that is unavailable makes pages slower, no more."""
        self._listening = asyncio.create_task(self._listen_for_ever())

    async def stop(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)

    async def _listen_for_ever(self) -> None:
        while True:
            with suppress(psycopg.Error, OSError):
                await self._listen()
            self.tell("", RESYNC)
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        connection = await _connect(self._url)
        try:
            await connection.execute(f"LISTEN {CHANNEL}")
            self.tell("", RESYNC)  # updates before this point are lost
            while True:
                async for notice in connection.notifies(timeout=ALIVE_EVERY_S):
                    self._take(notice.payload)
                await connection.execute("SELECT 1")  # a connection that died in silence is noticed
        finally:
            await connection.close()

    def _take(self, payload: str) -> None:
        try:
            frame = self._frames.unpack(base64.b64decode(payload, validate=True))
        except binascii.Error:
            log.warning("live.refused", cause="not base64")
            return
        if frame is not None:
            self.tell(*frame)


async def _connect(url: str) -> psycopg.AsyncConnection[object]:
    return await psycopg.AsyncConnection.connect(
        url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S, application_name="portico-live"
    )
