"""Fetches from web servers through the guard of all outgoing traffic: redirects checked one by one, resumable."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any
from urllib.parse import urljoin, urlsplit

import httpx2

from portico.egress.guard import client, network
from portico.errors import Forbidden, Misconfigured, NotFound, TooLarge, Unavailable
from portico.settings.settings import Settings
from portico.settings.table import MIB

REDIRECTS = 5
ANSWER_BYTES = 16 * MIB
TIMEOUT = httpx2.Timeout(30.0, connect=10.0, read=60.0)
_RANGE = re.compile(r"bytes (\d+)-\d+/(?:\d+|\*)")


class WebClient:
    """One client for one place, whose own address the owner has named; what it leads to has to be public."""

    def __init__(self, settings: Settings, base: str, *, token: str = "") -> None:
        parts = urlsplit(base)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Misconfigured(f"{base[:100]} is no https:// URL")
        self._origin = _origin(base)
        self._token = token
        self._client = client(network(settings, allow=[base]), timeout=TIMEOUT)

    async def close(self) -> None:
        await self._client.aclose()

    async def get(self, url: str) -> bytes:
        """A small answer, whole."""
        return (await self.get_with_link(url))[0]

    async def get_with_link(self, url: str) -> tuple[bytes, str]:
        """And the URL of the next page, if the answer names one."""
        async with self._answer(url, {}) as response:
            body = b""
            try:
                async for chunk in response.aiter_bytes():
                    body += chunk
                    if len(body) > ANSWER_BYTES:
                        raise TooLarge(f"the answer of {urlsplit(url).netloc}", limit_bytes=ANSWER_BYTES)
            except httpx2.HTTPError as error:
                raise _away(url, error) from error
            return body, response.links.get("next", {}).get("url", "")

    @asynccontextmanager
    async def stream(
        self, url: str, *, start: int, headers: dict[str, str] | None = None
    ) -> AsyncIterator[tuple[int, AsyncIterator[bytes]]]:
        """Where the answer begins, and its bytes. Raises `Unavailable` when it breaks off."""
        asked = {"accept-encoding": "identity", **(headers or {})}
        if start:
            asked["range"] = f"bytes={start}-"
        async with self._answer(url, asked) as response:
            begins = 0
            if response.status_code == 206:
                told = _RANGE.fullmatch(response.headers.get("content-range", ""))
                if told is None:
                    raise Unavailable(
                        urlsplit(url).netloc, "it sent a part of the file and does not say which"
                    )
                begins = int(told[1])
            yield begins, _bytes(url, response)

    @asynccontextmanager
    async def _answer(self, url: str, headers: dict[str, str]) -> AsyncIterator[httpx2.Response]:
        async with AsyncExitStack() as stack:
            for _ in range(REDIRECTS):
                sent = dict(headers)
                if self._token and _origin(url) == self._origin:
                    sent["authorization"] = f"Bearer {self._token}"  # to no other host
                try:
                    response = await stack.enter_async_context(self._client.stream("GET", url, headers=sent))
                except Forbidden:
                    raise Forbidden(f"{urlsplit(url).netloc} does not lie in the public internet") from None
                except httpx2.HTTPError as error:
                    raise _away(url, error) from error
                if not response.is_redirect:
                    _check(url, response)
                    yield response
                    return
                url = _next(url, response)
        raise Unavailable(urlsplit(url).netloc, "it redirects without end")


async def _bytes(url: str, response: httpx2.Response) -> AsyncIterator[bytes]:
    try:
        async for chunk in response.aiter_raw():
            yield chunk
    except httpx2.HTTPError as error:
        raise _away(url, error) from error


def _next(url: str, response: httpx2.Response) -> str:
    target = urljoin(url, response.headers.get("location", ""))
    if urlsplit(url).scheme == "https" and urlsplit(target).scheme != "https":
        raise Forbidden(f"{urlsplit(url).netloc} leads to an address without TLS")
    return target


def _check(url: str, response: httpx2.Response) -> None:
    host, status = urlsplit(url).netloc.rpartition("@")[2], response.status_code
    if status in (200, 206):
        return
    if status in (404, 410):
        raise NotFound(f"{urlsplit(url).path} at {host}")
    if status in (401, 403):
        raise Misconfigured(f"{host} lets nobody read this without a right to it ({status})")
    if status == 416:
        raise Unavailable(host, "the file is shorter than what was fetched of it")
    if status == 429 or status >= 500:
        raise Unavailable(host, f"it answered {status}")
    raise Misconfigured(f"{host} answered {status}")


def _away(url: str, error: Exception) -> Unavailable:
    return Unavailable(urlsplit(url).netloc.rpartition("@")[2], type(error).__name__)


def _origin(url: str) -> tuple[Any, ...]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port
