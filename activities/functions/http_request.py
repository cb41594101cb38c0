"""Requests to hosts that the owner has named. They leave through the egress proxy, which checks every address again.

`http_get` reads; `http_request` may change something at the other end, so it is asked about first.
"""

from __future__ import annotations

import json
import posixpath
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import SplitResult, urljoin, urlsplit

from pydantic import Field, JsonValue

from portico.tool import AskAgain, ToolContext, ToolFailed, tool

if TYPE_CHECKING:  # loaded with the first request
    import httpx2

MOST_REDIRECTS = 5
LISTED = " (the owner lists them in [tools] hosts)"
LONGEST_TEXT = 50_000
LONGEST_BODY = 50 * 1024 * 1024
LONGEST_SENT = 1024 * 1024
TIMEOUT_S = 20.0
WHOLE_S = 100.0
TEXTS = re.compile(r"text/|application/(json|xml|javascript|yaml|x-ndjson|[\w.-]+\+(json|xml))", re.ASCII)
FORBIDDEN_HEADERS = frozenset(
    {"host", "connection", "content-length", "transfer-encoding", "upgrade", "te", "trailer", "expect"}
)
SECRET_HEADERS = frozenset({"authorization", "cookie", "proxy-authorization", "x-api-key"})
TO_GET = frozenset({301, 302, 303})

Headers = Annotated[dict[str, str], Field(max_length=30)]
Url = Annotated[str, Field(min_length=8, max_length=8000, pattern=r"^https?://")]


@dataclass(frozen=True)
class _Asked:
    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None = None


@tool(effects="read", risk="low", timeout_s=WHOLE_S + 20, repeatable=True, network=True)
def http_get(context: ToolContext, url: Url, headers: Headers = {}) -> dict[str, Any]:  # noqa: B006
    """Fetch something from the web or another service, among the hosts that the owner allows.

    Args:
        url: address with http:// or https://
        headers: further request headers
    """
    return _ask(context, _Asked("GET", url, _checked(headers)))


@tool(effects="write", risk="medium", timeout_s=WHOLE_S + 20, network=True)
def http_request(
    context: ToolContext,
    url: Url,
    method: Literal["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"] = "POST",
    body: JsonValue = None,
    headers: Headers = {},  # noqa: B006
) -> dict[str, Any]:
    """Send a request that may change something at a host that the owner allows. To only read, use http_get.

    Args:
        url: address with http:// or https://
        method: what to do there
        body: text is sent as it is, anything else as JSON
        headers: further request headers
    """
    checked = dict(_checked(headers))
    content = _content(body, checked)
    return _ask(context, _Asked(method, url, checked, content))


def _checked(headers: Mapping[str, str]) -> Mapping[str, str]:
    for name, value in headers.items():
        if name.lower() in FORBIDDEN_HEADERS or name.lower().startswith("proxy-"):
            raise AskAgain(f"the header {name} is not for callers to set")
        if not re.fullmatch(r"[!#$%&'*+\-.^_`|~\w]+", name, re.ASCII) or re.search(r"[\r\n\0]", value):
            raise AskAgain(f"{name[:40]!r} is no header")
    return headers


def _content(body: JsonValue, headers: dict[str, str]) -> bytes | None:
    if body is None:
        return None
    kind = "text/plain; charset=utf-8" if isinstance(body, str) else "application/json"
    if "content-type" not in {name.lower() for name in headers}:
        headers["content-type"] = kind
    content = (body if isinstance(body, str) else json.dumps(body)).encode()
    if len(content) > LONGEST_SENT:
        raise AskAgain(f"the body is larger than {LONGEST_SENT // 1024} KiB")
    return content


def _ask(context: ToolContext, asked: _Asked) -> dict[str, Any]:
    import httpx2

    if not context.proxy_url:
        raise ToolFailed(f"no host may be reached{LISTED}")
    limit = time.monotonic() + WHOLE_S
    with (
        httpx2.Client(proxy=context.proxy_url, trust_env=False, timeout=TIMEOUT_S) as client,
        _told_plainly(),
    ):
        for _ in range(MOST_REDIRECTS + 1):
            context.progress(f"{asked.method} {_split(asked.url).hostname}")
            with client.stream(
                asked.method, asked.url, headers=dict(asked.headers), content=asked.body
            ) as answer:
                _raise_if_refused(answer)
                following = _redirect(asked, answer)
                if following is None:
                    return _read(context, answer, limit)
            asked = following
    raise ToolFailed(f"it redirects more than {MOST_REDIRECTS} times")


@contextmanager
def _told_plainly() -> Iterator[None]:
    """Errors of the way there, without what the client library says: that may hold the whole address."""
    import httpx2

    try:
        yield
    except httpx2.TimeoutException:
        raise ToolFailed("the host did not answer in time") from None
    except httpx2.ProxyError as error:
        if "403" in str(error):
            raise ToolFailed(f"the host is not among the hosts that may be reached{LISTED}") from None
        raise ToolFailed("the host cannot be reached") from None
    except httpx2.HTTPError as error:
        raise ToolFailed(f"the exchange with the host failed ({type(error).__name__})") from None
    except (httpx2.InvalidURL, UnicodeError):
        raise AskAgain("the address cannot be read") from None


def _split(url: str) -> SplitResult:
    try:
        return urlsplit(url)
    except ValueError:
        raise AskAgain("the address cannot be read") from None


def _raise_if_refused(answer: httpx2.Response) -> None:
    """Over plain HTTP the refusal of the proxy is the answer; its mark tells it from one of the host."""
    if answer.headers.get("portico-egress") == "refused":
        raise ToolFailed(f"{answer.read().decode(errors='replace').strip()[:250]}{LISTED}")


def _redirect(asked: _Asked, answer: httpx2.Response) -> _Asked | None:
    """Where an answer leads on: asked for anew, without secrets where it is another host."""
    if not answer.has_redirect_location:
        return None
    try:
        url = urljoin(asked.url, answer.headers["location"])
    except ValueError:
        raise ToolFailed("it redirects to an address that cannot be read") from None
    before, after = _split(asked.url), _split(url)
    if after.scheme not in ("http", "https"):
        raise ToolFailed("it redirects to an address that is none of the web")
    headers = dict(asked.headers)
    if (before.scheme, before.netloc) != (after.scheme, after.netloc):
        headers = {name: value for name, value in headers.items() if name.lower() not in SECRET_HEADERS}
    if answer.status_code in TO_GET and asked.method not in ("GET", "HEAD"):
        without = {name: value for name, value in headers.items() if name.lower() != "content-type"}
        return _Asked("GET", url, without)
    return _Asked(asked.method, url, headers, asked.body)


def _read(context: ToolContext, answer: httpx2.Response, limit: float) -> dict[str, Any]:
    data = bytearray()
    expected = int(answer.headers.get("content-length", "0") or 0)
    for piece in answer.iter_bytes():
        data += piece
        context.raise_if_cancelled()
        context.progress(f"{len(data) // 1024} KiB", min(1.0, len(data) / expected) if expected else None)
        if len(data) > LONGEST_BODY:
            raise ToolFailed(f"the answer is larger than {LONGEST_BODY // 1024**2} MiB")
        if time.monotonic() > limit:
            raise ToolFailed(f"the answer was not complete after {WHOLE_S:.0f} s")
    return _told(context, answer, bytes(data))


def _told(context: ToolContext, answer: httpx2.Response, data: bytes) -> dict[str, Any]:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    told: dict[str, Any] = {
        "status": answer.status_code,
        "url": str(answer.url),
        "media_type": media_type,
        "size_bytes": len(data),
        "headers": {name: value[:500] for name, value in answer.headers.items() if name != "set-cookie"},
    }
    if not data:
        return {**told, "text": f"status {answer.status_code}, nothing more"}
    if TEXTS.match(media_type or "text/plain") and b"\0" not in data[:4096]:
        text = data.decode(answer.encoding or "utf-8", errors="replace")
        told["text"], told["cut"] = text[:LONGEST_TEXT], len(text) > LONGEST_TEXT
        if not told["cut"]:
            return {**told, **_json(text, media_type)}
    name = posixpath.basename(urlsplit(str(answer.url)).path) or "answer"
    context.artifact(name[-100:], data, media_type)
    told["artifact"] = name[-100:]
    return {"text": f"{name}: {len(data)} bytes, {media_type or 'of no named type'}", **told}


def _json(text: str, media_type: str) -> dict[str, Any]:
    if not media_type.endswith("json"):
        return {}
    try:
        return {"json": json.loads(text)}
    except ValueError:
        return {}
