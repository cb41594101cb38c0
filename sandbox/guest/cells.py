"""A kernel's end of its two pipes: cells come in as lines of JSON, events go out the same way.

What a cell prints does not travel here but over descriptors 1 and 2, as from any program.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

Event = dict[str, Any]
Run = Callable[[Event], None]


class Cells:
    """Iterating gives the requests, `emit` reports. The descriptors are the first two arguments."""

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        requests, replies = int(sys.argv.pop(1)), int(sys.argv.pop(1))
        os.set_inheritable(requests, False)
        os.set_inheritable(replies, False)
        self._requests = os.fdopen(requests, "rb")
        self._replies = os.fdopen(replies, "wb", buffering=0)

    def emit(self, event: Event) -> None:
        rest = memoryview(json.dumps(event).encode() + b"\n")
        while rest:
            rest = rest[self._replies.write(rest) :]

    def __iter__(self) -> Iterator[Event]:
        for line in self._requests:
            yield json.loads(line)

    def serve(self, run: Run, renew: Callable[[str], None]) -> None:
        """Until the pipe closes: cells in order, and between them what a copy of this sandbox must do first."""
        self.emit({"type": "ready"})
        for request in self:
            if "renew" in request:
                renew(request["renew"])
                continue
            run(request)
            self.emit({"type": "done"})


def write_all(descriptor: int, text: str) -> None:
    rest = memoryview(text.encode(errors="replace"))
    while rest:
        rest = rest[os.write(descriptor, rest) :]
