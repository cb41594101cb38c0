"""uvicorn's HTTP, with an end to its patience: the head of a request has to arrive within a time.

uvicorn limits idle connections between requests only; one that never ends its first head would stay for ever.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


class PatientHttp(HttpToolsProtocol):
    """Closes a connection whose request head is late. `head_limit_s` is set by `patient`."""

    head_limit_s: float
    _late: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._await_head()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._stop_waiting()
        self._late = self.loop.call_later(self.head_limit_s, self.transport.close)

    def _stop_waiting(self) -> None:
        if self._late is not None:
            self._late.cancel()
            self._late = None


def patient(limit_s: float) -> type[PatientHttp]:
    """The protocol with this limit, as uvicorn's configuration wants it: a class."""
    return type("PatientHttp", (PatientHttp,), {"head_limit_s": limit_s})
