"""Where results of tools may be posted, and how such a post is signed.

The edge refuses a `callbackUrl` that can never be posted to; whether its addresses may be dialled is found out
when they are, by `portico.egress.guard`.
"""

from __future__ import annotations

import base64
import ipaddress
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import urlsplit

import orjson
from standardwebhooks.webhooks import Webhook

from portico.contracts.messages import ExecutionResult
from portico.egress.guard import check_address, network
from portico.errors import BadInput, Forbidden
from portico.settings.settings import Settings
from portico.storage.secrets import SecretStore

SECRET = "callbacks"
EVENT = "invocation.ended"
LONGEST_URL = 2048
PORTS = {"http": 80, "https": 443}

_PRINTABLE = re.compile(r"[\x21-\x7e]+")
_AMBIGUOUS = re.compile(r"[\\^`{|}<>\"]")
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?(\.[A-Za-z0-9]([A-Za-z0-9_-]*[A-Za-z0-9])?)*\.?")
_NUMERIC_END = re.compile(r"(0[xX][0-9A-Fa-f]*|[0-9]+)")


@dataclass(frozen=True)
class Place:
    """A checked `callbackUrl`. `named`: the settings name its host in `[tools] callback_hosts`."""

    url: str
    host: str
    port: int
    named: bool


def check_callback_url(url: str, settings: Settings) -> Place:
    """Raises `BadInput` with what is wrong, and where only a setting is missing, with its name."""
    place = read_callback_url(url, settings)
    if place.named:
        return place
    if settings.local_only:
        raise BadInput(
            f"callbackUrl: nothing leaves this machine (local_only); [tools] callback_hosts = "
            f'["{_shown(place)}"] would allow it'
        )
    try:
        inside = _is_inside(place.host)
    except ValueError:
        return place
    if inside:
        raise BadInput(
            f"callbackUrl: {place.host} is not in the public internet, and [tools] callback_hosts does not name it"
        )
    return place


def read_callback_url(url: str, settings: Settings) -> Place:
    """Its shape alone. Raises `BadInput`."""
    if len(url) > LONGEST_URL:
        raise BadInput(f"callbackUrl: longer than {LONGEST_URL} characters")
    if not _PRINTABLE.fullmatch(url) or _AMBIGUOUS.search(url):
        raise BadInput('callbackUrl: only printable ASCII without spaces and \\ ^ ` { | } < > " is a URL')
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise BadInput("callbackUrl: it cannot be read as a URL") from None
    if parts.scheme not in PORTS:
        raise BadInput("callbackUrl: only http and https")
    if "@" in parts.netloc:
        raise BadInput("callbackUrl: without user and password; the post is signed")
    if parts.fragment or url.endswith("#"):
        raise BadInput("callbackUrl: without a fragment")
    if port == 0:
        raise BadInput("callbackUrl: port 0 cannot be reached")
    host = _host(parts.hostname or "")
    port = port or PORTS[parts.scheme]
    named = network(settings, allow=settings.tools.callback_hosts).allows(host, port)
    return Place(url=url, host=host, port=port, named=named)


async def callback_secret(store: SecretStore) -> str:
    """The key that signs all callbacks of this installation, made when it is first asked for."""
    return await store.ensure(SECRET, "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode())


def callback_body(result: ExecutionResult) -> bytes:
    """The same bytes at every attempt."""
    ended = result.ended_at or result.started_at
    event = {
        "type": EVENT,
        "timestamp": ended.isoformat(),
        "data": result.model_dump(mode="json", exclude={"output_blob"}),
    }
    return orjson.dumps(event)


def callback_headers(
    secret: str, *, webhook_id: str, body: bytes, now: datetime | None = None
) -> dict[str, str]:
    """Standard Webhooks' headers. The id stays through all attempts, the time is the attempt's."""
    now = now or datetime.now(UTC)
    return {
        "content-type": "application/json",
        "user-agent": "Portico",
        "webhook-id": webhook_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(secret).sign(webhook_id, now, body.decode()),
    }


def _is_inside(host: str) -> bool:
    """Raises `ValueError` for a name that has to be looked up first."""
    name = host.lower().rstrip(".")
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        check_address(str(ipaddress.ip_address(host)))
    except Forbidden:
        return True
    return False


def _host(host: str) -> str:
    """A name, or an address in its usual form: `2130706433`, `0177.0.0.1` and `::1%eth0` are neither."""
    try:
        if "%" not in host:
            return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    last = host.rstrip(".").rpartition(".")[2]
    if not host or len(host) > 253 or not _NAME.fullmatch(host) or _NUMERIC_END.fullmatch(last):
        raise BadInput("callbackUrl: its host is neither a name nor an address in its usual form")
    return host


def _shown(place: Place) -> str:
    host = f"[{place.host}]" if ":" in place.host else place.host
    return host if place.port in PORTS.values() else f"{host}:{place.port}"
