"""The errors of Portico, one tree:

PorticoError                 code, http_status, retryable
├── BadInput                 the request cannot be used; repeating it will not help
│   ├── Unreadable           not the shape that its platform documents
│   ├── TooLarge             over a documented limit
│   ├── TooSlow              the request did not arrive completely in time
│   └── BadCall              parameters that do not match a tool's schema, each fault with its path
├── Refused                  authentication failed (one identical response for every cause)
├── Forbidden                authenticated, but not allowed
├── NotFound                 no such resource, or not visible to this person
│   └── NoSuchTool           with the nearest tool names
├── Conflict                 the state has changed meanwhile
├── TooMany                  a rate limit, with the time to wait
├── Misconfigured            settings, keys or files on this machine that a person has to correct
│   └── NotTaken             the upstream rejects this request; other requests may succeed
└── Unavailable              a part is unavailable; the work waits and is retried
    └── Busy                 the part is up, but overloaded

Constructors take facts and build the message, which holds ids and names of parts, never content.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any


class PorticoError(Exception):
    """Base of every error that Portico raises on purpose."""

    code = "internal"
    http_status = 500
    retryable = False
    details: Mapping[str, Any] = {}
    """Further members of the problem document."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadInput(PorticoError):
    code = "bad_input"
    http_status = 400


class Unreadable(BadInput):
    """The body is not what its platform documents."""

    code = "unreadable"

    def __init__(self, what: str, why: str) -> None:
        super().__init__(f"{what} cannot be read: {why}")


class TooLarge(BadInput):
    code = "too_large"
    http_status = 413

    def __init__(self, what: str, *, limit_bytes: int) -> None:
        super().__init__(f"{what} is larger than {limit_bytes} bytes")


class TooSlow(BadInput):
    code = "too_slow"
    http_status = 408

    def __init__(self, what: str, *, limit_s: float) -> None:
        super().__init__(f"{what} did not arrive within {limit_s:g} s")


class BadCall(BadInput):
    """`faults`: pairs of a path in the parameters and what is wrong there."""

    code = "bad_parameters"
    http_status = 422

    def __init__(self, tool: str, faults: Sequence[tuple[str, str]]) -> None:
        super().__init__(f"{tool}: " + "; ".join(f"{path}: {what}" for path, what in faults))
        self.details = {"faults": [{"path": path, "message": what} for path, what in faults]}


class Refused(PorticoError):
    """A request that failed verification. `cause` is for metrics; the response never contains it."""

    code = "refused"
    http_status = 401

    def __init__(self, cause: str) -> None:
        super().__init__("the request could not be verified")
        self.cause = cause


class Forbidden(PorticoError):
    code = "forbidden"
    http_status = 403


class NotFound(PorticoError):
    code = "not_found"
    http_status = 404

    def __init__(self, what: str) -> None:
        super().__init__(f"{what} was not found")


class NoSuchTool(NotFound):
    code = "no_such_tool"

    def __init__(self, name: str, nearest: Sequence[str]) -> None:
        super().__init__(f"the tool '{name[:64]}'")
        if nearest:
            self.message += "; did you mean " + " or ".join(nearest) + "?"
            self.args = (self.message,)
        self.details = {"nearest": list(nearest)}


class Conflict(PorticoError):
    code = "conflict"
    http_status = 409


class TooMany(PorticoError):
    code = "too_many"
    http_status = 429
    retryable = True

    def __init__(self, what: str, *, retry_after_s: float) -> None:
        super().__init__(f"too many {what}; try again in {retry_after_s:.0f} s")
        self.retry_after_s = retry_after_s


class Misconfigured(PorticoError):
    """Only a person can correct it. The message says how."""

    code = "misconfigured"


class NotTaken(Misconfigured):
    """The upstream rejects this request; other requests may succeed."""

    http_status = 400


class Unavailable(PorticoError):
    """A part does not respond. Callers wait and retry; nothing passes in the meantime."""

    code = "unavailable"
    http_status = 503
    retryable = True

    def __init__(self, part: str, why: str = "no response", *, retry_after_s: float | None = None) -> None:
        super().__init__(f"{part} is unavailable: {why}")
        self.part = part
        self.retry_after_s = retry_after_s


class Busy(Unavailable):
    """Waiting helps: turns wait, clients get a `Retry-After`."""

    http_status = 429
