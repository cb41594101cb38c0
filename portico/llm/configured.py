"""Makes routes out of `[llm.routes.*]`, and says what cannot work before anything is asked of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import urlsplit

from portico.addresses import is_public, parse_address
from portico.errors import Misconfigured, PorticoError
from portico.llm.openai import OpenAiServer
from portico.logs import logger
from portico.settings.models import RouteSettings
from portico.settings.settings import Settings

SECRET_PREFIXES = ("secret:", "env:", "file:")
NEAR_NAMES = (".local", ".lan", ".internal", ".home.arpa", ".localhost")

log = logger("llm")


@dataclass(frozen=True)
class Route:
    """A route that is ready to be asked."""

    settings: RouteSettings
    api_key: str
    server: OpenAiServer

    def same_as(self, other: Route) -> bool:
        return self.settings == other.settings and self.api_key == other.api_key


def routes_of(settings: Settings, secret: Callable[[str], str]) -> dict[str, Route]:
    """Raises `Misconfigured` for what cannot work."""
    for intent, route in settings.models.intents.items():
        if route not in settings.llm.routes:
            log.warning("llm.intent_without_route", intent=intent, route=route)
    return {name: _route(name, route, secret) for name, route in settings.llm.routes.items()}


def _route(name: str, route: RouteSettings, secret: Callable[[str], str]) -> Route:
    _check(name, route)
    api_key = _api_key(name, route, secret)
    return Route(route, api_key, OpenAiServer(route, api_key))


def _check(name: str, route: RouteSettings) -> None:
    """Raises `Misconfigured`, also for a remote host whose locality is not set."""
    where = f"llm.routes.{name}"
    if route.kind == "triton":
        if route.locality != "local":
            raise Misconfigured(f'{where}.locality: Triton is on this machine; leave it "local"')
        return
    parts = urlsplit(route.base_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Misconfigured(f'{where}.base_url: give the server\'s URL, such as "http://127.0.0.1:11434/v1"')
    if "locality" not in route.model_fields_set and not _is_near(parts.hostname):
        raise Misconfigured(
            f'{where}.locality: {parts.hostname} is far; set locality = "cloud", or "local" if it is yours'
        )


def _is_near(host: str) -> bool:
    try:
        return not is_public(parse_address(host))
    except ValueError:
        return "." not in host or host.lower().endswith(NEAR_NAMES)


def _api_key(name: str, route: RouteSettings, secret: Callable[[str], str]) -> str:
    if not route.api_key:
        return ""
    if not route.api_key.startswith(SECRET_PREFIXES):
        log.warning("llm.literal_key", route=name, mend=f"portico secrets set {name}")
        return route.api_key
    try:
        return secret(route.api_key)
    except PorticoError as error:
        raise Misconfigured(f"llm.routes.{name}.api_key: {error.message}") from None
