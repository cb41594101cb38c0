"""Which addresses are in the public internet. Standard library only."""

from __future__ import annotations

import ipaddress

from portico.errors import Forbidden

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_REFUSED = tuple(
    ipaddress.ip_network(text)
    for text in (
        # What `is_global` of Python 3.11 and 3.12 lets through, or judges differently between releases.
        "0.0.0.0/8",
        "100.64.0.0/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
        "198.18.0.0/15",
        "224.0.0.0/3",
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "64:ff9b:1::/48",
        "100::/64",
        "2001::/23",
        "2001:db8::/32",
        "2002::/16",
        "3fff::/20",
        "5f00::/16",
        "fec0::/10",
        "ff00::/8",
    )
)


def check_address(text: str) -> Address:
    """The address, if it lies in the public internet. Raises `Forbidden`."""
    address = ipaddress.ip_address(text.partition("%")[0])
    judged = _inner(address)
    if not judged.is_global or judged.is_multicast or any(judged in block for block in _REFUSED):
        raise Forbidden("the address is not in the public internet")
    return address


def _inner(address: Address) -> Address:
    """The IPv4 address that a NAT64 address leads to: such networks give them for every public name."""
    if address.version == 6 and address in _NAT64:
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address
