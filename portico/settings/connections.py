"""Where the parts of this Portico listen, and the credentials that they know.

An address in the settings wins; else the embedded stack's `run/parts.json` and `run/credentials.json` tell.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from portico.errors import Misconfigured
from portico.settings.home import Home
from portico.settings.servers import TemporalSettings
from portico.settings.settings import Settings


@dataclass(frozen=True)
class TemporalAccess:
    """How to connect to an external Temporal. Without `tls` it is on a private network."""

    tls: bool = False
    ca: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    name: str | None = None
    api_key: str = field(default="", repr=False)


@dataclass(frozen=True)
class Connections:
    """Addresses are host:port, but for OPA and S3 (URLs)."""

    temporal: str
    namespace: str
    opa_url: str
    opa_token: SecretStr
    triton: str
    s3_url: str
    s3_access_key: str
    s3_secret_key: SecretStr
    bucket: str
    object_lock: bool = False
    """The bucket is one from which nothing is deleted for good before its time."""
    temporal_access: TemporalAccess = TemporalAccess()


def connect_to(settings: Settings, home: Home) -> Connections:
    """Raises `Misconfigured` where a part has neither a setting nor a running embedded stack."""
    parts = read_state(home.parts)
    credentials = read_state(home.credentials)
    return Connections(
        temporal=settings.temporal.address or _address(parts, "temporal", home),
        namespace=settings.temporal.namespace,
        opa_url=settings.policy.url or "http://" + _address(parts, "opa", home),
        opa_token=settings.policy.token or SecretStr(credentials.get("opa_token", "")),
        triton=settings.models.triton or _address(parts, "triton", home),
        s3_url=settings.storage.url or "http://" + _address(parts, "s3", home),
        s3_access_key=settings.storage.access_key or credentials.get("s3_access_key", ""),
        s3_secret_key=settings.storage.secret_key or SecretStr(credentials.get("s3_secret_key", "")),
        bucket=settings.storage.bucket,
        object_lock=settings.storage.object_lock,
        temporal_access=temporal_access(settings.temporal),
    )


def temporal_access(temporal: TemporalSettings) -> TemporalAccess:
    """Raises `Misconfigured` where a file is missing."""
    files = (temporal.tls_ca, temporal.tls_certificate, temporal.tls_key)
    try:
        ca, certificate, key = (path.read_bytes() if path else None for path in files)
    except OSError as error:
        raise Misconfigured(f"[temporal]: {error.filename} cannot be read ({error.strerror})") from None
    return TemporalAccess(
        tls=temporal.tls or bool(temporal.tls_name) or temporal.api_key is not None or any(files),
        ca=ca,
        certificate=certificate,
        key=key,
        name=temporal.tls_name or None,
        api_key=temporal.api_key.get_secret_value() if temporal.api_key else "",
    )


@dataclass(frozen=True)
class SandboxAddress:
    """Where code may run. `unavailable` is one line that says why it cannot, or empty."""

    url: str = ""
    key: str = field(default="", repr=False)
    unavailable: str = ""


def sandbox_address(settings: Settings, home: Home) -> SandboxAddress:
    """The state that the supervisor wrote last; cheap enough to be read before every call."""
    sandbox = settings.sandbox
    if not sandbox.enabled:
        return SandboxAddress(unavailable="the sandbox is switched off ([sandbox] enabled)")
    if sandbox.url:
        return SandboxAddress(sandbox.url, sandbox.key.get_secret_value() if sandbox.key else "")
    address, known = part_address(home, "sandbox"), read_state(home.sandbox_state)
    if not address:
        return SandboxAddress(unavailable="no sandbox was started here")
    key = str(read_state(home.credentials).get("sandbox_key", ""))
    return SandboxAddress(
        f"http://{address}", key, str(known.get("unavailable", "the sandbox has not been started yet"))
    )


def part_address(home: Home, part: str) -> str | None:
    """host:port of an embedded part, or nothing where none was started here."""
    address = read_state(home.parts).get(part, {}).get("address")
    return str(address) if address else None


def triton_address(settings: Settings, home: Home) -> tuple[str, SecretStr]:
    """Address of Triton, and the key with which models are loaded (empty if the settings have none)."""
    if settings.models.triton:
        return settings.models.triton, settings.models.triton_key or SecretStr("")
    key = read_state(home.credentials).get("triton_admin_key", "")
    return _address(read_state(home.parts), "triton", home), SecretStr(key)


def read_state(path: Path) -> dict[str, Any]:
    """What a running stack has written down for others; nothing where it has not."""
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise Misconfigured(f"{path} is damaged; stop Portico, delete it and start again") from error
    return content


def _address(parts: dict[str, Any], part: str, home: Home) -> str:
    try:
        return str(parts[part]["address"])
    except KeyError:
        raise Misconfigured(f"no {part} is known to {home.root}; start Portico with `portico up`") from None
