"""Which hosts a sandbox may reach: what the service was started with, narrowed by what the sandbox asked for."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

WEB_PORTS = (80, 443)
EVERYTHING = ("0.0.0.0/0", "::/0", "*")
ENTRIES_LIMIT = 256


@dataclass(frozen=True)
class Rule:
    """One entry of the service's list: `HOST[:PORT][=ADDRESS]`, where HOST may begin with `*.`.

    With an address the host is not looked up, and the address may be private: it is configured on purpose.
    """

    host: str
    ports: tuple[int, ...] = WEB_PORTS
    address: str = ""

    @classmethod
    def parse(cls, text: str) -> Rule:
        """ValueError says what is wrong."""
        named, _, address = text.strip().partition("=")
        host, _, port = named.partition(":")
        if not host or host.strip("*.") == "" or "*" in host.removeprefix("*."):
            raise ValueError(f"{text!r} is no host: write example.com, *.example.com or example.com:8443")
        if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise ValueError(f"{text!r} has no port between 1 and 65535")
        if address:
            ipaddress.ip_address(address)
        return cls(normal(host), (int(port),) if port else WEB_PORTS, address)

    def covers(self, host: str, port: int) -> bool:
        return port in self.ports and matches(self.host, host)


def normal(host: str) -> str:
    """Lower case, without the root's dot, international names as the network has them. ValueError if it is none."""
    name = host.strip().lower().rstrip(".")
    if name.isascii():
        return name
    try:
        return name.encode("idna").decode()
    except UnicodeError as error:
        raise ValueError(f"{host[:64]!r} is no host name") from error


def matches(pattern: str, host: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


@dataclass(frozen=True)
class Allowed:
    """What one sandbox may reach: covered by a rule, asked for, and not denied."""

    rules: tuple[Rule, ...] = ()
    requested: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()

    def rule_for(self, host: str, port: int) -> Rule | None:
        if not any(_named(entry, host) for entry in self.requested):
            return None
        narrow = [
            entry for entry in self.denied if entry not in EVERYTHING
        ]  # denying all is to allow what is named
        if any(_named(entry, host) for entry in narrow):
            return None
        return next((rule for rule in self.rules if rule.covers(host, port)), None)

    def __bool__(self) -> bool:
        return bool(self.rules and self.requested)


def _named(entry: str, host: str) -> bool:
    return entry in EVERYTHING or matches(entry, host)


def asked_for(body: dict[str, Any], rules: Sequence[Rule]) -> Allowed:
    """From a request's `allow_internet_access` and `network`. ValueError if they are malformed.

    Nothing is open unless it is asked for, and asking for everything opens what the service allows, not more.
    """
    network = body.get("network")
    if network is None:
        network = {}
    if not isinstance(network, dict):
        raise ValueError("network must be an object")
    internet = body.get("allow_internet_access")
    if internet is False:
        return Allowed()
    allowed = network.get("allowOut", network.get("allow_out"))
    if allowed is None:
        allowed = list(EVERYTHING[:1]) if internet is True else []
    denied = network.get("denyOut", network.get("deny_out"))
    return Allowed(
        tuple(rules), _hosts(allowed, "allowOut"), _hosts([] if denied is None else denied, "denyOut")
    )


def _hosts(entries: Any, name: str) -> tuple[str, ...]:
    if not isinstance(entries, list) or not all(isinstance(entry, str) for entry in entries):
        raise ValueError(f"network.{name} must be a list of hosts")
    if len(entries) > ENTRIES_LIMIT:
        raise ValueError(f"network.{name} holds at most {ENTRIES_LIMIT} hosts")
    return tuple(normal(entry) for entry in entries)
