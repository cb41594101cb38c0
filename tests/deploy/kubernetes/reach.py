"""Who may open a connection to whom, by the rules of NetworkPolicies. Nothing here asks a cluster.

As the API says: a pod that no policy of a direction selects is open in it; one that some policy selects may do what
any of them allows; a connection needs leave at both ends.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

Labels = Mapping[str, str]
Policies = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Place:
    """One end of a connection. `namespace` is empty for what is no pod."""

    address: str
    namespace: str = ""
    labels: Labels = field(default_factory=dict)

    @property
    def namespace_labels(self) -> Labels:
        return {"kubernetes.io/metadata.name": self.namespace}


@dataclass(frozen=True)
class Door:
    protocol: str
    port: int


def reaches(policies: Policies, here: str, source: Place, target: Place, door: Door) -> bool:
    """Whether the policies of the namespace `here` let it through; other namespaces have none."""
    return _lets("Egress", policies, here, source, target, door) and _lets(
        "Ingress", policies, here, target, source, door
    )


def _lets(kind: str, policies: Policies, here: str, at: Place, other: Place, door: Door) -> bool:
    if at.namespace != here:
        return True
    chosen = [
        policy["spec"]
        for policy in policies
        if kind in policy["spec"]["policyTypes"] and _selects(policy["spec"]["podSelector"], at.labels)
    ]
    peers = "to" if kind == "Egress" else "from"
    rules = [rule for spec in chosen for rule in spec.get(kind.lower()) or []]
    return not chosen or any(_opens(rule, peers, here, other, door) for rule in rules)


def _opens(rule: Mapping[str, Any], peers: str, here: str, other: Place, door: Door) -> bool:
    ports, named = rule.get("ports"), rule.get(peers)
    through = not ports or any(
        port.get("protocol", "TCP") == door.protocol and port.get("port") in (None, door.port)
        for port in ports
    )
    return through and (not named or any(_is(peer, here, other) for peer in named))


def _is(peer: Mapping[str, Any], here: str, other: Place) -> bool:
    if block := peer.get("ipBlock"):
        return _within(other.address, block["cidr"]) and not any(
            _within(other.address, left_out) for left_out in block.get("except", ())
        )
    if not other.namespace:
        return False
    inside = (
        _selects(peer["namespaceSelector"], other.namespace_labels)
        if "namespaceSelector" in peer
        else other.namespace == here
    )
    return inside and _selects(peer.get("podSelector") or {}, other.labels)


def _within(address: str, block: str) -> bool:
    network, found = ipaddress.ip_network(block), ipaddress.ip_address(address)
    return network.version == found.version and found in network


def _selects(selector: Mapping[str, Any], labels: Labels) -> bool:
    assert set(selector) <= {"matchLabels"}, "expressions are not evaluated here"
    return all(labels.get(name) == value for name, value in (selector.get("matchLabels") or {}).items())
