"""How commands speak to the running edge: its address from `run/parts.json`, the key from `cli.key`."""

from __future__ import annotations

import os
from typing import Any, cast

import httpx2
import orjson

from portico.errors import Misconfigured, PorticoError, Unavailable
from portico.settings.connections import part_address
from portico.settings.home import Home
from portico.settings.load import load_settings

TIMEOUT_S = 70.0


class EdgeRefusal(PorticoError):
    """The edge said no; its own sentence is the message."""

    code = "refused_by_edge"


def edge_url(home: Home) -> str:
    """Base URL of the edge of this home, or of `PORTICO_URL`."""
    given = os.environ.get("PORTICO_URL")  # noqa: TID251 - reserved name, for scripts
    if given:
        return given.rstrip("/")
    address = part_address(home, "api")
    if address is None:
        raise Misconfigured(f"no Portico runs in {home.root}; start it with `portico up`")
    scheme = "https" if load_settings(home).tls.certificate else "http"
    return f"{scheme}://{address}"


def call(method: str, path: str, *, body: Any = None, params: dict[str, Any] | None = None) -> Any:
    """One JSON request as the owner of this home. Raises `Unavailable`, `Misconfigured` or `Refusal`."""
    home = Home.from_environment()
    url = edge_url(home) + path
    try:
        with httpx2.Client(trust_env=False, timeout=TIMEOUT_S, verify=_verify(url)) as client:
            answer = client.request(method, url, json=body, params=params, headers=_authorization(home))
    except httpx2.TransportError as error:
        raise Unavailable(
            "the edge", f"{type(error).__name__} at {url}; is it running? see `portico status`"
        ) from error
    if answer.status_code >= 400:
        raise EdgeRefusal(_title(answer))
    return answer.json() if answer.content else None


def _verify(url: str) -> bool:
    """On loopback the certificate carries the public name; the connection never leaves the machine."""
    return not url.startswith(("https://127.0.0.1", "https://[::1]"))


def _authorization(home: Home) -> dict[str, str]:
    key = os.environ.get("PORTICO_API_KEY")  # noqa: TID251 - reserved name, for scripts
    if not key:
        try:
            key = home.cli_key.read_text().strip()
        except OSError:
            raise Misconfigured(
                f"{home.cli_key} cannot be read; it is made by the first `portico up`"
            ) from None
    return {"Authorization": f"Bearer {key}"}


def _title(answer: httpx2.Response) -> str:
    try:
        return cast(str, orjson.loads(answer.content)["title"])
    except (ValueError, KeyError, TypeError):
        return f"the edge answered {answer.status_code}"
