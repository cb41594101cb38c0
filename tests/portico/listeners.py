"""What the tests of the egress guard use: origin servers and proxies on 127.0.0.1, and both kinds of client."""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import httpx2

from portico.egress.posts import Poster


class OriginServer:
    """An HTTP server that keeps the head of each request."""

    def __init__(self, context: ssl.SSLContext | None = None) -> None:
        self.visits: list[str] = []
        self.answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok"
        self.port = 0
        self._context = context
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> OriginServer:
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0, ssl=self._context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        await self._server.wait_closed()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        self.visits.append(head)
        writer.write(self.answer)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


class Tunnel(OriginServer):
    """A proxy that answers CONNECT and leads every tunnel to one place."""

    def __init__(self, to: OriginServer, *, status: int = 200) -> None:
        super().__init__()
        self._to = to
        self._status = status

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.visits.append((await reader.readuntil(b"\r\n\r\n")).decode())
        writer.write(f"HTTP/1.1 {self._status} Whatever\r\n\r\n".encode())
        await writer.drain()
        if self._status == 200:
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", self._to.port)
            inner_writer.write(await reader.readuntil(b"\r\n\r\n"))
            writer.write(await inner_reader.read())
            inner_writer.close()
        writer.close()


class Names:
    """A resolver with scripted answers; the last one stays."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.lookups = 0

    async def __call__(self, host: str, port: int) -> list[str]:
        self.lookups += 1
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


@dataclass(frozen=True)
class GuardedResponse:
    status_code: int
    text: str


class GuardedClient:
    """One request, by either of the two clients behind the guard."""

    def __init__(self, http: httpx2.AsyncClient | Poster) -> None:
        self._http = http

    async def get(self, url: str) -> GuardedResponse:
        if isinstance(self._http, Poster):
            posted = await self._http.post(url, content=b"", headers={})
            return GuardedResponse(posted.status, posted.content.decode())
        got = await self._http.get(url)
        return GuardedResponse(got.status_code, got.text)
